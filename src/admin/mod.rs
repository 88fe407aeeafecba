//! The operators' listener: health and metrics, on an address of its own, off the hot path.
//!
//! It reads what the other threads count of themselves and never waits for one of them: it answers while reactors are busy or stuck.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::clock;
use crate::handoff::CoreLog;
use crate::telemetry::{
    CoreMetrics, ForwarderMetrics, Health, Scrape, Unhealthy, render, retry_after, verdict_json,
};

/// The content type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the listener shows.
#[derive(Debug)]
pub struct Operator {
    /// Verdicts on the node.
    pub health: Arc<Health>,
    /// Each core's counters and log.
    pub cores: Vec<(Arc<CoreMetrics>, Arc<CoreLog>)>,
    /// The forwarder's counters.
    pub forwarder: Arc<ForwarderMetrics>,
    /// The names of the refusal codes, by index.
    pub rejection_codes: Vec<&'static str>,
    /// When the node started, on the monotonic clock.
    pub started: Duration,
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
    let cores: Vec<_> = operator.cores.iter().map(|(metrics, log)| (&**metrics, &**log)).collect();
    let page = render(&Scrape {
        cores: &cores,
        forwarder: &operator.forwarder,
        rejection_codes: &operator.rejection_codes,
        uptime_seconds: clock::monotonic().saturating_sub(operator.started).as_secs_f64(),
    });
    ([(header::CONTENT_TYPE, PROMETHEUS)], page)
}

fn now_ms() -> u64 {
    clock::ms(clock::monotonic())
}
