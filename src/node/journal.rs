//! The journal of a node, as it is found at the start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::NodeError;
use super::plan::memory;
use crate::clock;
use crate::config::{AckLevel, ConfigError, ServeOptions};
use crate::event::{RECORD_BYTES_EXTRA_MAX, RecordError, Records};
use crate::journal::format::{HEADER_BYTES, HeaderError};
use crate::journal::{
    Account, Appender, AppenderOptions, Backlog, CheckpointError, CoreId, CoreLog, Course, DAMAGED_FOLDER,
    Disk, FileSystem, FoundLog, Holder, JournalLock, Keeper, KeeperOptions, Ledger, LeftLog, Log, LogId,
    Space, draw_epoch, find_left, read_checkpoint, trim_left,
};
use crate::telemetry::{CoreMetrics, Earlier};

/// Largest segment. Each core has one in use and up to two ready.
const SEGMENT_BYTES_MAX: usize = 16 << 20;
/// Segments that each core should be able to have.
const SEGMENTS_EACH: usize = 4;
/// Most bytes of a write. Of several megabytes, it takes two to three times as long for each. The page cache takes folios as large as the write, and probably those of
/// 2 MiB are slow to come where a virtual machine's host takes back what it does not use.
const WRITE_BYTES: usize = 512 << 10;
/// What part of the memory the journal may have of the page cache: this one of so many.
const CACHED_PART: usize = 4;
/// Bytes of a core that a power cut may lose at level `written`, where the disk keeps up.
const SYNC_BYTES: usize = 4 << 20;
/// The same, where it does not; beyond, new events are refused.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;
/// After this time what was written is synced, even if nobody waits for it.
const SYNC_AFTER_MS: u64 = 1000;

/// The journal, locked and looked through.
pub(super) struct Journal {
    lock: JournalLock,
    keeper: Keeper<FileSystem>,
    wake: (Sender<()>, Receiver<()>),
    options: AppenderOptions,
    folder: PathBuf,
    /// What became of what left.
    pub(super) ledger: Arc<Ledger>,
    /// Logs that are still to be forwarded.
    pub(super) left: Vec<Arc<Log>>,
    /// What earlier lives have counted.
    pub(super) earlier: Earlier,
    /// Since when events wait in the logs of earlier lives; those of this one are added.
    pub(super) backlog: Backlog,
}

/// The thread of the keeper, and the right to change the journal.
pub(super) struct Keeping {
    thread: JoinHandle<()>,
    wake: Sender<()>,
    is_over: Arc<AtomicBool>,
    /// Given up when the thread has ended.
    _lock: JournalLock,
}

/// Size of a segment for a node with so many reactors.
pub(super) fn segment_bytes(options: &ServeOptions, reactors: usize) -> Result<usize, ConfigError> {
    let share = options.journal.journal_max / reactors / SEGMENTS_EACH;
    let bytes = (share & !4095).min(SEGMENT_BYTES_MAX);
    let least = HEADER_BYTES + 4096 + options.limits.max_body + RECORD_BYTES_EXTRA_MAX;
    if bytes < least {
        return Err(ConfigError::Flag {
            flag: "journal-max",
            value: options.journal.journal_max.to_string(),
            problem: format!(
                "each of {reactors} reactors needs {SEGMENTS_EACH} segments that hold an event of --max-body: give at least {}",
                least.next_multiple_of(4096) * SEGMENTS_EACH * reactors
            ),
        });
    }
    Ok(bytes)
}

/// Largest sum of records that a segment holds.
pub(super) fn record_bytes_max(segment_bytes: usize) -> usize {
    appender_options(segment_bytes).room_behind(HEADER_BYTES)
}

fn appender_options(segment_bytes: usize) -> AppenderOptions {
    AppenderOptions {
        segment_bytes,
        unsynced_bytes_max: UNSYNCED_BYTES_MAX.max(2 * segment_bytes),
        write_bytes: WRITE_BYTES,
        sync_bytes: SYNC_BYTES,
        sync_after_ms: SYNC_AFTER_MS,
    }
}

