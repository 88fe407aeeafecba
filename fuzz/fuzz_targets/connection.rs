//! A whole connection: a real reactor on the simulation's ring, disk and broker. However the bytes come, they get the same answers, one for each
//! request, and everything comes to rest.
//!
//! The first byte chooses the setting, the second seeds the ring's faults, the third says how many of the next bytes are cuts; the rest is what the
//! client sends, in which `@T` stands for a good token.

#![no_main]

#[path = "../../tests/simulation/broker.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod broker;
#[path = "../../tests/simulation/clients.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod clients;
#[path = "../../tests/simulation/disk.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod disk;
#[path = "../../tests/simulation/driver.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod driver;
#[path = "../../tests/simulation/world.rs"]
#[allow(dead_code, reason = "the simulation needs more of it")]
mod world;

use broker::BrokerFaults;
use disk::DiskFaults;
use driver::Faults;
use forebay::config::AckLevel;
use libfuzzer_sys::fuzz_target;
use world::{Plan, World};

/// Turns within which a connection comes to rest once its client has ended.
const TURNS_MAX: usize = 20_000;
/// Turns without bytes, before the client ends.
const PAUSE_TURNS: usize = 8;
/// Tokens are long: with more of them, and small buffers, a head would take longer than it may.
const TOKENS_MAX: usize = 16;
/// Answers are read this many bytes a turn by a client that is slow.
const SLOW_BYTES: usize = 200;

/// How the bytes come.
struct Setting<'a> {
    seed: u8,
    has_faults: bool,
    buffer_bytes: usize,
    ack: AckLevel,
    is_slow: bool,
    /// The client ends with its last bytes, not some time after them.
    ends_at_once: bool,
    cuts: &'a [u8],
}

impl<'a> Setting<'a> {
    fn of(choice: u8, seed: u8, cuts: &'a [u8]) -> Self {
        Self {
            seed,
            has_faults: choice & 1 != 0,
            is_slow: choice & 2 != 0,
            ends_at_once: choice & 4 != 0,
            ack: AckLevel::ALL[usize::from(choice >> 3) % 4],
            buffer_bytes: [4096, 4, 13, 256][usize::from(choice >> 5) % 4],
            cuts,
        }
    }

    /// The same, with the bytes in one piece.
    fn plain(&self) -> Self {
        Self { has_faults: false, buffer_bytes: 4096, is_slow: false, ends_at_once: true, cuts: &[], ..*self }
    }

    /// Nothing goes wrong but what costs no answer.
    fn plan(&self) -> Plan {
        let often = if self.has_faults { 100 } else { 0 };
        Plan {
            seed: self.seed.into(),
            faults: Faults {
                split_read: often,
                short_send: often,
                no_buffers: often,
                ends_early: often,
                late: often,
                ..Faults::default()
            },
            disk: DiskFaults::default(),
            broker: BrokerFaults::default(),
            clients: 0,
            uniform: None,
            buffers: 4,
            buffer_bytes: self.buffer_bytes,
            ack: self.ack,
            queue_bytes: 1 << 20,
            // Small, for most of the time goes into making them.
            segment_bytes: 32 << 10,
            journal_bytes: 1 << 20,
            connections_max: 4,
            cut_after: None,
            forwarder: 1000,
        }
    }
}

/// An answer as the client reads it.
#[derive(Debug)]
struct Answer {
    status: u16,
    is_last: bool,
    body: Vec<u8>,
}

