//! The task that follows the stream, and writes to it what has changed here.
//!
//! A connection goes through three states. It *checks* that the entry at the place where it goes on is the one that it knows: a stream that was
//! removed and made again, or whose history has been cut, is read anew from its first entry. It *catches up* until it meets a mark of its own, which it wrote after it
//! had begun to read. Then it is *live*: whatever others write comes at once, and a mark from time to time proves it.

mod publish;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ring::digest;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::copy::{CopyError, LocalCopy, Paths, Position, Progress, Tail};
use super::entry::{Change, Entry, EntryError, Roster};
use super::handle::{Fleet, Put, PutError};
use super::key::FleetKey;
use super::seal::{EntryId, Sealer};
use super::state::{Replica, Verdict};
use super::stream::{Delivered, Published, Session, StreamOptions};
use crate::auth::{AppId, CredentialsFiles, SharedCredentials};
use crate::backoff::Backoff;
use crate::clock;
use crate::telemetry::FleetMetrics;

/// How often the files are looked at: a change is seen well within a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Waits between rounds over all brokers. The cap keeps the way back short once one is ready.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long the entry at a known place may take: the broker has it, or it has another stream.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a mark may take behind the last entry that came: a reader that the broker has forgotten is noticed by it.
const MARK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a live node writes a mark.
const MARK_INTERVAL: Duration = Duration::from_secs(30);
/// How often one that is asked for its snapshot, or misses something, writes at most.
const HELP_INTERVAL: Duration = Duration::from_secs(2);
/// How often the place in the stream is written down while nothing changes.
const SAVE_INTERVAL: Duration = Duration::from_mins(10);
/// How long files that could not be read or written are left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How long files may take to be written before what is served counts as stale.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often refused entries are told: whoever has access to the broker would else fill the log.
const TELL_INTERVAL: Duration = Duration::from_mins(1);
/// Entries that are handled before the files are written.
const BATCH_MAX: usize = 256;

/// How a node follows its fleet.
#[derive(Clone, Debug)]
pub struct FollowerOptions {
    /// Where the stream is.
    pub stream: StreamOptions,
    /// Changes since the last snapshot that make the next one due.
    pub snapshot_changes: u64,
    /// Bytes since the last snapshot that make the next one due; far below what the stream keeps.
    pub snapshot_bytes: u64,
}

impl FollowerOptions {
    /// With the thresholds that a fleet is meant to have.
    pub fn new(stream: StreamOptions) -> Self {
        Self { stream, snapshot_changes: 1000, snapshot_bytes: 32 << 20 }
    }
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// Something is wrong with it.
    Lost(String),
    /// The stream is another one, or its history is cut: it is read anew.
    Anew,
}

/// What an entry of ours is about.
#[derive(Debug)]
enum Flight {
    Mark,
    Founding,
    Snapshot,
    /// A change that was found in the files.
    Found(Box<Change>),
    /// A change that somebody waits for.
    Put(Answer),
}

/// Who waits for a change.
type Answer = oneshot::Sender<Result<(), PutError>>;

/// What a batch of entries has come to, besides the replica's state.
#[derive(Debug, Default)]
struct Batch {
    has_changed: bool,
    /// Whether an entry of ours was among them.
    has_own: bool,
    is_founding_due: bool,
    /// Whether all that stood in the stream when reading it began is behind us.
    is_caught_up: bool,
    answers: Vec<(Answer, Result<(), PutError>)>,
}

/// The task.
#[derive(Debug)]
pub struct Follower {
    options: FollowerOptions,
    sealer: Sealer,
    metrics: Arc<FleetMetrics>,
    puts: mpsc::Receiver<Put>,
    /// Elsewhere while the disk is waited for.
    copy: Option<LocalCopy>,
    replica: Replica,
    /// What the replica had before it was reset: what to begin with if the stream has nothing.
    before: Option<Roster>,
    position: Option<Position>,
    tail: Tail,
    /// The place that has to be met first.
    check: Option<Position>,
    in_flight: HashMap<EntryId, Flight>,
    pending: Vec<Change>,
    /// Changes that the fleet will never take, whatever is done.
    hopeless: HashSet<(AppId, u64)>,
    is_live: bool,
    wants_help: bool,
    gives_help: bool,
    must_save: bool,
    /// All on the monotonic clock.
    progress_at: Duration,
    marked_at: Duration,
    helped_at: Duration,
    saved_at: Duration,
    synced_at: Duration,
    told_at: Option<Duration>,
    was_outage_told: bool,
}