impl Journal {
    /// Locks the journal and reads what earlier lives of the node have left.
    pub(super) fn open(
        options: &ServeOptions,
        segment_bytes: usize,
        cores: &[Arc<CoreMetrics>],
        codes: Vec<&'static str>,
    ) -> Result<Self, NodeError> {
        let folder = &options.journal.folder.journal_dir;
        let disk = FileSystem;
        disk.make_folder(folder).map_err(|error| problem(folder, error))?;
        let has_broker = !options.broker.amqp_url.is_empty();
        let lock = JournalLock::take(folder, if has_broker { Holder::Broker } else { Holder::Alone })?;
        let mut account = match read_checkpoint(&disk, folder) {
            Ok(account) => account,
            // The counts are gone, and events that were confirmed may come again; to lose one would be worse.
            Err(error @ CheckpointError::Damaged(_)) => {
                error!(folder = %folder.display(), %error, "the checkpoint cannot be used: everything in the journal is forwarded again");
                Account::default()
            }
            Err(error) => return Err(problem(folder, error)),
        };
        let Found { mut left, by_app, mut courses } = look_through(folder, &account)?;
        if let Err(error) = trim_left(&disk, &mut left) {
            warn!(%error, folder = %folder.display(), "cannot give back space that the journal does not need");
        }
        // Logs that are gone need no entry any more.
        account.logs.retain(|id, _| left.iter().any(|left| left.log.id() == *id));
        let mut earlier = Earlier {
            accepted: account.total.events() + left.iter().map(|left| left.events).sum::<u64>(),
            accepted_by_app: by_app,
            rejected: account.rejected.clone(),
        };
        for (app, settled) in &account.apps {
            *earlier.accepted_by_app.entry(*app).or_default() += settled.events();
        }
        let ledger = Arc::new(Ledger::new(account));
        let keeper_options = KeeperOptions {
            journal_bytes_max: options.journal.journal_max as u64,
            segment_bytes,
            // Whose answers wait for syncs is not to wait for the file system's notes as well.
            space: if options.ack == AckLevel::Synced { Space::Written } else { Space::Reserved },
            cached_bytes: (memory() / CACHED_PART / cores.len()) as u64,
            takes_releases: !has_broker,
        };
        let cores = cores.to_vec();
        let rejected = move || {
            let count = |index| cores.iter().map(|core: &Arc<CoreMetrics>| core.rejected(index)).sum();
            codes
                .iter()
                .enumerate()
                .map(|(index, code)| (*code, count(index)))
                .filter(|(_, n)| *n > 0)
                .collect()
        };
        let mut keeper = Keeper::new(
            disk,
            folder.clone(),
            keeper_options,
            ledger.clone(),
            Box::new(rejected),
            Box::new(draw_epoch),
        );
        keeper.add_bytes(aside_bytes(folder));
        for left in &left {
            tell_damage(&left.found);
            keeper.add_left(left.log.clone(), left.found.bytes(), left.damaged());
            if left.events > 0 {
                info!(log = %left.log.id(), events = left.events, "found events of an earlier life of this node");
            }
        }
        let left: Vec<_> = left.into_iter().filter(|left| left.events > 0).map(|left| left.log).collect();
        let mut backlog = Backlog::default();
        for log in &left {
            backlog.add(log.marks().clone(), courses.remove(&log.id()).unwrap_or_default());
        }
        let options = appender_options(segment_bytes);
        let folder = folder.clone();
        Ok(Self { lock, keeper, wake: bounded(1), options, folder, ledger, left, earlier, backlog })
    }

    /// Begins the log of a core.
    pub(super) fn begin(&mut self, core: CoreId, marks: Arc<CoreLog>) -> Result<Appender, NodeError> {
        let id = LogId { core, epoch: draw_epoch() };
        let folder = self.folder.join(id.to_string());
        let log = Arc::new(Log::new(id, folder.clone(), marks, Vec::new()));
        let spares = self.keeper.add_live(log.clone()).map_err(|error| problem(&folder, error))?;
        Ok(Appender::new(log, spares, self.wake.0.clone(), self.options))
    }

