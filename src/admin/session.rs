//! Logging in and out with a browser: `POST /session` and `DELETE /session`, and the page that asks for the token. Without a session that page stands in the
//! place of every other, so that who has logged in is back where he was.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;

use super::Operator;
use super::door::Peer;
use super::guard::SESSION_PATH;
use super::problem::{Json, Problem, read};
use crate::clock;

/// It has no script, and its form leads here alone.
const LOGIN_PAGE: &str = include_str!("login.html");
/// Where it says what is wrong, and what view of the dashboard comes next.
const PROBLEM_MARK: &str = "<!--problem-->";
const VIEW_MARK: &str = "<!--view-->";
const LOGIN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn routes() -> Router<Arc<Operator>> {
    // A browser asks for it when a person has the page with a wrong token loaded again.
    let page = get(async || Redirect::to(View::Full.path()));
    Router::new().route("/session", page.post(log_in).delete(log_out))
}

/// What of the dashboard is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Full,
    Radiator,
}

impl View {
    /// As the query of the dashboard says, or the form of the page.
    fn of(pairs: &[u8]) -> Self {
        let is_radiator =
            form_urlencoded::parse(pairs).any(|(name, value)| name == "radiator" && value == "1");
        if is_radiator { Self::Radiator } else { Self::Full }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Full => "/",
            Self::Radiator => "/?radiator=1",
        }
    }
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
    let guard = &operator.control.guard;
    let (cookie, mut response) = if is_form(request.headers()) {
        let body = read(request, &()).await?;
        let view = View::of(&body);
        let token = form_urlencoded::parse(&body).find(|(name, _)| name == "token");
        let token = token.map(|(_, token)| token).unwrap_or_default();
        match guard.log_in(token.trim().as_bytes(), peer, clock::monotonic()) {
            Ok(cookie) => (cookie, Redirect::to(view.path()).into_response()),
            Err(problem) => return Ok(page(problem, view)),
        }
    } else {
        let Json(LogIn { token }) = Json::from_request(request, &()).await?;
        let cookie = guard.log_in(token.trim().as_bytes(), peer, clock::monotonic())?;
        (cookie, StatusCode::NO_CONTENT.into_response())
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

/// The page that asks for the token, in the place of the one that was asked for.
pub(super) fn login_page(problem: Problem, asked: &Uri) -> Response {
    page(problem, View::of(asked.query().unwrap_or_default().as_bytes()))
}

fn page(problem: Problem, view: View) -> Response {
    debug_assert!(LOGIN_PAGE.contains(SESSION_PATH));
    // Words of ours, without markup; and who has only just come has done nothing wrong.
    let told = match problem.code() {
        "missing_token" => String::new(),
        _ => format!(r#"<p role="alert">{}</p>"#, problem.detail()),
    };
    let kept = match view {
        View::Full => "",
        View::Radiator => r#"<input type="hidden" name="radiator" value="1">"#,
    };
    let html = LOGIN_PAGE.replace(PROBLEM_MARK, &told).replace(VIEW_MARK, kept);
    let mut response = problem.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(LOGIN_POLICY));
    fields.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(html);
    response
}
