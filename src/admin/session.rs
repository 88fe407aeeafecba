//! Logging in and out with a browser: `POST /session` and `DELETE /session`, and the page that asks for the token.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

use super::Operator;
use super::door::Peer;
use super::guard::SESSION_PATH;
use super::problem::{Json, Problem, read};
use crate::clock;

/// It has no script, and its form leads here alone.
const LOGIN_PAGE: &str = include_str!("login.html");
const LOGIN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new().route("/session", post(log_in).delete(log_out))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    token: String,
}

/// The token comes in a form, from the page, or in JSON.
async fn log_in(
    State(operator): State<Arc<Operator>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let is_form = is_form(request.headers());
    let token = if is_form {
        let body = read(request, &()).await?;
        let token = form_urlencoded::parse(&body).find(|(name, _)| name == "token");
        token.map(|(_, token)| token.into_owned()).unwrap_or_default()
    } else {
        let Json(LogIn { token }) = Json::from_request(request, &()).await?;
        token
    };
    let cookie = match operator.control.guard.log_in(token.trim().as_bytes(), peer, clock::monotonic()) {
        Ok(cookie) => cookie,
        Err(problem) if is_form => return Ok(login_page(problem.status())),
        Err(problem) => return Err(problem),
    };
    let mut response = if is_form {
        (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    };
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn log_out(State(operator): State<Arc<Operator>>, fields: HeaderMap) -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, operator.control.guard.log_out(&fields))])
}

fn is_form(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
}

/// Whether a person asks with a browser.
pub(super) fn wants_page(method: &Method, fields: &HeaderMap) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|kinds| kinds.contains("text/html"));
    *method == Method::GET && fields.get(header::ACCEPT).is_some_and(accepts)
}

/// The page that asks for the token.
pub(super) fn login_page(status: StatusCode) -> Response {
    debug_assert!(LOGIN_PAGE.contains(SESSION_PATH));
    let fields =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, LOGIN_POLICY)];
    (status, fields, LOGIN_PAGE).into_response()
}
