//! What an operator does to a running node: drain it, change what it logs.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde::Deserialize;
use tracing::info;

use super::Operator;
use super::problem::{Json, Problem};

/// Longest filter.
const FILTER_BYTES_MAX: usize = 1024;

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new()
        .route("/admin/drain", post(drain))
        .route("/admin/log-level", get(show_log_level).put(set_log_level))
}

/// Takes another filter; an error says what is wrong with it.
type Reload = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What is logged, while the node runs.
pub struct LogLevel {
    filter: Mutex<String>,
    reload: Reload,
}

impl LogLevel {
    /// Starts with `filter`; `reload` takes another one.
    pub fn new(filter: &str, reload: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { filter: Mutex::new(filter.to_owned()), reload: Box::new(reload) }
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        let mut current = self.filter.lock();
        (self.reload)(filter)?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").field("filter", &self.filter).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLogLevel {
    filter: String,
}

/// As SIGTERM would: the answer comes, then the node drains and ends.
async fn drain(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    operator.control.drain.notify_one();
    (StatusCode::ACCEPTED, axum::Json(serde_json::json!({ "status": "draining" })))
}

async fn show_log_level(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    axum::Json(serde_json::json!({ "filter": *operator.control.log_level.filter.lock() }))
}

async fn set_log_level(
    State(operator): State<Arc<Operator>>,
    Json(SetLogLevel { filter }): Json<SetLogLevel>,
) -> Result<impl IntoResponse, Problem> {
    if filter.is_empty() || filter.len() > FILTER_BYTES_MAX {
        let detail = format!("The filter has 1 to {FILTER_BYTES_MAX} bytes.");
        return Err(Problem::invalid_field("filter", detail));
    }
    operator.control.log_level.set(&filter).map_err(|error| Problem::invalid_field("filter", error))?;
    info!(filter, "changed what is logged");
    Ok(axum::Json(serde_json::json!({ "filter": filter })))
}
