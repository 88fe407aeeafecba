//! An application and its credentials.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rate::EVENTS_PER_SECOND_MAX;
use crate::constant_time::is_same;

/// The rate of an app whose key alone is enough, if none is given.
pub const PUBLIC_KEY_EVENTS_PER_SECOND: u32 = 1000;

/// Identity of an app: the `sub` of its tokens and part of its events' `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppId(pub Uuid);

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AppId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| format!("`{text}` is no app id: it looks like {}", Uuid::nil()))
    }
}

/// The public half of the credentials: 22 base64url characters (128 random bits). It names the app and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ApiKey(pub String);

impl ApiKey {
    /// Characters of a key.
    pub const CHARACTERS: usize = 22;

    /// A new key.
    pub fn generate() -> Self {
        Self(random_text::<16>())
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The private half: 32 random bytes as base64url. Shown once, when it is made; never stored and never printed by `Debug`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new secret.
    pub fn generate() -> Self {
        Self(random_text::<32>())
    }

    /// The text to show to the app's owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored: SHA-256 of the text. A secret of 256 random bits needs no slow hash: there is nothing to guess.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn random_text<const BYTES: usize>() -> String {
    loop {
        let mut bytes = [0u8; BYTES];
        SystemRandom::new().fill(&mut bytes).expect("the system's random numbers never run out");
        let text = URL_SAFE_NO_PAD.encode(bytes);
        // On a command line, a leading dash would be taken for a flag.
        if !text.starts_with('-') {
            return text;
        }
    }
}

/// SHA-256 of a secret.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; digest::SHA256_OUTPUT_LEN]);

impl SecretHash {
    /// The hash of a secret.
    pub fn of(secret: &[u8]) -> Self {
        let hashed = digest::digest(&digest::SHA256, secret);
        Self(hashed.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether `secret` is the one; takes the same time wherever they differ.
    pub fn matches(&self, secret: &[u8]) -> bool {
        is_same(&self.0, &Self::of(secret).0)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        URL_SAFE_NO_PAD.encode(hash.0)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("secret_sha256 is not the base64url form of 32 bytes")
    }
}

/// Credentials of before that are still good for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retiring {
    /// SHA-256 of the secret of before.
    pub secret_sha256: SecretHash,
    /// The generation of before: tokens of it and of later ones are good.
    pub generation: u64,
    /// Until when, exclusive; seconds since the Unix epoch.
    pub until: u64,
}

impl Retiring {
    fn is_good(&self, now: Duration) -> bool {
        now.as_secs() < self.until
    }
}

/// One application, as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its identity.
    pub id: AppId,
    /// A name for people.
    pub name: String,
    /// The public key.
    pub api_key: ApiKey,
    /// SHA-256 of the secret.
    pub secret_sha256: SecretHash,
    /// Raised by each `regenerate`: tokens of a lower generation are revoked.
    pub generation: u64,
    /// Secret and generation of before, if the last `regenerate` left them some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring: Option<Retiring>,
    /// Raised by each change of any kind: who changes an app says which version it has seen.
    #[serde(default)]
    pub version: u64,
    /// Whether it may send at all.
    pub enabled: bool,
    /// Whether the key alone is enough on the paths of Raygun's SDKs.
    #[serde(default)]
    pub allow_api_key: bool,
    /// Accepted rate; none: unlimited, or 1,000 with [`Self::allow_api_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
    /// Events that may come at once; none: as many as come in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Origins of browsers' pages that may send; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
}

impl App {
    /// A new app with fresh credentials, and its secret.
    pub fn create(name: &str) -> (Self, Secret) {
        let secret = Secret::generate();
        let app = Self {
            id: AppId(Uuid::new_v4()),
            name: name.to_owned(),
            api_key: ApiKey::generate(),
            secret_sha256: secret.hash(),
            generation: 1,
            retiring: None,
            version: 1,
            enabled: true,
            allow_api_key: false,
            events_per_second: None,
            burst: None,
            allowed_origins: Vec::new(),
        };
        (app, secret)
    }

    /// Its rate, and what may come at once, in events; none: unlimited. A key that is public needs a bound.
    pub fn rate(&self) -> Option<(u32, u32)> {
        let public = self.allow_api_key.then_some(PUBLIC_KEY_EVENTS_PER_SECOND);
        let rate = self.events_per_second.or(public)?.clamp(1, EVENTS_PER_SECOND_MAX);
        Some((rate, self.burst.unwrap_or(rate).max(1)))
    }

    /// Whether it takes events from a page of this origin.
    pub fn takes_origin(&self, origin: &[u8]) -> bool {
        let is_same = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin);
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(is_same)
    }

