//! Why a request is refused: the `code` values of the contract.

/// One reason, with its status, name and advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// HTTP itself, or a header field of ours, breaks its rules.
    MalformedRequest,
    /// The body is not JSON.
    InvalidJson,
    /// The body is JSON, but no object.
    NotAnObject,
    /// There is nothing in the body.
    EmptyBody,
    /// The body is not what its `Content-Encoding` says.
    BadEncoding,
    /// There is no item in the batch.
    EmptyBatch,
    /// No `Authorization: Bearer`.
    MissingToken,
    /// The token is none of ours in form.
    MalformedToken,
    /// The token's signature is wrong.
    BadSignature,
    /// The token's lifetime is over.
    ExpiredToken,
    /// The token was minted in the future.
    NotYetValid,
    /// The token's key is not in use.
    UnknownKey,
    /// The token is for another audience.
    WrongAudience,
    /// The app's credentials were regenerated.
    RevokedCredentials,
    /// The app does not exist.
    UnknownApp,
    /// The app is disabled.
    AppDisabled,
    /// No API key, or one that no app has.
    BadApiKey,
    /// The key alone is not enough for this app.
    ApiKeyNotAllowed,
    /// The app takes no events from pages of this origin.
    OriginNotAllowed,
    /// No such path.
    NotFound,
    /// No such method on this path.
    MethodNotAllowed,
    /// The head took too long.
    HeadTimeout,
    /// The body took too long.
    BodyTimeout,
    /// The body's length is not declared.
    LengthRequired,
    /// The body is too large.
    TooLarge,
    /// The target is too long.
    TargetTooLong,
    /// The head is too large.
    HeadTooLarge,
    /// The body is of a type that is not taken here.
    UnsupportedMediaType,
    /// The body is encoded in a way that is not taken here.
    UnsupportedEncoding,
    /// More than the app may send.
    RateLimited,
    /// The node has no room.
    Overloaded,
    /// The node stops, and the request was not complete in time.
    Draining,
    /// The journal's disk fails.
    JournalFailed,
    /// The event has not reached the level asked for in time.
    AckTimeout,
}

impl Code {
    /// All codes, in the order of their indices.
    pub const ALL: [Self; 34] = [
        Self::MalformedRequest,
        Self::InvalidJson,
        Self::NotAnObject,
        Self::EmptyBody,
        Self::BadEncoding,
        Self::EmptyBatch,
        Self::MissingToken,
        Self::MalformedToken,
        Self::BadSignature,
        Self::ExpiredToken,
        Self::NotYetValid,
        Self::UnknownKey,
        Self::WrongAudience,
        Self::RevokedCredentials,
        Self::UnknownApp,
        Self::AppDisabled,
        Self::BadApiKey,
        Self::ApiKeyNotAllowed,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::LengthRequired,
        Self::TooLarge,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::UnsupportedMediaType,
        Self::UnsupportedEncoding,
        Self::RateLimited,
        Self::Overloaded,
        Self::Draining,
        Self::JournalFailed,
        Self::AckTimeout,
    ];

    /// Its index in [`Self::ALL`], and among the counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The status that goes with it.
    pub fn status(self) -> u16 {
        self.row().0
    }

