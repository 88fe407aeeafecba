//! Browsers that have shown the token: a cookie each, bounded in number and time, in memory alone.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::auth::{Secret, SecretHash};

/// How long a browser stays known.
pub(super) const SESSION_LIFETIME: Duration = Duration::from_hours(12);
/// Browsers that are known at a time; beyond, the one that came first has to log in again.
const SESSIONS_MAX: usize = 64;

/// The sessions that are open; a session is known by the hash of its cookie, and is good until a moment of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<SecretHash, Duration>>);

impl Sessions {
    /// A new session; the value of its cookie.
    pub(super) fn open(&self, now: Duration) -> Secret {
        let cookie = Secret::generate();
        let mut sessions = self.0.lock();
        sessions.retain(|_, until| *until > now);
        if sessions.len() >= SESSIONS_MAX
            && let Some(first) =
                sessions.iter().min_by_key(|(_, until)| **until).map(|(hash, _)| hash.clone())
        {
            sessions.remove(&first);
        }
        sessions.insert(cookie.hash(), now + SESSION_LIFETIME);
        cookie
    }

    /// Whether a cookie's session is open. It is found by a hash, so that the time says nothing of the cookie.
    pub(super) fn is_open(&self, cookie: &str, now: Duration) -> bool {
        self.0.lock().get(&SecretHash::of(cookie.as_bytes())).is_some_and(|until| *until > now)
    }

    /// Ends a session.
    pub(super) fn close(&self, cookie: &str) {
        self.0.lock().remove(&SecretHash::of(cookie.as_bytes()));
    }

    /// Ends all: they were opened with a token that holds no more.
    pub(super) fn close_all(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_by_time_by_hand_and_by_number() {
        let sessions = Sessions::default();
        let now = Duration::from_secs(7);
        let first = sessions.open(now);
        assert!(sessions.is_open(first.reveal(), now) && !sessions.is_open("x", now));
        assert!(!sessions.is_open(first.reveal(), now + SESSION_LIFETIME));
        let second = sessions.open(now);
        sessions.close(second.reveal());
        assert!(!sessions.is_open(second.reveal(), now));
        for _ in 0..SESSIONS_MAX {
            sessions.open(now + Duration::from_secs(1));
        }
        assert!(!sessions.is_open(first.reveal(), now), "the first of too many");
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
        sessions.close_all();
        assert!(sessions.0.lock().is_empty());
    }
}
