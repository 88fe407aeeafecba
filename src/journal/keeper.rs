//! Keeps the folder: makes segments ahead of need, lets those serve again that nobody needs any more, and writes the checkpoint. Everything that
//! may wait for a disk is done here, on a thread of its own, and never on a reactor.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing::{debug, error, info, warn};

use super::appender::{SegmentFile, Spare};
use super::checkpoint::{CheckpointError, write_checkpoint};
use super::disk::{Disk, Space};
use super::ledger::{Account, Ledger};
use super::log::{Log, Segment, Trouble};
use super::release::{Outcome, RELEASE_FILE, Release, read_release};
use super::survey::SEGMENT_SUFFIX;

/// Segments that are ready for each log.
const SPARES_MAX: usize = 2;
/// Files that wait to serve again, for each log; more are removed.
const FREE_MAX: usize = 6;
/// How often the checkpoint is written if something has changed: what was settled since comes again after a crash.
const CHECKPOINT_MS: u64 = 250;
/// The same, while segments could be freed by it.
const CHECKPOINT_BUSY_MS: u64 = 100;
/// How soon to look again when a log lacks segments.
const LACKING_MS: u64 = 50;
/// How long a disk that failed is left alone.
const RETRY_MS: u64 = 500;
/// The folder, in that of the journal, for segments with damage that may hold more than could be read.
pub const DAMAGED_FOLDER: &str = "damaged";

/// Bounds of a keeper.
#[derive(Clone, Copy, Debug)]
pub struct KeeperOptions {
    /// Bytes that all segments of the journal may have together.
    pub journal_bytes_max: u64,
    /// Size of a segment.
    pub segment_bytes: usize,
    /// How a new one takes its space.
    pub space: Space,
    /// Bytes of each log that may stay in the page cache: those that are read first.
    pub cached_bytes: u64,
    /// Whether releases are taken: nobody forwards, so nobody else moves what is settled.
    pub takes_releases: bool,
}

/// A log with a reactor.
struct Live {
    log: Arc<Log>,
    spares: Sender<Spare>,
    free: Vec<PathBuf>,
    /// Number of the next file.
    next_file: u64,
    /// Of the segments below this number, the page cache keeps what it is to keep.
    next_uncached: u64,
}

/// A log that an earlier life of the node left.
struct Left {
    log: Arc<Log>,
    bytes: u64,
    /// Segments that are kept aside instead of removed.
    damaged: Vec<PathBuf>,
}

/// What a keeper says of the journal to those who show it.
#[derive(Debug, Default)]
pub struct JournalGauges {
    /// Bytes of all segments.
    pub bytes: AtomicU64,
}

/// See the module.
pub struct Keeper<D> {
    disk: D,
    folder: PathBuf,
    options: KeeperOptions,
    live: Vec<Live>,
    left: Vec<Left>,
    ledger: Arc<Ledger>,
    /// What the refusals are of this life; added to those of earlier ones.
    rejected: Box<dyn Fn() -> Vec<(&'static str, u64)> + Send>,
    draw: Box<dyn FnMut() -> u64 + Send>,
    written: Account,
    written_ms: u64,
    bytes: u64,
    gauges: Arc<JournalGauges>,
    /// The checkpoint has its room on the disk.
    has_room: bool,
    is_failing: bool,
    retry_ms: u64,
}

impl<D> std::fmt::Debug for Keeper<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl<D: Disk> Keeper<D> {
    /// A keeper of the journal in `folder`. `draw` gives numbers that do not come twice, `rejected` the refusals of this life.
    pub fn new(
        disk: D,
        folder: PathBuf,
        options: KeeperOptions,
        ledger: Arc<Ledger>,
        rejected: Box<dyn Fn() -> Vec<(&'static str, u64)> + Send>,
        draw: Box<dyn FnMut() -> u64 + Send>,
    ) -> Self {
        let written = ledger.account();
        Self {
            disk,
            folder,
            options,
            live: Vec::new(),
            left: Vec::new(),
            ledger,
            rejected,
            draw,
            written,
            written_ms: 0,
            bytes: 0,
            gauges: Arc::default(),
            has_room: false,
            is_failing: false,
            retry_ms: 0,
        }
    }

    /// What it says of the journal.
    pub fn gauges(&self) -> Arc<JournalGauges> {
        self.gauges.clone()
    }

    /// Takes care of a log with a reactor, which gets its segments through the channel that is returned.
    pub fn add_live(&mut self, log: Arc<Log>) -> io::Result<Receiver<Spare>> {
        self.disk.make_folder(log.folder())?;
        let (spares, receiver) = bounded(SPARES_MAX);
        self.live.push(Live { log, spares, free: Vec::new(), next_file: 0, next_uncached: 0 });
        Ok(receiver)
    }

    /// Takes care of a log of an earlier life, whose files have `bytes`; those with damage are not removed with it.
    pub fn add_left(&mut self, log: Arc<Log>, bytes: u64, damaged: Vec<PathBuf>) {
        self.add_bytes(bytes);
        self.left.push(Left { log, bytes, damaged });
    }

    /// Counts bytes that belong to no log.
    pub fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.gauges.bytes.store(self.bytes, Ordering::Relaxed);
    }

