//! The operators' listener: health, metrics, pulse and dashboard, and the API to change things, on an address of its own, off the hot path.
//!
//! It reads what the other threads count of themselves and never waits for one of them: it answers while reactors are busy or stuck. What it
//! changes goes through one [`Store`], by compare-and-set. A [`Guard`] stands before all of it but the probes.

mod apps;
mod door;
mod guard;
mod openapi;
mod peers;
mod precondition;
mod problem;
mod refusals;
mod session;
mod sessions;
mod signing_keys;
mod steer;
mod store;

mod numbers;

mod dashboard;
mod pulse;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use uuid::Uuid;

pub use guard::{Guard, GuardOptions, Token, TokenTextError};
pub use peers::{PEER_BOUNDS, Peers};
pub use pulse::{PulseDesk, keep_sampling};
pub use signing_keys::walk;
pub use steer::LogLevel;
pub use store::{PutError, Store};

use crate::auth::Margins;
use crate::clock;
use crate::journal::JournalGauges;
use crate::telemetry::{
    Books, FleetMetrics, ForwarderMetrics, HandshakeMetrics, Health, ListedApps, SharedObserved, render,
    retry_after, verdict_json,
};
use crate::wire::Tls;

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The content type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the listener shows.
#[derive(Debug)]
pub struct Operator {
    /// Verdicts on the node.
    pub health: Arc<Health>,
    /// The ledger.
    pub books: Arc<Books>,
    /// The apps that have numbers of their own.
    pub listed: ListedApps,
    /// The forwarder's counters.
    pub forwarder: Arc<ForwarderMetrics>,
    /// What TLS handshakes came to.
    pub handshakes: Arc<HandshakeMetrics>,
    /// What the journal takes.
    pub journal: Arc<JournalGauges>,
    /// How the fleet is followed, if the node is in one.
    pub fleet: Option<Arc<FleetMetrics>>,
    /// When the node started, on the monotonic clock.
    pub started: Duration,
    /// The same, since the Unix epoch.
    pub started_wall: Duration,
    /// What the journal may take.
    pub journal_bytes_max: u64,
    /// What is looked at once a second.
    pub observed: Arc<SharedObserved>,
    /// The last minutes.
    pub pulse: PulseDesk,
    /// The other nodes.
    pub peers: Peers,
    /// What operators change, and who may.
    pub control: Control,
}

/// What operators change, and who may.
#[derive(Debug)]
pub struct Control {
    /// Stands before everything but the probes.
    pub guard: Arc<Guard>,
    /// Apps and signing keys.
    pub store: Store,
    /// How long a change of signing keys takes.
    pub margins: Margins,
    /// What is logged.
    pub log_level: LogLevel,
    /// Told when the node is to drain and end.
    pub drain: Notify,
}

/// Serves until `over`, over TLS if there is a certificate.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    operator: Arc<Operator>,
    over: impl Future<Output = ()>,
) {
    door::serve(listener, tls, router(operator), over).await;
}

fn router(operator: Arc<Operator>) -> Router {
    Router::new()
        .route(
            "/livez",
            get(async |State(o): State<Arc<Operator>>| verdict(verdict_json(o.health.live(now_ms())))),
        )
        .route("/readyz", get(async |State(o): State<Arc<Operator>>| verdict(o.health.ready_json(now_ms()))))
        .route("/healthz", get(async |State(o): State<Arc<Operator>>| verdict(o.health.ready_json(now_ms()))))
        .route("/metrics", get(metrics))
        .route("/ledger", get(ledger))
        .merge(apps::routes())
        .merge(dashboard::routes())
        .merge(openapi::routes())
        .merge(peers::routes())
        .merge(pulse::routes())
        .merge(refusals::routes())
        .merge(session::routes())
        .merge(signing_keys::routes())
        .merge(steer::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(operator.clone(), guard::guard))
        .with_state(operator)
}

fn verdict((status, body): (u16, String)) -> impl IntoResponse {
    let status = StatusCode::from_u16(status).expect("200 or 503");
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (status, fields, body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(Uuid::new_v4()).into());
    }
    response
}

async fn metrics(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    let page = render(&operator.families());
    ([(header::CONTENT_TYPE, PROMETHEUS)], page)
}

/// The ledger as JSON.
async fn ledger(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    let balance = operator.books.balance();
    let rejected: serde_json::Map<_, _> = operator
        .books
        .rejection_codes
        .iter()
        .zip(&balance.rejected)
        .filter(|(_, count)| **count > 0)
        .map(|(code, count)| ((*code).to_owned(), (*count).into()))
        .collect();
    let apps: serde_json::Map<_, _> = balance
        .apps
        .iter()
        .map(|(app, balance)| {
            let figures = serde_json::json!({
                "accepted": balance.accepted,
                "rejected": balance.rejected,
                "confirmed": balance.settled.confirmed,
                "parked": balance.settled.parked,
                "pending": balance.pending(),
            });
            (app.to_string(), figures)
        })
        .collect();
    axum::Json(serde_json::json!({
        "received": balance.received,
        "accepted": balance.accepted,
        "rejected": rejected,
        "confirmed": balance.settled.confirmed,
        "parked": balance.settled.parked,
        "pending": balance.pending,
        "apps": apps,
    }))
}

fn now_ms() -> u64 {
    clock::ms(clock::monotonic())
}
