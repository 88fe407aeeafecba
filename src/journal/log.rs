//! One log: its name, its watermarks, and which of its segments holds what.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::watermarks::{CoreId, CoreLog, Offset};

/// The name of a log: every start of a node begins one for each of its cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Whose log.
    pub core: CoreId,
    /// Drawn when the log was begun, so that (epoch, core, offset) never comes twice.
    pub epoch: u64,
}

impl fmt::Display for LogId {
    /// `<epoch>-<core>`, as in AMQP message ids and in the names of folders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.core)
    }
}

impl FromStr for LogId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, core) = text.split_once('-').ok_or(())?;
        let id = Self {
            core: CoreId(core.parse().map_err(|_| ())?),
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| ())?,
        };
        // One name, one log.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// A number for a log, or for a use of a segment, that does not come twice.
pub fn draw_epoch() -> u64 {
    // Both halves have fixed bits, at different places.
    let (high, low) = Uuid::new_v4().as_u64_pair();
    high ^ low
}

/// A segment in use, as all who work on its log know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its number in the log.
    pub number: u64,
    /// Which use of the file this is.
    pub epoch: u64,
    /// Offset of its first event.
    pub first: Offset,
    /// Offset behind its last event that counts; none while it is being written.
    pub end: Option<Offset>,
    /// Whether the disk has failed it: it is not used again.
    pub is_suspect: bool,
}

/// Why a log cannot take events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// It can.
    None,
    /// The journal is at its cap: what is in it has to leave first.
    Full,
    /// The disk refuses.
    Failed,
}

/// One log of a core, shared by its reactor (which writes), the forwarder (which reads) and the keeper (which makes and removes segments).
#[derive(Debug)]
pub struct Log {
    id: LogId,
    folder: PathBuf,
    marks: Arc<CoreLog>,
    /// By number. Locked when a segment begins or goes and when reading moves on to the next: never for an event.
    segments: Mutex<VecDeque<Segment>>,
    trouble: AtomicU8,
}

impl Log {
    /// A log in `folder` that has these segments.
    pub fn new(id: LogId, folder: PathBuf, marks: Arc<CoreLog>, segments: Vec<Segment>) -> Self {
        Self {
            id,
            folder,
            marks,
            segments: Mutex::new(segments.into()),
            trouble: AtomicU8::new(Trouble::None as u8),
        }
    }

    /// Its name.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Where its segments are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its watermarks.
    pub fn marks(&self) -> &Arc<CoreLog> {
        &self.marks
    }

    /// Whether something keeps it from taking events.
    pub fn trouble(&self) -> Trouble {
        match self.trouble.load(Ordering::Acquire) {
            0 => Trouble::None,
            1 => Trouble::Full,
            _ => Trouble::Failed,
        }
    }

