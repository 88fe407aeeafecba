//! Refusals of the operators' listener, in the shape of the public one's: `application/problem+json` (RFC 9457) with a `code`.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::telemetry::retry_after;

/// How long a body may take: it is small.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// The field of the body that is meant.
    field: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    /// A value of the body that cannot be.
    pub(super) fn invalid_field(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::new(StatusCode::BAD_REQUEST, "invalid_field", detail) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, for people.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail, field } = self;
        let id = Uuid::new_v4();
        let is_retryable = matches!(status.as_u16(), 408 | 429 | 503);
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
            "retryable": is_retryable,
            "request_id": id,
        });
        if let Some(field) = field {
            body["field"] = field.into();
        }
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        let fields = response.headers_mut();
        if matches!(status.as_u16(), 429 | 503) {
            fields.insert(header::RETRY_AFTER, retry_after(id).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = "Bearer realm=\"forebay\"".parse().expect("a constant");
            fields.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A path that leads nowhere.
pub(super) async fn not_found() -> Problem {
    nowhere()
}

/// The same, where that is found out later.
pub(super) fn nowhere() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
}

/// A method that means nothing at its path; axum adds `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This method is not allowed here: see Allow.",
    )
}

/// The part of a path that names what is meant.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What is no UTF-8 once it is decoded names nothing.
        Path::from_request_parts(parts, state).await.map(|Path(name)| Self(name)).map_err(|_| nowhere())
    }
}

/// A body of JSON.
pub(super) struct Json<T>(pub(super) T);

/// A body of JSON that may be left out.
pub(super) struct MaybeJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let body = read(request, state).await?;
        if body.is_empty() {
            let empty = "The body is empty: send a JSON object.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "empty_body", empty));
        }
        parse(is_json, &body).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let body = read(request, state).await?;
        if body.is_empty() { Ok(Self(T::default())) } else { parse(is_json, &body).map(Self) }
    }
}

/// The whole body, within its bounds of size and time.
pub(super) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The body is larger than is taken here.",
        )),
        Ok(Err(_)) => Err(Problem::malformed("The body could not be read.")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "The body of the request did not arrive in time.",
        )),
    }
}

/// JSON, a merge patch too (RFC 7396). No form of a page has these types, so that none can send them without asking first (CORS).
fn is_json(fields: &HeaderMap) -> bool {
    let essence = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/merge-patch+json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

fn parse<T: DeserializeOwned>(is_json: bool, body: &[u8]) -> Result<T, Problem> {
    if !is_json {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send application/json (a change may also be application/merge-patch+json).",
        ));
    }
    // An array would be taken for the fields of a struct, in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "not_an_object", "The body is a JSON object."));
    }
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { "invalid_field" } else { "invalid_json" };
        Problem::new(StatusCode::BAD_REQUEST, code, error.to_string())
    })
}
