//! Entries as bytes: sealed, so that only those who hold the fleet key write them, and bound to what they are about.
//!
//! ```text
//!  0       1      2             18         26         34          46
//!  +-------+------+-------------+----------+----------+-----------+--------------------------+--------+
//!  | format| kind | id (UUID)   | version  | base     | nonce     | payload, encrypted       | tag    |
//!  | 1     |      | 16          | u64      | u64      | 12        |                          | 16     |
//!  +-------+------+-------------+----------+----------+-----------+--------------------------+--------+
//!  '------------------ authenticated ------------------'           ChaCha20-Poly1305 (RFC 8439)
//! ```
//!
//! Numbers are big-endian; a base of all ones is none. The stream's name is authenticated too: an entry of one stream is none of another.
//! `docs/fleet.md` argues the choice of the cipher and the bound on the number of entries.

use std::fmt;

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::key::FleetKey;

/// The format of entries that is written and read here.
const FORMAT: u8 = 1;
/// What stands before the nonce.
const HEAD_BYTES: usize = 34;
const TAG_BYTES: usize = 16;
/// Largest entry; a snapshot of 10,000 apps has about 4 MiB. RabbitMQ takes messages of 16 MiB and more.
pub(super) const ENTRY_BYTES_MAX: usize = 16 << 20;
/// Bytes of an empty entry.
pub(super) const ENTRY_BYTES_MIN: usize = HEAD_BYTES + NONCE_LEN + TAG_BYTES;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// One app, changed or new.
    App = 1,
    /// The signing keys.
    Keys = 2,
    /// All apps and keys as of an offset.
    Snapshot = 3,
    /// All apps and keys of a node that has found nothing to follow.
    Founding = 4,
    /// Nothing: whoever wrote it sees how far it has read.
    Mark = 5,
}

impl Kind {
    const ALL: [Self; 5] = [Self::App, Self::Keys, Self::Snapshot, Self::Founding, Self::Mark];
}

/// The part of an entry that everybody can read and only the fleet can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The app; nil for all else.
    pub(super) id: Uuid,
    /// The version that this entry makes; 0 where there is none.
    pub(super) version: u64,
    /// The version that it was made from, or the offset that a snapshot is of.
    pub(super) base: Option<u64>,
}

/// The name of an entry: its nonce, which is drawn for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryId([u8; NONCE_LEN]);

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// Too short or too long for an entry.
    #[error("it has {0} bytes, which no entry has")]
    Length(usize),
    /// Written by a newer version, or no entry at all.
    #[error("it has format {0}, this Forebay knows {FORMAT}")]
    Format(u8),
    /// Likewise.
    #[error("it is of the unknown kind {0}")]
    Kind(u8),
    /// Not sealed with this fleet's key for this stream, or changed since.
    #[error("it was not sealed by this fleet")]
    Forged,
}

/// Seals and opens the entries of one stream.
pub(super) struct Sealer {
    key: LessSafeKey,
    stream: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Sealer {
    pub(super) fn new(key: &FleetKey, stream: &str) -> Self {
        Self { key: key.sealing(), stream: stream.to_owned() }
    }

    /// Seals a payload under its head.
    pub(super) fn seal(&self, head: &Head, mut payload: Vec<u8>) -> (EntryId, Vec<u8>) {
        let mut nonce = [0u8; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the system's random numbers never run out");
        let mut sealed = encode(head).to_vec();
        let aad = Aad::from([&sealed, self.stream.as_bytes()].concat());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut payload)
            .expect("far below the cipher's 256 GiB");
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&payload);
        (EntryId(nonce), sealed)
    }

    /// Opens an entry.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<(Head, EntryId, Vec<u8>), SealError> {
        if !(ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&sealed.len()) {
            return Err(SealError::Length(sealed.len()));
        }
        let (head, rest) = sealed.split_at(HEAD_BYTES);
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().expect("its length was checked");
        let aad = Aad::from([head, self.stream.as_bytes()].concat());
        let head = decode(head)?;
        let mut payload = rest.to_vec();
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut payload);
        let length = opened.map_err(|_| SealError::Forged)?.len();
        payload.truncate(length);
        Ok((head, EntryId(*nonce), payload))
    }
}

