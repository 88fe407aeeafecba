//! Brings back what lies behind damaged places, and cuts them out.
//!
//! Whole batches behind a damaged place go into a new log, which the next start of a node forwards; only when that log is on the disk, the place
//! is overwritten with zeros and so becomes the end of its segment. What was cut is kept as it was, next to the segments that were set aside. If
//! the repair itself is cut short, the next one saves the same events again: they may come twice, none is lost.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::format::{
    BatchHead, END_BYTES, FramedBatch, HEADER_BYTES, HeaderError, SegmentHeader, batch_bytes,
};
use super::keeper::DAMAGED_FOLDER;
use super::log::LogId;
use super::survey::{FoundLog, Held, SEGMENT_SUFFIX, for_each_behind, read_segment, survey};
use super::watermarks::{CoreId, Offset};

/// How files end that hold what was cut.
const TORN_SUFFIX: &str = ".torn";
/// Saved batches are written in segments of about this size.
const SEGMENT_BYTES: usize = 16 << 20;

/// Why a journal was not repaired: nothing was cut.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another version has to do it.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The segment.
        path: PathBuf,
        /// Why.
        error: HeaderError,
    },
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// The files with damage.
    pub files: Vec<RepairedFile>,
    /// The log with the events that were saved, if there are any.
    pub log: Option<LogId>,
}

/// What was done to a file.
#[derive(Clone, Debug)]
pub struct RepairedFile {
    /// Which.
    pub path: PathBuf,
    /// From where on it was cut.
    pub position: u64,
    /// Bytes that were cut, up to the last that was not zero.
    pub cut_bytes: u64,
    /// Events behind the damage that were saved.
    pub saved_events: u64,
    /// Where the bytes are that were cut.
    pub kept: PathBuf,
}

/// How a file is to be repaired, once what it holds is saved.
struct Plan {
    path: PathBuf,
    position: u64,
    saved_events: u64,
    kept: PathBuf,
    /// Nothing before the damage is needed: the file goes.
    is_removed: bool,
}

/// Repairs the journal in `folder`, whose lock the caller has. `draw` gives numbers that do not come twice.
///
/// # Errors
/// Then all that was whole still is; try again.
pub fn repair(disk: &impl Disk, folder: &Path, mut draw: impl FnMut() -> u64) -> Result<Repair, RepairError> {
    let logs = survey(disk, folder, |_, _, _| {})?;
    let aside = folder.join(DAMAGED_FOLDER);
    let mut saver = Saver::new(disk, folder, &mut draw);
    let mut plans = Vec::new();
    for log in &logs {
        plan_log(disk, log, &aside, &mut saver, &mut plans)?;
    }
    for name in disk.names(&aside)?.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX)) {
        plan_aside(disk, &aside, &name, &mut saver, &mut plans)?;
    }
    let log = saver.finish()?;
    if !plans.is_empty() {
        disk.make_folder(&aside)?;
    }
    let files = plans.into_iter().map(|plan| cut(disk, plan)).collect::<io::Result<_>>()?;
    Ok(Repair { files, log })
}

/// Saves what lies behind damage in the segments of a log.
fn plan_log<D: Disk>(
    disk: &D,
    log: &FoundLog,
    aside: &Path,
    saver: &mut Saver<'_, D>,
    plans: &mut Vec<Plan>,
) -> Result<(), RepairError> {
    let mut bytes = Vec::new();
    for segment in &log.segments {
        let (header, position, from) = match segment.content {
            Ok(content) if content.damage.is_some() => (Some(content.header), content.position, content.end),
            Ok(_) | Err(HeaderError::Unused) => continue,
            Err(HeaderError::Damaged) => (None, 0, Offset(0)),
            Err(error) => return Err(RepairError::Unreadable { path: segment.path.clone(), error }),
        };
        let mut later = Held::default();
        let is_later = |number: u64| header.is_none_or(|header| number > header.number);
        log.contents()
            .filter(|content| is_later(content.header.number))
            .for_each(|content| later.add(content));
        disk.read(&segment.path, 0, usize::MAX, &mut bytes)?;
        let saved_events = saver.save_behind(&bytes, header, position, from, &later)?;
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        plans.push(Plan {
            path: segment.path.clone(),
            position,
            saved_events,
            kept: aside.join(format!("{}-{name}-{position}{TORN_SUFFIX}", log.id)),
            is_removed: header.is_none(),
        });
    }
    Ok(())
}

