//! Bodies that would hold a reactor up: decoded, split and checked by another thread, and taken over by the reactor afterwards.

use std::ops::Range;

use super::code::Code;
use super::judge::{Purpose, Ticket};
use super::second_looks::{AppLooks, SecondLooks};
use super::service::{Moment, Refusal};
use crate::event::{BATCH_ITEMS_MAX, Checked, JsonChecker, NotABatch, NotAnEvent, split_array, split_lines};
use crate::http::{Coding, DecodeError};

/// Bodies up to this size are examined on the reactor: inflating takes up to 2 ns a byte, a second look 5, so a body holds it up for 200 µs
/// at most. It is also how far a body is inflated there before it is known to be larger.
pub(super) const AT_ONCE_BYTES_MAX: usize = 32 << 10;
/// Those without a coding get a first look there up to this size: another 200 µs at most, and nearly all are good at first sight. It saves what
/// they would cost on their way to another thread and back: a fifth of all that a batch of 100 events costs.
pub(super) const FIRST_LOOK_BYTES_MAX: usize = 256 << 10;

/// What is to be found out about a body, and then what was.
#[derive(Debug)]
pub struct Examination {
    pub(super) ticket: Ticket,
    /// Decoded, once it was examined.
    pub(super) body: Vec<u8>,
    pub(super) found: Result<Found, Refusal>,
    body_bytes_max: usize,
    looks: SecondLooks,
    moment: Moment,
}

/// The events of a body, and which of them are good.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) items: Vec<Range<usize>>,
    pub(super) verdicts: Vec<Result<Checked, NotAnEvent>>,
}

/// The memory of one thread that examines.
#[derive(Debug, Default)]
pub struct Examiner {
    checker: JsonChecker,
    decoded: Vec<u8>,
}

impl Examination {
    pub(super) fn new(
        ticket: Ticket,
        body: &[u8],
        body_bytes_max: usize,
        looks: SecondLooks,
        moment: Moment,
    ) -> Self {
        let found = Ok(Found::default());
        Self { ticket, body: body.to_vec(), found, body_bytes_max, looks, moment }
    }

    /// What it takes at most, bytes.
    pub fn bytes_max(&self) -> usize {
        self.body.len() + self.ticket.coding.map_or(0, |_| self.ticket.bytes_max)
    }

    /// Decodes, splits and checks the body. Takes long: about 8 ns a byte at worst.
    pub fn run(&mut self, examiner: &mut Examiner) {
        self.found = self.examine(examiner);
    }

    fn examine(&mut self, examiner: &mut Examiner) -> Result<Found, Refusal> {
        if let Some(coding) = self.ticket.coding {
            examiner.decoded.clear();
            decode(coding, &self.body, self.ticket.bytes_max, &mut examiner.decoded)?;
            // As large as it is, and no larger: the body may wait for its turn.
            self.body = examiner.decoded.clone();
        }
        let mut items = Vec::new();
        let known = if self.ticket.purpose == Purpose::Event {
            items.push(0..self.body.len());
            None
        } else {
            split(self.ticket.purpose, &self.body, &mut items)?
        };
        let mut looks = AppLooks { looks: &self.looks, app: self.ticket.app, now: self.moment.now };
        let check = |item: &Range<usize>| {
            let text = &self.body[item.clone()];
            if text.len() > self.body_bytes_max {
                return Err(NotAnEvent::Invalid); // it is refused for its size
            }
            known.map_or_else(|| examiner.checker.check_object(text, &mut looks), Ok)
        };
        let verdicts = items.iter().map(check).collect();
        Ok(Found { items, verdicts })
    }
}

/// Decodes a body, up to `bytes_max`.
pub(super) fn decode(
    coding: Coding,
    body: &[u8],
    bytes_max: usize,
    decoded: &mut Vec<u8>,
) -> Result<(), Refusal> {
    coding.decode(body, bytes_max, decoded).map_err(|error| match error {
        DecodeError::Broken => Code::BadEncoding.into(),
        DecodeError::TooLarge => Code::TooLarge.into(),
    })
}

/// Finds the items of a batch, of which there is at least one; what all of them are, if that is known by then.
pub(super) fn split(
    purpose: Purpose,
    body: &[u8],
    items: &mut Vec<Range<usize>>,
) -> Result<Option<Checked>, Refusal> {
    let split = match purpose {
        Purpose::Lines => split_lines(body, items).map(|()| None),
        _ => split_array(body, items),
    };
    match split {
        Ok(_) if items.is_empty() => Err(Code::EmptyBatch.into()),
        Ok(known) => Ok(known),
        Err(NotABatch::Invalid) if body.trim_ascii().is_empty() => Err(Code::EmptyBody.into()),
        Err(NotABatch::Invalid) => {
            Err(Refusal { detail: "A batch is a JSON array of objects.", ..Code::InvalidJson.into() })
        }
        Err(NotABatch::TooManyItems) => {
            const DETAIL: &str = "The batch holds more than 10000 items.";
            const { assert!(BATCH_ITEMS_MAX == 10_000, "as DETAIL says") };
            Err(Refusal { detail: DETAIL, ..Code::TooLarge.into() })
        }
    }
}
