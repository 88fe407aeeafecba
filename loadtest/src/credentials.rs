//! Tokens: fetched with key and secret, and fetched again before they expire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::response;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{0}: write http://HOST:PORT")]
    Target(String),
    #[error("{address}: {error}")]
    Io { address: String, error: std::io::Error },
    #[error("{address} gave no token: status {status}, {body}")]
    Refused { address: String, status: u16, body: String },
}

/// `host:port` of a target.
pub(crate) fn address(target: &str) -> Result<String, TokenError> {
    let host = target.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains('/') => {
            Ok(if host.contains(':') { host.to_owned() } else { format!("{host}:80") })
        }
        _ => Err(TokenError::Target(target.to_owned())),
    }
}

/// The newest token, shared by all threads; `version` tells whether it changed.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<(u64, Option<Arc<str>>)>);

impl Tokens {
    pub(crate) fn fixed(token: Option<&str>) -> Self {
        Self(Mutex::new((0, token.map(Into::into))))
    }

    pub(crate) fn newest(&self) -> (u64, Option<Arc<str>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, token: &str) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (newest.0 + 1, Some(token.into()));
    }
}

/// Fetches tokens with an app's key and secret.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    pub(crate) address: String,
    pub(crate) api_key: String,
    pub(crate) secret: String,
}

impl Fetcher {
    /// Fetches one; returns when the next one is due.
    pub(crate) fn fetch(&self, tokens: &Tokens) -> Result<Instant, TokenError> {
        let (status, body) =
            self.exchange().map_err(|error| TokenError::Io { address: self.address.clone(), error })?;
        let answer = serde_json::from_str::<serde_json::Value>(&body).ok().filter(|_| status == 200);
        let granted =
            answer.as_ref().and_then(|a| Some((a["access_token"].as_str()?, a["expires_in"].as_u64()?)));
        let Some((token, seconds)) = granted else {
            return Err(TokenError::Refused { address: self.address.clone(), status, body });
        };
        tokens.replace(token);
        // Well before it expires, so that a slow answer costs nothing.
        Ok(Instant::now() + Duration::from_secs(seconds).mul_f64(0.7))
    }

    fn exchange(&self) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let form = "grant_type=client_credentials";
        let basic = STANDARD.encode(format!("{}:{}", self.api_key, self.secret));
        write!(
            stream,
            "POST /oauth/token HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            form.len()
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        match response::parse(&bytes) {
            Ok(Some((response, _))) => {
                Ok((response.status, String::from_utf8_lossy(response.body).into_owned()))
            }
            _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP")),
        }
    }
}
