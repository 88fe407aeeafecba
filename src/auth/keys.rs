//! The fleet's signing keys.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::key_set::{KEY_SET_VERSION, KeySet, KeyUse};

/// RFC 7518 section 3.2: an HS256 key has at least the 256 bits of the hash.
pub(super) const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: usize = 128;
const KID_CHARACTERS_MAX: usize = 64;

/// Why a text holds no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// Not the JSON that is expected.
    #[error("it is no file of signing keys (line {line}, column {column})")]
    Malformed {
        /// Where reading stopped; what stands there may be a key, so it is not shown.
        line: usize,
        /// Likewise.
        column: usize,
    },
    /// Written by a newer version.
    #[error("it has format version {0}, this Forebay knows {KEY_SET_VERSION}: upgrade, or restore the file")]
    Version(u32),
    /// A key cannot be used.
    #[error("the key `{kid}` {problem}")]
    Key {
        /// Which.
        kid: String,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// None or several keys sign.
    #[error("{0} keys have the use `signing`: exactly one must, the others are `verify-only`")]
    Signers(usize),
}

/// One key, ready for use.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    hmac: hmac::Key,
    /// The token header that names this key, base64url: tokens are told apart by comparing it.
    encoded_header: String,
}

impl SigningKey {
    fn new(kid: &str, key: &[u8]) -> Self {
        Self {
            kid: kid.to_owned(),
            hmac: hmac::Key::new(hmac::HMAC_SHA256, key),
            encoded_header: URL_SAFE_NO_PAD.encode(header(kid)),
        }
    }

    /// The key's name, the `kid` of tokens.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn hmac(&self) -> &hmac::Key {
        &self.hmac
    }

    pub(super) fn encoded_header(&self) -> &str {
        &self.encoded_header
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The one header that a token signed with `kid` has.
pub(super) fn header(kid: &str) -> String {
    format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#)
}

/// The keys that tokens are verified with, and the one that signs.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<SigningKey>,
    signer: usize,
    set: Arc<KeySet>,
}

impl KeyRing {
    /// Reads the file's text.
    pub fn parse(text: &[u8]) -> Result<Self, KeyRingError> {
        Self::new(KeySet::parse(text)?)
    }

    /// Makes a set of keys ready for use.
    pub fn new(set: KeySet) -> Result<Self, KeyRingError> {
        let mut keys: Vec<SigningKey> = Vec::new();
        for key in set.keys() {
            let kid = key.kid();
            let problem = |problem| KeyRingError::Key { kid: kid.to_owned(), problem };
            if !is_kid(kid) {
                return Err(problem("has no proper name: 1 to 64 letters, digits, `-` and `_`"));
            }
            if keys.iter().any(|known| known.kid == kid) {
                return Err(problem("is there twice: rename or remove one"));
            }
            let bytes = key.bytes().ok_or_else(|| problem("is not base64url without padding"))?;
            if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
                return Err(problem("has not between 32 and 128 bytes"));
            }
            keys.push(SigningKey::new(kid, &bytes));
        }
        let mut signers = (0..keys.len()).filter(|index| set.keys()[*index].key_use == KeyUse::Signing);
        match (signers.next(), signers.count()) {
            (Some(signer), 0) => Ok(Self { keys, signer, set: Arc::new(set) }),
            (first, more) => Err(KeyRingError::Signers(usize::from(first.is_some()) + more)),
        }
    }

    /// The text of a file with one new key.
    pub fn generate() -> Vec<u8> {
        KeySet::generate().to_json()
    }

    /// The text of a file with one key, which signs; equal for equal keys.
    pub fn single(kid: &str, key: &[u8]) -> Vec<u8> {
        assert!(
            is_kid(kid) && (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()),
            "a key that can be read"
        );
        KeySet::single(kid, key).to_json()
    }

    /// The set that it was made of.
    pub fn set(&self) -> &KeySet {
        &self.set
    }

    /// The key that signs new tokens.
    pub fn signer(&self) -> &SigningKey {
        &self.keys[self.signer]
    }

    /// All keys that tokens may be signed with.
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }
}

/// A name that needs no escaping in a token's header.
pub(super) fn is_kid(kid: &str) -> bool {
    (1..=KID_CHARACTERS_MAX).contains(&kid.len())
        && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_file_has_one_key_that_signs() {
        let ring = KeyRing::parse(&KeyRing::generate()).expect("own text");
        assert_eq!(ring.keys().len(), 1);
        assert_eq!(ring.signer().kid(), ring.keys()[0].kid());
        assert!(!format!("{ring:?}").contains("hmac"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let key = |kid: &str, key_use: &str, key: &str| {
            format!(r#"{{"kid":"{kid}","use":"{key_use}","key":"{key}"}}"#)
        };
        let good = "A".repeat(43);
        for (keys, expected) in [
            (String::new(), "0 keys"),
            (key("a", "verify-only", &good), "0 keys"),
            (format!("{},{}", key("a", "signing", &good), key("b", "signing", &good)), "2 keys"),
            (format!("{},{}", key("a", "signing", &good), key("a", "verify-only", &good)), "there twice"),
            (key("a b", "signing", &good), "no proper name"),
            (key("a", "signing", "abc"), "bytes"),
            (key("a", "signing", "!!"), "base64url"),
            (key("a", "both", &good), "no file of signing keys"),
        ] {
            let error = KeyRing::parse(format!(r#"{{"version":1,"keys":[{keys}]}}"#).as_bytes());
            let error = error.expect_err("unusable").to_string();
            assert!(error.contains(expected), "{keys}: {error}");
        }
        assert!(matches!(KeyRing::parse(br#"{"version":9,"keys":[]}"#), Err(KeyRingError::Version(9))));
    }

    #[test]
    fn a_rotation_has_one_signer_and_keeps_the_others_for_verifying() {
        let keys = ["old", "new", "next"].map(|kid| {
            let key_use = if kid == "new" { "signing" } else { "verify-only" };
            format!(r#"{{"kid":"{kid}","use":"{key_use}","key":"{}"}}"#, "k".repeat(44 - 1))
        });
        let ring = KeyRing::parse(format!(r#"{{"version":1,"keys":[{}]}}"#, keys.join(",")).as_bytes());
        let ring = ring.expect("a rotation");
        assert_eq!((ring.signer().kid(), ring.keys().len()), ("new", 3));
    }
}
