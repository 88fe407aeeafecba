//! Sends the crash reports that earlier lives of the node have left, as events of an app, through the node itself.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{info, warn};
use uuid::Uuid;

use super::NodeError;
use super::self_request::SelfRequest;
use crate::auth::{AppId, Registry, SharedCredentials, mint};
use crate::clock;
use crate::config::{ConfigError, ServeOptions};
use crate::crash;
use crate::telemetry::{Health, Phase};

/// How often it is looked whether the node is ready.
const READY_INTERVAL: Duration = Duration::from_millis(200);
/// How long a token lives; one is minted for each report.
const TOKEN_LIFETIME: Duration = Duration::from_mins(1);
/// Waits before each further try, where a try may help.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];

/// Who sends, and as whom.
#[derive(Debug)]
pub(super) struct SelfReporter {
    app: AppId,
    folder: PathBuf,
    request: SelfRequest,
}

/// A report that could not be sent.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the node answered {0}")]
    Refused(u16),
    #[error("there is no such app")]
    NoApp,
}

impl SelfReporter {
    /// As `--self-report-app` says, if it does. A node in a fleet may get the app from there.
    pub(super) fn of(options: &ServeOptions, registry: &Registry) -> Result<Option<Self>, ConfigError> {
        let Some(app) = options.crash.self_report_app.map(AppId) else { return Ok(None) };
        let problem = match registry.app(app) {
            None if options.fleet.fleet_key_file.is_none() => {
                "there is no such app: make one with `forebay app create`, or look with `forebay app list`"
            }
            Some(known) if !known.enabled => "the app is disabled: `forebay app enable` it, or name another",
            _ => {
                let request = SelfRequest::of(options);
                return Ok(Some(Self { app, folder: options.data_dir.clone(), request }));
            }
        };
        Err(ConfigError::Flag {
            flag: "self-report-app",
            value: app.to_string(),
            problem: problem.to_owned(),
        })
    }

    /// Starts to send what is there, on a thread of its own that ends when it is done. Clients of the node come to `listen`.
    pub(super) fn start(
        mut self,
        node: &str,
        listen: &[SocketAddr],
        credentials: Arc<SharedCredentials>,
        health: Arc<Health>,
    ) -> Result<(), NodeError> {
        let (reports, Some(address)) = (self.reports(), listen.first()) else { return Ok(()) };
        if reports.is_empty() {
            return Ok(());
        }
        self.request.address = *address;
        let node = node.to_owned();
        let run = move || {
            while health.ready(clock::ms(clock::monotonic())).is_err() {
                if health.phase() >= Phase::Draining {
                    return;
                }
                thread::park_timeout(READY_INTERVAL);
            }
            for report in reports {
                self.send(&report, &node, &credentials);
            }
        };
        let spawned = thread::Builder::new().name("self-report".to_owned()).spawn(run);
        spawned
            .map(drop)
            .map_err(|error| NodeError::System { what: "starting a thread for crash reports", error })
    }

    fn reports(&self) -> Vec<PathBuf> {
        crash::unsent(&self.folder).unwrap_or_else(|error| {
            warn!(%error, folder = %self.folder.display(), "cannot look for crash reports");
            Vec::new()
        })
    }

    fn send(&self, report: &Path, node: &str, credentials: &SharedCredentials) {
        let mut retries = RETRIES.iter();
        let outcome = loop {
            match (self.try_to_send(report, node, credentials), retries.next()) {
                (Err(error), Some(wait)) if error.may_pass() => thread::park_timeout(*wait),
                (outcome, _) => break outcome,
            }
        };
        let file = report.display();
        match outcome.and_then(|()| Ok(crash::mark_sent(report)?)) {
            Ok(()) => info!(%file, app = %self.app, "sent a crash report of an earlier life of this node"),
            Err(error) => warn!(%file, %error, "cannot send a crash report: it is kept for the next start"),
        }
    }

    fn try_to_send(&self, report: &Path, node: &str, credentials: &SharedCredentials) -> Result<(), Unsent> {
        let body = fs::read(report)?;
        let credentials = credentials.newest();
        let app = credentials.registry.app(self.app).ok_or(Unsent::NoApp)?;
        let token = mint(&credentials.keys, app, clock::wall(), TOKEN_LIFETIME);
        // The same event if it is sent again: consumers drop repeats.
        let name = format!("{node}/{}", report.file_name().unwrap_or_default().to_string_lossy());
        let id = Uuid::new_v5(&self.app.0, name.as_bytes());
        match self.request.post(&token, id, &body)? {
            202 => Ok(()),
            status => Err(Unsent::Refused(status)),
        }
    }
}

impl Unsent {
    /// Whether another try may do better.
    fn may_pass(&self) -> bool {
        match self {
            // It may not have come from the fleet yet.
            Self::Io(_) | Self::NoApp => true,
            Self::Refused(status) => matches!(status, 408 | 429 | 503),
        }
    }
}
