//! The content of the signing key file, and how it changes: keys come, sign, verify for a while, and go.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::keys::{KEY_BYTES_MIN, KeyRingError};

/// Version of the signing key file.
pub(super) const KEY_SET_VERSION: u32 = 1;
/// Most keys of a file: each is tried by name alone, but nobody needs more at a time.
const KEYS_MAX: usize = 16;
/// Random bytes of a key's name.
const KID_BYTES: usize = 8;

/// What a key may do. A rotation moves a key from `verify-only` (until all nodes have it) to `signing`, back to `verify-only` for a
/// token's lifetime, and out of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUse {
    /// New tokens are signed with it.
    Signing,
    /// Tokens of it are good.
    VerifyOnly,
}

/// One key as it is stored. Times are seconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    kid: String,
    /// What it may do.
    #[serde(rename = "use")]
    pub key_use: KeyUse,
    /// base64url.
    key: String,
    /// Since when it has this use, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// When it signed last; none: never, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_until: Option<u64>,
}

impl KeyEntry {
    fn generate(key_use: KeyUse, since: Option<u64>) -> Self {
        let mut bytes = [0u8; KEY_BYTES_MIN + KID_BYTES];
        SystemRandom::new().fill(&mut bytes).expect("the system's random numbers never run out");
        let (key, kid) = bytes.split_at(KEY_BYTES_MIN);
        // On a command line, a leading dash would be taken for a flag.
        let kid = URL_SAFE_NO_PAD.encode(kid).replacen('-', "_", 1);
        Self { kid, key_use, key: URL_SAFE_NO_PAD.encode(key), since, signed_until: None }
    }

    /// Its name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key itself; none if the text is not base64url.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(&self.key).ok()
    }

    /// Until when tokens of it may be good; none: until nobody knows when.
    fn tokens_until(&self, margins: Margins) -> Option<u64> {
        match (self.since, self.signed_until) {
            (_, Some(signed_until)) => Some(signed_until + margins.retirement_seconds()),
            // Its whole life is known, and it has never signed.
            (Some(_), None) => Some(0),
            (None, None) => None,
        }
    }
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("kid", &self.kid)
            .field("key_use", &self.key_use)
            .finish_non_exhaustive()
    }
}

/// How long a change of keys takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// Until all nodes can have it.
    pub spread: Duration,
    /// Lifetime of a token.
    pub token_lifetime: Duration,
}

impl Margins {
    /// How long a key is needed after another has taken its place: a node may not have noticed yet, and the last token lives on.
    fn retirement_seconds(self) -> u64 {
        whole_seconds(self.spread + self.token_lifetime)
    }
}

/// A walk from one signing key to the next; where it stands is told by the uses and times of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The key that is to sign.
    pub kid: String,
    /// The key that signed when it began.
    pub from: String,
    /// How long the new one only verifies, in seconds.
    pub wait_seconds: u64,
    /// How long the old one still verifies, in seconds.
    pub drop_seconds: u64,
}

/// What a rotation has just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The new key signs.
    Signs,
    /// The old key is gone: the rotation is over.
    Dropped,
}

/// Why keys are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// No key has this name.
    #[error("there is no signing key `{0}`")]
    Unknown(String),
    /// New tokens are signed with it.
    #[error("the key `{0}` signs: let another one sign first")]
    Signs(String),
    /// Tokens of it may still be good.
    #[error("tokens of the key `{kid}` may be good {}: wait, or force it", .until.map_or_else(|| "for as long as a token lives".to_owned(), |until| format!("until {until} (Unix time)")))]
    TokensLive {
        /// Which.
        kid: String,
        /// Until when, if that is known.
        until: Option<u64>,
    },
    /// A rotation is not over.
    #[error("a rotation to the key `{0}` is under way: wait, or remove that key to give it up")]
    UnderWay(String),
    /// No room for another key.
    #[error("there are {KEYS_MAX} signing keys already: remove one")]
    TooMany,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<Keys> {
    version: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    revision: u64,
    keys: Keys,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// All signing keys of a fleet, as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Raised by each change: who changes the keys says which revision he has seen.
    pub revision: u64,
    keys: Vec<KeyEntry>,
    rotation: Option<Rotation>,
}

