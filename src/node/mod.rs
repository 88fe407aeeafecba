//! A whole node: starts the threads, hands out the pieces, watches the credentials, drains.
//!
//! ```text
//!  main thread        reactor 0..N (a CPU each)         forwarder               keeper
//!  operators' HTTP    listener, ring, connections --->  tokio_uring: lapin      segments
//!  signals            one batch a turn into the         batches, confirms,      checkpoint
//!  credentials        journal and a bounded channel     reading back
//! ```
//!
//! Without a broker there is no forwarder: events stay in the journal.

mod admin_token;
mod fleet;
mod journal;
mod listeners;
mod observe;
mod operate;
mod peers;
mod plan;
mod reports;
mod self_report;
mod self_request;
mod statsd;
mod threads;
mod tls;
mod usage;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::sync::mpsc::unbounded_channel;
use tracing::{error, info, warn};

use crate::admin::{Control, Guard, GuardOptions, LogLevel, Operator, PulseDesk};
use crate::api::{Code, Service};
use crate::auth::{
    AppsFile, Credentials, CredentialsFiles, FileError, Margins, SharedCredentials, Strangers,
    create_private, create_signing_keys,
};
use crate::clock;
use crate::config::{AckLevel, ConfigError, EXIT_CONFIG, ServeOptions};
use crate::crash::Reporter;
use crate::fleet::{CopyError, FleetKey, FleetKeyError, signing_keys_to_begin_with};
use crate::forward::{Forwarder, Parking, Source};
use crate::handoff::{Bell, Doorbell, QueueLimits, queue};
use crate::journal::{CoreId, CoreLog, Course, LockError, SettledEvents};
use crate::reactor::{MemoryCap, Pool, ReactorParts, Sources};
use crate::supervisor::{Supervisor, SupervisorError};
use crate::telemetry::{
    Balance, Books, CoreMetrics, ForwarderMetrics, HandshakeMetrics, Health, ListedApps, SharedShares,
};
use crate::uring::UringError;
use admin_token::{AdminToken, AdminTokenError};
use fleet::{fleet_key, keep_credentials};
use journal::{Journal, check_journal, record_bytes_max, segment_bytes};
use listeners::Listeners;
use observe::Observer;
use operate::{Desk, Threads, Watched, operate};
use peers::peers;
use plan::{
    allowed_cpus, check_forwarder_cpus, connections_max, data_dir_error, held_bytes_max, kept_node_id,
    queue_share, reactor_cpus,
};
use self_report::SelfReporter;
use statsd::Statsd;
use threads::{
    forwarder_options, reactor_options, service_options, spawn_forwarder, spawn_pool, spawn_reactor,
};
use tls::{TlsError, TlsFiles};

/// Reactors to one thread that does what takes long.
const REACTORS_PER_WORKER: usize = 2;
/// Batches in a core's channel. Under load a batch is a turn's worth of events, so bytes are the tighter bound.
const QUEUE_BATCHES_MAX: usize = 32 << 10;

