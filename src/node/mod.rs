//! A whole node: starts the threads, hands out the pieces, watches the credentials, drains.
//!
//! ```text
//!  main thread        reactor 0..N (a CPU each)         forwarder
//!  operators' HTTP    listener, ring, connections --->  tokio_uring: lapin
//!  signals            one batch a turn through a        batches, confirms
//!  credentials        bounded channel
//! ```

mod operate;
mod plan;
mod threads;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc::unbounded_channel;
use tracing::{info, warn};

use crate::admin::Operator;
use crate::api::{Code, Service};
use crate::auth::{
    Credentials, CredentialsError, CredentialsFiles, FileError, SharedCredentials, create_signing_keys,
};
use crate::clock;
use crate::config::{ConfigError, EXIT_CONFIG, ServeOptions};
use crate::forward::{Forwarder, Parking};
use crate::handoff::{Bell, CoreId, CoreLog, Doorbell, QueueLimits, queue};
use crate::reactor::ReactorParts;
use crate::telemetry::{CoreMetrics, ForwarderMetrics, Health};
use crate::uring::UringError;
use operate::{Threads, operate};
use plan::{
    allowed_cpus, check_forwarder_cpus, connections_max, data_dir_error, kept_node_id, queue_share,
    reactor_cpus,
};
use threads::{
    forwarder_options, open_listeners, reactor_options, service_options, spawn_forwarder, spawn_reactor,
};

/// Batches in a core's channel. Under load a batch is a turn's worth of events, so bytes are the tighter bound.
const QUEUE_BATCHES_MAX: usize = 32 << 10;

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
    Credentials(#[from] CredentialsError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
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
            Self::Config(_) | Self::Uring(_) | Self::Credentials(_) | Self::DataDir { .. } => EXIT_CONFIG,
            Self::Listen { .. } | Self::System { .. } => 1,
        }
    }
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Accepted events that nobody has confirmed or parked: they are lost with the process.
    pub at_risk: u64,
    /// Whether a thread failed.
    pub failed: bool,
}

/// Checks flags, CPUs and credentials as a start would, without starting.
pub fn check(options: &ServeOptions) -> Result<(), NodeError> {
    options.check()?;
    let cpus = reactor_cpus(options, &allowed_cpus())?;
    check_forwarder_cpus(options, &allowed_cpus())?;
    queue_share(options, cpus.len())?;
    let credentials = &options.credentials;
    let mut files = CredentialsFiles::new(&credentials.apps_file, &credentials.signing_key_file);
    match files.load() {
        // It would be made.
        Err(FileError::Io { path, error })
            if path == credentials.signing_key_file && error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        loaded => Ok(loaded.map(drop)?),
    }
}

/// Runs a node until it is told to stop.
pub fn run(options: &ServeOptions) -> Result<Stopped, NodeError> {
    options.check()?;
    let cpus = reactor_cpus(options, &allowed_cpus())?;
    check_forwarder_cpus(options, &allowed_cpus())?;
    let share = queue_share(options, cpus.len())?;
    let connections_max = connections_max(options)?;
    let (files, credentials) = load_credentials(options)?;
    fs::create_dir_all(&options.data_dir).map_err(|error| data_dir_error(&options.data_dir, error))?;
    let node = match &options.node_id {
        Some(id) => id.clone(),
        None => kept_node_id(&options.data_dir)?,
    };

    let forwarder_metrics = Arc::<ForwarderMetrics>::default();
    let cores: Vec<(Arc<CoreMetrics>, Arc<CoreLog>)> = cpus.iter().map(|_| Default::default()).collect();
    let health =
        Arc::new(Health::new(cores.iter().map(|(m, _)| m.clone()).collect(), forwarder_metrics.clone()));
    let bell = Bell::default();
    let (ended_in, ended) = unbounded_channel();
    let mut node_threads = Threads { doorbells: Vec::new(), reactors: cpus.len(), ended, forwarder: true };
    let mut listen = options.listen.clone();
    let mut outlets = Vec::new();
    let (up_in, up) = std::sync::mpsc::channel();
    let connections = Arc::new(AtomicUsize::new(0));
    for (core, cpu) in cpus.iter().enumerate() {
        let core = CoreId(u16::try_from(core).expect("reactors are bounded by a u16"));
        let (metrics, log) = cores[core.index()].clone();
        let doorbell =
            Doorbell::new().map_err(|error| NodeError::System { what: "making an eventfd", error })?;
        let limits = QueueLimits { bytes_max: share, batches_max: QUEUE_BATCHES_MAX };
        let (inlet, outlet) = queue(core, limits, log, bell.clone(), doorbell.clone());
        outlets.push(outlet);
        node_threads.doorbells.push(doorbell.clone());
        let service = Service::new(
            service_options(options, share),
            credentials.clone(),
            health.clone(),
            metrics.clone(),
        );
        let parts = ReactorParts {
            listeners: open_listeners(&mut listen)?,
            service,
            inlet,
            doorbell,
            health: health.clone(),
            metrics,
            connections: connections.clone(),
        };
        spawn_reactor(
            core,
            *cpu,
            parts,
            reactor_options(options, connections_max),
            up_in.clone(),
            ended_in.clone(),
        )?;
    }
    drop(up_in);
    // Every reactor says whether it has its CPU and its ring; the first that has not ends the start.
    for outcome in up {
        outcome?;
    }
    let make_forwarder = {
        let (options, parking) = (forwarder_options(options, &node), Parking::new(&options.data_dir));
        let metrics = forwarder_metrics.clone();
        || Forwarder::new(options, outlets, parking, bell, metrics)
    };
    spawn_forwarder(options.broker.forwarder_cpus.clone(), make_forwarder, ended_in)?;

    let operator = Arc::new(Operator {
        health: health.clone(),
        cores,
        forwarder: forwarder_metrics,
        rejection_codes: Code::ALL.iter().map(|code| code.as_str()).collect(),
        started: clock::monotonic(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| NodeError::System { what: "starting the operators' runtime", error })?;
    runtime.block_on(operate(options, &node, &listen, operator, credentials, files, node_threads))
}

fn load_credentials(options: &ServeOptions) -> Result<(CredentialsFiles, Arc<SharedCredentials>), NodeError> {
    let paths = &options.credentials;
    if create_signing_keys(&paths.signing_key_file)? {
        info!(file = %paths.signing_key_file.display(), "made a new signing key");
    }
    let mut files = CredentialsFiles::new(&paths.apps_file, &paths.signing_key_file);
    let credentials: Credentials = files.load()?;
    if credentials.registry.apps().is_empty() {
        warn!(file = %paths.apps_file.display(), "there are no apps yet: make one with `forebay app create`");
    }
    Ok((files, Arc::new(SharedCredentials::new(credentials))))
}