impl KeySet {
    /// Reads the file's text; whether the keys can be used, [`KeyRing::new`](super::KeyRing::new) finds out.
    pub fn parse(text: &[u8]) -> Result<Self, KeyRingError> {
        let stored: Stored<Vec<KeyEntry>> = serde_json::from_slice(text)
            .map_err(|error| KeyRingError::Malformed { line: error.line(), column: error.column() })?;
        if stored.version != KEY_SET_VERSION {
            return Err(KeyRingError::Version(stored.version));
        }
        let Stored { revision, keys, rotation, .. } = stored;
        // Somebody may have taken its key out by hand.
        let rotation = rotation.filter(|rotation| keys.iter().any(|key| key.kid == rotation.kid));
        Ok(Self { revision, keys, rotation })
    }

    /// One new key, which signs.
    pub fn generate() -> Self {
        Self { revision: 0, keys: vec![KeyEntry::generate(KeyUse::Signing, None)], rotation: None }
    }

    /// With one key, which signs.
    pub(super) fn single(kid: &str, key: &[u8]) -> Self {
        let key = KeyEntry {
            kid: kid.to_owned(),
            key_use: KeyUse::Signing,
            key: URL_SAFE_NO_PAD.encode(key),
            since: None,
            signed_until: None,
        };
        Self { revision: 0, keys: vec![key], rotation: None }
    }

    /// The file's text.
    pub fn to_json(&self) -> Vec<u8> {
        let stored = Stored {
            version: KEY_SET_VERSION,
            revision: self.revision,
            keys: &self.keys,
            rotation: self.rotation.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&stored).expect("strings and numbers always serialise");
        text.push(b'\n');
        text
    }

    /// The next revision, to be changed and put in the place of this one.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    /// The keys, oldest first.
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// The rotation that is under way.
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// What may be shown of the keys, as JSON: names, uses and times.
    pub fn shown(&self) -> serde_json::Value {
        let key = |key: &KeyEntry| {
            let mut shown = serde_json::to_value(key).expect("strings and numbers always serialise");
            shown.as_object_mut().expect("an object").remove("key");
            shown
        };
        let keys: Vec<_> = self.keys.iter().map(key).collect();
        let mut shown = serde_json::json!({ "revision": self.revision, "keys": keys });
        if let Some(rotation) = &self.rotation {
            shown["rotation"] = serde_json::to_value(rotation).expect("strings and numbers always serialise");
        }
        shown
    }

    /// Adds a new key that only verifies; its name. `now` is the time since the Unix epoch, here and below.
    pub fn add(&mut self, now: Duration) -> Result<String, KeySetError> {
        if self.keys.len() >= KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let key = KeyEntry::generate(KeyUse::VerifyOnly, Some(now.as_secs()));
        let kid = key.kid.clone();
        self.keys.push(key);
        Ok(kid)
    }

    /// Lets a key sign, and all others verify. A rotation to another one is given up.
    pub fn sign(&mut self, kid: &str, now: Duration) -> Result<(), KeySetError> {
        self.key(kid)?;
        let now = now.as_secs();
        for key in &mut self.keys {
            let key_use = if key.kid == kid { KeyUse::Signing } else { KeyUse::VerifyOnly };
            if key.key_use == KeyUse::Signing && key_use == KeyUse::VerifyOnly {
                key.signed_until = Some(now);
            }
            if key.key_use != key_use {
                key.since = Some(now);
            }
            key.key_use = key_use;
        }
        self.rotation = self.rotation.take().filter(|rotation| rotation.kid == kid);
        Ok(())
    }

