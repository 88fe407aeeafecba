//! A disk without a device: what is written lies in the page cache, what is synced survives a power cut, and the rest may or may not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use forebay::journal::format::HEADER_BYTES;
use forebay::journal::{Disk, SegmentFile, Space};
use rustix::io::Errno;

use crate::driver::Dice;

/// What a device writes as a whole, at the least: a disk a sector, persistent memory a cache line.
const SECTORS: [usize; 2] = [512, 64];
/// Descriptors of files count up from here, far from those of sockets.
const FIRST_FILE: RawFd = 1 << 20;

/// How often things go wrong, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFaults {
    /// A write fails, wholly or behind a part of it.
    pub(crate) write: usize,
    /// A sync fails, and nobody knows what it has brought to the disk.
    pub(crate) sync: usize,
    /// There is no space for a new file, or the disk is read-only.
    pub(crate) make: usize,
}

/// What ends a life of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is killed: the page cache stays.
    Kill,
    /// The power goes: of what was not synced, any sectors may be there.
    PowerCut,
}

#[derive(Debug, Default)]
struct Inode {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written and not synced.
    dirty: BTreeSet<usize>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    sector: usize,
    faults: DiskFaults,
    names: BTreeMap<PathBuf, usize>,
    inodes: Vec<Inode>,
    open: BTreeMap<RawFd, usize>,
    next_file: RawFd,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Rc<RefCell<State>>);

struct SimFile(RawFd);

impl AsRawFd for SimFile {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed ^ 0xd15c);
        Self(Rc::new(RefCell::new(State {
            sector: SECTORS[usize::from(dice.happens(250))],
            dice,
            faults: DiskFaults::default(),
            names: BTreeMap::new(),
            inodes: Vec::new(),
            open: BTreeMap::new(),
            next_file: FIRST_FILE,
        })))
    }

    pub(crate) fn set_faults(&self, faults: DiskFaults) {
        self.0.borrow_mut().faults = faults;
    }

    /// A write into the page cache.
    pub(crate) fn write(&self, file: RawFd, at: u64, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut state = self.0.borrow_mut();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let fails = {
            let permille = state.faults.write;
            state.dice.happens(permille)
        };
        // As the kernel has it: an error means that nothing was written, else it is a short write.
        let is_error = fails && state.dice.happens(500);
        let taken = match fails {
            true if is_error => 0,
            true => 1 + state.dice.below(bytes.len()),
            false => bytes.len(),
        };
        let at = usize::try_from(at).expect("small");
        let (inode, sector) = (state.open[&file], state.sector);
        state.inodes[inode].write(at, &bytes[..taken], sector);
        if is_error { Err(Errno::IO) } else { Ok(taken) }
    }

    /// The sectors that a sync beginning now has to bring to the disk.
    pub(crate) fn begin_sync(&self, file: RawFd) -> (usize, BTreeSet<usize>) {
        let state = self.0.borrow();
        let inode = state.open[&file];
        (inode, state.inodes[inode].dirty.clone())
    }

    /// The end of a sync.
    pub(crate) fn end_sync(&self, inode: usize, sectors: &BTreeSet<usize>) -> Result<(), Errno> {
        let mut state = self.0.borrow_mut();
        let State { dice, faults, inodes, sector: size, .. } = &mut *state;
        if dice.happens(faults.sync) {
            // The pages are clean now, whether they reached the disk or not.
            for sector in sectors {
                if dice.happens(500) {
                    inodes[inode].keep(*sector, *size);
                }
                inodes[inode].dirty.remove(sector);
            }
            return Err(Errno::IO);
        }
        for sector in sectors {
            inodes[inode].keep(*sector, *size);
            inodes[inode].dirty.remove(sector);
        }
        Ok(())
    }

    /// The node's life ends.
    pub(crate) fn crash(&self, crash: Crash) {
        let mut state = self.0.borrow_mut();
        state.open.clear();
        if crash == Crash::Kill {
            return;
        }
        let State { dice, inodes, sector: size, .. } = &mut *state;
        for inode in inodes {
            let survive = dice.below(1001);
            for sector in std::mem::take(&mut inode.dirty) {
                if dice.happens(survive) {
                    inode.keep(sector, *size);
                }
            }
            inode.cache.clone_from(&inode.durable);
        }
    }

    fn new_file(state: &mut State, path: &Path, content: Vec<u8>) -> usize {
        let inode = state.inodes.len();
        state.inodes.push(Inode { cache: content.clone(), durable: content, dirty: BTreeSet::new() });
        state.names.insert(path.to_owned(), inode);
        inode
    }

    fn open(state: &mut State, inode: usize) -> SegmentFile {
        let file = state.next_file;
        state.next_file += 1;
        state.open.insert(file, inode);
        Box::new(SimFile(file))
    }

    fn refuse(state: &mut State) -> io::Result<()> {
        let permille = state.faults.make;
        if state.dice.happens(permille) {
            let errno = if state.dice.happens(500) { Errno::NOSPC } else { Errno::ROFS };
            return Err(errno.into());
        }
        Ok(())
    }
}

