//! The pieces of an event's way, each by itself: `micro` takes their time, `instructions` counts what they execute.
//!
//! Nothing in here waits, looks at a clock or touches a disk, and everything random is drawn before the work begins: so the work is the same
//! each time.

mod journal;
mod samples;

use std::hint::black_box;

use bytes::BytesMut;
use forebay::api::one_body;
use forebay::auth::{TokenCache, verify};
use forebay::event::{EventIds, EventKind, JsonChecker, Record, SecondLook, TurnBatch};
use forebay::http::{Answer, DateHeader, Decoder, HeadLimits, KnownHead, Persistence, Step};
use forebay::journal::Offset;
use forebay::journal::format::{BatchHead, HEADER_BYTES};
use uuid::Uuid;

use journal::BATCH_EVENTS;
pub(crate) use journal::{SEGMENT_BYTES, Segments};
pub(crate) use samples::batch_records;
use samples::{Sender, report};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 << 10 };

/// A piece of work, to be done again and again.
pub(crate) type Work = Box<dyn FnMut()>;

/// A piece of an event's way.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    /// Bytes that it goes through each time.
    pub(crate) bytes: usize,
    pub(crate) work: Work,
}

/// All of them, in the order in which an event meets them.
pub(crate) fn pieces() -> Vec<Piece> {
    let sender = Sender::new();
    let usual = sender.head(600).into_bytes();
    let long = sender.head_with_fields(30, 600).into_bytes();
    let mut pieces = vec![
        Piece { name: "http: a head", bytes: usual.len(), work: parse_head(usual) },
        Piece { name: "http: a head with 30 fields", bytes: long.len(), work: parse_head(long) },
    ];
    let body = report(600);
    let request = [sender.head(body.len()).as_bytes(), &body].concat();
    pieces.push(Piece {
        name: "http: a request whose head is known",
        bytes: request.len(),
        work: decode_request(request),
    });
    pieces.push(verify_token());
    pieces.push(verify_remembered_token());
    for (name, bytes) in
        [("event: check 0.6 KiB", 600), ("event: check 2 KiB", 2_000), ("event: check 16 KiB", 16_000)]
    {
        let text = report(bytes);
        pieces.push(Piece { name, bytes: text.len(), work: check(text) });
    }
    pieces.push(Piece { name: "event: frame 0.6 KiB", bytes: body.len(), work: frame(body) });
    for (name, bytes) in [
        ("event: frame and check 0.6 KiB", 600),
        ("event: frame and check 2 KiB", 2_000),
        ("event: frame and check 16 KiB", 16_000),
    ] {
        let text = report(bytes);
        pieces.push(Piece { name, bytes: text.len(), work: frame_and_check(text) });
    }
    let records = batch_records(64 << 10);
    pieces.push(Piece {
        name: "journal: encode a batch of 64 KiB",
        bytes: records.len(),
        work: Box::new(move || {
            let head = BatchHead { first: Offset(1), events: BATCH_EVENTS };
            black_box(head.encode(7, HEADER_BYTES as u64, black_box(&records)));
        }),
    });
    pieces.push(append());
    pieces.push(render());
    pieces
}

fn parse_head(head: Vec<u8>) -> Work {
    Box::new(move || {
        let (mut decoder, mut known) = (Decoder::default(), KnownHead::default());
        let (used, step) = decoder.step(black_box(&head), LIMITS, &mut known);
        assert!(matches!(step, Step::Head(_)));
        black_box(used);
    })
}

fn decode_request(request: Vec<u8>) -> Work {
    let (mut decoder, mut known) = (Decoder::default(), KnownHead::default());
    Box::new(move || {
        let (used, step) = decoder.step(black_box(&request), LIMITS, &mut known);
        assert!(matches!(step, Step::Head(_)));
        decoder.take_body(usize::MAX);
        let (_, step) = decoder.step(&request[used..], LIMITS, &mut known);
        assert!(matches!(step, Step::Body(_)));
    })
}

