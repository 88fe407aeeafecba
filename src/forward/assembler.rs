//! Records in, messages out: one log's events, in order.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::envelope::Envelopes;
use super::message::{Message, MessageId, Piece};
use super::source::{Source, Supply};
use crate::event::Record;
use crate::journal::{Offset, ReadRequest};

/// Where reading stands in a batch.
#[derive(Debug)]
struct Cursor {
    records: Bytes,
    at: usize,
    next: Offset,
    is_queued: bool,
}

/// A message in the making.
#[derive(Debug, Default)]
struct Draft {
    body: BytesMut,
    pieces: Vec<Piece>,
    first: Offset,
    received_us: u64,
    lenient: bool,
    /// When its first event was put in, on the monotonic clock.
    since: Duration,
}

/// Takes batches of one log and cuts them into messages of about the target's size.
///
/// A message ends before the event that would carry it past the target; a larger event, and one that strict parsers may refuse, travels alone.
#[derive(Debug)]
pub struct Assembler {
    source: Source,
    /// Bytes without which it does not go on.
    wanted: Option<ReadRequest>,
    message_bytes_target: usize,
    linger: Duration,
    cursor: Option<Cursor>,
    draft: Draft,
    envelopes: Envelopes,
}

impl Assembler {
    /// Assembles what comes out of `source`.
    pub fn new(source: Source, message_bytes_target: usize, linger: Duration) -> Self {
        Self {
            source,
            wanted: None,
            message_bytes_target,
            linger,
            cursor: None,
            draft: Draft::default(),
            envelopes: Envelopes::default(),
        }
    }

    /// Where its events come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What is to be read before the next message can be made; give it to [`Self::handle_read`].
    pub fn wanted(&self) -> Option<&ReadRequest> {
        self.wanted.as_ref()
    }

    /// Takes the bytes that were wanted.
    pub fn handle_read(&mut self, bytes: &[u8]) {
        let request = self.wanted.take().expect("it was wanted");
        self.source.handle_read(&request, bytes);
    }

    /// What was wanted could not be read: where it lies is looked up again.
    pub fn handle_unread(&mut self) {
        self.wanted = None;
    }

    /// The next message. One that is not full comes only if `partial` ones are wanted and its first event has lingered long enough.
    pub fn next(&mut self, partial: bool, now: Duration) -> Option<Message> {
        loop {
            let Some((record, bytes)) = self.peek() else {
                // Nothing more will come from a reactor that is gone.
                let is_ripe = now >= self.draft.since + self.linger || self.source.is_closed();
                let is_due = partial && !self.draft.pieces.is_empty() && is_ripe;
                return is_due.then(|| self.finish());
            };
            let event_bytes = Envelopes::bytes(&record);
            let is_alone = record.lenient || self.draft.lenient;
            // Brackets, and the comma before this event.
            let grown = self.draft.body.len() + event_bytes + 2;
            let is_full = is_alone || grown > self.message_bytes_target || !self.goes_on();
            if !self.draft.pieces.is_empty() && is_full {
                return Some(self.finish());
            }
            self.append(bytes, now);
        }
    }

    /// When a message that is not full has lingered long enough.
    pub fn due(&self) -> Option<Duration> {
        (!self.draft.pieces.is_empty()).then(|| self.draft.since + self.linger)
    }

    /// Whether nothing is left here, in the queue or in the journal.
    pub fn is_empty(&self) -> bool {
        self.draft.pieces.is_empty() && self.cursor.is_none() && self.source.is_empty()
    }

    /// The next record and its length.
    fn peek(&mut self) -> Option<(Record<'_>, usize)> {
        while self.cursor.as_ref().is_none_or(|cursor| cursor.at == cursor.records.len()) {
            self.cursor = None;
            if self.wanted.is_some() {
                return None;
            }
            match self.source.poll() {
                Supply::Records { first, records, from, is_queued } => {
                    let mut cursor = Cursor { records, at: 0, next: first, is_queued };
                    while cursor.next < from {
                        cursor.at += decode(&cursor).1;
                        cursor.next = cursor.next.plus(1);
                    }
                    self.cursor = Some(cursor);
                }
                Supply::Read(request) => {
                    self.wanted = Some(request);
                    return None;
                }
                Supply::Empty => return None,
            }
        }
        self.cursor.as_ref().map(decode)
    }

    /// Whether the record that was just peeked at follows the last one of the draft: a message has no gap inside.
    fn goes_on(&self) -> bool {
        let next = self.cursor.as_ref().expect("just peeked at").next;
        next == self.draft.first.plus(self.draft.pieces.len() as u64)
    }

    /// Appends the record that was just peeked at.
    fn append(&mut self, record_bytes: usize, now: Duration) {
        let cursor = self.cursor.as_mut().expect("just peeked at");
        let (record, _) = decode(cursor);
        let draft = &mut self.draft;
        if draft.pieces.is_empty() {
            draft.first = cursor.next;
            draft.received_us = record.received_us;
            draft.lenient = record.lenient;
            draft.since = now;
            let event_bytes = Envelopes::bytes(&record) + 2;
            draft.body = BytesMut::with_capacity(event_bytes.max(self.message_bytes_target.min(64 << 10)));
            draft.body.extend_from_slice(b"[");
        } else {
            draft.body.extend_from_slice(b",");
        }
        self.envelopes.write(&record, &mut draft.body);
        draft.pieces.push(Piece {
            end: u32::try_from(draft.body.len()).expect("bounded by --max-body"),
            record_bytes: u32::try_from(if cursor.is_queued { record_bytes } else { 0 })
                .expect("bounded by --max-body"),
            app: record.app,
        });
        cursor.at += record_bytes;
        cursor.next = cursor.next.plus(1);
    }