impl Follower {
    /// A follower of the fleet with this key, and the way to change what it has. `apps` and `keys` are the node's files, which were read by `files` into `credentials`.
    pub fn new(
        options: FollowerOptions,
        key: &FleetKey,
        apps: &Path,
        keys: &Path,
        files: CredentialsFiles,
        credentials: Arc<SharedCredentials>,
        metrics: Arc<FleetMetrics>,
    ) -> Result<(Self, Fleet), CopyError> {
        let (copy, progress) =
            LocalCopy::open(Paths::new(apps, keys), &options.stream.stream, files, credentials)?;
        let (fleet, puts) = Fleet::new();
        let now = clock::monotonic();
        metrics.stale_since_ms.set(clock::ms(now).max(1));
        let mut follower = Self {
            sealer: Sealer::new(key, &options.stream.stream),
            options,
            metrics,
            puts,
            copy: Some(copy),
            replica: Replica::default(),
            before: None,
            position: None,
            tail: Tail::default(),
            check: None,
            in_flight: HashMap::new(),
            pending: Vec::new(),
            hopeless: HashSet::new(),
            is_live: false,
            wants_help: false,
            gives_help: false,
            must_save: false,
            progress_at: now,
            marked_at: now,
            helped_at: now.saturating_sub(HELP_INTERVAL),
            saved_at: now,
            synced_at: now,
            told_at: None,
            was_outage_told: false,
        };
        if let Some(Progress { position, tail, roster }) = progress {
            (follower.position, follower.tail) = (position, tail);
            if follower.position.is_some() {
                follower.replica = Replica::resumed(roster);
            } else {
                follower.before = Some(roster);
            }
        }
        Ok((follower, fleet))
    }

