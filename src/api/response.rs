//! Answers off the fast path: refusals, tokens, probes.

use uuid::Uuid;

use super::code::Code;
use crate::http::reason;

/// The client's own name for its request; echoed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Longest id that is echoed.
    const CHARACTERS_MAX: usize = 128;

    /// Takes an id of visible ASCII characters; anything else is not echoed.
    pub fn of(value: &[u8]) -> Option<Self> {
        let is_proper =
            (1..=Self::CHARACTERS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
        is_proper.then(|| Self(value.iter().map(|b| char::from(*b)).collect()))
    }

    /// The id as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for RequestId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string().into())
    }
}

/// A whole answer but for what the connection adds (date, persistence).
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; none without a body.
    pub content_type: Option<&'static str>,
    /// More header fields.
    pub fields: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection is of no more use.
    pub close: bool,
}

impl Response {
    /// A JSON answer.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: Some("application/json"), fields: Vec::new(), body, close: false }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: None, fields: Vec::new(), body: Vec::new(), close: false }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// A refusal as `application/problem+json` (RFC 9457), `extensions` being more members of the object: empty, or beginning with a comma.
pub(super) fn problem(code: Code, detail: &str, request: &RequestId, extensions: &str) -> Response {
    let status = code.status();
    // `title` with `about:blank` is the status phrase (RFC 9457 section 4.2.1).
    let body = format!(
        r#"{{"type":"about:blank","title":"{}","status":{status},"detail":{},"code":"{}","retryable":{},"request_id":{}{extensions}}}"#,
        reason(status),
        quoted(detail),
        code.as_str(),
        code.is_retryable(),
        quoted(request.as_str()),
    );
    Response {
        status,
        content_type: Some("application/problem+json"),
        fields: vec![("X-Request-Id", request.as_str().as_bytes().to_vec())],
        body: body.into_bytes(),
        close: false,
    }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("strings always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_echoed_only_if_it_cannot_do_harm() {
        assert_eq!(RequestId::of(b"a-1").as_ref().map(RequestId::as_str), Some("a-1"));
        for bad in [&b""[..], b"a b", b"a\r\nb", b"\xff", &[b'a'; 129]] {
            assert_eq!(RequestId::of(bad), None);
        }
    }

    #[test]
    fn rfc9457_a_problem_has_its_members() {
        let request = RequestId::of(br#"a"b"#).expect("visible");
        let problem = problem(Code::RateLimited, "Slow down.", &request, r#","x":1"#);
        let body: serde_json::Value = serde_json::from_slice(&problem.body).expect("JSON");
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "Slow down.",
            "code": "rate_limited", "retryable": true, "request_id": "a\"b", "x": 1,
        });
        assert_eq!(
            (problem.status, problem.content_type, body),
            (429, Some("application/problem+json"), expected)
        );
    }
}