fn verify_token() -> Piece {
    let Sender { credentials, token, now, .. } = Sender::new();
    Piece {
        name: "auth: verify a token",
        bytes: token.len(),
        work: Box::new(move || assert!(verify(&credentials, black_box(token.as_bytes()), now).is_ok())),
    }
}

fn verify_remembered_token() -> Piece {
    let Sender { credentials, token, now, .. } = Sender::new();
    let mut cache = TokenCache::default();
    Piece {
        name: "auth: verify a token that is remembered",
        bytes: token.len(),
        work: Box::new(move || {
            assert!(cache.verify(&credentials, black_box(token.as_bytes()), now).is_ok());
        }),
    }
}

/// No crash report of ours needs one.
struct NoLooks;

impl SecondLook for NoLooks {
    fn spend(&mut self, _: usize) -> bool {
        false
    }
}

/// The check, with the copy that the parser may spoil: without it, there would be nothing to check the second time.
fn check(text: Vec<u8>) -> Work {
    let mut checker = JsonChecker::default();
    Box::new(move || assert!(checker.check_object(black_box(&text), &mut NoLooks).is_ok()))
}

fn record(id: Uuid, payload: &[u8]) -> Record<'_> {
    Record {
        kind: EventKind::Event,
        lenient: false,
        received_us: 1,
        app: Uuid::nil(),
        id,
        traceparent: None,
        payload,
    }
}

fn frame(text: Vec<u8>) -> Work {
    let (mut ids, mut batch) = (EventIds::default(), TurnBatch::default());
    Box::new(move || {
        batch.begin(usize::MAX, usize::MAX);
        batch.append(&record(ids.next(1), black_box(&text)));
        black_box(batch.take());
    })
}

fn frame_and_check(text: Vec<u8>) -> Work {
    let (mut checker, mut ids, mut batch) =
        (JsonChecker::default(), EventIds::default(), TurnBatch::default());
    Box::new(move || {
        batch.begin(usize::MAX, usize::MAX);
        batch.append(&record(ids.next(1), black_box(&text)));
        assert!(checker.check_object(&text, &mut NoLooks).is_ok());
        black_box(batch.take());
    })
}

/// The appender's part of a batch of 64 KiB: encoded, written by a disk that answers at once, synced every sixteenth time.
fn append() -> Piece {
    let records = batch_records(64 << 10);
    let bytes = records.len();
    let mut segments = Segments::without_disk();
    let work = move || {
        let write = segments.append(&records);
        let written = write.parts.iter().map(bytes::Bytes::len).sum();
        segments.handle_written(written);
        segments.sync_without_disk();
    };
    Piece { name: "journal: append a batch of 64 KiB, without a disk", bytes, work: Box::new(work) }
}

/// A 202 for one event. (A reactor keeps the head of the last one for the rest of the second, and does less.)
fn render() -> Piece {
    let (date, id) = (DateHeader::at(1_790_000_000), Uuid::nil());
    let mut out = Vec::with_capacity(1 << 10);
    let work = move || {
        out.clear();
        let answer = Answer {
            status: 202,
            content_type: Some("application/json"),
            fields: &[("Forebay-Ack", b"written".to_vec())],
            body: &one_body(black_box(id)),
            is_head: false,
            persistence: Persistence::KeepAlive,
        };
        answer.write(&date, &mut out);
        black_box(&out);
    };
    Piece { name: "http: render a 202", bytes: 0, work: Box::new(work) }
}

/// Records of about so many bytes, as they lie in a batch.
fn records_of(bytes: usize, payload: &[u8]) -> BytesMut {
    let mut records = BytesMut::new();
    while records.len() + record(Uuid::nil(), payload).encoded_bytes() <= bytes {
        record(Uuid::nil(), payload).encode(&mut records);
    }
    records
}
