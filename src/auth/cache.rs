//! Tokens that were found good: a client sends the same one thousands of times.

use std::time::Duration;

use super::app::{App, AppId};
use super::credentials::Credentials;
use super::token::{Claims, TokenError, judge, read};
use crate::constant_time::is_same;

/// Tokens that are remembered; each has one place.
const PLACES: usize = 1024;

/// Remembers the tokens whose signature was found good, with their claims: form, key and signature are checked once, expiry, app and
/// generation each time.
///
/// A token is found by its last characters, which are part of the signature and as good as random, and is then compared whole, in
/// constant time, so that a stranger learns nothing about the signature of a token that is remembered. Forged tokens are never
/// remembered. Clear it whenever the keys may have changed.
#[derive(Debug)]
pub struct TokenCache(Box<[Option<Known>]>);

#[derive(Clone, Debug)]
struct Known {
    token: Box<[u8]>,
    claims: Claims,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self(vec![None; PLACES].into())
    }
}

impl TokenCache {
    /// As [`verify`](super::verify), but remembers.
    ///
    /// Cost: about 50 ns for a token that is known.
    pub fn verify<'a>(
        &mut self,
        credentials: &'a Credentials,
        token: &[u8],
        now: Duration,
    ) -> Result<&'a App, TokenError> {
        let Some(tail) = token.last_chunk::<8>() else { return Err(TokenError::Malformed) };
        let place = &mut self.0[place(*tail)];
        match place {
            Some(known) if is_same(&known.token, token) => judge(&known.claims, &credentials.registry, now),
            _ => {
                let claims = read(&credentials.keys, token)?;
                let known = place.insert(Known { token: token.into(), claims });
                judge(&known.claims, &credentials.registry, now)
            }
        }
    }

    /// Whose token it is, if it was found good before by form, key and signature, whatever became of it since: for what is said of a refusal.
    pub fn app_of(&self, credentials: &Credentials, token: &[u8]) -> Option<AppId> {
        let known = self.0[place(*token.last_chunk::<8>()?)].as_ref();
        let claims = &known.filter(|known| is_same(&known.token, token))?.claims;
        credentials.registry.app(claims.sub).map(|app| app.id)
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.0.fill(None);
    }
}

/// Mixes the bits of eight base64url characters, of which six each are random (Fibonacci hashing).
fn place(tail: [u8; 8]) -> usize {
    let mixed = u64::from_le_bytes(tail).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> (u64::BITS - PLACES.ilog2())).expect("below PLACES")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{KeyRing, Registry, mint};

    const NOW: Duration = Duration::from_secs(1_790_000_000);

    fn credentials() -> (Credentials, App) {
        let mut registry = Registry::default();
        let (app, _) = App::create("demo");
        registry.insert(app.clone()).expect("the first app");
        (Credentials { registry, keys: KeyRing::parse(&KeyRing::generate()).expect("own text") }, app)
    }

    #[test]
    fn a_known_token_is_still_judged_by_time_app_and_generation() {
        let (mut credentials, app) = credentials();
        let token = mint(&credentials.keys, &app, NOW, Duration::from_mins(15)).into_bytes();
        let mut cache = TokenCache::default();
        let mut check =
            |credentials: &Credentials, now| cache.verify(credentials, &token, now).map(|app| app.id);
        assert_eq!(check(&credentials, NOW), Ok(app.id));
        assert_eq!(check(&credentials, NOW), Ok(app.id));
        assert_eq!(check(&credentials, NOW + Duration::from_mins(15)), Err(TokenError::Expired));
        credentials.registry.app_mut(app.id).expect("known").enabled = false;
        assert_eq!(check(&credentials, NOW), Err(TokenError::AppDisabled));
        let known = credentials.registry.app_mut(app.id).expect("known");
        known.enabled = true;
        known.regenerate(Duration::ZERO, NOW);
        assert_eq!(check(&credentials, NOW), Err(TokenError::Revoked));
        assert_eq!(cache.app_of(&credentials, &token), Some(app.id), "it is still known whose it is");
        credentials.registry = Registry::default();
        assert_eq!(cache.app_of(&credentials, &token), None, "nobody's");
    }

    #[test]
    fn a_forged_twin_of_a_known_token_is_refused_and_not_remembered() {
        let (credentials, app) = credentials();
        let token = mint(&credentials.keys, &app, NOW, Duration::from_mins(15)).into_bytes();
        let mut cache = TokenCache::default();
        assert!(cache.verify(&credentials, &token, NOW).is_ok());
        // The same place, since its end is the same.
        let mut forged = token.clone();
        let claims = forged.iter().position(|b| *b == b'.').expect("three parts") + 5;
        forged[claims] ^= 1;
        for _ in 0..2 {
            assert_eq!(
                cache.verify(&credentials, &forged, NOW).map(|app| app.id),
                Err(TokenError::BadSignature)
            );
        }
        assert_eq!(cache.app_of(&credentials, &forged), None);
        assert!(cache.verify(&credentials, &token, NOW).is_ok());
        assert!(cache.verify(&credentials, b"short", NOW).is_err());
        assert_eq!(cache.app_of(&credentials, b"short"), None);
    }

    #[test]
    fn a_key_that_is_gone_is_noticed_after_a_clear() {
        let (mut credentials, app) = credentials();
        let token = mint(&credentials.keys, &app, NOW, Duration::from_mins(15)).into_bytes();
        let mut cache = TokenCache::default();
        assert!(cache.verify(&credentials, &token, NOW).is_ok());
        credentials.keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
        cache.clear();
        assert_eq!(cache.verify(&credentials, &token, NOW).map(|app| app.id), Err(TokenError::UnknownKey));
    }

    #[test]
    fn tokens_spread_over_the_places() {
        let (credentials, app) = credentials();
        let places: std::collections::HashSet<_> = (0..200)
            .map(|second| {
                mint(&credentials.keys, &app, NOW + Duration::from_secs(second), Duration::from_mins(1))
            })
            .map(|token| place(*token.as_bytes().last_chunk().expect("a token")))
            .collect();
        assert!(places.len() > 150, "{}", places.len());
    }
}