    /// Removes a key that does not sign, and of which no token can be good, unless it is forced. A rotation that needs it is given up.
    pub fn remove(
        &mut self,
        kid: &str,
        is_forced: bool,
        margins: Margins,
        now: Duration,
    ) -> Result<(), KeySetError> {
        let key = self.key(kid)?;
        if key.key_use == KeyUse::Signing {
            return Err(KeySetError::Signs(kid.to_owned()));
        }
        let until = key.tokens_until(margins);
        if !is_forced && until.is_none_or(|until| now.as_secs() < until) {
            return Err(KeySetError::TokensLive { kid: kid.to_owned(), until });
        }
        self.keys.retain(|key| key.kid != kid);
        self.rotation = self.rotation.take().filter(|rotation| rotation.kid != kid && rotation.from != kid);
        Ok(())
    }

    /// Begins a rotation with a new key; its name.
    pub fn rotate(&mut self, margins: Margins, now: Duration) -> Result<String, KeySetError> {
        if let Some(rotation) = &self.rotation {
            return Err(KeySetError::UnderWay(rotation.kid.clone()));
        }
        let signing = self.keys.iter().find(|key| key.key_use == KeyUse::Signing);
        let from = signing.map(|key| key.kid.clone()).expect("a set that is in use has a key that signs");
        let kid = self.add(now)?;
        self.rotation = Some(Rotation {
            kid: kid.clone(),
            from,
            wait_seconds: whole_seconds(margins.spread),
            drop_seconds: margins.retirement_seconds(),
        });
        Ok(kid)
    }

    /// Takes the step of a rotation that is due, if one is.
    pub fn step(&mut self, now: Duration) -> Option<Step> {
        let Rotation { kid, from, wait_seconds, drop_seconds } = self.rotation.clone()?;
        let Ok(key) = self.key(&kid) else { return None };
        let is_due = |wait: u64| now.as_secs() >= key.since.unwrap_or(0).saturating_add(wait);
        match key.key_use {
            KeyUse::VerifyOnly if is_due(wait_seconds) => {
                self.sign(&kid, now).expect("it was found");
                Some(Step::Signs)
            }
            KeyUse::Signing if is_due(drop_seconds) => {
                self.keys.retain(|key| key.kid != from || key.key_use == KeyUse::Signing);
                self.rotation = None;
                Some(Step::Dropped)
            }
            KeyUse::VerifyOnly | KeyUse::Signing => None,
        }
    }

    fn key(&self, kid: &str) -> Result<&KeyEntry, KeySetError> {
        let key = self.keys.iter().find(|key| key.kid == kid);
        key.ok_or_else(|| KeySetError::Unknown(kid.to_owned()))
    }
}