    /// The generation of the credentials that `secret` belongs to, if it is good at `now` (since the Unix epoch).
    pub fn generation_of(&self, secret: &[u8], now: Duration) -> Option<u64> {
        // Both are looked at, whichever fits: the time says nothing of them.
        let is_newest = self.secret_sha256.matches(secret);
        let retiring = self.retiring.as_ref().filter(|before| before.secret_sha256.matches(secret));
        if is_newest {
            return Some(self.generation);
        }
        retiring.filter(|before| before.is_good(now)).map(|before| before.generation)
    }

    /// For how long from `now` on tokens of this generation are good; none: they are revoked.
    pub fn good_for(&self, generation: u64, now: Duration) -> Option<Duration> {
        // One that is higher than ours was minted by another node, which has seen a `regenerate` before us.
        if generation >= self.generation {
            return Some(Duration::MAX);
        }
        let before = self.retiring.as_ref().filter(|before| generation >= before.generation)?;
        before.is_good(now).then(|| Duration::from_secs(before.until).saturating_sub(now))
    }

    /// Replaces the secret and returns the new one. All that was issued before is revoked: at once, or `overlap` after `now` (since the
    /// Unix epoch); what was still good of an earlier `regenerate` is so no more.
    pub fn regenerate(&mut self, overlap: Duration, now: Duration) -> Secret {
        let secret = Secret::generate();
        let before = Retiring {
            secret_sha256: std::mem::replace(&mut self.secret_sha256, secret.hash()),
            generation: self.generation,
            until: (now + overlap).as_secs(),
        };
        self.retiring = Some(before).filter(|before| before.is_good(now));
        self.generation += 1;
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_alone_and_shown_by_no_debug() {
        let (app, secret) = App::create("demo");
        assert_eq!((app.api_key.0.len(), secret.reveal().len()), (ApiKey::CHARACTERS, 43));
        assert!(app.secret_sha256.matches(secret.reveal().as_bytes()));
        assert!(!app.secret_sha256.matches(b""));
        assert!(!app.secret_sha256.matches(Secret::generate().reveal().as_bytes()));
        let shown = format!("{app:?} {secret:?}");
        assert!(
            !shown.contains(secret.reveal()) && !shown.contains(&String::from(app.secret_sha256)),
            "{shown}"
        );
    }

    #[test]
    fn a_public_key_has_a_rate_and_a_page_needs_a_listed_origin() {
        let (mut app, _) = App::create("demo");
        assert_eq!(app.rate(), None);
        app.allow_api_key = true;
        assert_eq!(app.rate(), Some((1000, 1000)));
        app.events_per_second = Some(5);
        assert_eq!(app.rate(), Some((5, 5)));
        app.burst = Some(0);
        assert_eq!(app.rate(), Some((5, 1)));
        assert!(app.takes_origin(b"https://any.example"));
        app.allowed_origins.push("https://shop.example".into());
        assert!(app.takes_origin(b"https://SHOP.example") && !app.takes_origin(b"http://shop.example"));
        assert!(!app.takes_origin(b"null"));
    }

    #[test]
    fn regenerate_replaces_the_secret_and_raises_the_generation() {
        let now = Duration::from_secs(1_790_000_000);
        let (mut app, old) = App::create("demo");
        let new = app.regenerate(Duration::ZERO, now);
        assert_eq!((app.generation, &app.retiring), (2, &None));
        assert_eq!(app.generation_of(new.reveal().as_bytes(), now), Some(2));
        assert_eq!(app.generation_of(old.reveal().as_bytes(), now), None);
        assert!(
            app.good_for(1, now).is_none()
                && app.good_for(2, now).is_some()
                && app.good_for(3, now).is_some()
        );
    }

    #[test]
    fn what_was_issued_before_is_good_for_the_overlap_and_no_longer() {
        let now = Duration::from_secs(1_790_000_000);
        let (last, over) = (now + Duration::from_secs(59), now + Duration::from_mins(1));
        let (mut app, first) = App::create("demo");
        let second = app.regenerate(Duration::from_mins(1), now);
        assert_eq!(app.generation_of(first.reveal().as_bytes(), last), Some(1));
        assert_eq!(app.generation_of(first.reveal().as_bytes(), over), None);
        assert_eq!(app.good_for(1, last), Some(Duration::from_secs(1)));
        assert!(app.good_for(1, over).is_none() && app.good_for(2, over).is_some());
        // Whoever regenerates again has a reason: only the newest of before goes on.
        app.regenerate(Duration::from_mins(1), now);
        assert_eq!(app.generation_of(first.reveal().as_bytes(), now), None);
        assert_eq!(app.generation_of(second.reveal().as_bytes(), last), Some(2));
        assert_eq!(app.good_for(1, now), None);
        assert_eq!(app.regenerate(Duration::ZERO, now).reveal().len(), 43);
        assert_eq!(app.good_for(3, now), None, "at once");
    }
}