    /// Does what there is to do; returns in how many milliseconds to look again if nobody calls.
    pub fn step(&mut self, now_ms: u64) -> u64 {
        if now_ms < self.retry_ms {
            return self.retry_ms - now_ms;
        }
        let lacks = |live: &Live| live.spares.is_empty();
        let interval = if self.live.iter().any(|live| lacks(live) || live.log.segments() > 1) {
            CHECKPOINT_BUSY_MS
        } else {
            CHECKPOINT_MS
        };
        let outcome = self.write_down(now_ms, now_ms >= self.written_ms + interval);
        self.remove_done();
        self.uncache();
        let can_checkpoint = outcome.is_ok();
        let outcome = outcome.and_then(|()| self.supply());
        self.gauges.bytes.store(self.bytes, Ordering::Relaxed);
        if let Err(error) = outcome {
            if !std::mem::replace(&mut self.is_failing, true) {
                error!(%error, folder = %self.folder.display(), "the journal's disk fails: new events are refused if there is no room that was taken before");
            }
            // What is ready can still be filled, and freed.
            for live in self.live.iter().filter(|live| !can_checkpoint || lacks(live)) {
                live.log.set_trouble(Trouble::Failed);
            }
            self.retry_ms = now_ms + RETRY_MS;
            return RETRY_MS;
        }
        if std::mem::replace(&mut self.is_failing, false) {
            info!(folder = %self.folder.display(), "the journal's disk works again");
        }
        if self.live.iter().any(lacks) { LACKING_MS } else { interval }
    }

    /// Writes the last checkpoint of this life, and removes what nobody needs.
    pub fn finish(&mut self, now_ms: u64) -> io::Result<()> {
        self.write_down(now_ms, true)?;
        self.remove_done();
        Ok(())
    }

    /// Writes the checkpoint if it is time, or if there was a release, which is done with only then.
    fn write_down(&mut self, now_ms: u64, is_due: bool) -> io::Result<()> {
        let release = if self.options.takes_releases { self.release()? } else { None };
        let is_taken = release.is_some_and(|release| self.take(&release));
        if is_due || is_taken {
            self.checkpoint(now_ms)?;
        }
        if is_taken {
            self.disk.remove_file(&self.folder.join(RELEASE_FILE))?;
        }
        Ok(())
    }

    /// What is asked to be released.
    fn release(&self) -> io::Result<Option<Release>> {
        match read_release(&self.disk, &self.folder) {
            Ok(release) => Ok(release),
            Err(CheckpointError::Io(error)) => Err(error),
            Err(error) => {
                let file = self.folder.join(RELEASE_FILE);
                warn!(file = %file.display(), %error, "a release cannot be read: nothing is released");
                self.disk.remove_file(&file)?;
                Ok(None)
            }
        }
    }

    /// Settles what was exported; `false` if some of it has to wait.
    fn take(&self, release: &Release) -> bool {
        let mut is_taken = true;
        for (id, released) in release.logs() {
            let mut logs =
                self.live.iter().map(|live| &live.log).chain(self.left.iter().map(|left| &left.log));
            // A log that is gone was settled.
            let Some(log) = logs.find(|log| log.id() == id) else { continue };
            match released.settle_live(log, &self.ledger) {
                Outcome::Settled => {
                    info!(log = %id, events = released.events(), "events were exported and released");
                }
                Outcome::Early => is_taken = false,
                Outcome::Refused => {
                    warn!(log = %id, "a release does not fit the journal any more: nothing of this log is released");
                }
            }
        }
        is_taken
    }

    fn checkpoint(&mut self, now_ms: u64) -> io::Result<()> {
        let mut account = self.ledger.account();
        for (code, count) in (self.rejected)() {
            *account.rejected.entry(code.to_owned()).or_default() += count;
        }
        if !self.has_room {
            // Twice, for there are two files that take turns: later writes need no more room, not even on a full disk.
            write_checkpoint(&self.disk, &self.folder, &account)?;
            write_checkpoint(&self.disk, &self.folder, &account)?;
            self.has_room = true;
        } else if account != self.written {
            write_checkpoint(&self.disk, &self.folder, &account)?;
        }
        for log in self.live.iter().map(|live| &live.log).chain(self.left.iter().map(|left| &left.log)) {
            if let Some(end) = account.logs.get(&log.id()) {
                log.marks().set_checkpoint(*end);
            }
        }
        self.written = account;
        self.written_ms = now_ms;
        Ok(())
    }