fn encode(head: &Head) -> [u8; HEAD_BYTES] {
    let mut bytes = [0u8; HEAD_BYTES];
    bytes[0] = FORMAT;
    bytes[1] = head.kind as u8;
    bytes[2..18].copy_from_slice(head.id.as_bytes());
    bytes[18..26].copy_from_slice(&head.version.to_be_bytes());
    bytes[26..34].copy_from_slice(&head.base.unwrap_or(u64::MAX).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Head, SealError> {
    if bytes[0] != FORMAT {
        return Err(SealError::Format(bytes[0]));
    }
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == bytes[1]).ok_or(SealError::Kind(bytes[1]))?;
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok(Head {
        kind,
        id: Uuid::from_slice(&bytes[2..18]).expect("sixteen bytes"),
        version: number(18),
        base: Some(number(26)).filter(|base| *base != u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer(letter: u8, stream: &str) -> Sealer {
        Sealer::new(&FleetKey::parse(&[letter; 43]).expect("32 bytes"), stream)
    }

    fn head() -> Head {
        Head { kind: Kind::App, id: Uuid::from_u128(7), version: 3, base: Some(2) }
    }

    #[test]
    fn an_entry_opens_as_it_was_sealed_and_never_looks_the_same_twice() {
        let sealer = sealer(b'A', "s");
        for base in [None, Some(0), Some(u64::MAX - 1)] {
            for kind in Kind::ALL {
                let head = Head { kind, base, ..head() };
                let (id, sealed) = sealer.seal(&head, b"payload".to_vec());
                assert_eq!(sealer.open(&sealed), Ok((head, id, b"payload".to_vec())));
                assert!(!sealed.windows(7).any(|window| window == b"payload"));
            }
        }
        assert_ne!(sealer.seal(&head(), Vec::new()).1, sealer.seal(&head(), Vec::new()).1);
    }

    #[test]
    fn another_fleet_and_another_stream_have_other_entries() {
        let (_, sealed) = sealer(b'A', "s").seal(&head(), b"{}".to_vec());
        assert!(sealer(b'A', "s").open(&sealed).is_ok());
        assert_eq!(sealer(b'E', "s").open(&sealed), Err(SealError::Forged));
        assert_eq!(sealer(b'A', "t").open(&sealed), Err(SealError::Forged));
    }

    #[test]
    fn what_is_no_entry_says_why() {
        let sealer = sealer(b'A', "s");
        let (_, sealed) = sealer.seal(&head(), Vec::new());
        assert_eq!(sealed.len(), ENTRY_BYTES_MIN);
        assert_eq!(sealer.open(&sealed[1..]), Err(SealError::Length(ENTRY_BYTES_MIN - 1)));
        assert_eq!(sealer.open(&vec![1; ENTRY_BYTES_MAX + 1]), Err(SealError::Length(ENTRY_BYTES_MAX + 1)));
        let with = |at: usize, byte| {
            let mut changed = sealed.clone();
            changed[at] = byte;
            sealer.open(&changed)
        };
        assert_eq!(with(0, 2), Err(SealError::Format(2)));
        assert_eq!(with(1, 9), Err(SealError::Kind(9)));
        assert_eq!(with(1, Kind::Keys as u8), Err(SealError::Forged));
    }

    proptest! {
        #[test]
        fn any_change_of_a_byte_is_refused(at in any::<prop::sample::Index>(), flip in 1u8.., payload in ".{0,40}") {
            let sealer = sealer(b'A', "s");
            let (_, mut sealed) = sealer.seal(&head(), payload.into_bytes());
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(sealer.open(&sealed).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(sealer(b'A', "s").open(&bytes).is_err());
        }
    }
}
