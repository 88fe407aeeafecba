//! Clients: what they send, and what they may get for it.

use std::os::fd::RawFd;

use forebay::config::AckLevel;
use uuid::Uuid;

use crate::driver::{Dice, SimDriver, Wire};

/// What must come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// 202 with this id, or 503 because there was no room.
    Accepted { id: Uuid, level: AckLevel },
    /// A batch: 202 with these ids, or 503.
    Batch { ids: Vec<Uuid>, level: AckLevel },
    /// This status, with the request's id echoed.
    Refused { status: u16 },
    /// A probe.
    Probe,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
    /// The server closes after its answer.
    pub(crate) is_last: bool,
}

/// An answer as the client read it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// How a client behaves at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Waits for all answers, then ends.
    Waits,
    /// Ends its stream right after the last request.
    HalfCloses,
    /// Disappears at some point.
    Vanishes,
}

/// One client and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) requests: Vec<Request>,
    pub(crate) ending: Ending,
    pub(crate) descriptor: Option<RawFd>,
    unsent: Vec<u8>,
    vanish_after: usize,
}

impl Client {
    /// Makes a client with requests numbered from `first`: of all kinds, or single events with so many bytes.
    pub(crate) fn new(
        first: u64,
        dice: &mut Dice,
        token: &str,
        least: AckLevel,
        uniform: Option<usize>,
    ) -> Self {
        let count = 1 + dice.below(40);
        let mut requests = Vec::new();
        for number in (first..).take(count) {
            let request = Request::new(number, dice, token, least, uniform);
            let is_last = request.is_last;
            requests.push(request);
            if is_last {
                break;
            }
        }
        let mut unsent: Vec<u8> = requests.iter().flat_map(|request| request.bytes.clone()).collect();
        let ending = match dice.below(10) {
            0 => Ending::Vanishes,
            1 | 2 => Ending::HalfCloses,
            _ => Ending::Waits,
        };
        let vanish_after = dice.below(unsent.len() + 1);
        unsent.reverse();
        Self { requests, ending, descriptor: None, unsent, vanish_after }
    }

    /// A connection to be accepted, found again by `mark`.
    pub(crate) fn connect(dice: &mut Dice) -> Wire {
        Wire { window: dice.happens(300).then(|| 1 + dice.below(2000)), ..Wire::default() }
    }

    /// Does something: sends a piece, reads, ends.
    pub(crate) fn step(&mut self, driver: &mut SimDriver) {
        let Some(wire) = self.descriptor.and_then(|descriptor| driver.wires.get_mut(&descriptor)) else {
            return;
        };
        if wire.reset {
            return;
        }
        if let Some(window) = &mut wire.window {
            *window += driver.dice.below(500);
        }
        if driver.dice.happens(400) {
            return;
        }
        let largest = if driver.dice.happens(500) { 20_000 } else { 40 };
        let piece = 1 + driver.dice.below(largest);
        for _ in 0..piece.min(self.unsent.len()) {
            wire.up.extend(self.unsent.pop());
        }
        let is_gone = self.ending == Ending::Vanishes && self.unsent.len() <= self.vanish_after;
        if is_gone {
            wire.reset = true;
        }
        if self.unsent.is_empty() && self.ending == Ending::HalfCloses {
            wire.up_ended = true;
        }
        let is_served = wire.down_ended || read(&wire.down).len() >= self.requests.len();
        if self.unsent.is_empty() && is_served {
            wire.up_ended = true;
        }
    }

    /// Whether it has no more to do.
    pub(crate) fn is_done(&self, driver: &SimDriver) -> bool {
        self.descriptor.is_some_and(|descriptor| driver.wires[&descriptor].closed)
    }

    /// Checks the answers: in order, one a request, each as it should be. Returns what was accepted, and at which level.
    pub(crate) fn check(&self, driver: &SimDriver, is_cut: bool) -> Vec<(Uuid, AckLevel)> {
        let Some(wire) = self.descriptor.and_then(|descriptor| driver.wires.get(&descriptor)) else {
            return Vec::new();
        };
        let answers = read(&wire.down);
        assert!(answers.len() <= self.requests.len(), "more answers than requests");
        let mut accepted = Vec::new();
        for (answer, request) in answers.iter().zip(&self.requests) {
            accepted.extend(request.check(answer));
        }
        if !wire.reset && !is_cut && self.ending != Ending::Vanishes {
            assert_eq!(answers.len(), self.requests.len(), "a client that waits gets all its answers");
        }
        accepted
    }
}