    /// Removes logs of earlier lives that are settled, and segments below the checkpoint.
    fn remove_done(&mut self) {
        let mut index = 0;
        while index < self.left.len() {
            let left = &mut self.left[index];
            for Segment { path, bytes, .. } in left.log.take_done() {
                if left.damaged.contains(&path) {
                    continue;
                }
                if remove(&self.disk, &path) {
                    left.bytes -= bytes;
                    self.bytes -= bytes;
                }
            }
            let marks = left.log.marks();
            if marks.checkpoint() >= marks.appended() {
                let left = self.left.remove(index);
                self.remove_left(&left);
            } else {
                index += 1;
            }
        }
        for live in &mut self.live {
            for Segment { path, bytes, is_suspect, .. } in live.log.take_done() {
                if !is_suspect && live.free.len() < FREE_MAX {
                    live.free.push(path);
                } else if remove(&self.disk, &path) {
                    self.bytes -= bytes;
                }
            }
        }
    }

    /// Has the page cache let go of what will be read last. It would not find room by itself before all memory is taken, and then while events are written.
    fn uncache(&mut self) {
        let kept = self.options.cached_bytes / self.options.segment_bytes as u64;
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        for live in &mut self.live {
            for Segment { path, number, is_suspect, .. } in live.log.synced_behind(kept, live.next_uncached) {
                // What the disk has failed may be nowhere else.
                if !is_suspect && let Err(error) = self.disk.uncache(&path) {
                    debug!(%error, file = %path.display(), "the page cache keeps a segment");
                }
                live.next_uncached = number + 1;
            }
        }
    }

    fn remove_left(&mut self, left: &Left) {
        let folder = left.log.folder();
        for path in &left.damaged {
            let aside = self.folder.join(DAMAGED_FOLDER);
            let name = path.file_name().expect("a file").to_string_lossy();
            let to = aside.join(format!("{}-{name}", left.log.id()));
            let moved = self.disk.make_folder(&aside).and_then(|()| self.disk.rename(path, &to));
            if let Err(error) = moved {
                warn!(%error, file = %path.display(), "cannot set a damaged segment aside: it stays where it is");
                return;
            }
            warn!(file = %to.display(), "set a damaged segment aside: look at it with `forebay journal repair`");
        }
        for name in self.disk.names(folder).unwrap_or_default() {
            let path = folder.join(name);
            let bytes = self.disk.bytes(&path).unwrap_or(0);
            if remove(&self.disk, &path) {
                self.bytes = self.bytes.saturating_sub(bytes);
            }
        }
        if let Err(error) = self.disk.remove_folder(folder) {
            // The account must go on saying that it is settled.
            warn!(%error, folder = %folder.display(), "cannot remove a log that is not needed any more");
            return;
        }
        self.ledger.forget(left.log.id());
    }

    /// Sees to it that each log has segments ready.
    fn supply(&mut self) -> io::Result<()> {
        for index in 0..self.live.len() {
            while self.live[index].spares.len() < SPARES_MAX {
                let obtained = self.obtain(index)?;
                let live = &mut self.live[index];
                let Some((path, file, is_new)) = obtained else {
                    if live.spares.is_empty() {
                        live.log.set_trouble(Trouble::Full);
                    }
                    break;
                };
                match live.spares.try_send(Spare { file, path: path.clone(), epoch: (self.draw)() }) {
                    Ok(()) => {
                        live.log.set_trouble(Trouble::None);
                        if is_new {
                            self.disk.sync_segment(&path)?;
                        }
                    }
                    Err(TrySendError::Full(_)) => unreachable!("only this side sends"),
                    // The reactor is gone.
                    Err(TrySendError::Disconnected(_)) => {
                        live.free.push(path);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// A segment that nobody uses: one that may serve again, or (`true`) a new one, if there is room for it.
    fn obtain(&mut self, index: usize) -> io::Result<Option<(PathBuf, SegmentFile, bool)>> {
        let live = &mut self.live[index];
        if let Some(path) = live.free.pop() {
            let file = self.disk.reuse_segment(&path).inspect_err(|_| live.free.push(path.clone()))?;
            return Ok(Some((path, file, false)));
        }
        let bytes = self.options.segment_bytes as u64;
        if self.bytes + bytes > self.options.journal_bytes_max && !self.take_free() {
            return Ok(None);
        }
        let live = &mut self.live[index];
        let path = live.log.folder().join(format!("{:08}{SEGMENT_SUFFIX}", live.next_file));
        let file = self.disk.make_segment(&path, self.options.segment_bytes, self.options.space)?;
        live.next_file += 1;
        self.bytes += bytes;
        Ok(Some((path, file, true)))
    }

    /// At the cap, a file that waits to serve one log makes room for another.
    fn take_free(&mut self) -> bool {
        let Some(path) = self.live.iter_mut().find_map(|live| live.free.pop()) else { return false };
        let is_removed = remove(&self.disk, &path);
        if is_removed {
            self.bytes -= self.options.segment_bytes as u64;
        }
        is_removed
    }
}

fn remove(disk: &impl Disk, path: &Path) -> bool {
    match disk.remove_file(path) {
        Ok(()) => true,
        Err(error) => {
            warn!(%error, file = %path.display(), "cannot remove a file of the journal that is not needed any more");
            false
        }
    }
}
