//! The writing side of a core's log: a state machine that its reactor drives.
//!
//! Batches are written at once (one `pwritev` a turn into the page cache, into a file that was written before), and synced in the background: by
//! group, one sync at a time, as soon as an answer waits for it, and otherwise so often that little is at stake in a power cut and the kernel
//! never holds so many dirty pages that a write would have to wait.
//!
//! **A failed write or sync is never tried again.** The kernel drops dirty pages that it could not write, and a second sync would say that all is
//! well (P. Rebello et al., *Can Applications Recover from fsync Failures?*, USENIX ATC 2020). So the segment is given up, and what was not
//! synced, which is kept in memory until then, is written anew into another one.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;

use super::format::{BATCH_HEAD_BYTES, BatchHead, END_BYTES, HEADER_BYTES, SegmentHeader, batch_bytes};
use super::log::{Log, Segment, Trouble};
use super::watermarks::Offset;

/// How long a disk that failed is left alone.
const RETRY_MS: u64 = 500;

/// An open segment; closed when dropped.
pub type SegmentFile = Box<dyn AsRawFd + Send>;

/// Writes into segments, at once.
pub trait SegmentWriter {
    /// Writes `parts` one behind the other at a position of an open file; returns how many bytes were taken.
    fn write(&mut self, file: RawFd, at: u64, parts: &[IoSlice<'_>]) -> Result<usize, Errno>;
}

/// A segment that was made (and written once, with zeros or with what no longer counts), ready to be used.
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
    /// Behind its last event.
    end: Offset,
    /// Where the next batch goes.
    position: usize,
}

/// A segment that takes no more batches, and has some that are not synced.
struct Sealed {
    file: SegmentFile,
    number: u64,
    end: Offset,
}

/// A batch that a power cut would lose.
struct Unsynced {
    head: BatchHead,
    records: Bytes,
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
    unsynced: VecDeque<Unsynced>,
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
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            unsynced_since_ms: 0,
            syncing: None,
            next_number: 0,
            fresh: Vec::new(),
            retry_ms: None,
            wants_rewrite: false,
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
        let unsynced = self.options.unsynced_bytes_max.saturating_sub(self.unsynced_bytes);
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
        self.retry_ms.is_some() || self.wants_rewrite
    }

    /// Writes a batch; its offset must not lie below the end of what was appended before. Once this returns, the batch survives the end of the
    /// process.
    ///
    /// # Errors
    /// Then nothing of the batch counts.
    pub fn append(
        &mut self,
        writer: &mut impl SegmentWriter,
        head: BatchHead,
        records: Bytes,
        now_ms: u64,
    ) -> Result<(), AppendError> {
        if records.len() > self.room() {
            return Err(if self.is_failing() { AppendError::Failed } else { AppendError::Full });
        }
        if let Err(error) = self.write(writer, head, &records) {
            if error == AppendError::Full {
                return Err(error);
            }
            // Perhaps it was only this segment.
            self.give_up();
            self.recover(writer, now_ms);
            if self.is_resting() {
                return Err(AppendError::Failed);
            }
            self.write(writer, head, &records).inspect_err(|_| {
                self.give_up();
                self.retry_ms = Some(now_ms + RETRY_MS);
            })?;
        }
        self.fresh.drain(..).for_each(|segment| self.log.push(segment));
        if self.unsynced.is_empty() {
            self.unsynced_since_ms = now_ms;
        }
        self.unsynced_bytes += records.len();
        self.unsynced.push_back(Unsynced { head, records });
        Ok(())
    }

    /// Writes a batch into the segment in use, or into the next one.
    fn write(
        &mut self,
        writer: &mut impl SegmentWriter,
        head: BatchHead,
        records: &[u8],
    ) -> Result<(), AppendError> {
        let fits = |active: &Active| records.len() <= self.options.room_behind(active.position);
        let mut header = None;
        if !self.active.as_ref().is_some_and(fits) {
            header = Some(self.begin_segment(head.first)?.encode());
        }
        let active = self.active.as_mut().expect("just begun, if there was none");
        let at = header.as_ref().map_or(active.position, |_| 0);
        let encoded = head.encode(active.epoch, active.position as u64, records);
        let bytes = batch_bytes(records.len());
        let zeros = [0; END_BYTES + END_BYTES];
        let tail = &zeros[..bytes - BATCH_HEAD_BYTES - records.len() + END_BYTES];
        let parts = [
            IoSlice::new(header.as_ref().map_or(&[], |header| &header[..])),
            IoSlice::new(&encoded),
            IoSlice::new(records),
            IoSlice::new(tail),
        ];
        // Without what follows the records, the batch is whole too: it must not count as refused.
        let wanted: usize = parts[..3].iter().map(|part| part.len()).sum();
        match writer.write(active.file.as_raw_fd(), at as u64, &parts) {
            Ok(written) if written >= wanted => {
                active.position += bytes;
                active.end = head.end();
                Ok(())
            }
            // Short writes to a local file come with a full or failing disk.
            Ok(_) | Err(_) => Err(AppendError::Failed),
        }
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
    }

    /// The file to sync now, if a sync is due: because an answer waits for it, or because it is time. Tell [`Self::handle_synced`].
    pub fn poll_sync(&mut self, is_awaited: bool, now_ms: u64) -> Option<RawFd> {
        let is_due = is_awaited
            || self.unsynced_bytes >= self.options.sync_bytes
            || now_ms >= self.unsynced_since_ms + self.options.sync_after_ms
            || !self.sealed.is_empty();
        if self.syncing.is_some() || self.unsynced.is_empty() || self.wants_rewrite || !is_due {
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
            self.give_up();
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

    /// Tries to make good what the disk has failed. Call it each turn.
    pub fn recover(&mut self, writer: &mut impl SegmentWriter, now_ms: u64) {
        if self.retry_ms.is_some_and(|at| at > now_ms) {
            return;
        }
        self.retry_ms = None;
        // A sync of what was given up has to come back first.
        if !self.wants_rewrite || self.syncing.is_some() {
            return;
        }
        for index in 0..self.unsynced.len() {
            let Unsynced { head, records } = &self.unsynced[index];
            let (head, records) = (*head, records.clone());
            if self.write(writer, head, &records).is_err() {
                self.give_up();
                self.retry_ms = Some(now_ms + RETRY_MS);
                return;
            }
        }
        // Only now it takes the place of what was given up.
        if let Some(Segment { first, .. }) = self.fresh.first() {
            self.log.cut(*first);
        }
        self.fresh.drain(..).for_each(|segment| self.log.push(segment));
        self.wants_rewrite = false;
        self.unsynced_since_ms = now_ms;
    }

    /// When to look again without being told; `u64::MAX` if there is nothing to do.
    pub fn next_ms(&self) -> u64 {
        let sync = if self.unsynced.is_empty() || self.syncing.is_some() || self.wants_rewrite {
            u64::MAX
        } else {
            self.unsynced_since_ms + self.options.sync_after_ms
        };
        self.retry_ms.unwrap_or(u64::MAX).min(sync)
    }

    /// Whether everything that was written is synced.
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }
}

impl AppenderOptions {
    /// Bytes of records that fit a segment behind `position`.
    pub fn room_behind(&self, position: usize) -> usize {
        let used = position + BATCH_HEAD_BYTES + 2 * END_BYTES;
        self.segment_bytes.saturating_sub(used)
    }
}
