//! The writing side of a core's log: a state machine that its reactor drives.
//!
//! Batches are written one at a time, each with one `writev` into the page cache, or a few if it is large, into a file whose space is there. Even that may wait for the
//! disk (ext4 notes the time of the change in its own journal, whose commit may be under way), so it is the driver that waits, not the reactor;
//! what comes meanwhile makes the next batch. They are synced in the background: by group, one sync at a time, as soon as an answer waits for it,
//! and otherwise so often that little is at stake in a power cut and the kernel never holds so many dirty pages that it would slow writers down.
//!
//! **A failed write or sync is never tried again.** The kernel drops dirty pages that it could not write, and a second sync would say that all is
//! well (P. Rebello et al., *Can Applications Recover from fsync Failures?*, USENIX ATC 2020). So the segment is given up, and what was not
//! synced, which is kept in memory until then, is written anew into another one.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;

use super::format::{BATCH_HEAD_BYTES, BatchHead, END_BYTES, HEADER_BYTES, SegmentHeader, batch_bytes};
use super::log::{Log, Segment, Trouble};
use super::watermarks::Offset;

/// How long a disk that failed is left alone.
const RETRY_MS: u64 = 500;

/// An open segment; closed when dropped.
pub type SegmentFile = Box<dyn AsRawFd + Send>;

/// Room for the fronts of a few batches: see [`Appender::write`].
const FRONTS_BYTES: usize = 4 << 10;
/// What follows the records of a batch.
static ZEROS: [u8; 2 * END_BYTES] = [0; 2 * END_BYTES];

/// What the driver is to write.
#[derive(Debug)]
pub struct SegmentWrite {
    /// An open file; it stays open until the end of the write was told.
    pub file: RawFd,
    /// Position in it.
    pub at: u64,
    /// What goes there, one behind the other.
    pub parts: [Bytes; 3],
}

/// What an appender wants of its reactor.
#[derive(Debug)]
pub enum Wish {
    /// That this is written. Tell [`Appender::handle_written`].
    Write(SegmentWrite),
    /// That it knows: of the batch it had brought, nothing counts.
    Refused(AppendError),
}

/// A segment whose space is there, with zeros or with what no longer counts, ready to be used.
pub struct Spare {
    /// The open file.
    pub file: SegmentFile,
    /// Its path.
    pub path: PathBuf,
    /// Which use of the file this will be.
    pub epoch: u64,
}

/// Bounds of an appender.
#[derive(Clone, Copy, Debug)]
pub struct AppenderOptions {
    /// Size of every segment.
    pub segment_bytes: usize,
    /// Most bytes that are written and not synced: beyond, nothing more is taken, and no write can be made to wait by the kernel.
    pub unsynced_bytes_max: usize,
    /// A batch that is larger is written in pieces of this size.
    pub write_bytes: usize,
    /// From so many unsynced bytes on, a sync begins.
    pub sync_bytes: usize,
    /// After so many milliseconds, a sync begins.
    pub sync_after_ms: u64,
}

/// Why a batch was not appended: nothing of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room now.
    #[error("the journal has no room")]
    Full,
    /// The disk fails.
    #[error("the journal's disk fails")]
    Failed,
}

struct Active {
    file: SegmentFile,
    number: u64,
    epoch: u64,
    first: Offset,
    /// Behind its last event that was written.
    end: Offset,
    /// Where the next write goes.
    position: usize,
}

/// A segment that takes no more batches, and has some that are not synced.
struct Sealed {
    file: SegmentFile,
    number: u64,
    end: Offset,
}

/// Events and their records.
#[derive(Clone)]
struct Batch {
    head: BatchHead,
    records: Bytes,
}

/// A batch that is being written.
struct Writing {
    batch: Batch,
    /// Whether it was written before, into a segment that was given up.
    is_again: bool,
    /// Where what is left of it goes.
    at: u64,
    /// What is left of it, one behind the other.
    parts: [Bytes; 3],
    /// How many bytes the write that is under way has to take, if there is one.
    bytes_min: Option<usize>,
}

