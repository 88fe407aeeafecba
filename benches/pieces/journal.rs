//! An appender with segments that never run out: the part of the journal that a reactor drives.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Sender, bounded};
use forebay::journal::format::BatchHead;
use forebay::journal::{
    Appender, AppenderOptions, CoreId, CoreLog, Log, LogId, Offset, SegmentFile, SegmentWrite, Spare, Wish,
};

/// Events of a batch. (The journal does not look into records.)
pub(crate) const BATCH_EVENTS: u32 = 100;
/// Bytes of a segment, as a node has them by default.
pub(crate) const SEGMENT_BYTES: usize = 64 << 20;
/// From so many unsynced bytes on, a sync begins: every sixteen batches of 64 KiB.
const SYNC_BYTES: usize = 1 << 20;

/// The log of one core; each of its segments lies in the same file.
pub(crate) struct Segments {
    appender: Appender,
    log: Arc<Log>,
    spares: Sender<Spare>,
    open: Box<dyn Fn() -> SegmentFile>,
    epoch: u64,
}

impl Segments {
    /// Segments of which nobody writes anything.
    pub(crate) fn without_disk() -> Self {
        Self::open_with(|| Box::new(File::open("/dev/null").expect("a descriptor")))
    }

    /// Segments in the file that `open` opens.
    pub(crate) fn open_with(open: impl Fn() -> SegmentFile + 'static) -> Self {
        let id = LogId { core: CoreId(0), epoch: 1 };
        let log = Arc::new(Log::new(id, PathBuf::from("log"), Arc::new(CoreLog::default()), Vec::new()));
        let (spares, receiver) = bounded(1);
        // Nobody is told that a segment was taken: they are made as they are needed.
        let (keeper, _) = bounded(1);
        let options = AppenderOptions {
            segment_bytes: SEGMENT_BYTES,
            unsynced_bytes_max: SEGMENT_BYTES,
            write_bytes: SEGMENT_BYTES,
            sync_bytes: SYNC_BYTES,
            sync_after_ms: 1000,
        };
        let appender = Appender::new(log.clone(), receiver, keeper, options);
        Self { appender, log, spares, open: Box::new(open), epoch: 0 }
    }

    /// Brings a batch; returns what is to be written.
    pub(crate) fn append(&mut self, records: &Bytes) -> SegmentWrite {
        if self.spares.is_empty() {
            self.epoch += 1;
            let spare = Spare { file: (self.open)(), path: PathBuf::from("segment"), epoch: self.epoch };
            self.spares.send(spare).expect("the appender takes it");
        }
        let head = BatchHead { first: self.log.marks().appended(), events: BATCH_EVENTS };
        self.appender.append(head, records.clone()).expect("there is room");
        match self.appender.poll(0) {
            Some(Wish::Write(write)) => write,
            other => panic!("a batch is written: {other:?}"),
        }
    }

    /// The write has ended.
    pub(crate) fn handle_written(&mut self, bytes: usize) {
        let (head, _) = self.appender.handle_written(Ok(bytes), 0).expect("it was written");
        let end: Offset = head.end();
        self.log.marks().set_appended(end);
        self.log.marks().set_written(end);
    }

    /// A sync that is answered at once, if it is time to: what has been written is let go of.
    pub(crate) fn sync_without_disk(&mut self) {
        while self.appender.poll_sync(false, 0).is_some() {
            self.appender.handle_synced(Ok(()), 0);
        }
    }
}
