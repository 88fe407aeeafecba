//! Tokens: where all threads find the newest ones, and how one is fetched.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::apps::Credentials;
use crate::exchange::exchange;

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

/// One app's token; `version` tells whether it changed.
#[derive(Clone, Debug, Default)]
struct Newest {
    version: u64,
    token: Option<Arc<str>>,
}

/// The newest token of each app, shared by all threads.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Of the newest of all: whoever knows it need not take the lock.
    version: AtomicU64,
    apps: Mutex<Vec<Newest>>,
    /// Apps whose token was refused, and which one it was.
    doubted: Mutex<BTreeSet<(u32, u64)>>,
    /// Who fetches new ones.
    fetching: Thread,
}

impl Tokens {
    /// No tokens yet; the calling thread is the one that will fetch them.
    pub(crate) fn of(apps: usize) -> Self {
        Self {
            version: AtomicU64::new(0),
            apps: Mutex::new(vec![Newest::default(); apps]),
            doubted: Mutex::default(),
            fetching: std::thread::current(),
        }
    }

    /// One app, whose token stays as it is.
    pub(crate) fn fixed(token: Option<&str>) -> Self {
        let tokens = Self::of(1);
        tokens.replace(token.map(|token| (0, token.into())));
        tokens
    }

    pub(crate) fn apps(&self) -> usize {
        self.newest().len()
    }

    pub(crate) fn has_any(&self) -> bool {
        self.newest().iter().any(|newest| newest.token.is_some())
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Shows all tokens that are newer than a version, with app and version; returns the newest version.
    pub(crate) fn each_since(&self, version: u64, mut show: impl FnMut(usize, u64, &str)) -> u64 {
        let apps = self.newest();
        for (app, newest) in apps.iter().enumerate().filter(|(_, newest)| newest.version > version) {
            if let Some(token) = &newest.token {
                show(app, newest.version, token);
            }
        }
        // It changes under the lock alone.
        self.version()
    }

    /// Puts new tokens in the place of old ones.
    pub(crate) fn replace(&self, tokens: impl IntoIterator<Item = (usize, Arc<str>)>) {
        let mut apps = self.newest();
        let version = self.version() + 1;
        for (app, token) in tokens {
            apps[app] = Newest { version, token: Some(token) };
        }
        self.version.store(version, Ordering::Release);
    }

    /// A token was refused: unless there is a newer one already, whoever fetches is woken.
    pub(crate) fn doubt(&self, app: u32, version: u64) {
        let is_newest = self.newest()[app as usize].version == version;
        let is_news = || self.doubted.lock().unwrap_or_else(PoisonError::into_inner).insert((app, version));
        if is_newest && is_news() {
            self.fetching.unpark();
        }
    }

    /// Takes the apps whose newest token was refused.
    pub(crate) fn take_doubted(&self) -> Vec<usize> {
        let doubted = std::mem::take(&mut *self.doubted.lock().unwrap_or_else(PoisonError::into_inner));
        let apps = self.newest();
        let is_newest = |(app, version): (u32, u64)| {
            let app = app as usize;
            (apps[app].version == version).then_some(app)
        };
        doubted.into_iter().filter_map(is_newest).collect()
    }

    fn newest(&self) -> MutexGuard<'_, Vec<Newest>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches tokens with an app's key and secret.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    pub(crate) address: String,
    pub(crate) credentials: Credentials,
}

impl Fetcher {
    /// Fetches one; with it, for how long it is good.
    pub(crate) fn fetch(&self) -> Result<(Arc<str>, Duration), TokenError> {
        let (status, body) =
            self.exchange().map_err(|error| TokenError::Io { address: self.address.clone(), error })?;
        let answer = serde_json::from_str::<serde_json::Value>(&body).ok().filter(|_| status == 200);
        let granted =
            answer.as_ref().and_then(|a| Some((a["access_token"].as_str()?, a["expires_in"].as_u64()?)));
        let Some((token, seconds)) = granted else {
            return Err(TokenError::Refused { address: self.address.clone(), status, body });
        };
        Ok((token.into(), Duration::from_secs(seconds)))
    }

    fn exchange(&self) -> std::io::Result<(u16, String)> {
        let Credentials { api_key, secret } = &self.credentials;
        let form = "grant_type=client_credentials";
        let basic = STANDARD.encode(format!("{api_key}:{secret}"));
        let request = format!(
            "POST /oauth/token HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            form.len()
        );
        exchange(&self.address, &request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_token_is_doubted_and_only_once() {
        let tokens = Tokens::of(3);
        tokens.replace([(0, "a".into()), (1, "b".into()), (2, "c".into())]);
        let old = tokens.version();
        for _ in 0..3 {
            tokens.doubt(1, old);
        }
        tokens.doubt(2, old);
        tokens.replace([(2, "d".into())]);
        tokens.doubt(2, old);
        assert_eq!(tokens.take_doubted(), [1], "the other has a new one already");
        assert_eq!(tokens.take_doubted(), [0_usize; 0]);
        let mut seen = Vec::new();
        let version =
            tokens.each_since(old, |app, version, token| seen.push((app, version, token.to_owned())));
        assert_eq!((version, seen), (2, vec![(2, 2, "d".to_owned())]));
    }
}