impl Writing {
    /// Begins to write the next piece, of about `write_bytes`.
    fn next_piece(&mut self, write_bytes: usize) -> (u64, [Bytes; 3]) {
        let [front, records, behind] = &self.parts;
        let wanted = front.len() + records.len();
        // Without what follows the records, the batch is whole too, and must not count as refused: so that never goes alone.
        let is_last = wanted <= write_bytes;
        let mut left = if is_last { wanted + behind.len() } else { write_bytes };
        self.bytes_min = Some(left.min(wanted));
        let at = self.at;
        self.at += left as u64;
        let piece = self.parts.each_mut().map(|part| {
            let piece = part.split_to(part.len().min(left));
            left -= piece.len();
            piece
        });
        (at, piece)
    }

    fn is_under_way(&self) -> bool {
        self.bytes_min.is_some()
    }

    fn is_done(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }
}

struct Syncing {
    number: u64,
    /// What is synced when it succeeds.
    end: Offset,
}

/// See the module.
pub struct Appender {
    log: Arc<Log>,
    spares: Receiver<Spare>,
    keeper: Sender<()>,
    options: AppenderOptions,
    active: Option<Active>,
    sealed: VecDeque<Sealed>,
    /// What is to be appended, until it is written or refused.
    batch: Option<Batch>,
    /// Whether a write of it has failed.
    has_failed: bool,
    writing: Option<Writing>,
    fronts: BytesMut,
    /// What a power cut would lose.
    unsynced: VecDeque<Batch>,
    unsynced_bytes: usize,
    /// When the oldest of them was written.
    unsynced_since_ms: u64,
    syncing: Option<Syncing>,
    next_number: u64,
    /// Segments that were begun by the write that is being tried; nobody knows of them until it has worked.
    fresh: Vec<Segment>,
    /// The disk failed: until then, nothing is tried.
    retry_ms: Option<u64>,
    /// What is unsynced has to be written anew.
    wants_rewrite: bool,
    /// How many of them have been.
    rewritten: usize,
    /// A sync failed while a write was under way: when that has ended, the segments are given up.
    is_spoilt: bool,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("log", &self.log.id()).finish_non_exhaustive()
    }
}