impl Inode {
    fn write(&mut self, at: usize, bytes: &[u8], sector: usize) {
        if bytes.is_empty() {
            return;
        }
        assert!(at + bytes.len() <= self.cache.len(), "a segment never grows");
        self.cache[at..at + bytes.len()].copy_from_slice(bytes);
        self.dirty.extend(at / sector..=(at + bytes.len() - 1) / sector);
    }

    fn keep(&mut self, sector: usize, size: usize) {
        let range = sector * size..((sector + 1) * size).min(self.cache.len());
        self.durable[range.clone()].copy_from_slice(&self.cache[range]);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn make_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let below = state.names.keys().filter_map(|name| name.strip_prefix(path).ok());
        let names: BTreeSet<String> = below
            .filter_map(|rest| Some(rest.components().next()?.as_os_str().to_str()?.to_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn make_segment(&self, path: &Path, bytes: usize, _space: Space) -> io::Result<SegmentFile> {
        let mut state = self.0.borrow_mut();
        Self::refuse(&mut state)?;
        assert!(!state.names.contains_key(path), "a file is made once");
        let inode = Self::new_file(&mut state, path, vec![0; bytes]);
        Ok(Self::open(&mut state, inode))
    }

    fn sync_segment(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn reuse_segment(&self, path: &Path) -> io::Result<SegmentFile> {
        let mut state = self.0.borrow_mut();
        Self::refuse(&mut state)?;
        let inode = *state.names.get(path).ok_or_else(missing)?;
        let file = &mut state.inodes[inode];
        file.cache[..HEADER_BYTES].fill(0);
        file.durable.clone_from(&file.cache);
        file.dirty.clear();
        Ok(Self::open(&mut state, inode))
    }

    fn read(&self, path: &Path, at: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let state = self.0.borrow();
        let inode = *state.names.get(path).ok_or_else(missing)?;
        let cache = &state.inodes[inode].cache;
        let start = usize::try_from(at).expect("small").min(cache.len());
        let end = start.saturating_add(most).min(cache.len());
        buffer.clear();
        buffer.extend_from_slice(&cache[start..end]);
        Ok(())
    }

    fn uncache(&self, path: &Path) -> io::Result<()> {
        let state = self.0.borrow();
        let inode = *state.names.get(path).ok_or_else(missing)?;
        assert!(state.inodes[inode].dirty.is_empty(), "it is nowhere but in the page cache");
        Ok(())
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.borrow();
        let inode = *state.names.get(path).ok_or_else(missing)?;
        Ok(state.inodes[inode].cache.len() as u64)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        Self::refuse(&mut state)?;
        Self::new_file(&mut state, path, content.to_owned());
        Ok(())
    }

    fn rewrite(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.replace(path, content)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let inode = *state.names.get(path).ok_or_else(missing)?;
        let sector = state.sector;
        let file = &mut state.inodes[inode];
        let bytes = usize::try_from(bytes).expect("small");
        file.cache.truncate(bytes);
        file.durable.truncate(bytes);
        file.dirty.retain(|dirty| dirty * sector < bytes);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let inode = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let inode = state.names.remove(path).ok_or_else(missing)?;
        // Nobody but those who have it open sees its bytes any more.
        if !state.open.values().any(|open| *open == inode) {
            state.inodes[inode] = Inode::default();
        }
        Ok(())
    }

    fn remove_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}
