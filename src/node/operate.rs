//! What the main thread does while the others work: the operators' listener, signals, credentials, the service manager; and the stop, step by step.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::NodeError;
use super::admin_token::AdminToken;
use super::fleet::Credentialing;
use super::listeners::Admin;
use super::observe::{Observer, keep_observing};
use super::reports::{keep_telling, tell};
use super::threads::Ended;
use super::tls::TlsFiles;
use crate::admin::{self, Operator};
use crate::auth::{FileError, LiveCredentials, Strangers};
use crate::config::ServeOptions;
use crate::crash::Reporter;
use crate::handoff::Doorbell;
use crate::supervisor::{News, Notifier};
use crate::telemetry::{Health, Phase, SharedShares, Shares};
use crate::wire::Tls;

/// How often the credentials are looked at: a change is seen well within a second.
const CREDENTIALS_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is looked who holds how much of a journal that is nearly full.
const SHARES_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is said who sends wrong keys or secrets.
const STRANGERS_INTERVAL: Duration = Duration::from_mins(1);
/// How long reactors may take to cut their connections once time is up.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the journal's last words may take to reach a slow disk.
const LAST_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// What the main thread works with.
pub(super) struct Desk<'a> {
    pub(super) options: &'a ServeOptions,
    pub(super) node: &'a str,
    /// Where clients come.
    pub(super) listen: Vec<SocketAddr>,
    pub(super) admin: Admin,
    pub(super) operator: Arc<Operator>,
    /// The service manager's ear.
    pub(super) notifier: Option<Notifier>,
    /// How long it waits for a sign of life.
    pub(super) watchdog: Option<Duration>,
    /// What each app may take while room is scarce.
    pub(super) shares: Arc<SharedShares>,
    /// Who has sent wrong keys and secrets.
    pub(super) strangers: Arc<Strangers>,
    /// Looks and pushes once a second.
    pub(super) observer: Arc<Mutex<Observer>>,
}

/// What is taken anew when its files change.
pub(super) struct Watched {
    pub(super) credentials: Credentialing,
    pub(super) tls: Option<(TlsFiles, Arc<Tls>)>,
    pub(super) admin_tls: Option<(TlsFiles, Arc<Tls>)>,
    pub(super) admin_token: Option<AdminToken>,
}

/// The main thread: operators' listener, signals, credentials; then the stop. Returns whether something failed.
pub(super) async fn operate(
    desk: Desk<'_>,
    watched: Watched,
    mut threads: Threads,
) -> Result<bool, NodeError> {
    let Desk { options, node, listen, admin, operator, notifier, watchdog, shares, strangers, observer } =
        desk;
    let signal_error = |error| NodeError::System { what: "listening to signals", error };
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate()).map_err(signal_error)?,
        interrupt: signal(SignalKind::interrupt()).map_err(signal_error)?,
    };
    let (listener, admin_address) = admin.open().await?;
    let Watched { credentials, tls, admin_tls, admin_token } = watched;
    let (say_over, over) = tokio::sync::oneshot::channel::<()>();
    let admin_serves = admin_tls.as_ref().map(|(_, tls)| tls.clone());
    let admin = tokio::spawn(admin::serve(listener, admin_serves, operator.clone(), async {
        // Either way it is over.
        let _ = over.await;
    }));
    let watch = match credentials {
        Credentialing::Files(live) => tokio::spawn(watch_credentials(live)),
        Credentialing::Fleet(follower) => tokio::spawn(follower.run()),
    };
    let walk = tokio::spawn(admin::walk(operator.clone()));
    let watch_admin_tls = admin_tls.map(|(files, tls)| tokio::spawn(files.watch(tls)));
    let watch_token = admin_token.map(|token| tokio::spawn(token.watch(operator.control.guard.clone())));
    let journal_bytes_max = options.journal.journal_max as u64;
    let sharing = tokio::spawn(watch_shares(operator.clone(), shares, journal_bytes_max));
    let sampling = tokio::spawn(admin::keep_sampling(operator.clone()));
    let telling = tokio::spawn(tell_strangers(strangers));
    let observing = tokio::spawn(keep_observing(observer));
    let watch_tls = tls.map(|(files, tls)| tokio::spawn(files.watch(tls)));
    operator.health.enter(Phase::Serving);
    threads.ring();
    let listen: Vec<_> = listen.iter().map(ToString::to_string).collect();
    info!(node, listen = listen.join(","), admin = %admin_address, reactors = threads.reactors, ack = %options.ack, "ready");
    let reports = notifier
        .clone()
        .map(|notifier| tokio::spawn(keep_telling(notifier, watchdog, operator.health.clone())));

    let failed = tokio::select! {
        name = signals.next() => {
            info!(signal = name, "stopping");
            false
        }
        () = operator.control.drain.notified() => {
            info!(by = "POST /admin/drain", "stopping");
            false
        }
        ended = threads.ended.recv() => {
            threads.note(ended, true)
        }
    };
    tell(notifier.as_ref(), &[News::Stopping, News::Extend(stop_time(options))]);
    let stopped = if failed {
        true
    } else {
        tokio::select! {
            failed = drain(options, &operator.health, &mut threads) => failed,
            name = signals.next() => {
                warn!(signal = name, "stopping at once");
                false
            }
        }
    };
    // No 202 is given behind the ledger's back.
    let stopped = stopped | cut(&operator.health, &mut threads).await;
    watch.abort();
    sharing.abort();
    sampling.abort();
    telling.abort();
    walk.abort();
    observing.abort();
    for watch in [watch_tls, watch_admin_tls, watch_token] {
        watch.inspect(JoinHandle::abort);
    }
    // The last answers, of a drain that was asked for there, have a moment to leave.
    drop(say_over);
    let _ = admin.await;
    if let Some(reports) = reports {
        reports.abort();
    }
    Ok(stopped)
}

