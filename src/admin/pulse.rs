//! `GET /api/pulse`, its history, and its stream: how the node does, once a second, for as many as look.
//!
//! Nobody looks: a sample of the counters a second. One looks, or fifty: the page is put together once a second, and written to each.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::Operator;
use super::problem::Problem;
use crate::auth::{AppId, SharedCredentials};
use crate::clock;
use crate::telemetry::{
    AppLabel, Broker, Circumstances, Headroom, OtherThreads, POINTS_MAX, Point, Pulse, Pulses, Sample,
};

/// From one sample to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Viewers of the stream at a time; past it, 503.
const VIEWERS_MAX: usize = 64;
/// After how many milliseconds a browser asks for a broken stream again.
const RETRY_MS: u16 = 2000;

/// The last minutes of a node, and those who look on.
#[derive(Debug)]
pub struct PulseDesk {
    node: String,
    has_broker: bool,
    journal_bytes_max: u64,
    credentials: Arc<SharedCredentials>,
    pulses: Mutex<Pulses>,
    /// The newest page as an event of the stream.
    newest: watch::Sender<Bytes>,
    places: Arc<Semaphore>,
}

impl PulseDesk {
    /// Of a node with this name; `codes` are the names of the refusal codes, by index.
    pub fn new(
        node: String,
        has_broker: bool,
        journal_bytes_max: u64,
        credentials: Arc<SharedCredentials>,
        codes: Vec<&'static str>,
    ) -> Self {
        Self {
            node,
            has_broker,
            journal_bytes_max,
            credentials,
            pulses: Mutex::new(Pulses::new(codes)),
            newest: watch::Sender::default(),
            places: Arc::new(Semaphore::new(VIEWERS_MAX)),
        }
    }

    /// Whether there is a broker to forward to.
    pub(super) fn has_broker(&self) -> bool {
        self.has_broker
    }

    /// What is left of the node's capacity; none while there is too little traffic to tell.
    pub(super) fn headroom(&self) -> Option<Headroom> {
        self.pulses.lock().headroom(self.journal_bytes_max)
    }
}

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new()
        .route("/api/pulse", get(pulse))
        .route("/api/pulse/history", get(history))
        .route("/api/pulse/stream", get(watch_stream))
}

/// Samples once a second, for as long as it is not dropped.
pub async fn keep_sampling(operator: Arc<Operator>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut busy = ProcessBusy::default();
    loop {
        interval.tick().await;
        let desk = &operator.pulse;
        let journal_bytes = operator.journal.bytes.load(Ordering::Relaxed);
        let mut sample = Sample::take(&operator.books, journal_bytes, clock::monotonic(), clock::wall());
        sample.others = others(&operator, busy.since_before(sample.at));
        desk.pulses.lock().observe(sample, || operator.books.balance().apps);
        if desk.newest.receiver_count() > 0
            && let Some(pulse) = page(&operator)
        {
            desk.newest.send_replace(event(&pulse));
        }
    }
}

/// How busy the threads were that do not say so themselves.
fn others(operator: &Operator, process: Option<f64>) -> OtherThreads {
    let threads = operator.observed.last().usage.threads;
    let of = |name| threads.get(name).copied().map(permille);
    OtherThreads {
        forwarder_permille: of("forwarder"),
        writers_permille: of("iou-wrk"),
        process_permille: process.map(permille),
        cpus: std::thread::available_parallelism().ok().and_then(|cpus| u64::try_from(cpus.get()).ok()),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of some CPUs, never below zero"
)]
fn permille(ratio: f64) -> u64 {
    (ratio * 1e3).round() as u64
}

/// How many CPUs the process takes.
#[derive(Default)]
struct ProcessBusy {
    /// When it was last asked, monotonic, and the CPU time of the process then.
    before: Option<(Duration, Duration)>,
}

impl ProcessBusy {
    fn since_before(&mut self, now: Duration) -> Option<f64> {
        let cpu = clock::process_cpu();
        let (then, used) = self.before.replace((now, cpu))?;
        let elapsed = now.checked_sub(then).filter(|elapsed| !elapsed.is_zero())?;
        Some(cpu.saturating_sub(used).div_duration_f64(elapsed))
    }
}

