//! What became of an app's events, and why some of them were refused.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Operator;
use super::problem::{Named, Problem};
use crate::auth::AppId;
use crate::telemetry::{AppOutcomes, KeptRefusal};

/// Refusals in an answer, where the query does not say how many.
const LIMIT: usize = 20;
/// Most refusals that a query may ask for.
const LIMIT_MAX: usize = 1000;

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new()
        .route("/admin/apps/{id}/outcomes", get(outcomes))
        .route("/admin/apps/{id}/refusals", get(refusals_of_app))
        .route("/admin/refusals", get(refusals))
}

fn no_app(id: &str) -> Problem {
    let detail = format!("There is no app `{id}`, and none has sent anything.");
    Problem::new(StatusCode::NOT_FOUND, "unknown_app", detail)
}

fn bad_query() -> Problem {
    Problem::malformed("The query takes code=CODE and limit=N, with N from 1 to 1000.")
}

async fn outcomes(
    State(operator): State<Arc<Operator>>,
    Named(id): Named,
) -> Result<axum::Json<Value>, Problem> {
    let (app, AppOutcomes { balance, rejected, bytes, seen, .. }) = find(&operator, &id).await?;
    let answer = json!({
        "app": app,
        "accepted": balance.accepted,
        "rejected": rejected,
        "limited": balance.limited,
        "bytes": bytes,
        "last_seen": seen.map(|at| humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()),
        "confirmed": balance.settled.confirmed,
        "parked": balance.settled.parked,
        "pending": balance.pending(),
    });
    Ok(axum::Json(answer))
}

async fn refusals_of_app(
    State(operator): State<Arc<Operator>>,
    Named(id): Named,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Value>, Problem> {
    let (app, AppOutcomes { unkept, .. }) = find(&operator, &id).await?;
    let wanted = Wanted::parse(query.as_deref().unwrap_or_default())?;
    let refusals = wanted.newest(&operator, |refusal| refusal.app == Some(app));
    Ok(axum::Json(json!({ "app": app, "refusals": refusals, "skipped": unkept })))
}

async fn refusals(
    State(operator): State<Arc<Operator>>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Value>, Problem> {
    let wanted = Wanted::parse(query.as_deref().unwrap_or_default())?;
    let refusals = wanted.newest(&operator, |_| true);
    let cores = operator.books.cores.iter();
    let unkept: u64 = cores
        .map(|core| {
            let of_apps: u64 = core.apps.all().iter().map(|(_, counters)| counters.unkept.value()).sum();
            of_apps + core.unkept_refusals.value()
        })
        .sum();
    Ok(axum::Json(json!({ "refusals": refusals, "skipped": unkept })))
}

/// An app that is registered, or was met.
async fn find(operator: &Operator, id: &str) -> Result<(Uuid, AppOutcomes), Problem> {
    let app = Uuid::try_parse(id).map_err(|_| no_app(id))?;
    if let Some(outcomes) = operator.books.outcomes(app) {
        return Ok((app, outcomes));
    }
    let is_registered = operator.control.store.newest().await.registry.app(AppId(app)).is_some();
    is_registered.then(|| (app, AppOutcomes::default())).ok_or_else(|| no_app(id))
}

/// What a query asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    code: Option<String>,
    limit: usize,
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut wanted = Self { code: None, limit: LIMIT };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => wanted.code = Some(value.into_owned()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    wanted.limit = limit.ok_or_else(bad_query)?;
                }
                _ => return Err(bad_query()),
            }
        }
        Ok(wanted)
    }

    /// Those of all reactors, newest first.
    fn newest(&self, operator: &Operator, is_wanted: impl Fn(&KeptRefusal) -> bool) -> Vec<Value> {
        let is_wanted = |refusal: &KeptRefusal| {
            self.code.as_ref().is_none_or(|code| code == refusal.code) && is_wanted(refusal)
        };
        let mut found: Vec<_> =
            operator.books.cores.iter().flat_map(|core| core.refusals.find(is_wanted)).collect();
        found.reverse();
        found.sort_by_key(|refusal| Reverse(refusal.at));
        found.iter().take(self.limit).map(|refusal| as_json(refusal)).collect()
    }
}

fn as_json(refusal: &KeptRefusal) -> Value {
    let KeptRefusal { at, app, code, status, address, method, path, item, request, detail, sample } = refusal;
    let mut object = json!({
        "time": time(*at),
        "app": app,
        "code": code,
        "status": status,
        "address": address,
        "method": method,
        "path": path,
        "request_id": request,
        "detail": detail,
    });
    let more: &mut Map<String, Value> = object.as_object_mut().expect("an object");
    if let Some(item) = item {
        more.insert("item".to_owned(), json!(item));
    }
    if let Some(sample) = sample {
        more.insert("sample".to_owned(), json!(sample.text));
        more.insert("stopped_at".to_owned(), json!(sample.stopped_at));
    }
    object
}

/// RFC 3339, in milliseconds.
fn time(at: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_code_and_a_number_and_nothing_else() {
        let wanted = |code: Option<&str>, limit| Wanted { code: code.map(str::to_owned), limit };
        assert_eq!(Wanted::parse("").expect("nothing"), wanted(None, LIMIT));
        let query = "code=invalid_json&limit=7";
        assert_eq!(Wanted::parse(query).expect("both"), wanted(Some("invalid_json"), 7));
        for query in ["limit=0", "limit=1001", "limit=x", "limit=", "codes=x", "x"] {
            assert!(Wanted::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_time_has_its_milliseconds() {
        assert_eq!(time(Duration::from_millis(1_790_000_000_020)), "2026-09-21T14:13:20.020Z");
    }
}