/// How long a stop may take, whatever goes wrong; so that a unit's time limit need not follow the flags.
fn stop_time(options: &ServeOptions) -> Duration {
    options.drain_delay + options.drain_timeout + 2 * CUT_TIMEOUT + LAST_SYNC_TIMEOUT
}

/// The stop, step by step; returns whether a thread failed.
async fn drain(options: &ServeOptions, health: &Health, threads: &mut Threads) -> bool {
    health.enter(Phase::Draining);
    threads.ring();
    tokio::time::sleep(options.drain_delay).await;
    let deadline = Instant::now() + options.drain_timeout;
    health.enter(Phase::Closing);
    threads.ring();
    let mut failed = threads.wait(deadline, |threads| threads.reactors == 0).await;
    if threads.reactors > 0 {
        warn!("the drain timeout is over: cutting the connections that are left");
        failed |= cut(health, threads).await;
    }
    // Even after a cut, what was accepted last has a moment to be confirmed. What is not stays in the journal.
    let deadline = deadline.max(Instant::now() + CUT_TIMEOUT);
    failed | threads.wait(deadline, |threads| !threads.forwarder).await
}

/// Ends the reactors that still run; returns whether one failed, or would not end.
async fn cut(health: &Health, threads: &mut Threads) -> bool {
    if threads.reactors == 0 {
        return false;
    }
    health.enter(Phase::Cutting);
    threads.ring();
    let failed = threads.wait(Instant::now() + CUT_TIMEOUT, |threads| threads.reactors == 0).await;
    failed || threads.reactors > 0
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The threads that run, and how to reach them.
pub(super) struct Threads {
    pub(super) doorbells: Vec<Doorbell>,
    pub(super) reactors: usize,
    pub(super) forwarder: bool,
    pub(super) ended: UnboundedReceiver<Ended>,
    /// Whom to tell of what the node dies of.
    pub(super) reporter: Arc<Reporter>,
}

impl Threads {
    fn ring(&self) {
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }

    /// Waits until `is_done`; returns whether a thread failed meanwhile.
    async fn wait(&mut self, deadline: Instant, is_done: impl Fn(&Self) -> bool) -> bool {
        let mut failed = false;
        while !is_done(self) {
            match tokio::time::timeout_at(deadline, self.ended.recv()).await {
                Ok(ended) => failed |= self.note(ended, false),
                Err(_) => break,
            }
        }
        failed
    }

    /// Notes the end of a thread; returns whether it was a failure.
    fn note(&mut self, ended: Option<Ended>, is_early: bool) -> bool {
        match ended {
            Some(Ended::Reactor(core, outcome)) => {
                self.reactors -= 1;
                if let Err(errno) = outcome {
                    error!(%core, %errno, "a reactor met an error that it cannot explain");
                    let message = format!("a reactor met an error that it cannot explain: {errno}");
                    self.reporter.fatal(&format!("reactor-{core}"), message);
                }
                outcome.is_err() || is_early
            }
            Some(Ended::Forwarder(outcome)) => {
                self.forwarder = false;
                if let Err(error) = &outcome {
                    error!(%error, "the forwarder cannot run");
                    self.reporter.fatal("forwarder", format!("the forwarder cannot run: {error}"));
                }
                outcome.is_err() || is_early
            }
            None => unreachable!("each thread says that it ends"),
        }
    }
}

/// Finds out what each app may take, while there is little room.
async fn watch_shares(operator: Arc<Operator>, shares: Arc<SharedShares>, journal_bytes_max: u64) {
    let mut interval = tokio::time::interval(SHARES_INTERVAL);
    loop {
        interval.tick().await;
        let is_scarce = operator.journal.bytes.load(Ordering::Relaxed) >= journal_bytes_max / 8 * 7;
        shares.replace(is_scarce.then(|| Shares::of(&operator.books.balance().apps)));
    }
}

/// Says who sends wrong keys or secrets without end. Once a minute at most: he would else fill the log.
async fn tell_strangers(strangers: Arc<Strangers>) {
    let mut interval = tokio::time::interval(STRANGERS_INTERVAL);
    loop {
        interval.tick().await;
        let news = strangers.take_news();
        if let Some(address) = news.iter().next() {
            warn!(%address, addresses = news.len(), "too many wrong keys or secrets: told to wait");
        }
    }
}

async fn watch_credentials(credentials: Arc<LiveCredentials>) {
    let mut interval = tokio::time::interval(CREDENTIALS_INTERVAL);
    let mut told = String::new();
    loop {
        interval.tick().await;
        match credentials.look() {
            None => {}
            Some(Ok(credentials)) => {
                info!(apps = credentials.registry.apps().len(), "took changed credentials");
                told.clear();
            }
            Some(Err(error)) => {
                let text = error.to_string();
                // What cannot be read is met at every look, and told once; another content is news each time.
                if text != told {
                    error!(error = text, "kept the credentials of before");
                }
                told = if matches!(error, FileError::Io { .. }) { text } else { String::new() };
            }
        }
    }
}