impl Appender {
    /// Appends to `log` in segments that come through `spares`; `keeper` is told when one was taken.
    pub fn new(log: Arc<Log>, spares: Receiver<Spare>, keeper: Sender<()>, options: AppenderOptions) -> Self {
        Self {
            log,
            spares,
            keeper,
            options,
            active: None,
            sealed: VecDeque::new(),
            batch: None,
            has_failed: false,
            writing: None,
            fronts: BytesMut::with_capacity(FRONTS_BYTES),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            unsynced_since_ms: 0,
            syncing: None,
            next_number: 0,
            fresh: Vec::new(),
            retry_ms: None,
            wants_rewrite: false,
            rewritten: 0,
            is_spoilt: false,
        }
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// How many bytes of records the next batch may have.
    pub fn room(&self) -> usize {
        if self.is_resting() {
            return 0;
        }
        let under_way = self.batch.as_ref().map_or(0, |batch| batch.records.len());
        let unsynced = self.options.unsynced_bytes_max.saturating_sub(self.unsynced_bytes + under_way);
        let position = match &self.active {
            _ if !self.spares.is_empty() => HEADER_BYTES,
            Some(active) => active.position,
            None => return 0,
        };
        unsynced.min(self.options.room_behind(position))
    }

    /// The same, with a segment left over for others.
    pub fn room_beside_reserve(&self) -> usize {
        match (self.spares.len(), &self.active) {
            (0, _) | (1, None) => 0,
            (1, Some(active)) => self.room().min(self.options.room_behind(active.position)),
            _ => self.room(),
        }
    }

    /// Whether it is because of the disk if there is no room.
    pub fn is_failing(&self) -> bool {
        self.is_resting() || self.log.trouble() == Trouble::Failed
    }

    /// Whether nothing can be written until something that the disk failed is made good.
    fn is_resting(&self) -> bool {
        self.retry_ms.is_some() || self.wants_rewrite || self.is_spoilt
    }

    /// Whether a batch is on its way: until it is written or refused, there can be no other.
    pub fn is_busy(&self) -> bool {
        self.batch.is_some()
    }

    /// Brings a batch, while none is on its way; its offset must not lie below the end of what was appended before. What becomes of it,
    /// [`Self::poll`] tells.
    ///
    /// # Errors
    /// Then nothing of the batch counts.
    pub fn append(&mut self, head: BatchHead, records: Bytes) -> Result<(), AppendError> {
        assert!(!self.is_busy(), "one batch at a time");
        if records.len() > self.room() {
            return Err(if self.is_failing() { AppendError::Failed } else { AppendError::Full });
        }
        self.batch = Some(Batch { head, records });
        self.has_failed = false;
        Ok(())
    }

    /// What is to be done now, if anything: call it until there is nothing.
    pub fn poll(&mut self, now_ms: u64) -> Option<Wish> {
        if self.writing.is_some() {
            return self.write_piece();
        }
        // A sync of what was given up has to come back first.
        if self.wants_rewrite && self.syncing.is_some() {
            return None;
        }
        if self.retry_ms.is_some_and(|at| at > now_ms) {
            return self.batch.take().map(|_| Wish::Refused(AppendError::Failed));
        }
        self.retry_ms = None;
        let is_again = self.wants_rewrite;
        let batch = if is_again { self.unsynced[self.rewritten].clone() } else { self.batch.clone()? };
        match self.place(&batch) {
            Ok((at, parts)) => {
                self.writing = Some(Writing { batch, is_again, at, parts, bytes_min: None });
                self.write_piece()
            }
            Err(error) => {
                if is_again {
                    self.rest(now_ms);
                }
                let error = if is_again { AppendError::Failed } else { error };
                self.batch.take().map(|_| Wish::Refused(error))
            }
        }
    }

    /// The next piece of the batch that is being written, unless one is under way.
    fn write_piece(&mut self) -> Option<Wish> {
        let writing = self.writing.as_mut().filter(|writing| !writing.is_under_way())?;
        let (at, parts) = writing.next_piece(self.options.write_bytes);
        let file = self.active.as_ref().expect("it is written there").file.as_raw_fd();
        Some(Wish::Write(SegmentWrite { file, at, parts }))
    }

    /// Where a batch goes, and what is written: into the segment in use, or into the next one.
    fn place(&mut self, batch: &Batch) -> Result<(u64, [Bytes; 3]), AppendError> {
        let Batch { head, records } = batch;
        let fits = |active: &Active| records.len() <= self.options.room_behind(active.position);
        let mut header = None;
        if !self.active.as_ref().is_some_and(fits) {
            header = Some(self.begin_segment(head.first)?.encode());
        }
        let active = self.active.as_mut().expect("just begun, if there was none");
        let at = if header.is_some() { 0 } else { active.position };
        // Its memory serves again once the write has ended.
        self.fronts.reserve(HEADER_BYTES + BATCH_HEAD_BYTES);
        self.fronts.extend_from_slice(header.as_ref().map_or(&[], |header| &header[..]));
        self.fronts.extend_from_slice(&head.encode(active.epoch, active.position as u64, records));
        let front = self.fronts.split().freeze();
        let bytes = batch_bytes(records.len());
        active.position += bytes;
        let padding = bytes - BATCH_HEAD_BYTES - records.len();
        let parts = [front, records.clone(), Bytes::from_static(&ZEROS[..padding + END_BYTES])];
        Ok((at as u64, parts))
    }

    /// The write that was polled has ended. Returns the batch that was brought, if all of it is written now: it survives the end of the process.
    pub fn handle_written(
        &mut self,
        result: Result<usize, Errno>,
        now_ms: u64,
    ) -> Option<(BatchHead, Bytes)> {
        let mut writing = self.writing.take().expect("one at a time, and it was polled");
        let bytes_min = writing.bytes_min.take().expect("it was polled");
        if std::mem::take(&mut self.is_spoilt) {
            self.give_up();
            return None;
        }
        // Short writes to a local file come with a full or failing disk.
        if !result.is_ok_and(|written| written >= bytes_min) {
            self.give_up();
            if writing.is_again || std::mem::replace(&mut self.has_failed, true) {
                self.rest(now_ms);
            }
            // Else, perhaps it was only this segment.
            return None;
        }
        if !writing.is_done() {
            self.writing = Some(writing);
            return None;
        }
        let Writing { batch, is_again, .. } = writing;
        let active = self.active.as_mut().expect("it was written there");
        active.end = batch.head.end();
        if is_again {
            self.rewritten += 1;
            if self.rewritten == self.unsynced.len() {
                self.end_rewrite(now_ms);
            }
            return None;
        }
        self.fresh.drain(..).for_each(|segment| self.log.push(segment));
        if self.unsynced.is_empty() {
            self.unsynced_since_ms = now_ms;
        }
        self.unsynced_bytes += batch.records.len();
        self.unsynced.push_back(batch.clone());
        self.batch = None;
        Some((batch.head, batch.records))
    }

    /// All that was unsynced is written anew: only now it takes the place of what was given up.
    fn end_rewrite(&mut self, now_ms: u64) {
        if let Some(Segment { first, .. }) = self.fresh.first() {
            self.log.cut(*first);
        }
        self.fresh.drain(..).for_each(|segment| self.log.push(segment));
        self.wants_rewrite = false;
        self.unsynced_since_ms = now_ms;
    }

    /// Leaves the disk alone for a while.
    fn rest(&mut self, now_ms: u64) {
        self.give_up();
        self.retry_ms = Some(now_ms + RETRY_MS);
    }

    /// Begins a segment at `first`; what is in use until now takes no more.
    fn begin_segment(&mut self, first: Offset) -> Result<SegmentHeader, AppendError> {
        let Ok(spare) = self.spares.try_recv() else {
            return Err(if self.log.trouble() == Trouble::Failed {
                AppendError::Failed
            } else {
                AppendError::Full
            });
        };
        // Full only if it was told already.
        let _ = self.keeper.try_send(());
        if let Some(active) = self.active.take() {
            self.log.seal(active.number, first);
            for segment in self.fresh.iter_mut().filter(|segment| segment.number == active.number) {
                segment.end = Some(first);
            }
            if self.unsynced.back().is_some_and(|last| last.head.first >= active.first) {
                self.sealed.push_back(Sealed { file: active.file, number: active.number, end: first });
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        let id = self.log.id();
        self.fresh.push(Segment {
            path: spare.path,
            bytes: self.options.segment_bytes as u64,
            number,
            epoch: spare.epoch,
            first,
            end: None,
            is_suspect: false,
        });
        self.active = Some(Active {
            file: spare.file,
            number,
            epoch: spare.epoch,
            first,
            end: first,
            position: HEADER_BYTES,
        });
        Ok(SegmentHeader { core: id.core, log: id.epoch, epoch: spare.epoch, number, first })
    }

    /// The disk has failed what is not synced: those segments are not touched again, what they hold is written anew.
    fn give_up(&mut self) {
        for Sealed { number, .. } in self.sealed.drain(..) {
            self.log.suspect(number);
        }
        if let Some(Active { number, end, .. }) = self.active.take() {
            self.log.suspect(number);
            self.log.seal(number, end);
        }
        // Of these, nothing counts; the keeper takes them back.
        for segment in self.fresh.drain(..) {
            self.log.push(Segment { end: Some(segment.first), is_suspect: true, ..segment });
        }
        self.wants_rewrite = !self.unsynced.is_empty();
        self.rewritten = 0;
    }

    /// The file to sync now, if a sync is due: because an answer waits for it, or because it is time. Tell [`Self::handle_synced`].
    pub fn poll_sync(&mut self, is_awaited: bool, now_ms: u64) -> Option<RawFd> {
        let is_due = is_awaited
            || self.unsynced_bytes >= self.options.sync_bytes
            || now_ms >= self.unsynced_since_ms + self.options.sync_after_ms
            || !self.sealed.is_empty();
        if self.syncing.is_some() || self.unsynced.is_empty() || self.is_resting() || !is_due {
            return None;
        }
        let (file, syncing) = match (self.sealed.front(), &self.active) {
            (Some(sealed), _) => (&sealed.file, Syncing { number: sealed.number, end: sealed.end }),
            (None, Some(active)) => {
                let end = self.unsynced.back().expect("not empty").head.end();
                (&active.file, Syncing { number: active.number, end })
            }
            (None, None) => unreachable!("what is unsynced lies in some segment"),
        };
        self.syncing = Some(syncing);
        Some(file.as_raw_fd())
    }

    /// The sync that was polled has ended.
    pub fn handle_synced(&mut self, result: Result<(), Errno>, now_ms: u64) {
        let Syncing { number, end } = self.syncing.take().expect("one sync at a time, and it was polled");
        if self.wants_rewrite {
            return; // of a segment that was given up meanwhile
        }
        if result.is_err() {
            if self.writing.as_ref().is_some_and(Writing::is_under_way) {
                self.is_spoilt = true;
            } else {
                self.writing = None;
                self.give_up();
            }
            return;
        }
        while let Some(done) = self.unsynced.pop_front_if(|unsynced| unsynced.head.end() <= end) {
            self.unsynced_bytes -= done.records.len();
        }
        self.unsynced_since_ms = now_ms;
        if self.sealed.front().is_some_and(|sealed| sealed.number == number && sealed.end <= end) {
            self.sealed.pop_front();
        }
        self.log.marks().set_synced(end);
    }

    /// When to look again without being told; `u64::MAX` if there is nothing to do.
    pub fn next_ms(&self) -> u64 {
        let sync = if self.unsynced.is_empty() || self.syncing.is_some() || self.is_resting() {
            u64::MAX
        } else {
            self.unsynced_since_ms + self.options.sync_after_ms
        };
        // Until a sync of what was given up has come back, there is nothing to try.
        let retry = if self.wants_rewrite && self.syncing.is_some() { None } else { self.retry_ms };
        retry.unwrap_or(u64::MAX).min(sync)
    }

    /// Whether everything that was written is synced.
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_empty() && !self.is_busy()
    }
}

impl AppenderOptions {
    /// Bytes of records that fit a segment behind `position`.
    pub fn room_behind(&self, position: usize) -> usize {
        let used = position + BATCH_HEAD_BYTES + 2 * END_BYTES;
        self.segment_bytes.saturating_sub(used)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::journal::format::END_BYTES;
    use crate::journal::watermarks::CoreLog;
    use crate::journal::{CoreId, LogId};

    const SEGMENT: usize = 64 << 10;
    const WRITE: usize = 1000;

    /// An appender with two segments, and what tells of its file.
    fn appender() -> Appender {
        let id = LogId { core: CoreId(0), epoch: 1 };
        let log = Arc::new(Log::new(id, PathBuf::from("log"), Arc::new(CoreLog::default()), Vec::new()));
        let (spares, receiver) = bounded(2);
        for epoch in 1..=2 {
            let file = std::fs::File::open("/dev/null").expect("a descriptor");
            let path = PathBuf::from(epoch.to_string());
            assert!(spares.send(Spare { file: Box::new(file), path, epoch }).is_ok());
        }
        let options = AppenderOptions {
            segment_bytes: SEGMENT,
            unsynced_bytes_max: SEGMENT,
            write_bytes: WRITE,
            sync_bytes: SEGMENT,
            sync_after_ms: 1000,
        };
        Appender::new(log, receiver, bounded(1).0, options)
    }

    /// The next piece, and its bytes; there is no other before it was written.
    fn piece(appender: &mut Appender) -> (RawFd, u64, Vec<u8>) {
        let Some(Wish::Write(SegmentWrite { file, at, parts })) = appender.poll(0) else {
            panic!("there is a piece")
        };
        assert!(appender.poll(0).is_none(), "one write at a time");
        (file, at, parts.concat())
    }

    fn batch(bytes: usize) -> (BatchHead, Bytes) {
        (BatchHead { first: Offset(0), events: 3 }, Bytes::from(vec![7; bytes]))
    }

    #[test]
    fn a_large_batch_is_written_in_pieces_and_counts_when_the_last_is() {
        // Up to a piece that what follows the records has just no room in.
        for bytes in (2 * WRITE..3 * WRITE).step_by(7) {
            let mut appender = appender();
            let (head, records) = batch(bytes);
            appender.append(head, records.clone()).expect("room");
            let (mut file, mut pieces) = (Vec::new(), 0);
            let written = loop {
                let (_, at, bytes) = piece(&mut appender);
                assert_eq!(at, file.len() as u64, "one behind the other");
                assert!(bytes.len() <= WRITE + ZEROS.len());
                file.extend(&bytes);
                pieces += 1;
                assert!(appender.is_busy());
                if let Some(written) = appender.handle_written(Ok(bytes.len()), 0) {
                    break written;
                }
            };
            assert_eq!(written, (head, records.clone()));
            assert!(pieces >= 3 && !appender.is_busy() && appender.poll(0).is_none());
            let end = HEADER_BYTES + batch_bytes(bytes);
            assert_eq!(file.len(), end + END_BYTES);
            assert_eq!(file[HEADER_BYTES + BATCH_HEAD_BYTES..][..bytes], records);
        }
    }

    #[test]
    fn a_piece_that_fails_has_all_of_the_batch_written_into_another_segment() {
        let mut appender = appender();
        let (head, records) = batch(2 * WRITE);
        appender.append(head, records).expect("room");
        let (first, _, bytes) = piece(&mut appender);
        assert_eq!(appender.handle_written(Ok(bytes.len()), 0), None);
        let (_, _, bytes) = piece(&mut appender);
        assert_eq!(appender.handle_written(Ok(bytes.len() - 1), 0), None, "short");
        let (second, at, _) = piece(&mut appender);
        assert_ne!(first, second);
        assert_eq!(at, 0, "from its beginning on");
        assert_eq!(appender.handle_written(Err(Errno::IO), 0), None);
        assert!(matches!(appender.poll(0), Some(Wish::Refused(AppendError::Failed))));
    }

    #[test]
    fn a_sync_that_fails_between_two_pieces_gives_the_segment_up() {
        let mut appender = appender();
        let (head, records) = batch(10);
        appender.append(head, records).expect("room");
        let (_, _, bytes) = piece(&mut appender);
        assert!(appender.handle_written(Ok(bytes.len()), 0).is_some());
        let (_, records) = batch(2 * WRITE);
        appender.append(BatchHead { first: head.end(), events: 1 }, records).expect("room");
        let (first, _, bytes) = piece(&mut appender);
        assert!(appender.poll_sync(true, 0).is_some());
        assert_eq!(appender.handle_written(Ok(bytes.len()), 0), None);
        appender.handle_synced(Err(Errno::IO), 0);
        let (second, at, bytes) = piece(&mut appender);
        assert_ne!(first, second);
        assert_eq!(at, 0);
        assert_eq!(
            bytes.len(),
            HEADER_BYTES + batch_bytes(10) + END_BYTES,
            "what was not synced comes first"
        );
    }

    #[test]
    fn until_a_sync_of_what_was_given_up_comes_back_nobody_looks_in_vain() {
        let mut appender = appender();
        let (head, records) = batch(10);
        appender.append(head, records.clone()).expect("room");
        let (_, _, bytes) = piece(&mut appender);
        assert!(appender.handle_written(Ok(bytes.len()), 0).is_some());
        appender.append(BatchHead { first: head.end(), events: 1 }, records).expect("room");
        let _ = piece(&mut appender);
        assert_eq!(appender.handle_written(Err(Errno::IO), 0), None);
        let (_, _, bytes) = piece(&mut appender);
        assert_eq!(appender.handle_written(Ok(bytes.len()), 0), None, "the first batch, written anew");
        let _ = piece(&mut appender);
        assert!(appender.poll_sync(true, 0).is_some());
        assert_eq!(appender.handle_written(Err(Errno::IO), 0), None, "for the second time");

        let later = RETRY_MS + 1;
        assert!(appender.poll(later).is_none());
        assert_eq!(appender.next_ms(), u64::MAX, "the end of the sync will tell");
        appender.handle_synced(Ok(()), later);
        assert!(appender.next_ms() <= later);
        assert!(appender.spares.is_empty(), "no room to write it anew");
        assert!(matches!(appender.poll(later), Some(Wish::Refused(AppendError::Failed))));
    }
}
