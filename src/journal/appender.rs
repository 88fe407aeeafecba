//! The writing side of a core's log: a state machine that its reactor drives.
//!
//! Batches are written one at a time, each with one `writev` into the page cache, into a file whose space is there. Even that may wait for the
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

/// A write that is under way.
struct Writing {
    batch: Batch,
    /// Whether it was written before, into a segment that was given up.
    is_again: bool,
    /// Without what follows the records, the batch is whole too: it must not count as refused.
    bytes_min: usize,
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
        // A sync of what was given up has to come back first.
        if self.writing.is_some() || self.wants_rewrite && self.syncing.is_some() {
            return None;
        }
        if self.retry_ms.is_some_and(|at| at > now_ms) {
            return self.batch.take().map(|_| Wish::Refused(AppendError::Failed));
        }
        self.retry_ms = None;
        let is_again = self.wants_rewrite;
        let batch = if is_again { self.unsynced[self.rewritten].clone() } else { self.batch.clone()? };
        match self.write(&batch) {
            Ok((write, bytes_min)) => {
                self.writing = Some(Writing { batch, is_again, bytes_min });
                Some(Wish::Write(write))
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

    /// Where and what to write of a batch: into the segment in use, or into the next one. And how many bytes of it have to be taken.
    fn write(&mut self, batch: &Batch) -> Result<(SegmentWrite, usize), AppendError> {
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
        let bytes_min = front.len() + records.len();
        let parts = [front, records.clone(), Bytes::from_static(&ZEROS[..padding + END_BYTES])];
        Ok((SegmentWrite { file: active.file.as_raw_fd(), at: at as u64, parts }, bytes_min))
    }

    /// The write that was polled has ended. Returns the batch that was brought, if it is written now: it survives the end of the process.
    pub fn handle_written(
        &mut self,
        result: Result<usize, Errno>,
        now_ms: u64,
    ) -> Option<(BatchHead, Bytes)> {
        let Writing { batch, is_again, bytes_min } =
            self.writing.take().expect("one at a time, and it was polled");
        if std::mem::take(&mut self.is_spoilt) {
            self.give_up();
            return None;
        }
        // Short writes to a local file come with a full or failing disk.
        if !result.is_ok_and(|written| written >= bytes_min) {
            self.give_up();
            if is_again || std::mem::replace(&mut self.has_failed, true) {
                self.rest(now_ms);
            }
            // Else, perhaps it was only this segment.
            return None;
        }
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
            if self.writing.is_some() {
                self.is_spoilt = true;
            } else {
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
        self.retry_ms.unwrap_or(u64::MAX).min(sync)
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
