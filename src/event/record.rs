//! The record: one accepted event, as it lies in a batch.
//!
//! ```text
//!  0        4     5      6       7     8                  16        32         48
//!  +--------+-----+------+-------+-----+------------------+---------+----------+=============+=========+
//!  | length | ver | kind | flags |  0  | received, µs UTC | app id  | event id | traceparent | payload |
//!  +--------+-----+------+-------+-----+------------------+---------+----------+=============+=========+
//!    u32 LE                              u64 LE             16 bytes  16 bytes   55, if flag   the rest
//! ```
//!
//! `length` counts the bytes behind itself. The payload is the client's JSON, byte for byte.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

/// Version of the layout above.
pub const RECORD_VERSION: u8 = 1;
/// Bytes of a record besides payload and traceparent.
pub const RECORD_HEAD_BYTES: usize = 48;

/// Most bytes of a record besides its payload.
pub const RECORD_BYTES_EXTRA_MAX: usize = RECORD_HEAD_BYTES + size_of::<Traceparent>();

const LENGTH_BYTES: usize = 4;
const FLAG_LENIENT: u8 = 1;
const FLAG_TRACEPARENT: u8 = 2;

/// A W3C `traceparent` header of version 00 is always 55 characters (Trace Context, section 3.2).
pub type Traceparent = [u8; 55];

/// What an event is, downstream: the CloudEvents `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `forebay.event`, from `/v1/events` and `/v1/events/batch`.
    Event,
    /// `raygun.entry`, a crash report from a Raygun SDK.
    RaygunEntry,
    /// `raygun.rum`, a real-user-monitoring beacon from a Raygun SDK.
    RaygunRum,
}

impl EventKind {
    /// The CloudEvents `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "forebay.event",
            Self::RaygunEntry => "raygun.entry",
            Self::RaygunRum => "raygun.rum",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Event => 0,
            Self::RaygunEntry => 1,
            Self::RaygunRum => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Event, Self::RaygunEntry, Self::RaygunRum].into_iter().find(|kind| kind.code() == code)
    }
}

/// One accepted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: EventKind,
    /// Legal JSON that a strict parser may refuse, or deeply nested: it travels alone and marked.
    pub lenient: bool,
    /// When its request was complete, microseconds since the Unix epoch.
    pub received_us: u64,
    /// Who sent it.
    pub app: Uuid,
    /// Its identity downstream.
    pub id: Uuid,
    /// Trace context, passed on.
    pub traceparent: Option<&'a Traceparent>,
    /// The client's JSON.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Bytes of the whole record.
    pub fn encoded_bytes(&self) -> usize {
        RECORD_HEAD_BYTES + self.traceparent.map_or(0, |t| t.len()) + self.payload.len()
    }

    /// Appends the record to a batch.
    pub fn encode(&self, batch: &mut BytesMut) {
        let length =
            u32::try_from(self.encoded_bytes() - LENGTH_BYTES).expect("bodies are bounded far below 4 GiB");
        let mut head = [0u8; RECORD_HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = RECORD_VERSION;
        head[5] = self.kind.code();
        head[6] = if self.lenient { FLAG_LENIENT } else { 0 }
            | if self.traceparent.is_some() { FLAG_TRACEPARENT } else { 0 };
        head[8..16].copy_from_slice(&self.received_us.to_le_bytes());
        head[16..32].copy_from_slice(self.app.as_bytes());
        head[32..48].copy_from_slice(self.id.as_bytes());
        batch.reserve(self.encoded_bytes());
        batch.put_slice(&head);
        if let Some(traceparent) = self.traceparent {
            batch.put_slice(traceparent);
        }
        batch.put_slice(self.payload);
    }

    /// Reads the record at the start of `bytes`, and how many bytes it took.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), RecordError> {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or(RecordError::Truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        let body = rest.get(..length).ok_or(RecordError::Truncated)?;
        let (head, tail) =
            body.split_first_chunk::<{ RECORD_HEAD_BYTES - LENGTH_BYTES }>().ok_or(RecordError::Truncated)?;
        if head[0] != RECORD_VERSION {
            return Err(RecordError::UnknownVersion(head[0]));
        }
        let kind = EventKind::from_code(head[1]).ok_or(RecordError::UnknownKind(head[1]))?;
        let flags = head[2];
        let (traceparent, payload) = if flags & FLAG_TRACEPARENT == 0 {
            (None, tail)
        } else {
            let (traceparent, payload) = tail.split_first_chunk().ok_or(RecordError::Truncated)?;
            (Some(traceparent), payload)
        };
        let record = Self {
            kind,
            lenient: flags & FLAG_LENIENT != 0,
            received_us: u64::from_le_bytes(array(&head[4..12])),
            app: Uuid::from_bytes(array(&head[12..28])),
            id: Uuid::from_bytes(array(&head[28..44])),
            traceparent,
            payload,
        };
        Ok((record, LENGTH_BYTES + length))
    }
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("a slice of constant bounds")
}

/// The records of a batch, in order.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// Reads the records that lie back to back in `batch`.
    pub fn new(batch: &'a [u8]) -> Self {
        Self(batch)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(
            Record::decode(self.0)
                .map(|(record, length)| {
                    self.0 = &self.0[length..];
                    record
                })
                .inspect_err(|_| self.0 = &[]),
        )
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside the record.
    #[error("the record is cut short")]
    Truncated,
    /// Written by a newer version of Forebay.
    #[error("unknown record version {0}: written by a newer Forebay?")]
    UnknownVersion(u8),
    /// A kind that this version does not know.
    #[error("unknown kind of event {0}: written by a newer Forebay?")]
    UnknownKind(u8),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample<'a>(payload: &'a [u8], traceparent: Option<&'a Traceparent>) -> Record<'a> {
        Record {
            kind: EventKind::RaygunRum,
            lenient: true,
            received_us: 1_790_000_000_123_456,
            app: Uuid::from_u128(1),
            id: Uuid::from_u128(2),
            traceparent,
            payload,
        }
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_went_in(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            traced in any::<bool>(),
        ) {
            let traceparent = [b'a'; 55];
            let mut batch = BytesMut::new();
            for payload in &payloads {
                sample(payload, traced.then_some(&traceparent)).encode(&mut batch);
            }
            let records: Vec<_> = Records::new(&batch).collect::<Result<_, _>>().expect("own records");
            prop_assert_eq!(records.len(), payloads.len());
            for (record, payload) in records.iter().zip(&payloads) {
                prop_assert_eq!(*record, sample(payload, traced.then_some(&traceparent)));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Records::new(&bytes).count();
        }
    }

    #[test]
    fn a_cut_record_is_an_error_at_every_length() {
        let mut batch = BytesMut::new();
        sample(b"{}", Some(&[b'a'; 55])).encode(&mut batch);
        for end in 1..batch.len() {
            assert_eq!(Record::decode(&batch[..end]), Err(RecordError::Truncated), "cut at {end}");
        }
    }
}