    fn finish(&mut self) -> Message {
        let Draft { mut body, pieces, first, received_us, lenient, .. } = std::mem::take(&mut self.draft);
        body.extend_from_slice(b"]");
        let end = first.plus(pieces.len() as u64);
        Message {
            id: MessageId { log: self.source.log().id(), first, end },
            lenient,
            received_us,
            body: body.freeze(),
            pieces: pieces.into(),
            strikes: 0,
        }
    }
}

/// The record that is next.
fn decode(cursor: &Cursor) -> (Record<'_>, usize) {
    // Out of the queue it is as the reactor made it; out of the journal, its checksum held.
    Record::decode(&cursor.records[cursor.at..]).expect("a record that a reactor wrote")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{EventKind, TurnBatch};
    use crate::handoff::{Bell, Doorbell, Inlet, QueueLimits, queue};
    use crate::journal::{CoreId, Log, LogId};
    use uuid::Uuid;

    const TARGET: usize = 1000;

    fn parts() -> (Inlet, Assembler) {
        let limits = QueueLimits { bytes_max: 1 << 20, told_bytes_max: 1 << 20, batches_max: 64 };
        let doorbell = Doorbell::new().expect("an eventfd");
        let id = LogId { core: CoreId(2), epoch: 7 };
        let log = Arc::new(Log::new(id, "log".into(), Arc::default(), Vec::new()));
        let (inlet, outlet) = queue(limits, log.marks().clone(), Bell::default(), doorbell);
        (inlet, Assembler::new(Source::live(log, outlet), TARGET, Duration::ZERO))
    }

    fn push(inlet: &mut Inlet, payloads: &[(&str, bool)]) {
        let mut batch = TurnBatch::default();
        batch.begin(usize::MAX, usize::MAX);
        for (payload, lenient) in payloads {
            batch.append(&Record {
                kind: EventKind::Event,
                lenient: *lenient,
                received_us: 1_790_000_000_000_000,
                app: Uuid::nil(),
                id: Uuid::nil(),
                traceparent: None,
                payload: payload.as_bytes(),
            });
        }
        let (events, records) = batch.take();
        assert!(inlet.push(events, records));
    }

    fn drain(assembler: &mut Assembler) -> Vec<Message> {
        std::iter::from_fn(|| assembler.next(true, Duration::ZERO)).collect()
    }

    fn data(message: &Message) -> Vec<String> {
        let events: Vec<serde_json::Value> = serde_json::from_slice(&message.body).expect("a JSON array");
        assert_eq!(events.len() as u64, message.events());
        events.iter().map(|event| event["data"].to_string()).collect()
    }

    #[test]
    fn messages_grow_to_the_target_across_batches_and_offsets_have_no_gap() {
        let (mut inlet, mut assembler) = parts();
        let payload = format!("{{\"a\":\"{}\"}}", "x".repeat(90));
        for _ in 0..10 {
            push(&mut inlet, &[(payload.as_str(), false); 3]);
        }
        let messages = drain(&mut assembler);
        assert!(assembler.is_empty());
        let mut next = Offset(0);
        for message in &messages {
            assert_eq!((message.id.log.core, message.id.first), (CoreId(2), next));
            assert!(message.body.len() <= TARGET, "{}", message.body.len());
            data(message);
            next = message.id.end;
        }
        assert_eq!(next, Offset(30));
        assert!(messages.len() < 15, "{} messages for 30 events", messages.len());
        assert_eq!(messages.iter().map(Message::record_bytes).sum::<usize>(), inlet.bytes());
    }

    #[test]
    fn a_large_event_and_a_lenient_one_travel_alone() {
        let (mut inlet, mut assembler) = parts();
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(TARGET));
        push(
            &mut inlet,
            &[
                ("{\"n\":1}", false),
                (&large, false),
                ("{\"n\":2}", false),
                ("{\"n\":3}", true),
                ("{\"n\":4}", false),
            ],
        );
        let messages = drain(&mut assembler);
        let shapes: Vec<_> =
            messages.iter().map(|m| (m.events(), m.lenient, m.body.len() > TARGET)).collect();
        assert_eq!(
            shapes,
            [(1, false, false), (1, false, true), (1, false, false), (1, true, false), (1, false, false)]
        );
    }

    #[test]
    fn a_message_that_is_not_full_waits_until_partial_ones_are_wanted_and_it_has_lingered() {
        let (mut inlet, assembler) = parts();
        let mut assembler = Assembler { linger: Duration::from_millis(5), ..assembler };
        push(&mut inlet, &[("{}", false)]);
        let ms = Duration::from_millis;
        assert!(assembler.next(false, ms(10)).is_none());
        assert_eq!(assembler.due(), Some(ms(15)));
        assert!(assembler.next(true, ms(14)).is_none());
        assert!(assembler.next(false, ms(15)).is_none());
        assert_eq!(assembler.next(true, ms(15)).map(|m| m.events()), Some(1));
    }

    #[test]
    fn a_split_message_says_the_same_in_halves() {
        let (mut inlet, mut assembler) = parts();
        push(&mut inlet, &[("{\"n\":1}", false), ("{\"n\":2}", false), ("{\"n\":3}", false)]);
        let whole = drain(&mut assembler).remove(0);
        let [left, right] = whole.clone().split();
        assert_eq!(
            (left.id.first, left.id.end, right.id.first, right.id.end),
            (Offset(0), Offset(1), Offset(1), Offset(3))
        );
        assert_eq!([data(&left), data(&right)].concat(), data(&whole));
        assert_eq!(left.record_bytes() + right.record_bytes(), whole.record_bytes());
        let [second, third] = right.split();
        assert_eq!([data(&second), data(&third)].concat(), [r#"{"n":2}"#, r#"{"n":3}"#]);
    }
}