/// Rounded up: a wait is never too short.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::KeyRing;

    const NOW: Duration = Duration::from_secs(1_790_000_000);
    const MARGINS: Margins =
        Margins { spread: Duration::from_secs(10), token_lifetime: Duration::from_mins(15) };

    fn at(seconds: u64) -> Duration {
        NOW + Duration::from_secs(seconds)
    }

    fn signer(set: &KeySet) -> String {
        KeyRing::new(set.clone()).expect("usable").signer().kid().to_owned()
    }

    #[test]
    fn a_set_comes_back_as_it_was_stored_and_shows_no_key() {
        let mut set = KeySet::generate();
        set.rotate(MARGINS, NOW).expect("none is under way");
        let set = set.next();
        assert_eq!(KeySet::parse(&set.to_json()).expect("own text"), set);
        let (shown, debug) = (set.shown().to_string(), format!("{set:?}"));
        for key in &set.keys {
            assert!(!shown.contains(&key.key) && !debug.contains(&key.key), "{shown} {debug}");
        }
        assert_eq!(
            (set.shown()["revision"].as_u64(), set.shown()["keys"][1]["use"].as_str()),
            (Some(1), Some("verify-only"))
        );
        // The files of before had neither revisions nor times.
        let old = r#"{"version":1,"keys":[{"kid":"a","use":"signing","key":"AAAA"}]}"#;
        assert_eq!(KeySet::parse(old.as_bytes()).expect("readable").revision, 0);
    }

    #[test]
    fn a_rotation_walks_by_the_times_in_the_file_alone() {
        let mut set = KeySet::generate();
        let old = signer(&set);
        let new = set.rotate(MARGINS, NOW).expect("none is under way");
        assert_eq!(set.rotate(MARGINS, NOW), Err(KeySetError::UnderWay(new.clone())));
        let again = |set: &KeySet| KeySet::parse(&set.to_json()).expect("a restart reads the file");
        set = again(&set);
        assert_eq!((set.step(at(9)), signer(&set)), (None, old.clone()));
        assert_eq!((set.step(at(10)), signer(&set)), (Some(Step::Signs), new.clone()));
        set = again(&set);
        assert_eq!((set.step(at(10 + 909)), set.keys.len()), (None, 2));
        assert_eq!((set.step(at(10 + 910)), set.keys.len()), (Some(Step::Dropped), 1));
        assert_eq!((set.step(at(9_999)), signer(&set), set.rotation()), (None, new, None));
    }

    #[test]
    fn a_key_goes_when_no_token_of_it_can_be_good_or_by_force() {
        let mut set = KeySet::generate();
        let old = signer(&set);
        let spare = set.add(NOW).expect("room");
        let new = set.add(NOW).expect("room");
        assert_eq!(set.remove(&old, true, MARGINS, NOW), Err(KeySetError::Signs(old.clone())));
        assert_eq!(set.remove("x", true, MARGINS, NOW), Err(KeySetError::Unknown("x".into())));
        set.remove(&spare, false, MARGINS, NOW).expect("it has never signed");
        set.sign(&new, at(5)).expect("known");
        let until = Some(at(5 + 910).as_secs());
        let live = Err(KeySetError::TokensLive { kid: old.clone(), until });
        assert_eq!(set.remove(&old, false, MARGINS, at(5 + 909)), live);
        let mut forced = set.clone();
        forced.remove(&old, true, MARGINS, at(6)).expect("forced");
        set.remove(&old, false, MARGINS, at(5 + 910)).expect("its tokens are over");
        assert_eq!(signer(&set), new);
        // Of a key from an old file nobody knows.
        let text = r#"{"version":1,"keys":[{"kid":"a","use":"verify-only","key":"AAAA"}]}"#;
        let mut old = KeySet::parse(text.as_bytes()).expect("readable");
        let unknown = Err(KeySetError::TokensLive { kid: "a".into(), until: None });
        assert_eq!(old.remove("a", false, MARGINS, at(9_999)), unknown);
    }

    #[test]
    fn whoever_steps_in_ends_a_rotation() {
        let mut set = KeySet::generate();
        let old = signer(&set);
        let new = set.rotate(MARGINS, NOW).expect("none is under way");
        let mut given_up = set.clone();
        given_up.remove(&new, false, MARGINS, NOW).expect("it has never signed");
        assert_eq!((given_up.step(at(99)), given_up.rotation()), (None, None));
        let mut hurried = set.clone();
        hurried.sign(&new, NOW).expect("known");
        assert_eq!(hurried.step(at(909)), None);
        assert_eq!(hurried.step(at(910)), Some(Step::Dropped));
        set.sign(&old, NOW).expect("known");
        assert_eq!((set.rotation(), signer(&set)), (None, old));
    }

    #[test]
    fn there_is_room_for_a_few() {
        let mut set = KeySet::generate();
        while set.keys.len() < KEYS_MAX {
            set.add(NOW).expect("room");
        }
        assert_eq!(set.add(NOW), Err(KeySetError::TooMany));
        assert_eq!(set.rotate(MARGINS, NOW), Err(KeySetError::TooMany));
        assert!(set.rotation().is_none());
    }
}