    /// Makes the first segments, and goes on with it on a thread of its own.
    pub(super) fn keep(self) -> Result<(Keeping, Arc<crate::journal::JournalGauges>), NodeError> {
        let Self { lock, mut keeper, wake: (wake, woken), .. } = self;
        let gauges = keeper.gauges();
        // If this fails, events are refused until it works; what is in the journal is forwarded meanwhile.
        keeper.step(now_ms());
        let is_over = Arc::new(AtomicBool::new(false));
        let is_told = is_over.clone();
        let run = move || {
            while !is_told.load(Ordering::Acquire) {
                let wait = keeper.step(now_ms());
                // Either way it is time to look again.
                let _ = woken.recv_timeout(Duration::from_millis(wait));
            }
            if let Err(error) = keeper.finish(now_ms()) {
                error!(%error, "cannot write the last checkpoint: some events will be forwarded again");
            }
        };
        let thread = thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(run)
            .map_err(|error| NodeError::System { what: "starting the keeper's thread", error })?;
        Ok((Keeping { thread, wake, is_over, _lock: lock }, gauges))
    }
}

impl Keeping {
    /// Writes the last checkpoint and ends the keeper. Everybody else has to be done.
    pub(super) fn finish(self) {
        self.is_over.store(true, Ordering::Release);
        // Full if it is awake already.
        let _ = self.wake.try_send(());
        self.thread.join().expect("a panic ends the process");
    }
}

/// Whether a start would find the journal sound; changes nothing.
pub(super) fn check_journal(folder: &Path) -> Result<(), NodeError> {
    let account = match read_checkpoint(&FileSystem, folder) {
        Ok(account) => account,
        Err(CheckpointError::Damaged(_)) => Account::default(),
        Err(error) => return Err(problem(folder, error)),
    };
    look_through(folder, &account).map(drop)
}

/// What earlier lives have left.
struct Found {
    left: Vec<LeftLog>,
    /// Events that are not settled, by app.
    by_app: BTreeMap<Uuid, u64>,
    /// When they were received.
    courses: BTreeMap<LogId, Course>,
}

fn look_through(folder: &Path, account: &Account) -> Result<Found, NodeError> {
    let mut by_app = BTreeMap::<Uuid, u64>::new();
    let mut courses = BTreeMap::<LogId, Course>::new();
    let mut unreadable: Option<(PathBuf, RecordError)> = None;
    let left = find_left(&FileSystem, folder, account, |log, path, batch, settled| {
        let mut received_us = None;
        for (offset, record) in (batch.head.first.0..).zip(Records::new(batch.records)) {
            match record {
                Ok(record) if offset >= settled.0 => {
                    *by_app.entry(record.app).or_default() += 1;
                    received_us = Some(record.received_us);
                }
                Ok(_) => {}
                Err(error) => unreadable = Some((path.to_owned(), error)),
            }
        }
        // A batch is what one turn brought: its events are of the same moment.
        if let Some(us) = received_us {
            courses.entry(log).or_default().note(batch.head.end(), Duration::from_micros(us));
        }
    });
    let left = left.map_err(|error| problem(folder, error))?;
    if let Some((path, error)) = unreadable {
        return Err(problem(&path, error));
    }
    for segment in left.iter().flat_map(|left| &left.found.segments) {
        if let Err(error @ HeaderError::UnknownVersion(_)) = segment.content {
            return Err(problem(&segment.path, error));
        }
    }
    Ok(Found { left, by_app, courses })
}

/// Says what is wrong with a log.
fn tell_damage(log: &FoundLog) {
    for segment in &log.segments {
        let file = segment.path.display();
        match &segment.content {
            Ok(content) => {
                let Some(damage) = content.damage.filter(|_| !log.is_made_good(content)) else { continue };
                warn!(
                    %file,
                    position = damage.position,
                    events_before = content.events,
                    events_behind = damage.events_behind,
                    "a batch is torn or damaged: what lies before it is whole"
                );
            }
            Err(HeaderError::Unused) => {}
            Err(error) => warn!(%file, %error, "a segment cannot be read"),
        }
    }
}

/// Bytes of segments that were set aside.
fn aside_bytes(folder: &Path) -> u64 {
    let aside = folder.join(DAMAGED_FOLDER);
    let names = FileSystem.names(&aside).unwrap_or_default();
    names.iter().filter_map(|name| FileSystem.bytes(&aside.join(name)).ok()).sum()
}

fn problem(path: &Path, error: impl std::fmt::Display) -> NodeError {
    NodeError::DataDir { path: path.display().to_string(), error: io::Error::other(error.to_string()) }
}

fn now_ms() -> u64 {
    clock::ms(clock::monotonic())
}
