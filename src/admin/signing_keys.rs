//! Signing keys: list, add, let one sign, remove; and the whole rotation, which walks by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::Operator;
use super::precondition::{Changed, ETag, expected};
use super::problem::{MaybeJson, Named, Problem};
use super::store::PutError;
use crate::auth::{KeySet, KeySetError, Step};
use crate::clock;

/// How often it is looked whether a rotation has a step to take.
const STEP_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait of a rotation: a day, as the flag has it.
const WAIT_SECONDS_MAX: u64 = 24 * 3600;

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new()
        .route("/admin/signing-keys", get(list).post(add))
        .route("/admin/signing-keys/rotate", post(rotate))
        .route("/admin/signing-keys/{kid}", delete(remove))
        .route("/admin/signing-keys/{kid}/sign", post(sign))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// Until all nodes can have the new key; none: `--key-rotation-wait`.
    wait_seconds: Option<u64>,
}

async fn list(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    shown(operator.control.store.newest().await.keys.set())
}

async fn add(State(operator): State<Arc<Operator>>, fields: HeaderMap) -> Result<impl IntoResponse, Problem> {
    let (set, kid) = put(&operator, &fields, |set| Ok(set.add(clock::wall())?)).await?;
    info!(kid, "added a signing key");
    Ok((StatusCode::CREATED, ETag(set.revision), axum::Json(serde_json::json!({ "kid": kid }))))
}

async fn sign(
    State(operator): State<Arc<Operator>>,
    Named(kid): Named,
    fields: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let (set, ()) = put(&operator, &fields, |set| Ok(set.sign(&kid, clock::wall())?)).await?;
    info!(kid, "another key signs");
    Ok(shown(&set))
}

async fn remove(
    State(operator): State<Arc<Operator>>,
    Named(kid): Named,
    RawQuery(query): RawQuery,
    fields: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let force = is_forced(query.as_deref())?;
    let margins = operator.control.margins;
    let remove = |set: &mut KeySet| Ok(set.remove(&kid, force, margins, clock::wall())?);
    let (set, ()) = put(&operator, &fields, remove).await?;
    info!(kid, force, "removed a signing key");
    Ok(shown(&set))
}

/// Whether tokens of a key may end before their time: `?force=true`.
fn is_forced(query: Option<&str>) -> Result<bool, Problem> {
    match query.unwrap_or_default() {
        "" | "force=false" => Ok(false),
        "force=true" => Ok(true),
        _ => Err(Problem::malformed("The query is `force=true` or `force=false`.")),
    }
}

async fn rotate(
    State(operator): State<Arc<Operator>>,
    fields: HeaderMap,
    MaybeJson(asked): MaybeJson<Rotate>,
) -> Result<impl IntoResponse, Problem> {
    let mut margins = operator.control.margins;
    match asked.wait_seconds {
        Some(wait) if wait > WAIT_SECONDS_MAX => {
            let detail = format!("The wait is at most {WAIT_SECONDS_MAX} seconds.");
            return Err(Problem::invalid_field("wait_seconds", detail));
        }
        Some(wait) => margins.spread = Duration::from_secs(wait),
        None => {}
    }
    let (set, kid) = put(&operator, &fields, |set| Ok(set.rotate(margins, clock::wall())?)).await?;
    info!(kid, wait_seconds = margins.spread.as_secs(), "a rotation of the signing keys has begun");
    Ok((StatusCode::ACCEPTED, ETag(set.revision), axum::Json(serde_json::json!({ "kid": kid }))))
}

/// Changes the revision that `If-Match` names, or the newest.
async fn put<T>(
    operator: &Operator,
    fields: &HeaderMap,
    change: impl Fn(&mut KeySet) -> Result<T, Problem>,
) -> Result<(KeySet, T), Problem> {
    let mut attempt = Changed::expecting(expected(fields)?);
    loop {
        let newest = operator.control.store.newest().await;
        let known = newest.keys.set();
        attempt.see(known.revision)?;
        let mut next = known.next();
        let outcome = change(&mut next)?;
        if let Some(set) = attempt.settle(operator.control.store.put_keys(next).await)? {
            return Ok((set, outcome));
        }
    }
}

fn shown(set: &KeySet) -> impl IntoResponse + use<> {
    (ETag(set.revision), axum::Json(set.shown()))
}

impl From<KeySetError> for Problem {
    fn from(error: KeySetError) -> Self {
        let (status, code) = match &error {
            KeySetError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_key"),
            KeySetError::Signs(_) => (StatusCode::CONFLICT, "key_signs"),
            KeySetError::TokensLive { .. } => (StatusCode::CONFLICT, "tokens_live"),
            KeySetError::UnderWay(_) => (StatusCode::CONFLICT, "rotation_under_way"),
            KeySetError::TooMany => (StatusCode::CONFLICT, "too_many_keys"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// Takes each step of a rotation when it is due, for as long as it is not dropped. Every node does: where several are at it, the first is taken.
pub async fn walk(operator: Arc<Operator>) {
    let mut interval = tokio::time::interval(STEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    loop {
        interval.tick().await;
        let store = &operator.control.store;
        let mut next = store.newest().await.keys.set().next();
        let kid = next.rotation().map(|rotation| rotation.kid.clone());
        let Some(step) = next.step(clock::wall()) else { continue };
        match store.put_keys(next).await {
            Ok(_) => {
                let what = match step {
                    Step::Signs => "the new key signs",
                    Step::Dropped => "the old key is gone: the rotation is over",
                };
                info!(kid, "{what}");
                told.clear();
            }
            // Another node was faster.
            Err(PutError::Conflict) => {}
            Err(PutError::Unavailable(reason)) if reason == told => {}
            Err(PutError::Unavailable(reason)) => {
                error!(error = reason, "cannot go on with the rotation of the signing keys");
                told = reason;
            }
        }
    }
}
