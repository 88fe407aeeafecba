//! Apps: list, make, show, change, new secrets. There is no way to delete one: its id is in events that were sent, and in tokens that would
//! become those of an unknown app; one that is disabled sends nothing, and can be found again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tracing::info;

use super::Operator;
use super::precondition::{Changed, ETag, expected};
use super::problem::{Json, MaybeJson, Named, Problem};
use crate::auth::{App, AppChange, AppId, AppRule, Secret};
use crate::clock;

/// Longest overlap of two secrets: a month.
const OVERLAP_SECONDS_MAX: u64 = 30 * 24 * 3600;

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new()
        .route("/admin/apps", get(list).post(create))
        .route("/admin/apps/{id}", get(show).patch(change))
        .route("/admin/apps/{id}/regenerate", post(regenerate))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Regenerate {
    /// How long the old secret and its tokens stay good.
    #[serde(default)]
    overlap_seconds: u64,
}

async fn list(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    let credentials = operator.control.store.newest().await;
    let apps: Vec<_> = credentials.registry.apps().iter().map(App::shown).collect();
    axum::Json(serde_json::json!({ "apps": apps }))
}

async fn create(
    State(operator): State<Arc<Operator>>,
    Json(settings): Json<AppChange>,
) -> Result<Response, Problem> {
    let (app, secret) = App::create_with(&settings)?;
    let app = operator.control.store.put_app(app).await?;
    info!(app = %app.id, "made an app");
    let place = [(header::LOCATION, format!("/admin/apps/{}", app.id))];
    Ok((StatusCode::CREATED, place, ETag(app.version), credentials(&app, &secret)).into_response())
}

async fn show(State(operator): State<Arc<Operator>>, Named(id): Named) -> Result<impl IntoResponse, Problem> {
    let credentials = operator.control.store.newest().await;
    let app = known(&id).and_then(|id| credentials.registry.app(id)).ok_or_else(unknown)?;
    Ok((ETag(app.version), axum::Json(app.shown())))
}

async fn change(
    State(operator): State<Arc<Operator>>,
    Named(id): Named,
    fields: HeaderMap,
    Json(change): Json<AppChange>,
) -> Result<impl IntoResponse, Problem> {
    let (app, ()) = put(&operator, &id, &fields, |app| Ok(app.apply(&change)?)).await?;
    info!(app = %app.id, version = app.version, "changed an app");
    Ok((ETag(app.version), axum::Json(app.shown())))
}

async fn regenerate(
    State(operator): State<Arc<Operator>>,
    Named(id): Named,
    fields: HeaderMap,
    MaybeJson(asked): MaybeJson<Regenerate>,
) -> Result<impl IntoResponse, Problem> {
    if asked.overlap_seconds > OVERLAP_SECONDS_MAX {
        let detail = format!("The overlap is at most {OVERLAP_SECONDS_MAX} seconds.");
        return Err(Problem::invalid_field("overlap_seconds", detail));
    }
    let overlap = Duration::from_secs(asked.overlap_seconds);
    let (app, secret) =
        put(&operator, &id, &fields, |app| Ok(app.regenerate(overlap, clock::wall()))).await?;
    info!(app = %app.id, version = app.version, overlap_seconds = asked.overlap_seconds, "replaced the secret of an app");
    Ok((ETag(app.version), credentials(&app, &secret)))
}

/// Changes the version that `If-Match` names, or the newest.
async fn put<T>(
    operator: &Operator,
    id: &str,
    fields: &HeaderMap,
    change: impl Fn(&mut App) -> Result<T, Problem>,
) -> Result<(App, T), Problem> {
    let id = known(id).ok_or_else(unknown)?;
    let mut attempt = Changed::expecting(expected(fields)?);
    loop {
        let newest = operator.control.store.newest().await;
        let mut app = newest.registry.app(id).ok_or_else(unknown)?.clone();
        attempt.see(app.version)?;
        let outcome = change(&mut app)?;
        app.version += 1;
        if let Some(app) = attempt.settle(operator.control.store.put_app(app).await)? {
            return Ok((app, outcome));
        }
    }
}

/// Shown once.
fn credentials(app: &App, secret: &Secret) -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({ "id": app.id, "api_key": app.api_key, "secret": secret.reveal() }))
}

fn known(id: &str) -> Option<AppId> {
    id.parse().ok()
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_app", "There is no app with this id.")
}

impl From<AppRule> for Problem {
    fn from(rule: AppRule) -> Self {
        Self::invalid_field(rule.field(), rule.to_string())
    }
}
