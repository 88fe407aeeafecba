//! The health probes on the public listener, for balancers that check the port they send to.

use uuid::Uuid;

use super::response::Response;
use crate::telemetry::{Health, retry_after, verdict_json};

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// `/livez`: does the process work at all?
    Live,
    /// `/readyz`, and `/healthz` for those who know that name: should it get traffic?
    Ready,
}

impl Probe {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Live),
            "/readyz" | "/healthz" => Some(Self::Ready),
            _ => None,
        }
    }

    pub(super) fn answer(self, health: &Health, now_ms: u64, random: Uuid) -> Response {
        let (status, body) = match self {
            Self::Live => verdict_json(health.live(now_ms)),
            Self::Ready => health.ready_json(now_ms),
        };
        let response = Response::json(status, body.into_bytes()).with("Cache-Control", "no-store");
        if status == 503 { response.with("Retry-After", retry_after(random).to_string()) } else { response }
    }
}