    /// What was wrong and what to do.
    pub fn advice(self) -> &'static str {
        self.row().2
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(self.status(), 408 | 429 | 503)
    }

    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (400, "malformed_request", "The request breaks the rules of HTTP."),
            Self::InvalidJson => (
                400,
                "invalid_json",
                "The body is not valid JSON (RFC 8259) in UTF-8, or nested deeper than 1024 levels.",
            ),
            Self::NotAnObject => (400, "not_an_object", "An event is a JSON object."),
            Self::EmptyBody => (400, "empty_body", "The body is empty: send a JSON object."),
            Self::BadEncoding => {
                (400, "bad_encoding", "The body is not what its Content-Encoding says, or is cut short.")
            }
            Self::EmptyBatch => (400, "empty_batch", "The batch holds no event."),
            Self::MissingToken => {
                (401, "missing_token", "Send `Authorization: Bearer` with a token from /oauth/token.")
            }
            Self::MalformedToken => {
                (401, "malformed_token", "The token is not one that this service has made.")
            }
            Self::BadSignature => (401, "bad_signature", "The token's signature does not fit."),
            Self::ExpiredToken => {
                (401, "expired_token", "The token's lifetime is over: get a new one from /oauth/token.")
            }
            Self::NotYetValid => {
                (401, "not_yet_valid", "The token was made in the future: check the clocks.")
            }
            Self::UnknownKey => (
                401,
                "unknown_key",
                "The token was signed with a key that is not in use: get a new one from /oauth/token.",
            ),
            Self::WrongAudience => (401, "wrong_audience", "The token is for another service."),
            Self::RevokedCredentials => {
                (401, "revoked_credentials", "The app's credentials were regenerated: use the new secret.")
            }
            Self::UnknownApp => (401, "unknown_app", "The token's app does not exist."),
            Self::AppDisabled => (403, "app_disabled", "The app is disabled."),
            Self::BadApiKey => {
                (403, "bad_api_key", "Send the API key of an app in X-ApiKey, or in the query as apikey.")
            }
            Self::ApiKeyNotAllowed => {
                (403, "api_key_not_allowed", "The app takes no events by its API key alone: use a token.")
            }
            Self::OriginNotAllowed => {
                (403, "origin_not_allowed", "The app takes no events from pages of this origin.")
            }
            Self::NotFound => (404, "not_found", "There is nothing at this path."),
            Self::MethodNotAllowed => {
                (405, "method_not_allowed", "This method is not allowed here: see Allow.")
            }
            Self::HeadTimeout => (408, "head_timeout", "The head of the request did not arrive in time."),
            Self::BodyTimeout => (408, "body_timeout", "The body of the request did not arrive in time."),
            Self::LengthRequired => (
                411,
                "length_required",
                "Declare the body with Content-Length or Transfer-Encoding: chunked.",
            ),
            Self::TooLarge => (413, "too_large", "The body is larger than this node takes."),
            Self::TargetTooLong => (414, "target_too_long", "The request target is too long."),
            Self::HeadTooLarge => (431, "head_too_large", "The head is too large or has too many fields."),
            Self::UnsupportedMediaType => (
                415,
                "unsupported_media_type",
                "Send application/json (a batch may also be application/x-ndjson).",
            ),
            Self::UnsupportedEncoding => {
                (415, "unsupported_encoding", "Content-Encoding is not one of Accept-Encoding.")
            }
            Self::RateLimited => (429, "rate_limited", "The app sends more than it may: slow down."),
            Self::Draining => {
                (503, "draining", "The node stops, and the request was not complete in time: try another.")
            }
            Self::Overloaded => (503, "overloaded", "The node has no room for more events now: try again."),
            Self::JournalFailed => {
                (503, "journal_failed", "The node cannot write events down now: try again, or another node.")
            }
            Self::AckTimeout => (
                503,
                "ack_timeout",
                "The event has not reached the level asked for in time, and still may. Sending it again with its id is safe.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CoreMetrics, STATUSES};

    #[test]
    fn every_code_is_listed_once_at_its_index_and_has_a_counter() {
        let metrics = CoreMetrics::default();
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code.index(), index);
            assert!(STATUSES.contains(&code.status()), "{code:?}");
            metrics.count_rejected(code.index(), 1);
            assert_eq!(metrics.rejected(code.index()), 1);
        }
        let names: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn what_time_may_heal_is_retryable() {
        assert!(
            Code::Overloaded.is_retryable()
                && Code::RateLimited.is_retryable()
                && Code::BodyTimeout.is_retryable()
        );
        assert!(
            !Code::InvalidJson.is_retryable()
                && !Code::ExpiredToken.is_retryable()
                && !Code::TooLarge.is_retryable()
        );
    }
}
