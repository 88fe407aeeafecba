//! Asking a node over HTTP: what a command does from afar, and what one node asks of another. Nothing but JSON, within bounds of time and size;
//! a redirect is not followed, so that what authorizes is shown to the node that was named and to nobody else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::uri::{Scheme, Uri};
use ureq::http::{Method, Request, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Why there is no answer to go by.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be the URL of a node.
    #[error(
        "{url} is no URL of a node: write https://HOST:PORT, or http://HOST:PORT on this machine or a trusted network"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// A node was asked.
    #[error("{url}: {reason}")]
    Unanswered {
        /// What was asked.
        url: String,
        /// What came instead.
        reason: Unanswered,
    },
}

/// What came instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nothing, in the time there is.
    #[error("there was no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// Nothing, or no HTTP.
    #[error("{0}")]
    Io(Box<dyn std::error::Error + Send + Sync>),
    /// It leads elsewhere.
    #[error("it answered {0}, a redirect, which is not followed")]
    Redirect(u16),
    /// A refusal, with its code and text if it has them.
    #[error("refused: {0} {1}")]
    Refused(u16, String),
    /// Something else than JSON.
    #[error("the answer is not JSON: is this the listener that was meant?")]
    NotJson,
}

/// The bounds of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long it may take, connecting included.
    pub timeout: Duration,
    /// How large its body may be.
    pub bytes_max: u64,
}

