//! The token endpoint: the client credentials grant of OAuth 2.0 (RFC 6749 section 4.4).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::code::Code;
use super::response::{RequestId, Response, quoted};
use crate::auth::{App, AppId, Credentials, mint_for};
use crate::http::Head;

/// Largest form: `grant_type`, and a scope that means nothing here.
pub(super) const FORM_BYTES_MAX: usize = 4096;

/// An error of RFC 6749 section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OauthError {
    /// Key or secret are missing or wrong.
    InvalidClient,
    /// The app is disabled.
    UnauthorizedClient,
    /// The app takes nothing from pages of this origin.
    OriginNotAllowed,
    /// The form has no grant type, or it is repeated.
    InvalidRequest,
    /// Another grant than client credentials.
    UnsupportedGrantType,
    /// The form is larger than any that makes sense.
    TooLarge,
    /// The form did not come in time.
    TimedOut,
    /// The node is overloaded, or stops.
    Unavailable,
    /// Key or secret are wrong, as many before from the same address were.
    TooManyWrong {
        /// When the next one will be looked at, seconds.
        wait: u64,
    },
}

impl OauthError {
    /// What breaks off a request for a token.
    pub(super) fn of(code: Code) -> Self {
        match code {
            Code::TooLarge => Self::TooLarge,
            Code::BodyTimeout => Self::TimedOut,
            Code::Overloaded | Code::Draining => Self::Unavailable,
            _ => Self::InvalidRequest,
        }
    }

    /// Status, name and description.
    pub(super) fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidClient => {
                (401, "invalid_client", "Send the API key and the secret with HTTP Basic authentication.")
            }
            Self::UnauthorizedClient => (403, "unauthorized_client", "The app is disabled."),
            Self::OriginNotAllowed => {
                (403, "unauthorized_client", "The app takes nothing from pages of this origin.")
            }
            Self::InvalidRequest => (
                400,
                "invalid_request",
                "Send one grant_type=client_credentials as application/x-www-form-urlencoded.",
            ),
            Self::UnsupportedGrantType => {
                (400, "unsupported_grant_type", "The only grant_type is client_credentials.")
            }
            Self::TooLarge => (413, "invalid_request", "The form is too large."),
            Self::TimedOut => (408, "invalid_request", "The form did not come in time."),
            // RFC 6749 section 4.1.2.1 has the name for it.
            Self::Unavailable => {
                (503, "temporarily_unavailable", "The node is overloaded, or stops: try again.")
            }
            Self::TooManyWrong { .. } => {
                (429, "invalid_client", "Too many wrong keys or secrets came from this address: wait.")
            }
        }
    }

    pub(super) fn response(self, request: &RequestId) -> Response {
        let (status, error, description) = self.parts();
        let body = format!(
            r#"{{"error":"{error}","error_description":"{description}","request_id":{}}}"#,
            quoted(request.as_str())
        );
        let response = no_store(status, body).with("X-Request-Id", request.as_str());
        match self {
            Self::InvalidClient => {
                response.with("WWW-Authenticate", r#"Basic realm="forebay", charset="UTF-8""#)
            }
            Self::Unavailable => response.with("Retry-After", "1"),
            Self::TooManyWrong { wait } => response.with("Retry-After", wait.max(1).to_string()),
            _ => response,
        }
    }
}

/// Who asks at `wall`, by HTTP Basic (RFC 7617): the key as user, the secret as password; and of which generation the secret is.
pub(super) fn client<'a>(
    credentials: &'a Credentials,
    head: &Head<'_>,
    wall: Duration,
) -> Result<(&'a App, u64), OauthError> {
    let offered = head.authorization.and_then(|value| value.split_first_chunk::<6>());
    let Some((scheme, encoded)) = offered else { return Err(OauthError::InvalidClient) };
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return Err(OauthError::InvalidClient);
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).map_err(|_| OauthError::InvalidClient)?;
    let colon = decoded.iter().position(|b| *b == b':').ok_or(OauthError::InvalidClient)?;
    let (key, secret) = (&decoded[..colon], &decoded[colon + 1..]);
    let app = std::str::from_utf8(key).ok().and_then(|key| credentials.registry.app_by_key(key));
    let generation = app.and_then(|app| Some((app, app.generation_of(secret, wall)?)));
    let (app, generation) = generation.ok_or(OauthError::InvalidClient)?;
    if app.enabled { Ok((app, generation)) } else { Err(OauthError::UnauthorizedClient) }
}

/// Whose API key comes with a request for a token, whatever the secret: for what is said of a refusal.
pub(super) fn named(credentials: &Credentials, head: &Head<'_>) -> Option<AppId> {
    let (scheme, encoded) = head.authorization?.split_first_chunk::<6>()?;
    let decoded =
        STANDARD.decode(encoded.trim_ascii()).ok().filter(|_| scheme.eq_ignore_ascii_case(b"Basic "))?;
    let key = decoded.split(|b| *b == b':').next().unwrap_or_default();
    credentials.registry.app_by_key(std::str::from_utf8(key).ok()?).map(|app| app.id)
}

/// Whether a `Content-Type` is a form; without one, it is taken for a form.
pub(super) fn is_form(content_type: Option<&[u8]>) -> bool {
    content_type.is_none_or(|value| {
        let essence = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

/// The answer to a client that proved itself when the head came.
pub(super) fn grant(
    credentials: &Credentials,
    app: AppId,
    generation: u64,
    form: &[u8],
    wall: Duration,
    lifetime: Duration,
) -> Result<Response, OauthError> {
    let mut grants = form_urlencoded::parse(form).filter(|(name, _)| name == "grant_type");
    match (grants.next(), grants.next()) {
        (Some((_, grant)), None) if grant == "client_credentials" => {}
        (Some(_), None) => return Err(OauthError::UnsupportedGrantType),
        _ => return Err(OauthError::InvalidRequest),
    }
    // Between head and body the app may have been removed or disabled, or its secret regenerated.
    let app = credentials.registry.app(app).ok_or(OauthError::InvalidClient)?;
    let good_for = app.good_for(generation, wall).ok_or(OauthError::InvalidClient)?;
    if !app.enabled {
        return Err(OauthError::UnauthorizedClient);
    }
    // A token of credentials that retire ends with them.
    let lifetime = lifetime.min(good_for);
    let token = mint_for(&credentials.keys, app.id, generation, wall, lifetime);
    let seconds = lifetime.as_secs();
    Ok(no_store(200, format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#)))
}

/// RFC 6749 section 5.1 asks for both fields.
fn no_store(status: u16, body: String) -> Response {
    Response::json(status, body.into_bytes()).with("Cache-Control", "no-store").with("Pragma", "no-cache")
}