async fn pulse(State(operator): State<Arc<Operator>>) -> Result<impl IntoResponse, Problem> {
    page(&operator).map(|pulse| (no_store(), axum::Json(pulse))).ok_or_else(no_sample_yet)
}

/// The last minutes, oldest first: what a plot begins with.
async fn history(State(operator): State<Arc<Operator>>) -> Response {
    let points: Vec<Point> = operator.pulse.pulses.lock().history().iter().cloned().collect();
    let history = serde_json::json!({
        "interval_seconds": INTERVAL.as_secs(),
        "points_max": POINTS_MAX,
        "points": points,
    });
    (no_store(), axum::Json(history)).into_response()
}

/// A viewer of the stream.
struct Viewer {
    newest: watch::Receiver<Bytes>,
    /// What is still to be sent before the next page.
    first: Option<Bytes>,
    _place: OwnedSemaphorePermit,
}

/// The stream: server-sent events, one a second. Who reads slowly misses pages, and holds nobody up.
/// It ends with the token or the session that it was asked for with.
async fn watch_stream(State(operator): State<Arc<Operator>>, asked: HeaderMap) -> Result<Response, Problem> {
    let place = operator.pulse.places.clone().try_acquire_owned().map_err(|_| too_many_viewers())?;
    let mut first = format!("retry: {RETRY_MS}\n\n").into_bytes();
    if let Some(pulse) = page(&operator) {
        first.extend_from_slice(&event(&pulse));
    }
    let viewer =
        Viewer { newest: operator.pulse.newest.subscribe(), first: Some(first.into()), _place: place };
    let is_admitted = move || operator.control.guard.still_admits(&asked, clock::monotonic());
    let pages = stream::unfold((viewer, is_admitted), async |(mut viewer, is_admitted)| {
        let page = if let Some(first) = viewer.first.take() {
            first
        } else {
            viewer.newest.changed().await.ok()?;
            viewer.newest.borrow_and_update().clone()
        };
        is_admitted().then_some((Ok::<_, Infallible>(page), (viewer, is_admitted)))
    });
    let fields =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store, no-transform")];
    Ok((fields, Body::from_stream(pages)).into_response())
}

/// The page of now; none in the first moments.
fn page(operator: &Operator) -> Option<Pulse> {
    let desk = &operator.pulse;
    let now = clock::monotonic();
    let now_ms = clock::ms(now);
    let circumstances = Circumstances {
        node: desk.node.clone(),
        version: env!("CARGO_PKG_VERSION"),
        uptime: now.saturating_sub(operator.started),
        live: operator.health.live(now_ms),
        ready: operator.health.ready(now_ms),
        is_journal_failing: operator.books.cores.iter().any(|core| core.journal_failing.value() > 0),
        journal_bytes_max: desk.journal_bytes_max,
        oldest_pending: Some(operator.observed.last().oldest_pending),
        broker: Broker {
            configured: desk.has_broker,
            up: operator.forwarder.broker_up.value() > 0,
            unconfirmed_messages: operator.forwarder.unconfirmed_messages.value(),
        },
    };
    let credentials = desk.credentials.newest();
    let label = |app: Uuid| {
        let app = credentials.registry.app(AppId(app))?;
        let events_per_second = app.rate().map(|(rate, _)| rate);
        Some(AppLabel { name: app.name.clone(), events_per_second })
    };
    desk.pulses.lock().pulse(&circumstances, label)
}

/// A page as an event of the stream.
fn event(pulse: &Pulse) -> Bytes {
    let mut event = b"data: ".to_vec();
    serde_json::to_writer(&mut event, pulse).expect("plain data");
    event.extend_from_slice(b"\n\n");
    event.into()
}

fn no_store() -> [(header::HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}

fn no_sample_yet() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "no_sample_yet",
        "The node has just begun: ask again in a second.",
    )
}

fn too_many_viewers() -> Problem {
    let detail = format!("{VIEWERS_MAX} look on already: ask for /api/pulse once a second instead.");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers", detail)
}