/// A node.
#[derive(Clone)]
pub struct Remote {
    agent: Agent,
    url: String,
    bounds: Bounds,
    authorization: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What authorizes is a secret.
        f.debug_struct("Remote").field("url", &self.url).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Remote {
    /// A node at `http://HOST:PORT` or `https://HOST:PORT`. Its certificate has to be trusted by this machine.
    pub fn new(url: &str, bounds: Bounds) -> Result<Self, RemoteError> {
        let is_secure = read(url).ok_or_else(|| RemoteError::Url { url: url.to_owned() })?.1;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if is_secure {
            // What cannot be read of them is missed when the node's certificate is not trusted, and told then.
            let trusted = rustls_native_certs::load_native_certs().certs;
            let trusted: Vec<_> =
                trusted.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
            tls = tls.root_certs(RootCerts::Specific(Arc::new(trusted)));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(bounds.timeout))
            .tls_config(tls.build())
            .build()
            .into();
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), bounds, authorization: None })
    }

    /// The same node, asked with this authorization, such as `Bearer …`.
    #[must_use]
    pub fn with_authorization(mut self, authorization: Option<String>) -> Self {
        self.authorization = authorization;
        self
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether nobody between can read what is sent: it is encrypted, or does not leave this machine.
    pub fn is_private(&self) -> bool {
        let (host, is_secure) = read(&self.url).expect("it was read before");
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        is_secure
            || host.eq_ignore_ascii_case("localhost")
            || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// One request without a body.
    pub fn ask(&self, method: Method, path: &str) -> Result<Value, RemoteError> {
        self.send(method, path, None, Vec::new())
    }

    /// One request with a body of JSON.
    pub fn tell(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<Value, RemoteError> {
        let body = serde_json::to_vec(body).expect("strings and numbers always serialise");
        self.send(method, path, Some("application/json"), body)
    }

    /// One request with a form.
    pub fn submit(&self, path: &str, form: &str) -> Result<Value, RemoteError> {
        self.send(Method::POST, path, Some("application/x-www-form-urlencoded"), form.as_bytes().to_vec())
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Value, RemoteError> {
        let url = format!("{}{path}", self.url);
        let mut request = Request::builder().method(method).uri(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(|_| RemoteError::Url { url: url.clone() })?;
        self.answer_to(request).map_err(|reason| RemoteError::Unanswered { url, reason })
    }

    fn answer_to(&self, request: Request<Vec<u8>>) -> Result<Value, Unanswered> {
        let failure = |error| match error {
            ureq::Error::Timeout(_) => Unanswered::Late(self.bounds.timeout),
            // Without a word ahead that says that it is one.
            ureq::Error::Io(error) => Unanswered::Io(Box::new(error)),
            error => Unanswered::Io(Box::new(error)),
        };
        let mut answer = self.agent.run(request).map_err(failure)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(Unanswered::Redirect(status.as_u16()));
        }
        let text = answer.body_mut().with_config().limit(self.bounds.bytes_max).read_to_vec();
        let json = serde_json::from_slice::<Value>(&text.map_err(failure)?);
        if status.is_success() {
            return json.map_err(|_| Unanswered::NotJson);
        }
        Err(Unanswered::Refused(status.as_u16(), reason(status, &json.unwrap_or_default())))
    }
}

/// Host, and whether it is spoken to over TLS, of a URL that has nothing but a scheme, a host and maybe a port.
fn read(url: &str) -> Option<(String, bool)> {
    let uri: Uri = url.parse().ok()?;
    let is_secure = match uri.scheme()? {
        scheme if *scheme == Scheme::HTTPS => true,
        scheme if *scheme == Scheme::HTTP => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    let has_port = authority.port_u16().is_some();
    let is_plain = (has_port || authority.as_str() == authority.host())
        && !authority.as_str().contains('@')
        && uri.path().chars().all(|c| c == '/')
        && uri.query().is_none()
        && !url.contains('#');
    (is_plain && !authority.host().is_empty()).then(|| (authority.host().to_owned(), is_secure))
}

/// What a problem (RFC 9457) or an error of OAuth (RFC 6749) says, or else the status.
fn reason(status: StatusCode, said: &Value) -> String {
    let text = |name: &str| said[name].as_str().map(str::to_owned);
    let code = text("code").or_else(|| text("error"));
    let detail = text("detail").or_else(|| text("error_description"));
    let parts: Vec<_> = [code, detail].into_iter().flatten().collect();
    if parts.is_empty() {
        return status.canonical_reason().unwrap_or_default().to_owned();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(1), bytes_max: 64 };

    #[test]
    fn a_url_of_a_node_has_a_scheme_a_host_and_maybe_a_port() {
        for (url, is_private) in [
            ("http://127.0.0.1:9090", true),
            ("http://[::1]:9090/", true),
            ("http://localhost", true),
            ("https://node-1.example:9090", true),
            ("http://node-1.example:9090", false),
            ("http://192.0.2.1:9090", false),
            ("http://localhost.example", false),
        ] {
            let remote = Remote::new(url, BOUNDS).expect(url);
            assert_eq!((remote.url(), remote.is_private()), (url.trim_end_matches('/'), is_private));
        }
        for url in [
            "",
            "node-1:9090",
            "ftp://node-1:9090",
            "http://",
            "http://:9090",
            "http://node 1",
            "http://node-1:port",
            "http://user:word@node-1",
            "http://node-1/path",
            "http://node-1/?x=1",
            "http://node-1#x",
        ] {
            assert!(matches!(Remote::new(url, BOUNDS), Err(RemoteError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn what_authorizes_is_not_shown() {
        let remote = Remote::new("http://localhost", BOUNDS).expect("a URL");
        let remote = remote.with_authorization(Some("Bearer swordfish".to_owned()));
        assert!(!format!("{remote:?}").contains("swordfish"));
    }

    #[test]
    fn a_refusal_says_what_its_body_says_or_what_its_status_means() {
        let reason = |said| reason(StatusCode::NOT_FOUND, &said);
        let problem = serde_json::json!({ "code": "unknown_app", "detail": "There is no such app." });
        assert_eq!(reason(problem), "unknown_app: There is no such app.");
        assert_eq!(reason(serde_json::json!({ "error": "invalid_client" })), "invalid_client");
        assert_eq!(reason(Value::Null), "Not Found");
    }
}