/// Saves what lies behind damage in a segment that a node has set aside: what lies before it was forwarded.
fn plan_aside<D: Disk>(
    disk: &D,
    aside: &Path,
    name: &str,
    saver: &mut Saver<'_, D>,
    plans: &mut Vec<Plan>,
) -> Result<(), RepairError> {
    let path = aside.join(name);
    let mut bytes = Vec::new();
    disk.read(&path, 0, usize::MAX, &mut bytes)?;
    let (header, position, from) = match SegmentHeader::decode(&bytes) {
        Ok(header) => {
            let content = read_segment(&bytes, header, &Held::default(), |_| {});
            // Without damage, nobody knows why it is here: it is left alone.
            if content.damage.is_none() {
                return Ok(());
            }
            (Some(header), content.position, content.end)
        }
        Err(HeaderError::Unused | HeaderError::Damaged) => (None, 0, Offset(0)),
        Err(error) => return Err(RepairError::Unreadable { path, error }),
    };
    let saved_events = saver.save_behind(&bytes, header, position, from, &Held::default())?;
    let kept = aside.join(format!("{name}-{position}{TORN_SUFFIX}"));
    plans.push(Plan { path, position, saved_events, kept, is_removed: true });
    Ok(())
}

/// Cuts a file whose whole batches are saved.
fn cut(disk: &impl Disk, plan: Plan) -> io::Result<RepairedFile> {
    let Plan { path, position, saved_events, kept, is_removed } = plan;
    let mut bytes = Vec::new();
    disk.read(&path, 0, usize::MAX, &mut bytes)?;
    let start = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1).max(start);
    disk.replace(&kept, &bytes[start..end])?;
    if is_removed {
        disk.remove_file(&path)?;
    } else {
        bytes[start..end].fill(0);
        disk.replace(&path, &bytes)?;
    }
    Ok(RepairedFile { path, position, cut_bytes: (end - start) as u64, saved_events, kept })
}

/// Writes batches into a new log.
struct Saver<'a, D> {
    disk: &'a D,
    folder: PathBuf,
    id: LogId,
    draw: &'a mut dyn FnMut() -> u64,
    /// Behind the last event that was saved.
    end: Offset,
    number: u64,
    epoch: u64,
    /// The segment in the making; empty if there is none.
    segment: Vec<u8>,
}

impl<'a, D: Disk> Saver<'a, D> {
    fn new(disk: &'a D, journal: &Path, draw: &'a mut dyn FnMut() -> u64) -> Self {
        let id = LogId { core: CoreId(0), epoch: draw() };
        let folder = journal.join(id.to_string());
        Self { disk, folder, id, draw, end: Offset(0), number: 0, epoch: 0, segment: Vec::new() }
    }

    /// Saves the whole batches behind a damaged place of a segment; returns how many events they have. Where the header is damaged too, what it
    /// says of the epoch is tried.
    fn save_behind(
        &mut self,
        bytes: &[u8],
        header: Option<SegmentHeader>,
        position: u64,
        from: Offset,
        later: &Held,
    ) -> io::Result<u64> {
        let guessed = || {
            let epoch = SegmentHeader::epoch_of_damaged(bytes)?;
            Some(SegmentHeader { core: CoreId(0), log: 0, epoch, number: 0, first: Offset(0) })
        };
        let Some(header) = header.or_else(guessed) else { return Ok(0) };
        let (mut events, mut outcome) = (0, Ok(()));
        for_each_behind(bytes, header, position, from, later, |batch| {
            events += u64::from(batch.head.events);
            if outcome.is_ok() {
                outcome = self.save(batch);
            }
        });
        outcome.map(|()| events)
    }

    fn save(&mut self, batch: &FramedBatch<'_>) -> io::Result<()> {
        if self.segment.len() + batch.bytes() + END_BYTES > SEGMENT_BYTES {
            self.flush()?;
        }
        if self.segment.is_empty() {
            self.epoch = (self.draw)();
            let LogId { core, epoch: log } = self.id;
            let header = SegmentHeader { core, log, epoch: self.epoch, number: self.number, first: self.end };
            self.segment.extend_from_slice(&header.encode());
        }
        let head = BatchHead { first: self.end, events: batch.head.events };
        let position = self.segment.len();
        self.segment.extend_from_slice(&head.encode(self.epoch, position as u64, batch.records));
        self.segment.extend_from_slice(batch.records);
        self.segment.resize(position + batch_bytes(batch.records.len()), 0);
        self.end = head.end();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.segment.len() <= HEADER_BYTES {
            return Ok(());
        }
        self.disk.make_folder(&self.folder)?;
        self.segment.resize(self.segment.len() + END_BYTES, 0);
        let path = self.folder.join(format!("{:08}{SEGMENT_SUFFIX}", self.number));
        self.disk.replace(&path, &self.segment)?;
        self.segment.clear();
        self.number += 1;
        Ok(())
    }