    /// Follows until it is dropped.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        let mut session = None;
        let mut published = FuturesUnordered::new();
        let mut opening = self.open_after(Duration::ZERO);
        // What has changed in the files while nobody followed.
        self.sync(false).await;
        loop {
            let done = tokio::select! {
                _ = look.tick() => self.look(session.as_ref(), &mut published).await,
                Some(put) = self.puts.recv() => {
                    self.take_put(put, session.as_ref(), &mut published);
                    Ok(())
                }
                opened = &mut opening, if session.is_none() => match opened {
                    Ok(opened) => {
                        self.metrics.connects.add(1);
                        self.begin(&opened, &mut published);
                        session = Some(opened);
                        Ok(())
                    }
                    Err(error) => Err(End::Lost(error.to_string())),
                },
                first = next(session.as_mut()) => {
                    let session = session.as_mut().expect("something came");
                    let was_live = self.is_live;
                    let taken = self.take(first, session, &mut published).await;
                    if self.is_live && !was_live {
                        backoff.reset();
                    }
                    taken
                }
                Some(outcome) = published.next() => {
                    outcome.map_err(|error: lapin::Error| End::Lost(error.to_string()))
                }
            };
            if let Err(end) = done {
                published = FuturesUnordered::new();
                if let Some(session) = session.take() {
                    tokio::spawn(session.close());
                }
                let wait = if matches!(end, End::Anew) { Duration::ZERO } else { backoff.wait() };
                self.handle_end(end);
                opening = self.open_after(wait);
            }
        }
    }

    fn open_after(&self, wait: Duration) -> BoxFuture<'static, Result<Session, lapin::Error>> {
        let (options, from) = (self.options.stream.clone(), self.position.as_ref().map(|at| at.offset));
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            Session::open(&options, from).await
        })
    }

    /// A connection has begun to read.
    fn begin(&mut self, session: &Session, published: &mut FuturesUnordered<Published>) {
        self.check.clone_from(&self.position);
        self.progress_at = clock::monotonic();
        self.publish(&Entry::Mark, Flight::Mark, session, published);
    }

    fn handle_end(&mut self, end: End) {
        let now = clock::monotonic();
        if self.is_live {
            self.metrics.stale_since_ms.set(clock::ms(now).max(1));
            self.is_live = false;
        }
        // Whoever waits for one of them is told that it is not known what became of it.
        self.in_flight.clear();
        self.check = None;
        match end {
            End::Lost(reason) if !self.was_outage_told => {
                warn!(
                    reason,
                    "the fleet is not followed: apps and keys are those of before, and may be stale"
                );
                self.was_outage_told = true;
            }
            End::Lost(_) => {}
            End::Anew => {
                warn!(
                    "the fleet's stream is not the one that was followed, or its history is cut: reading it anew"
                );
                self.before = self.replica.reset().or(self.before.take());
                self.position = None;
                self.tail = Tail::default();
            }
        }
    }

    /// What is due by time, and what has changed in the files.
    async fn look(
        &mut self,
        session: Option<&Session>,
        published: &mut FuturesUnordered<Published>,
    ) -> Result<(), End> {
        let now = clock::monotonic();
        let has_changed = self.copy.as_mut().expect("nobody else has it now").look();
        if self.replica.roster().is_some() && now.saturating_sub(self.saved_at) > SAVE_INTERVAL {
            self.must_save = true;
        }
        let is_retry_due = now.saturating_sub(self.synced_at) > RETRY_INTERVAL;
        if has_changed || self.must_save && is_retry_due {
            self.sync(false).await;
        }
        let Some(session) = session else { return Ok(()) };
        let waited = now.saturating_sub(self.progress_at);
        if self.check.is_some() && waited > CHECK_TIMEOUT {
            return Err(End::Anew);
        }
        let is_marking =
            self.in_flight.values().any(|flight| matches!(flight, Flight::Mark | Flight::Founding));
        if is_marking && waited > MARK_TIMEOUT {
            return Err(End::Lost("nothing comes from the stream any more".to_owned()));
        }
        if self.is_live && !is_marking && now.saturating_sub(self.marked_at) > MARK_INTERVAL {
            self.progress_at = now;
            self.publish(&Entry::Mark, Flight::Mark, session, published);
        }
        self.help(session, published);
        self.publish_pending(session, published);
        Ok(())
    }

    /// Handles an entry and those that have come with it; then all of it is written down once.
    async fn take(
        &mut self,
        first: Result<Delivered, lapin::Error>,
        session: &mut Session,
        published: &mut FuturesUnordered<Published>,
    ) -> Result<(), End> {
        let lost = |error: lapin::Error| End::Lost(error.to_string());
        let mut batch = Batch::default();
        let mut last = first.map_err(lost)?;
        self.handle(&last, &mut batch)?;
        let mut end = None;
        for _ in 1..BATCH_MAX {
            match session.ready() {
                Some(Ok(next)) => last = next,
                // What came before it holds all the same.
                Some(Err(error)) => {
                    end = Some(lost(error));
                    break;
                }
                None => break,
            }
            self.handle(&last, &mut batch)?;
        }
        self.progress_at = clock::monotonic();
        if batch.is_founding_due {
            self.found(session, published)?;
        }
        let is_news = batch.is_caught_up && !self.is_live;
        if batch.has_changed || is_news {
            self.sync(true).await;
        }
        // Only now does what was read hold here.
        if is_news {
            self.enter_live();
        }
        for (answer, outcome) in batch.answers {
            // Whoever has asked may have gone.
            let _ = answer.send(outcome);
        }
        if let Some(end) = end {
            return Err(end);
        }
        session.ack(&last).await.map_err(lost)?;
        if batch.has_own {
            self.publish_snapshot_if_due(session, published);
        }
        self.help(session, published);
        self.publish_pending(session, published);
        Ok(())
    }

    fn handle(&mut self, delivered: &Delivered, batch: &mut Batch) -> Result<(), End> {
        let position = Position { offset: delivered.offset, fingerprint: fingerprint(delivered.body()) };
        if let Some(known) = self.check.take() {
            return if known == position { Ok(()) } else { Err(End::Anew) };
        }
        self.position = Some(position);
        self.tail.bytes += delivered.body().len() as u64;
        let (entry, id) = match Entry::open(delivered.body(), &self.sealer) {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse(delivered.offset, &error);
                self.replica.handle(delivered.offset, None);
                return Ok(());
            }
        };
        match &entry {
            Entry::Snapshot { .. } => self.tail = Tail::default(),
            Entry::Change(_) => self.tail.changes += 1,
            Entry::Founding(_) | Entry::Mark => {}
        }
        let flight = self.in_flight.remove(&id);
        let founding = match &entry {
            Entry::Founding(roster) if flight.is_none() => Some(roster.clone()),
            _ => None,
        };
        let verdict = self.replica.handle(delivered.offset, Some(entry));
        self.count(verdict);
        batch.has_changed |= verdict == Some(Verdict::Applied);
        self.wants_help |= verdict == Some(Verdict::Gap);
        self.gives_help |= founding.is_some_and(|founding| self.replica.has_more_than(&founding));
        batch.has_own |= flight.is_some();
        match flight {
            None | Some(Flight::Snapshot) => {}
            Some(Flight::Mark) if self.replica.roster().is_none() => batch.is_founding_due = true,
            Some(Flight::Mark | Flight::Founding) => batch.is_caught_up = true,
            Some(Flight::Found(change)) => {
                self.settle_found(&change, verdict);
                // The file may have moved on meanwhile.
                batch.has_changed = true;
            }
            Some(Flight::Put(answer)) => {
                let holds = matches!(verdict, Some(Verdict::Applied | Verdict::Known));
                batch.answers.push((answer, if holds { Ok(()) } else { Err(PutError::Conflict) }));
            }
        }
        Ok(())
    }

    /// What became of a change that was found in the files.
    fn settle_found(&mut self, change: &Change, verdict: Option<Verdict>) {
        if matches!(verdict, Some(Verdict::Applied | Verdict::Known)) {
            self.copy.as_mut().expect("nobody else has it now").advance(change);
            return;
        }
        // Where its base is still the newest it was no matter of who was faster: it would be refused each time.
        if let (Change::App { app, base }, Some(roster)) = (change, self.replica.roster())
            && roster.registry.app(app.id).map(|app| app.version) == *base
            && self.hopeless.insert((app.id, app.version))
        {
            error!(app = %app.id, "an app cannot be shared: another one of the fleet has its API key; remove it from the apps file and make it anew");
        }
    }

    fn enter_live(&mut self) {
        self.is_live = true;
        self.metrics.stale_since_ms.set(0);
        self.was_outage_told = false;
        self.before = None;
        let apps = self.replica.roster().map_or(0, |roster| roster.registry.apps().len());
        info!(apps, "the fleet is followed");
    }

    fn count(&self, verdict: Option<Verdict>) {
        let counter = match verdict {
            Some(Verdict::Applied) => &self.metrics.applied,
            Some(Verdict::Known) => &self.metrics.known,
            Some(Verdict::Conflict) => &self.metrics.conflicts,
            Some(Verdict::Gap) => &self.metrics.gaps,
            Some(Verdict::Early) | None => return,
        };
        counter.add(1);
    }

    fn refuse(&mut self, offset: u64, error: &EntryError) {
        self.metrics.refused.add(1);
        let now = clock::monotonic();
        if self.told_at.is_none_or(|told_at| now.saturating_sub(told_at) > TELL_INTERVAL) {
            self.told_at = Some(now);
            let refused = self.metrics.refused.value();
            warn!(offset, %error, refused, "refused an entry of the fleet's stream: somebody else writes there, or a node has another key or version");
        }
    }

    /// Brings files and replica together. The disk is waited for on another thread, so that probes are answered meanwhile.
    async fn sync(&mut self, has_changed: bool) {
        let Some(roster) = self.replica.roster().cloned() else { return };
        let saves = has_changed || std::mem::take(&mut self.must_save);
        let progress = Progress { position: self.position.clone(), tail: self.tail, roster };
        let mut copy = self.copy.take().expect("nobody else has it now");
        let work = tokio::task::spawn_blocking(move || {
            let synced = copy.sync(&progress, saves);
            (copy, synced)
        });
        let (copy, synced) = self.patient(work).await;
        self.copy = Some(copy);
        self.synced_at = clock::monotonic();
        self.pending = synced.pending;
        self.must_save = synced.has_failed;
        if saves {
            self.saved_at = self.synced_at;
        }
    }

    /// Waits for what the disk does; what takes long is told, for nothing that the fleet says holds here meanwhile.
    async fn patient<T>(&self, mut work: JoinHandle<T>) -> T {
        let started = clock::monotonic();
        let done = if let Ok(done) = tokio::time::timeout(WRITE_TIMEOUT, &mut work).await {
            done
        } else {
            error!(
                "the files of apps and keys cannot be written: the disk hangs, or somebody holds their lock; what the fleet says does not hold here until they can"
            );
            let before = self.metrics.stale_since_ms.value();
            if before == 0 {
                self.metrics.stale_since_ms.set(clock::ms(started).max(1));
            }
            let done = work.await;
            self.metrics.stale_since_ms.set(before);
            done
        };
        done.expect("a panic ends the process")
    }
}

/// What comes next, where there is somebody to listen to.
async fn next(session: Option<&mut Session>) -> Result<Delivered, lapin::Error> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

fn fingerprint(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, body))
}
