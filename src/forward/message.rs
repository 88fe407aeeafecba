//! One message on its way to the broker.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::journal::{LogId, Offset};

/// Which events a message holds: `[first, end)` of a log. Equal ids mean equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Which log.
    pub log: LogId,
    /// The first event.
    pub first: Offset,
    /// Behind the last event.
    pub end: Offset,
}

impl fmt::Display for MessageId {
    /// As it ends the AMQP `message_id`: `<log epoch>-<core>-<first>-<last>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.log, self.first, self.end.0 - 1)
    }
}

impl FromStr for MessageId {
    type Err = ();

    /// Reads the last four parts of an AMQP `message_id`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.rsplitn(5, '-');
        let mut next = || parts.next().ok_or(());
        let (last, first, core, epoch) = (next()?, next()?, next()?, next()?);
        let last: u64 = last.parse().map_err(|_| ())?;
        Ok(Self {
            log: format!("{epoch}-{core}").parse()?,
            first: Offset(first.parse().map_err(|_| ())?),
            end: Offset(last.checked_add(1).ok_or(())?),
        })
    }
}

/// Where an event lies in the body, and what it weighs in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Behind its last byte.
    pub(super) end: u32,
    /// Bytes of its record, if it came through the queue.
    pub(super) record_bytes: u32,
    /// Whose it is.
    pub(super) app: Uuid,
}

/// A `CloudEvents` batch, ready to be sent as often as it takes.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its events.
    pub id: MessageId,
    /// Whether its one event is legal JSON that a strict parser may refuse.
    pub lenient: bool,
    /// When its first event was received, microseconds since the Unix epoch.
    pub received_us: u64,
    /// The JSON array.
    pub body: Bytes,
    pub(super) pieces: Arc<[Piece]>,
    /// How often the broker closed the channel over it.
    pub(super) strikes: u8,
}

impl Message {
    /// How many events it holds.
    pub fn events(&self) -> u64 {
        self.id.end.since(self.id.first)
    }

    /// What its events weigh in the queue.
    pub fn record_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.record_bytes as usize).sum()
    }

    /// Cuts it in two halves; there must be two events at least.
    pub(super) fn split(self) -> [Self; 2] {
        let half = self.pieces.len() / 2;
        assert!(half > 0, "a single event cannot be split");
        let middle = self.id.first.plus(half as u64);
        let part = |pieces: &[Piece], start: u32, id: MessageId| {
            let end = pieces.last().expect("a half has events").end;
            let mut body = BytesMut::with_capacity((end - start) as usize + 2);
            body.extend_from_slice(b"[");
            body.extend_from_slice(&self.body[start as usize..end as usize]);
            body.extend_from_slice(b"]");
            // One byte for the bracket instead of what lay before.
            let pieces = pieces.iter().map(|piece| Piece { end: piece.end - start + 1, ..*piece }).collect();
            Self { id, body: body.freeze(), pieces, strikes: 0, ..self.clone() }
        };
        let (left, right) = self.pieces.split_at(half);
        // The second half begins behind the comma.
        let right_start = left.last().expect("not empty").end + 1;
        [
            part(left, 1, MessageId { end: middle, ..self.id }),
            part(right, right_start, MessageId { first: middle, ..self.id }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::CoreId;

    #[test]
    fn an_id_is_read_back_whatever_the_node_is_called() {
        let log = LogId { core: CoreId(3), epoch: 0xff };
        let id = MessageId { log, first: Offset(10), end: Offset(21) };
        assert_eq!(id.to_string(), "00000000000000ff-3-10-20");
        assert_eq!(format!("a-node-1-{id}").parse(), Ok(id));
        for bad in ["", "1-2", "3-10-20", "ff-3-10-20", "00000000000000ff-1-2-18446744073709551615"] {
            assert_eq!(bad.parse::<MessageId>(), Err(()), "{bad}");
        }
    }
}