impl Answer {
    /// There was no room: that depends on what else came in the same turn.
    fn is_for_want_of_room(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

/// What came of it all.
#[derive(Debug)]
struct Conversation {
    asked: Asked,
    answers: Vec<Answer>,
    /// Events, as the node counts them.
    accepted: u64,
}

/// Sends it all and reads all answers.
fn converse(input: &[u8], setting: &Setting<'_>) -> Conversation {
    let mut world = World::new(setting.plan());
    let client = world.connect();
    let bytes = with_token(input, world.token.as_bytes());
    if setting.is_slow {
        world.wire(client).window = Some(0);
    }
    let (mut rest, mut cuts) = (&bytes[..], setting.cuts.iter());
    let (mut pause, mut turns) = (0, 0);
    while !world.wire(client).closed {
        let wire = world.wire(client);
        if rest.is_empty() {
            pause += 1;
            wire.up_ended |= setting.ends_at_once || pause > PAUSE_TURNS;
            turns += 1;
            assert!(turns < TURNS_MAX, "it comes to rest");
        } else {
            let length = cuts.next().map_or(usize::MAX, |cut| usize::from(*cut));
            let (piece, more) = rest.split_at(rest.len().min(length.max(1)));
            wire.up.extend(piece);
            rest = more;
            wire.up_ended |= rest.is_empty() && setting.ends_at_once;
        }
        if let Some(window) = &mut wire.window {
            *window += SLOW_BYTES;
        }
        // No buffer is on loan between turns: it looks.
        world.turn();
    }
    let answers = read(&world.wire(client).down);
    let accepted = world.metrics.accepted.value();
    let told = answers.iter().filter(|answer| answer.status == 202).map(|answer| told(&answer.body));
    assert_eq!(told.sum::<u64>(), accepted, "a 202 for each event that was accepted");
    world.stop();
    Conversation { asked: count(&bytes), answers, accepted }
}

fn with_token(input: &[u8], token: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = input;
    for _ in 0..TOKENS_MAX {
        let Some(place) = rest.windows(2).position(|two| two == b"@T") else { break };
        bytes.extend_from_slice(&rest[..place]);
        bytes.extend_from_slice(token);
        rest = &rest[place + 2..];
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// How many events a 202 is for.
fn told(body: &[u8]) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    body["accepted"].as_u64().unwrap_or(1)
}

/// Reads all answers, interim ones left out.
fn read(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    while !bytes.is_empty() {
        assert!(answers.last().is_none_or(|answer| !answer.is_last), "nothing comes behind the last answer");
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(head_bytes)) = head.parse(bytes) else {
            panic!("no head of an answer: {:?}", String::from_utf8_lossy(bytes))
        };
        bytes = &bytes[head_bytes..];
        let status = head.code.expect("a status");
        let field = |name: &str| {
            let mut found = head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            let value = found.next().map(|field| std::str::from_utf8(field.value).expect("ASCII"));
            assert!(found.next().is_none(), "{name} once");
            value
        };
        if status == 100 {
            continue;
        }
        let length = match field("Content-Length") {
            Some(length) => length.parse().expect("a length"),
            None => 0,
        };
        assert!(length == 0 || field("Content-Type").is_some_and(|value| value.ends_with("json")));
        // An answer to HEAD tells the length of a body that does not come; and no body of ours begins like a head.
        let length = if bytes.is_empty() || bytes.starts_with(b"HTTP/") { 0 } else { length };
        let (body, rest) = bytes.split_at_checked(length).expect("a whole body");
        bytes = rest;
        assert!(body.is_empty() || serde_json::from_slice::<serde_json::Value>(body).is_ok());
        answers.push(Answer { status, is_last: field("Connection") == Some("close"), body: body.to_vec() });
    }
    answers
}

/// How many requests there are, the last one perhaps not whole: another's count, which sees as far as lengths are told in heads.
#[derive(Debug)]
struct Asked {
    requests: usize,
    /// It sees to the end, or to what breaks the rules.
    is_exact: bool,
}

fn count(mut bytes: &[u8]) -> Asked {
    let mut requests = 0;
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        match bytes {
            [] => return Asked { requests, is_exact: true },
            [b'\r' | b'\n', ..] => return Asked { requests, is_exact: false },
            _ => requests += 1,
        }
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(head_bytes)) = head.parse(bytes) else {
            return Asked { requests, is_exact: true };
        };
        let values = |name: &'static str| {
            head.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value)
        };
        if values("Transfer-Encoding").next().is_some() {
            return Asked { requests, is_exact: false };
        }
        let length = match values("Content-Length").next().map(std::str::from_utf8) {
            None => 0,
            Some(length) => length.ok().and_then(|length| length.parse().ok()).unwrap_or(usize::MAX),
        };
        let Some(rest) = bytes[head_bytes..].get(length..) else { return Asked { requests, is_exact: true } };
        bytes = rest;
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, seed, cuts, rest @ ..] = data else { return };
    let (cuts, input) = rest.split_at(rest.len().min(usize::from(*cuts)));
    let setting = Setting::of(*choice, *seed, cuts);
    let whole = converse(input, &setting.plain());
    let cut = converse(input, &setting);

    let (requests, answers) = (whole.asked.requests, whole.answers.len());
    if whole.answers.last().is_some_and(|answer| answer.is_last) {
        assert!(answers <= requests || !whole.asked.is_exact, "{whole:?}");
    } else if whole.asked.is_exact {
        assert_eq!(answers, requests, "each request has its answer");
    } else {
        assert!(answers >= requests, "{whole:?}");
    }

    assert_eq!(answers, cut.answers.len(), "{whole:?} {cut:?}");
    let mut has_room = true;
    for (one, other) in whole.answers.iter().zip(&cut.answers) {
        if one.is_for_want_of_room() || other.is_for_want_of_room() {
            has_room = false;
        } else {
            assert_eq!((one.status, one.is_last), (other.status, other.is_last), "{whole:?} {cut:?}");
        }
    }
    assert!(!has_room || whole.accepted == cut.accepted);
});
