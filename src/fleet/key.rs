//! The fleet's one secret, and the keys that are made of it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use crate::auth::{FileError, KeyRing, create_private, read_private};

/// Least and most random bytes of a fleet key.
const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: usize = 128;
/// HKDF (RFC 5869): the salt tells this use of the secret from any other, the labels tell the keys from each other.
const SALT: &[u8] = b"forebay fleet 1";
const LABEL_SEAL: &[u8] = b"seal entries";
const LABEL_SIGNING_KEY: &[u8] = b"first signing key";
const LABEL_SIGNING_KID: &[u8] = b"name of the first signing key";
/// Bytes of the first signing key's name.
const KID_BYTES: usize = 8;

/// Why there is no fleet key.
#[derive(Debug, thiserror::Error)]
pub enum FleetKeyError {
    /// It cannot be read or made, or others can read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error(
        "{}: it holds no fleet key, which is between {KEY_BYTES_MIN} and {KEY_BYTES_MAX} random bytes as base64url: make one with `forebay fleet key`, and bring it to all nodes",
        .0.display()
    )]
    Content(PathBuf),
    /// There is one already.
    #[error(
        "{}: there is a file already, and it is kept: a fleet that loses its key has to be set up anew",
        .0.display()
    )]
    Exists(PathBuf),
}

/// The secret that all nodes of a fleet share. It is in no `Debug` output.
#[derive(Clone)]
pub struct FleetKey(Prk);

impl std::fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetKey(…)")
    }
}

impl FleetKey {
    /// Makes the file of a new key, mode 0600; what exists is never replaced.
    pub fn create(path: &Path) -> Result<(), FleetKeyError> {
        let mut bytes = [0u8; KEY_BYTES_MIN];
        SystemRandom::new().fill(&mut bytes).expect("the system's random numbers never run out");
        let text = format!("{}\n", URL_SAFE_NO_PAD.encode(bytes));
        if create_private(path, text.as_bytes())? {
            Ok(())
        } else {
            Err(FleetKeyError::Exists(path.to_owned()))
        }
    }

    /// Reads a key's file, which others than its owner may not read.
    pub fn load(path: &Path) -> Result<Self, FleetKeyError> {
        let text = read_private(path)?;
        Self::parse(&text).ok_or_else(|| FleetKeyError::Content(path.to_owned()))
    }

    /// Reads a key's text.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_ascii()).ok()?;
        let is_long_enough = (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len());
        is_long_enough.then(|| Self(Salt::new(HKDF_SHA256, SALT).extract(&bytes)))
    }

    /// The key that entries are sealed with.
    pub(super) fn sealing(&self) -> LessSafeKey {
        let label = [LABEL_SEAL];
        let okm =
            self.0.expand(&label, &CHACHA20_POLY1305).expect("RFC 5869: one block of the hash is enough");
        LessSafeKey::new(UnboundKey::from(okm))
    }

    /// The text of a signing key file, the same on every node: tokens of one are good on the others before anything was exchanged.
    pub fn first_signing_keys(&self) -> Vec<u8> {
        let key: [u8; 32] = self.derive(LABEL_SIGNING_KEY);
        let kid: [u8; KID_BYTES] = self.derive(LABEL_SIGNING_KID);
        KeyRing::single(&URL_SAFE_NO_PAD.encode(kid), &key)
    }

    fn derive<const BYTES: usize>(&self, label: &[u8]) -> [u8; BYTES] {
        let mut bytes = [0u8; BYTES];
        let label = [label];
        let okm = self.0.expand(&label, Bytes(BYTES)).expect("RFC 5869: one block of the hash is enough");
        okm.fill(&mut bytes).expect("as long as was asked for");
        bytes
    }
}

/// So many bytes of output.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deeper/fleet.key");
        FleetKey::create(&path).expect("made");
        let first = FleetKey::load(&path).expect("readable").first_signing_keys();
        assert!(matches!(FleetKey::create(&path), Err(FleetKeyError::Exists(_))));
        assert_eq!(FleetKey::load(&path).expect("readable").first_signing_keys(), first, "it was kept");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&path, open).expect("ours");
        assert!(matches!(FleetKey::load(&path), Err(FleetKeyError::File(FileError::Exposed { .. }))));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fleet.key");
        for text in ["", "c2hvcnQ", &"!".repeat(43), &"A".repeat(200)] {
            crate::auth::replace_private(&path, text.as_bytes()).expect("ours");
            let error = FleetKey::load(&path).expect_err("no key").to_string();
            assert!(error.contains("fleet.key") && (text.is_empty() || !error.contains(text)), "{error}");
        }
        assert_eq!(format!("{:?}", FleetKey::parse(&[b'A'; 43]).expect("32 bytes")), "FleetKey(…)");
    }

    #[test]
    fn the_first_signing_keys_are_a_file_that_only_the_key_decides() {
        let of = |letter| FleetKey::parse(&[letter; 44 - 1]).expect("32 bytes").first_signing_keys();
        let keys = KeyRing::parse(&of(b'A')).expect("a file of keys");
        assert_eq!((keys.keys().len(), keys.signer().kid().len()), (1, 11));
        assert_eq!(of(b'A'), of(b'A'));
        assert_ne!(of(b'A'), of(b'E'));
        assert_eq!(
            FleetKey::parse(b" AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
                .map(|k| k.first_signing_keys()),
            Some(of(b'A'))
        );
    }
}
