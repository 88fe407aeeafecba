//! What the journal needs of a file system, off the way of an event. Tests bring one that tears, forgets and refuses.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Advice, CWD, FallocateFlags, FlockOperation, RenameFlags, fadvise, fallocate, flock, renameat_with,
};
use rustix::io::Errno;

use super::appender::SegmentFile;
use super::format::HEADER_BYTES;

/// Zeros are written in pieces of this size. Not larger: the page cache keeps them in folios as large as the write, and ext4 walks over all blocks of
/// a folio each time that a part of it is written.
const ZERO_BYTES: usize = 64 << 10;

/// How a new segment takes its space. What is not written yet is zeros, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// It is reserved: next to no work. But whoever syncs what was written there for the first time waits until the file system has noted that
    /// the place is in use, too. Where files cannot be reserved, they are written.
    Reserved,
    /// It is written with zeros: a sync has the data alone to wait for. Meanwhile, the disk and the CPUs have twice as much to write.
    Written,
}

/// Files and folders. Where nothing else is said, what makes, replaces or wipes something returns only when that survives a power cut.
pub trait Disk {
    /// Makes a folder, with those above it that are missing.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in order; none if it does not exist.
    fn names(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Makes a file of zeros that have their space, and opens it. They may still be on their way to the disk.
    fn make_segment(&self, path: &Path, bytes: usize, space: Space) -> io::Result<SegmentFile>;

    /// Waits until a new file is on the disk: so the first sync of what is written into it does not have to.
    fn sync_segment(&self, path: &Path) -> io::Result<()>;

    /// Wipes the header of a segment, so that nothing in it counts any more, and opens it.
    fn reuse_segment(&self, path: &Path) -> io::Result<SegmentFile>;

    /// Reads a file from `at` on into `buffer`, up to `most` bytes.
    fn read(&self, path: &Path, at: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()>;

    /// Has the page cache let go of a file, all of which is synced.
    fn uncache(&self, path: &Path) -> io::Result<()>;

    /// The size of a file.
    fn bytes(&self, path: &Path) -> io::Result<u64>;

    /// Puts a file in the place of another, whole or not at all.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// As [`Self::replace`], and keeps the file of before, to write the next content over it: so a content that is no larger needs no room.
    fn rewrite(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Cuts a file short; after a power cut it may be as it was.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Gives a file another name in the same file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. It may be there again after a power cut.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        sync_folder_of(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn make_segment(&self, path: &Path, bytes: usize, space: Space) -> io::Result<SegmentFile> {
        let made = make_zeros(path, bytes, space);
        if made.is_err() {
            // A part of a segment is of no use and takes room. If this fails too, the first error is the one to tell.
            let _ = fs::remove_file(path);
        }
        Ok(Box::new(made?))
    }

    fn sync_segment(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn reuse_segment(&self, path: &Path) -> io::Result<SegmentFile> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.write_all_at(&[0; HEADER_BYTES], 0)?;
        file.sync_all()?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path, at: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let file = File::open(path)?;
        let left = file.metadata()?.len().saturating_sub(at);
        let most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        buffer.resize(most, 0);
        let mut filled = 0;
        while filled < most {
            match file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(())
    }

    fn uncache(&self, path: &Path) -> io::Result<()> {
        Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder_of(path)
    }

    fn rewrite(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&new)?;
        file.write_all_at(content, 0)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()?;
        match renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // There is none yet, or the file system cannot do it: the next one needs room of its own.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => fs::rename(&new, path)?,
            Err(errno) => return Err(errno.into()),
        }
        sync_folder_of(path)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_folder_of(to)?;
        sync_folder_of(from)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)?;
        sync_folder_of(path)
    }
}

fn make_zeros(path: &Path, bytes: usize, space: Space) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(path)?;
    if space == Space::Written || !reserve(&file, bytes)? {
        write_zeros(&file, bytes)?;
    }
    sync_folder_of(path)?;
    Ok(file)
}

/// Reserves space for the first `bytes` of a file; `false` if the file system does not know how to (ZFS, NFS before 4.2).
fn reserve(file: &File, bytes: usize) -> io::Result<bool> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, bytes as u64) {
            Ok(()) => return Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn write_zeros(file: &File, bytes: usize) -> io::Result<()> {
    let zeros = vec![0; ZERO_BYTES.min(bytes)];
    let mut at = 0;
    while at < bytes {
        let piece = &zeros[..zeros.len().min(bytes - at)];
        file.write_all_at(piece, at as u64)?;
        at += piece.len();
    }
    Ok(())
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// The right to change a journal; given up when dropped.
#[derive(Debug)]
pub struct JournalLock(#[expect(dead_code, reason = "held for the lock on it")] File);

/// Why a journal could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{}: the journal is in use by process {holder}: one journal serves one node", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The id of that process, as it wrote it.
        holder: String,
        /// What it is, if it has said so yet.
        kind: Option<Holder>,
    },
    /// The file cannot be made or locked.
    #[error("{}: {error}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Who has the right to change a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A node that forwards to a broker.
    Broker,
    /// A node without a broker: it takes releases.
    Alone,
    /// A command such as `forebay journal repair`.
    Command,
}

impl Holder {
    const ALL: [Self; 3] = [Self::Broker, Self::Alone, Self::Command];

    /// As the lock file has it, in the line below the id of the process.
    fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Alone => "alone",
            Self::Command => "command",
        }
    }
}