/// What is in the journal too takes at most this part of the queue: it can be read back, so there is no need for much memory.
const TOLD_PART: usize = 4;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A flag cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel or a sandbox refuses io_uring.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// Apps or signing keys cannot be read.
    #[error(transparent)]
    Credentials(#[from] FileError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The journal is another process's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The fleet key cannot be used.
    #[error(transparent)]
    FleetKey(#[from] FleetKeyError),
    /// What an earlier life has kept of its fleet cannot be used.
    #[error(transparent)]
    Fleet(#[from] CopyError),
    /// The operators' token cannot be used.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// What the service manager has passed cannot be used.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The data directory cannot be used.
    #[error("{path}: {error}")]
    DataDir {
        /// Which file of it.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Anything else that the system refuses.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl NodeError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Uring(_)
            | Self::Credentials(_)
            | Self::Lock(_)
            | Self::Tls(_)
            | Self::FleetKey(_)
            | Self::Fleet(_)
            | Self::AdminToken(_)
            | Self::Supervisor(_)
            | Self::DataDir { .. } => EXIT_CONFIG,
            Self::Listen { .. } | Self::System { .. } => 1,
        }
    }
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Accepted events (at level `queued`) that nobody has confirmed and that are not in the journal: they are lost with the process.
    pub at_risk: u64,
    /// Whether a thread failed.
    pub failed: bool,
}

/// Checks flags, CPUs, credentials and the journal as a start would, without starting.
pub fn check(options: &ServeOptions) -> Result<(), NodeError> {
    options.check()?;
    let cpus = reactor_cpus(options, &allowed_cpus())?;
    check_forwarder_cpus(options, &allowed_cpus())?;
    queue_share(options, cpus.len())?;
    held_bytes_max(options, cpus.len())?;
    segment_bytes(options, cpus.len())?;
    check_journal(&options.journal.folder.journal_dir)?;
    for mut files in TlsFiles::of(options).into_iter().chain(TlsFiles::of_operators(options)) {
        files.load(Arc::default())?;
    }
    fleet_key(options)?;
    AdminToken::of(options).map(|mut token| token.load()).transpose()?;
    Statsd::of(options, "")?;
    peers(options, "")?;
    let credentials = &options.credentials;
    let mut files = CredentialsFiles::new(&credentials.apps_file, &credentials.signing_key_file);
    match files.load() {
        // It would be made.
        Err(FileError::Io { path, error })
            if path == credentials.signing_key_file && error.kind() == io::ErrorKind::NotFound => {}
        loaded => drop(loaded?),
    }
    let registry = AppsFile::new(&credentials.apps_file).load()?;
    Ok(SelfReporter::of(options, &registry).map(drop)?)
}

/// Runs a node until it is told to stop, for the service manager that started it, if one did. Operators may change `log_level`; `reporter` is
/// told what it dies of.
pub fn run(
    options: &ServeOptions,
    supervisor: Supervisor,
    log_level: LogLevel,
    reporter: &Arc<Reporter>,
) -> Result<Stopped, NodeError> {
    options.check()?;
    let cpus = reactor_cpus(options, &allowed_cpus())?;
    check_forwarder_cpus(options, &allowed_cpus())?;
    let share = queue_share(options, cpus.len())?;
    let segment_bytes = segment_bytes(options, cpus.len())?;
    let held_bytes_max = held_bytes_max(options, cpus.len())?;
    let connections_max = connections_max(options)?;
    let fleet_key = fleet_key(options)?;
    let (files, credentials) = load_credentials(options, fleet_key.as_ref())?;
    let self_reporter = SelfReporter::of(options, &credentials.newest().registry)?;
    let handshakes = Arc::<HandshakeMetrics>::default();
    let mut tls_files = TlsFiles::of(options);
    let tls = tls_files.as_mut().map(|files| files.load(handshakes.clone())).transpose()?.map(Arc::new);
    let mut admin_tls_files = TlsFiles::of_operators(options);
    // Its handshakes are few, and are not counted among those of clients.
    let admin_tls =
        admin_tls_files.as_mut().map(|files| files.load(Arc::default())).transpose()?.map(Arc::new);
    let mut admin_token = AdminToken::of(options);
    let token = admin_token.as_mut().map(AdminToken::load).transpose()?;
    fs::create_dir_all(&options.data_dir).map_err(|error| data_dir_error(&options.data_dir, error))?;
    let node = match &options.node_id {
        Some(id) => id.clone(),
        None => kept_node_id(&options.data_dir)?,
    };
    let statsd = Statsd::of(options, &node)?;
    let peers = peers(options, &node)?;
    let has_broker = !options.broker.amqp_url.is_empty();
    let rejection_codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let metrics: Vec<Arc<CoreMetrics>> = cpus.iter().map(|_| Arc::default()).collect();
    let mut journal = Journal::open(options, segment_bytes, &metrics, rejection_codes.clone())?;
    let books = Arc::new(Books {
        cores: metrics.clone(),
        ledger: journal.ledger.clone(),
        earlier: std::mem::take(&mut journal.earlier),
        rejection_codes,
    });
    reporter.watch(books.clone());

    let forwarder_metrics = Arc::<ForwarderMetrics>::default();
    let needs_broker = options.ack == AckLevel::Confirmed;
    let health = Arc::new(Health::new(metrics.clone(), forwarder_metrics.clone(), needs_broker));
    let (credentialing, store, fleet_metrics) =
        keep_credentials(options, &node, fleet_key, files, credentials.clone())?;
    fleet_metrics.iter().cloned().for_each(|metrics| health.watch_fleet(metrics));
    let bell = Bell::default();
    let (ended_in, ended) = unbounded_channel();
    let mut node_threads = Threads {
        doorbells: Vec::new(),
        reactors: cpus.len(),
        ended,
        forwarder: has_broker,
        reporter: reporter.clone(),
    };
    let Listeners { mut public, admin } = Listeners::of(options, supervisor.passed);
    options.admin.check(admin.address())?;
    let mut sources: Vec<Source> = journal.left.iter().cloned().map(Source::left).collect();
    let mut logs = Vec::new();
    let mut reactors = Vec::new();
    let memory = MemoryCap { bytes_max: held_bytes_max, cores: metrics.clone().into() };
    let (pool, worker) = Pool::new();
    spawn_pool(&worker, cpus.len().div_ceil(REACTORS_PER_WORKER))?;
    let shares = Arc::<SharedShares>::default();
    let strangers = Arc::<Strangers>::default();
    let connections = Arc::new(AtomicUsize::new(0));
    let by_address = Arc::new(Sources::new(options.limits.max_connections_per_address));
    for (core, metrics) in metrics.iter().enumerate() {
        let core = CoreId(u16::try_from(core).expect("reactors are bounded by a u16"));
        let marks = Arc::<CoreLog>::default();
        let appender = journal.begin(core, marks.clone())?;
        let doorbell =
            Doorbell::new().map_err(|error| NodeError::System { what: "making an eventfd", error })?;
        let (inlet, outlet) =
            queue(queue_limits(share, has_broker), marks.clone(), bell.clone(), doorbell.clone());
        sources.push(Source::live(appender.log().clone(), outlet));
        journal.backlog.add(marks.clone(), Course::default());
        logs.push(marks);
        node_threads.doorbells.push(doorbell.clone());
        let service = Service::new(
            service_options(options, record_bytes_max(segment_bytes), cpus.len()),
            credentials.clone(),
            shares.clone(),
            strangers.clone(),
            options.wire.forwarded_for_from.clone().into(),
            health.clone(),
            metrics.clone(),
        );
        reactors.push(ReactorParts {
            listeners: public.open()?,
            are_listeners_shared: public.is_shared(),
            service,
            appender,
            inlet,
            doorbell,
            health: health.clone(),
            metrics: metrics.clone(),
            connections: connections.clone(),
            sources: by_address.clone(),
            balancers: options.wire.proxy_protocol_from.clone().into(),
            tls: tls.clone(),
            pool: pool.clone(),
            memory: memory.clone(),
        });
    }
    let ledger = journal.ledger.clone();
    let backlog = std::mem::take(&mut journal.backlog);
    let (keeping, gauges) = journal.keep()?;
    let (up_in, up) = std::sync::mpsc::channel();
    for ((core, cpu), parts) in cpus.iter().enumerate().zip(reactors) {
        let core = CoreId(u16::try_from(core).expect("reactors are bounded by a u16"));
        let options = reactor_options(options, connections_max);
        spawn_reactor(core, *cpu, parts, options, up_in.clone(), ended_in.clone())?;
    }
    drop(up_in);
    // Every reactor says whether it has its CPU and its ring; the first that has not ends the start.
    for outcome in up {
        outcome?;
    }

    let pulse = PulseDesk::new(
        node.clone(),
        has_broker,
        options.journal.journal_max as u64,
        credentials.clone(),
        books.rejection_codes.clone(),
    );
    let operator = Arc::new(Operator {
        health,
        books,
        listed: ListedApps::default(),
        forwarder: forwarder_metrics,
        handshakes,
        journal: gauges,
        fleet: fleet_metrics,
        started: clock::monotonic(),
        started_wall: clock::wall(),
        journal_bytes_max: options.journal.journal_max as u64,
        observed: Arc::default(),
        pulse,
        peers,
        control: Control {
            guard: Arc::new(Guard::new(
                GuardOptions {
                    token,
                    hosts: options.admin.admin_host.clone(),
                    are_metrics_open: options.admin.admin_metrics_open,
                    is_tls: admin_tls.is_some(),
                },
                strangers.clone(),
            )),
            store,
            margins: Margins {
                spread: options.admin.key_rotation_wait,
                token_lifetime: options.credentials.token_lifetime,
            },
            log_level,
            drain: tokio::sync::Notify::new(),
        },
    });
    // Before anything is confirmed, so that all of it is pushed.
    let observer = Arc::new(Mutex::new(Observer::new(operator.clone(), backlog, statsd)));
    if has_broker {
        let (options_, parking) = (forwarder_options(options, &node), Parking::new(&options.data_dir));
        let metrics = operator.forwarder.clone();
        let make = move || Forwarder::new(options_, sources, parking, bell, ledger, metrics);
        spawn_forwarder(options.broker.forwarder_cpus.clone(), make, ended_in)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| NodeError::System { what: "starting the operators' runtime", error })?;
    let listen = public.addresses();
    let desk = Desk {
        options,
        node: &node,
        listen: listen.clone(),
        admin,
        operator: operator.clone(),
        notifier: supervisor.notifier,
        watchdog: supervisor.watchdog,
        shares,
        strangers,
        observer: observer.clone(),
    };
    let watched = Watched {
        credentials: credentialing,
        tls: tls_files.zip(tls),
        admin_tls: admin_tls_files.zip(admin_tls),
        admin_token,
    };
    // The reactors have their own descriptors of what was passed: when they close them, nobody of this process listens any more.
    drop(public);
    if let Some(self_reporter) = self_reporter {
        self_reporter.start(&node, &listen, credentials.clone(), operator.health.clone())?;
    }
    let failed = runtime.block_on(operate(desk, watched, node_threads))?;
    // Nobody who holds the lock of a file holds up the end.
    runtime.shutdown_background();
    keeping.finish();
    // The last word: nothing is counted after it.
    observer.lock().observe();
    Ok(report(&operator.books.balance(), &logs, failed))
}

/// The bounds of a core's queue; none of it where nobody takes anything out.
fn queue_limits(share: usize, has_broker: bool) -> QueueLimits {
    QueueLimits {
        bytes_max: if has_broker { share } else { 0 },
        told_bytes_max: if has_broker { share / TOLD_PART } else { 0 },
        batches_max: QUEUE_BATCHES_MAX,
    }
}

/// The ledger's last line.
fn report(balance: &Balance, logs: &[Arc<CoreLog>], failed: bool) -> Stopped {
    let Balance { received, accepted, settled, pending, .. } = balance;
    let SettledEvents { confirmed, parked } = settled;
    let at_risk: u64 = logs.iter().map(|log| log.unkept()).sum();
    if at_risk > 0 {
        error!(
            received,
            accepted,
            confirmed,
            parked,
            pending,
            at_risk,
            "stopped with accepted events at risk: no broker has confirmed them, and they are not in the journal"
        );
    } else {
        info!(received, accepted, confirmed, parked, pending, "stopped");
    }
    Stopped { at_risk, failed }
}

fn load_credentials(
    options: &ServeOptions,
    fleet_key: Option<&FleetKey>,
) -> Result<(CredentialsFiles, Arc<SharedCredentials>), NodeError> {
    let paths = &options.credentials;
    let is_new = match fleet_key {
        // The same on all nodes, before they have spoken with each other.
        Some(key) => {
            let stream = &options.fleet.control_stream;
            let keys = signing_keys_to_begin_with(&paths.apps_file, stream, key)?;
            create_private(&paths.signing_key_file, &keys)?
        }
        None => create_signing_keys(&paths.signing_key_file)?,
    };
    if is_new {
        info!(file = %paths.signing_key_file.display(), "made a new signing key");
    }
    let mut files = CredentialsFiles::new(&paths.apps_file, &paths.signing_key_file);
    let credentials: Credentials = files.load()?;
    if credentials.registry.apps().is_empty() {
        warn!(file = %paths.apps_file.display(), "there are no apps yet: make one with `forebay app create`");
    }
    Ok((files, Arc::new(SharedCredentials::new(credentials))))
}