    /// Says what keeps it from taking events.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::Release);
    }

    /// A segment has begun.
    pub(super) fn push(&self, segment: Segment) {
        let mut segments = self.segments.lock();
        assert!(
            segments.back().is_none_or(|last| last.number < segment.number),
            "segments are numbered in order"
        );
        segments.push_back(segment);
    }

    /// Segment `number` takes no more.
    pub(super) fn seal(&self, number: u64, end: Offset) {
        for segment in self.segments.lock().iter_mut().filter(|segment| segment.number == number) {
            segment.end = Some(end);
        }
    }

    /// The disk has failed segment `number`: it is readable, as far as that goes, and not used again.
    pub(super) fn suspect(&self, number: u64) {
        for segment in self.segments.lock().iter_mut().filter(|segment| segment.number == number) {
            segment.is_suspect = true;
        }
    }

    /// What earlier segments say of `from` and the offsets behind it does not count any more.
    pub(super) fn cut(&self, from: Offset) {
        for segment in self.segments.lock().iter_mut() {
            segment.end = Some(segment.end.map_or(from, |end| end.min(from)).max(segment.first));
        }
    }

    /// The file of segment `number` has fewer bytes now.
    pub(super) fn shrink(&self, number: u64, bytes: u64) {
        for segment in self.segments.lock().iter_mut().filter(|segment| segment.number == number) {
            segment.bytes = bytes;
        }
    }

    /// The segment that holds the event at `offset`: the latest, if there are several.
    pub fn find(&self, offset: Offset) -> Option<Segment> {
        let holds =
            |segment: &&Segment| segment.first <= offset && segment.end.is_none_or(|end| offset < end);
        self.segments.lock().iter().rfind(holds).cloned()
    }

    /// The first offset above `offset` that a segment begins with.
    pub fn next_first(&self, offset: Offset) -> Option<Offset> {
        self.segments.lock().iter().map(|segment| segment.first).filter(|first| *first > offset).min()
    }

    /// Takes out segments that nobody needs: those below the checkpoint, and those of which nothing counts.
    pub(super) fn take_done(&self) -> Vec<Segment> {
        let checkpoint = self.marks.checkpoint();
        let mut segments = self.segments.lock();
        let is_done =
            |segment: &Segment| segment.end.is_some_and(|end| end <= checkpoint || end == segment.first);
        let (done, kept) = segments.drain(..).partition::<Vec<_>, _>(is_done);
        segments.extend(kept);
        done
    }

    /// Segments from number `from` on that are synced to their ends, without the first `kept` of all.
    pub(super) fn synced_behind(&self, kept: usize, from: u64) -> Vec<Segment> {
        let synced = self.marks.synced();
        let segments = self.segments.lock();
        let start = segments.partition_point(|segment| segment.number < from).max(kept);
        let is_synced = |segment: &&Segment| segment.end.is_some_and(|end| end <= synced);
        segments.range(start.min(segments.len())..).take_while(is_synced).cloned().collect()
    }

    /// How many segments it has in use.
    pub fn segments(&self) -> usize {
        self.segments.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::samples::in_use as segment;

    fn log(segments: Vec<Segment>) -> Log {
        Log::new(LogId { core: CoreId(1), epoch: 0xabc }, "log".into(), Arc::default(), segments)
    }

    #[test]
    fn a_name_is_read_back_and_has_one_spelling() {
        let id = LogId { core: CoreId(12), epoch: 0xabc };
        assert_eq!(id.to_string(), "0000000000000abc-12");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "abc-12", "0000000000000ABC-12", "0000000000000abc-012", "0000000000000abc", "lost+found"]
        {
            assert_eq!(bad.parse::<LogId>(), Err(()), "{bad}");
        }
    }

    fn four() -> Log {
        log(vec![
            segment(0, 0, Some(10)),
            segment(1, 10, Some(20)),
            segment(2, 20, Some(30)),
            segment(3, 15, Some(18)),
        ])
    }

    #[test]
    fn an_offset_is_found_in_the_latest_segment_that_holds_it() {
        let log = four();
        let found = |offset| log.find(Offset(offset)).map(|segment| segment.number);
        let numbers: Vec<_> = [9, 14, 15, 17, 18, 29, 30].into_iter().map(found).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(3), Some(3), Some(1), Some(2), None]);
        assert_eq!((log.next_first(Offset(10)), log.next_first(Offset(20))), (Some(Offset(15)), None));
    }

    #[test]
    fn segments_are_synced_behind_when_they_are_full_and_far_from_the_front() {
        let log = log((0..6).map(|n| segment(n, 10 * n, (n < 5).then_some(10 * n + 10))).collect());
        let behind = |kept, from| -> Vec<u64> {
            log.synced_behind(kept, from).iter().map(|segment| segment.number).collect()
        };
        log.marks().set_appended(Offset(60));
        log.marks().set_written(Offset(60));
        assert_eq!(behind(0, 0), [0; 0]);
        log.marks().set_synced(Offset(39));
        assert_eq!((behind(0, 0), behind(1, 0), behind(1, 2)), (vec![0, 1, 2], vec![1, 2], vec![2]));
        log.marks().set_synced(Offset(60));
        assert_eq!(
            (behind(3, 0), behind(3, 4), behind(7, 0), behind(0, 9)),
            (vec![3, 4], vec![4], vec![], vec![])
        );
    }

    #[test]
    fn segments_go_when_the_checkpoint_has_passed_them_or_nothing_of_them_counts() {
        let log = four();
        let marks = log.marks();
        for set in [CoreLog::set_appended, CoreLog::set_read, CoreLog::set_published] {
            set(marks, Offset(12));
        }
        marks.set_settled(Offset(12), 12, 0);
        marks.set_checkpoint(Offset(12));
        log.cut(Offset(14));
        log.push(segment(4, 14, None));
        let done: Vec<u64> = log.take_done().iter().map(|segment| segment.number).collect();
        assert_eq!(done, [0, 2, 3]);
        assert_eq!(log.find(Offset(13)).map(|segment| segment.number), Some(1));
        assert_eq!(log.find(Offset(14)).map(|segment| segment.number), Some(4));
    }
}