impl JournalLock {
    /// Takes the lock of the journal in `folder`, which has to exist, and leaves word of who has it.
    pub fn take(folder: &Path, holder: Holder) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let io_error = |error| LockError::Io { path: path.clone(), error };
        let options =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
        let mut file = options.map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut word = String::new();
                // For the message, and to know whom to ask: who cannot read it knows less.
                let _ = file.read_to_string(&mut word);
                let mut lines = word.lines();
                let holder = lines.next().unwrap_or_default().to_owned();
                let kind =
                    lines.next().and_then(|line| Holder::ALL.into_iter().find(|kind| kind.as_str() == line));
                return Err(LockError::InUse { path, holder, kind });
            }
            Err(errno) => return Err(io_error(errno.into())),
        }
        file.set_len(0).map_err(io_error)?;
        file.write_all(format!("{}\n{}\n", std::process::id(), holder.as_str()).as_bytes())
            .map_err(io_error)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;

    use rustix::io::{ReadWriteFlags, preadv2};

    use super::*;

    #[test]
    fn a_segment_is_really_there_and_loses_its_header_when_it_serves_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log/1.segment");
        let disk = FileSystem;
        disk.make_folder(path.parent().expect("a folder")).expect("made");
        for space in [Space::Reserved, Space::Written] {
            disk.make_segment(&path, 3 << 20, space).expect("made");
            let metadata = fs::metadata(&path).expect("there");
            assert_eq!(metadata.len(), 3 << 20);
            assert!(
                std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= 3 << 20,
                "{space:?}: not sparse"
            );
        }
        fs::write(&path, vec![7; 1000]).expect("written");
        disk.reuse_segment(&path).expect("wiped");
        let mut bytes = Vec::new();
        disk.read(&path, 60, 8, &mut bytes).expect("read");
        assert_eq!(bytes, [0, 0, 0, 0, 7, 7, 7, 7]);
        assert_eq!(disk.names(&folder.path().join("nothing")).expect("none"), [""; 0]);
    }

    #[test]
    fn the_page_cache_lets_go_of_a_file_that_is_synced() {
        // Not where temporary files are: those may lie in memory, and stay there.
        let own = std::env::current_exe().expect("a path");
        let folder = tempfile::tempdir_in(own.parent().expect("a folder")).expect("a folder");
        let path = folder.path().join("1.segment");
        drop(FileSystem.make_segment(&path, 1 << 20, Space::Written).expect("made"));
        FileSystem.sync_segment(&path).expect("synced");
        let read_cached = || {
            let mut byte = [0];
            let file = File::open(&path).expect("there");
            preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 500 << 10, ReadWriteFlags::NOWAIT)
        };
        match read_cached() {
            // Not every file system can tell.
            Err(Errno::OPNOTSUPP) => return,
            cached => assert_eq!(cached, Ok(1)),
        }
        FileSystem.uncache(&path).expect("it can");
        assert_eq!(read_cached(), Err(Errno::AGAIN));
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint.json");
        for content in ["one", "three"] {
            FileSystem.replace(&path, content.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("there"), content);
        }
        assert_eq!(FileSystem.names(folder.path()).expect("names"), ["checkpoint.json"]);
    }

    #[test]
    fn a_file_is_rewritten_by_turns_in_two_places() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint.json");
        let mut places = std::collections::BTreeSet::new();
        for content in ["one", "three", "two", "seventeen", ""] {
            FileSystem.rewrite(&path, content.as_bytes()).expect("rewritten");
            assert_eq!(fs::read_to_string(&path).expect("there"), content);
            places.insert(std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).expect("there")));
        }
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn a_journal_is_locked_once_and_says_by_whom() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = JournalLock::take(folder.path(), Holder::Alone).expect("free");
        let error = JournalLock::take(folder.path(), Holder::Command).expect_err("taken");
        assert!(matches!(error, LockError::InUse { kind: Some(Holder::Alone), .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("process {}:", std::process::id())), "{error}");
        drop(first);
        JournalLock::take(folder.path(), Holder::Broker).expect("free again");
    }
}
