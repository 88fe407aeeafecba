//! The operators' listener: health, metrics, pulse and dashboard, on an address of its own, off the hot path.
//!
//! It reads what the other threads count of themselves and never waits for one of them: it answers while reactors are busy or stuck.

mod dashboard;
mod pulse;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use uuid::Uuid;

pub use pulse::{PulseDesk, keep_sampling};

use crate::clock;
use crate::journal::JournalGauges;
use crate::telemetry::{
    Books, ForwarderMetrics, HandshakeMetrics, Health, Scrape, Unhealthy, render, retry_after, verdict_json,
};

/// The content type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the listener shows.
#[derive(Debug)]
pub struct Operator {
    /// Verdicts on the node.
    pub health: Arc<Health>,
    /// The ledger.
    pub books: Arc<Books>,
    /// The forwarder's counters.
    pub forwarder: Arc<ForwarderMetrics>,
    /// What TLS handshakes came to.
    pub handshakes: Arc<HandshakeMetrics>,
    /// What the journal takes.
    pub journal: Arc<JournalGauges>,
    /// When the node started, on the monotonic clock.
    pub started: Duration,
    /// The last minutes.
    pub pulse: PulseDesk,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, operator: Arc<Operator>) -> std::io::Result<()> {
    axum::serve(listener, router(operator)).await
}

fn router(operator: Arc<Operator>) -> Router {
    Router::new()
        .route("/livez", get(async |State(o): State<Arc<Operator>>| verdict(o.health.live(now_ms()))))
        .route("/readyz", get(async |State(o): State<Arc<Operator>>| verdict(o.health.ready(now_ms()))))
        .route("/healthz", get(async |State(o): State<Arc<Operator>>| verdict(o.health.ready(now_ms()))))
        .route("/metrics", get(metrics))
        .route("/ledger", get(ledger))
        .merge(pulse::routes())
        .merge(dashboard::routes())
        .with_state(operator)
}

fn verdict(verdict: Result<(), Unhealthy>) -> impl IntoResponse {
    let (status, body) = verdict_json(verdict);
    let status = StatusCode::from_u16(status).expect("200 or 503");
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (status, fields, body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(Uuid::new_v4()).into());
    }
    response
}

async fn metrics(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    let cores: Vec<_> = operator.books.cores.iter().map(|core| &**core).collect();
    let page = render(&Scrape {
        cores: &cores,
        balance: &operator.books.balance(),
        journal_bytes: operator.journal.bytes.load(Ordering::Relaxed),
        forwarder: &operator.forwarder,
        handshakes: &operator.handshakes,
        rejection_codes: &operator.books.rejection_codes,
        uptime_seconds: clock::monotonic().saturating_sub(operator.started).as_secs_f64(),
    });
    ([(header::CONTENT_TYPE, PROMETHEUS)], page + &operator.pulse.metrics())
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
