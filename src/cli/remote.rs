//! Speaking to a node: its operators' listener, and its token endpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read: a list of very many apps.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// The node to speak to instead of editing a file.
#[derive(Args)]
pub(crate) struct RemoteArgs {
    /// The operators' listener of a node, `https://HOST:PORT`: it makes the change instead of this command, which then needs no file. The
    /// certificate has to be trusted by this machine (`SSL_CERT_FILE` names other authorities).
    #[arg(long, env = "FOREBAY_ADMIN_URL", value_name = "URL", global = true)]
    admin_url: Option<String>,
    /// The file with the operators' token of that node.
    #[arg(long, env = "FOREBAY_ADMIN_TOKEN_FILE", value_name = "PATH", global = true)]
    admin_token_file: Option<PathBuf>,
}

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error(
        "{url} is no URL of a node: write https://HOST:PORT, or http://HOST:PORT on this machine or a trusted network"
    )]
    Url { url: String },
    #[error("--admin-token-file {}: {error}", path.display())]
    Token { path: PathBuf, error: std::io::Error },
    #[error("{url}: {error}")]
    Io { url: String, error: Box<ureq::Error> },
    #[error("{url} refused: {status} {reason}")]
    Refused { url: String, status: u16, reason: String },
    #[error("{url} did not answer in JSON: is this the listener that was meant?")]
    Answer { url: String },
}

/// A node.
pub(super) struct Remote {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl RemoteArgs {
    /// The node that is to be spoken to, if there is one.
    pub(super) fn remote(&self) -> Result<Option<Remote>, RemoteError> {
        let Some(url) = &self.admin_url else { return Ok(None) };
        let token = self.admin_token_file.as_deref().map(read_token).transpose()?;
        Remote::new(url, token.map(|token| format!("Bearer {token}"))).map(Some)
    }
}

fn read_token(path: &Path) -> Result<String, RemoteError> {
    let read = std::fs::read_to_string(path);
    let token = read.map_err(|error| RemoteError::Token { path: path.to_owned(), error })?;
    Ok(token.trim().to_owned())
}

impl Remote {
    /// A node at `http://HOST:PORT` or `https://HOST:PORT`, asked with this authorization.
    pub(super) fn new(url: &str, authorization: Option<String>) -> Result<Self, RemoteError> {
        let trimmed = url.trim_end_matches('/');
        let host = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            return Err(RemoteError::Url { url: url.to_owned() });
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if trimmed.starts_with("https://") {
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
            .timeout_global(Some(ANSWER_TIMEOUT))
            .tls_config(tls.build())
            .build()
            .into();
        Ok(Self { agent, url: trimmed.to_owned(), authorization })
    }

    /// One request without a body.
    pub(super) fn ask(&self, method: Method, path: &str) -> Result<Value, RemoteError> {
        self.send(method, path, None, Vec::new())
    }

    /// One request with a body of JSON.
    pub(super) fn tell(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<Value, RemoteError> {
        let body = serde_json::to_vec(body).expect("strings and numbers always serialise");
        self.send(method, path, Some("application/json"), body)
    }

    /// One request with a form.
    pub(super) fn submit(&self, path: &str, form: &str) -> Result<Value, RemoteError> {
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
        let io_error = |error: ureq::Error| RemoteError::Io { url: url.clone(), error: Box::new(error) };
        let mut answer = self.agent.run(request).map_err(io_error)?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(io_error)?;
        let json = serde_json::from_slice::<Value>(&text);
        if !status.is_success() {
            let said = json.unwrap_or_default();
            // A problem (RFC 9457), or an error of OAuth (RFC 6749).
            let text = |name: &str| said[name].as_str().map(str::to_owned);
            let code = text("code").or_else(|| text("error"));
            let detail = text("detail").or_else(|| text("error_description"));
            let reason = [code, detail].into_iter().flatten().collect::<Vec<_>>().join(": ");
            return Err(RemoteError::Refused { url, status: status.as_u16(), reason });
        }
        json.map_err(|_| RemoteError::Answer { url })
    }
}