    /// The log, if anything was saved; it survives a power cut when this returns.
    fn finish(mut self) -> io::Result<Option<LogId>> {
        self.flush()?;
        Ok((self.number > 0).then_some(self.id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::journal::FileSystem;
    use crate::journal::samples::{LOG, header, put, records, segment};

    /// The records of all batches that count.
    fn all(folder: &Path) -> BTreeSet<Vec<u8>> {
        let mut all = BTreeSet::new();
        let logs = survey(&FileSystem, folder, |_, _, batch| {
            assert!(all.insert(batch.records.to_vec()), "each counts once");
        });
        let is_sound = |content: &super::super::survey::Content| content.damage.is_none();
        assert!(logs.expect("read").iter().all(|log| log.contents().all(is_sound)), "nothing is damaged");
        all
    }

    fn of(firsts: &[u64]) -> BTreeSet<Vec<u8>> {
        firsts.iter().map(|first| records(*first)).collect()
    }

    fn mend(folder: &Path) -> Repair {
        let mut next = 1;
        let names = FileSystem.names(folder).expect("names").len() as u64;
        let draw = || {
            next += 1;
            names << 32 | next
        };
        repair(&FileSystem, folder, draw).expect("repaired")
    }

    #[test]
    fn everything_behind_a_flipped_bit_is_saved_and_a_second_repair_finds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (whole, positions) = segment(header(0, 0), &[0, 2, 4, 6], 512);
        for at in positions[1]..positions[1] + 50 {
            let folder = tempfile::tempdir_in(&folder).expect("a folder");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            put(folder.path(), "0.segment", &flipped);
            put(folder.path(), "1.segment", &segment(header(1, 8), &[8], 512).0);
            let done = mend(folder.path());
            let [file] = &done.files[..] else { panic!("one file: {done:?}") };
            assert_eq!((file.position, file.saved_events), (positions[1] as u64, 4), "byte {at}");
            assert_eq!(all(folder.path()), of(&[0, 4, 6, 8]), "byte {at}");
            let mut kept = Vec::new();
            FileSystem.read(&file.kept, 0, usize::MAX, &mut kept).expect("kept");
            assert!(flipped[positions[1]..].starts_with(&kept) && file.cut_bytes == kept.len() as u64);
            assert!(mend(folder.path()).files.is_empty(), "nothing more");
            assert_eq!(all(folder.path()), of(&[0, 4, 6, 8]));
        }
    }

    #[test]
    fn a_segment_without_its_header_gives_back_what_its_epoch_proves() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut bytes, _) = segment(header(0, 0), &[0, 2, 4], 512);
        bytes[10] ^= 1;
        let path = put(folder.path(), "0.segment", &bytes);
        put(folder.path(), "1.segment", &segment(header(1, 4), &[4, 6], 512).0);
        let done = mend(folder.path());
        assert_eq!((done.files[0].saved_events, FileSystem.bytes(&path).is_err()), (4, true));
        assert_eq!(all(folder.path()), of(&[0, 2, 4, 6]));
        assert!(mend(folder.path()).files.is_empty());
    }

    #[test]
    fn a_segment_that_was_set_aside_is_emptied_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut bytes, positions) = segment(header(0, 0), &[0, 2, 4], 512);
        bytes[positions[1] + 20] ^= 1;
        let aside = folder.path().join(DAMAGED_FOLDER);
        FileSystem.make_folder(&aside).expect("made");
        FileSystem.replace(&aside.join(format!("{LOG}-0.segment")), &bytes).expect("written");
        let done = mend(folder.path());
        // What lies before the damage was forwarded.
        assert_eq!((done.files.len(), all(folder.path())), (1, of(&[4])));
        let names = FileSystem.names(&aside).expect("names");
        assert_eq!(names, [format!("{LOG}-0.segment-{}.torn", positions[1])]);
        assert!(mend(folder.path()).files.is_empty());
    }

    #[test]
    fn much_is_saved_in_several_segments() {
        let folder = tempfile::tempdir().expect("a folder");
        let header = header(0, 0);
        let large = vec![7; SEGMENT_BYTES / 3];
        let mut bytes = header.encode().to_vec();
        bytes.extend(b"torn....");
        for number in 0..4 {
            let (at, head) = (bytes.len(), BatchHead { first: Offset(number), events: 1 });
            bytes.extend(head.encode(header.epoch, at as u64, &large));
            bytes.extend(&large);
            bytes.resize(at + batch_bytes(large.len()), 0);
        }
        put(folder.path(), "0.segment", &bytes);
        let log = mend(folder.path()).log.expect("a new log");
        let mut seen = Vec::new();
        let logs = survey(&FileSystem, folder.path(), |id, _, batch| seen.push((id, batch.head.first.0)));
        seen.sort_by_key(|(_, first)| *first);
        assert_eq!(seen, [0, 1, 2, 3].map(|first| (log, first)));
        let found = logs.expect("read").into_iter().find(|found| found.id == log).expect("there");
        assert_eq!((found.segments.len(), found.end()), (2, Offset(4)));
    }
}