impl Request {
    fn new(number: u64, dice: &mut Dice, token: &str, least: AckLevel, uniform: Option<usize>) -> Self {
        let id = Uuid::from_u128(u128::from(number) << 64 | 0x4000_8000_0000_0000_0000);
        let padding = "x".repeat(match dice.below(10) {
            0 => dice.below(30_000),
            1..4 => dice.below(3000),
            _ => dice.below(200),
        });
        let good = match uniform {
            Some(bytes) => format!(r#"{{"padding":"{}"}}"#, "x".repeat(bytes)),
            None => format!(r#"{{"number":{number},"padding":"{padding}"}}"#),
        };
        let mut fields = format!("Host: sim\r\nX-Request-Id: {number}\r\n");
        let bearer = format!("Authorization: Bearer {token}\r\nForebay-Event-Id: {id}\r\n");
        let is_last = dice.happens(30);
        if is_last {
            fields.push_str("Connection: close\r\n");
        }
        let post = |path: &str, fields: &str, body: &str, is_chunked: bool| {
            if is_chunked {
                let (a, b) = body.split_at(body.len() / 3);
                let chunk = |part: &str| match part.len() {
                    0 => String::new(),
                    bytes => format!("{bytes:x}\r\n{part}\r\n"),
                };
                let chunks = chunk(a) + &chunk(b);
                format!("POST {path} HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            } else {
                format!("POST {path} HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
            }
        };
        let is_chunked = dice.happens(200);
        let asked = dice.happens(400).then(|| AckLevel::ALL[dice.below(AckLevel::ALL.len())]);
        let level = asked.map_or(least, |asked| asked.max(least));
        let bearer = match asked {
            Some(asked) => format!("{bearer}Forebay-Ack: {asked}\r\n"),
            None => bearer,
        };
        let kind = dice.below(12);
        let (text, expected) = match uniform.map_or(kind, |_| 12) {
            0 => {
                let broken = &good[..good.len() - 1];
                (
                    post("/v1/events", &format!("{fields}{bearer}"), broken, is_chunked),
                    Expected::Refused { status: 400 },
                )
            }
            1 => (post("/v1/events", &fields, &good, is_chunked), Expected::Refused { status: 401 }),
            2 => (
                post("/nowhere", &format!("{fields}{bearer}"), &good, is_chunked),
                Expected::Refused { status: 404 },
            ),
            3 => (format!("GET /livez HTTP/1.1\r\n{fields}\r\n"), Expected::Probe),
            4 => (format!("GET /v1/events HTTP/1.1\r\n{fields}\r\n"), Expected::Refused { status: 405 }),
            5 => {
                let batch = format!("[{good}, 1, {good}]");
                let ids = [0, 2].map(|index| forebay::event::item_id(id, index)).to_vec();
                (
                    post("/v1/events/batch", &format!("{fields}{bearer}"), &batch, is_chunked),
                    Expected::Batch { ids, level },
                )
            }
            _ => {
                let fields = format!("{fields}{bearer}");
                (post("/v1/events", &fields, &good, is_chunked), Expected::Accepted { id, level })
            }
        };
        Self { number, bytes: text.into_bytes(), expected, is_last }
    }

    /// The events that it may bring.
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        match &self.expected {
            Expected::Accepted { id, .. } => vec![*id],
            Expected::Batch { ids, .. } => ids.clone(),
            Expected::Refused { .. } | Expected::Probe => Vec::new(),
        }
    }

    /// Checks an answer; returns what it says was accepted.
    fn check(&self, answer: &Answer) -> Vec<(Uuid, AckLevel)> {
        if !matches!(self.expected, Expected::Probe) {
            let echoed = answer.head.contains(&format!("X-Request-Id: {}\r\n", self.number));
            assert!(
                echoed,
                "an answer out of order for request {}: {}{}",
                self.number, answer.head, answer.body
            );
        }
        match &self.expected {
            Expected::Probe => assert_eq!(answer.status, 200, "{answer:?}"),
            // Before the body is looked at, there must be room for it.
            Expected::Accepted { .. } | Expected::Batch { .. } | Expected::Refused { status: 400 }
                if answer.status == 503 =>
            {
                let is_known = ["\"overloaded\"", "\"draining\"", "\"ack_timeout\"", "\"journal_failed\""]
                    .iter()
                    .any(|code| answer.body.contains(code));
                assert!(is_known && answer.head.contains("Retry-After: "), "{answer:?}");
            }
            Expected::Refused { status } => assert_eq!(answer.status, *status, "{answer:?}"),
            Expected::Accepted { id, level } => {
                assert_eq!((answer.status, &answer.body), (202, &format!(r#"{{"id":"{id}"}}"#)));
                assert!(answer.head.contains(&format!("Forebay-Ack: {level}\r\n")), "{level}: {answer:?}");
                return vec![(*id, *level)];
            }
            Expected::Batch { ids, level } => {
                assert_eq!(answer.status, 202, "{answer:?}");
                let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
                let said: Vec<Uuid> = serde_json::from_value(body["ids"].clone()).expect("ids");
                assert_eq!((&said, body["rejected"][0]["index"].as_u64()), (ids, Some(1)));
                return ids.iter().map(|id| (*id, *level)).collect();
            }
        }
        Vec::new()
    }
}

/// Reads all complete answers.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8(bytes[..end + 2].to_vec()).expect("ASCII");
        let status: u16 = head[9..12].parse().expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse::<usize>().expect("a length"));
        let Some(body) = bytes.get(end + 4..end + 4 + length) else { break };
        if status != 100 {
            let body = String::from_utf8(body.to_vec()).expect("UTF-8");
            answers.push(Answer { status, head, body });
        }
        bytes = &bytes[end + 4 + length..];
    }
    answers
}
