//! HTTP/1.1 by the letter, as raw bytes on a socket: each deviation from RFC 9110 and RFC 9112 is refused, the connection ends with that answer, and what
//! was smuggled behind it is neither answered nor accepted.

mod chunks;
mod connections;
mod lengths;
mod lines;
mod methods;
mod targets;

use crate::support::{Http, Node};

/// A node, and a token that would open its door.
struct Stage {
    node: Node,
    token: String,
}

impl Stage {
    fn new() -> Self {
        let node = Node::alone(&["--max-body", "64KiB", "--max-head", "16KiB"]);
        let app = node.app("demo");
        let token = node.token(&app);
        Self { node, token }
    }

    /// An event whose head has these lines besides, and this after its empty line.
    fn event(&self, lines: &str, body: &str) -> String {
        format!("POST /v1/events HTTP/1.1\r\nHost: t\r\n{}{lines}\r\n{body}", self.authorization())
    }

    fn authorization(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }

    /// A connection on which these bytes were sent, and a request behind them that would be accepted.
    fn send_and_smuggle(&self, bytes: impl AsRef<[u8]>) -> Http {
        let smuggled = self.event("Content-Length: 2\r\n", "{}");
        let mut http = self.node.http();
        http.send(&[bytes.as_ref(), smuggled.as_bytes()].concat());
        http
    }

    /// These bytes are refused so, and the connection is of no more use.
    fn refuses_as(&self, bytes: impl AsRef<[u8]>, status: u16, code: &str) {
        let bytes = bytes.as_ref();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        let mut http = self.send_and_smuggle(bytes);
        let answer = http.answer();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{shown:?}");
        assert_eq!(answer.field("Connection"), Some("close"), "{shown:?}");
        assert_eq!(answer.field("Content-Type"), Some("application/problem+json"), "{shown:?}");
        assert!(answer.field("Date").is_some(), "{shown:?}");
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["retryable"]), (&status.into(), &false.into()), "{shown:?}");
        assert!(http.has_ended(), "more was said after {shown:?}");
    }

    fn refuses(&self, bytes: impl AsRef<[u8]>) {
        self.refuses_as(bytes, 400, "malformed_request");
    }

    /// These bytes are one event that is accepted, and the connection goes on behind it.
    fn accepts(&self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let before = self.accepted();
        let mut http = self.node.http();
        http.send(bytes);
        assert_eq!(http.answer().status, 202, "{:?}", String::from_utf8_lossy(bytes));
        goes_on(http);
        assert_eq!(self.accepted(), before + 1);
    }

    fn accepted(&self) -> u64 {
        self.node.metric("forebay_events_accepted_total")
    }
}

/// The connection serves another request, and nothing was left on it.
fn goes_on(mut http: Http) {
    assert_eq!(http.ask("GET", "/livez", &[("Connection", "close")]).status, 200);
    assert!(http.has_ended());
}
