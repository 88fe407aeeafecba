//! What is sent: the same heads, tokens and bodies each time, but for keys.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use forebay::auth::{App, Credentials, KeyRing, Registry, mint};

/// A crash report of about `bytes`.
pub(crate) fn report(bytes: usize) -> Vec<u8> {
    let frame = r#"{"lineNumber":217,"className":"app.checkout.Service","fileName":"src/core/queue.rs","methodName":"commit"}"#;
    let frames = vec![frame; 1 + bytes.saturating_sub(300) / frame.len()].join(",");
    format!(r#"{{"occurredOn":"2026-11-24T12:00:00.000Z","details":{{"machineName":"web-7","error":{{"className":"TypeError","message":"Cannot read properties of undefined","stackTrace":[{frames}]}}}}}}"#).into_bytes()
}

/// Records of crash reports, up to `bytes` of them.
pub(crate) fn batch_records(bytes: usize) -> Bytes {
    super::records_of(bytes, &report(600)).freeze()
}

/// A client with a token, and what the node knows of it.
pub(crate) struct Sender {
    pub(crate) credentials: Credentials,
    pub(crate) token: String,
    /// When the token is good.
    pub(crate) now: Duration,
}

impl Sender {
    pub(crate) fn new() -> Self {
        let now = Duration::from_secs(1_790_000_000);
        let mut registry = Registry::default();
        let (app, _) = App::create("bench");
        registry.insert(app.clone()).expect("the first app");
        let keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
        let token = mint(&keys, &app, now, Duration::from_mins(15));
        Self { credentials: Credentials { registry, keys }, token, now }
    }

    /// The head of a client library's request.
    pub(crate) fn head(&self, body_bytes: usize) -> String {
        self.head_with_fields(7, body_bytes)
    }

    /// The same as it comes through a balancer or out of a browser, with `fields` fields: 7 at least.
    pub(crate) fn head_with_fields(&self, fields: usize, body_bytes: usize) -> String {
        let mut head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n\
             Accept-Encoding: identity\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
            self.token
        );
        for field in 7..fields {
            let _ = write!(head, "X-Added-By-Hop-{field}: a value of usual length; q=0.{field}\r\n");
        }
        let _ = write!(head, "Content-Length: {body_bytes}\r\n\r\n");
        head
    }
}
