//! The answers of one connection, in the order of its requests.

use std::collections::VecDeque;

use crate::api::{Accepted, AcceptedBody, Response, one_body};
use crate::config::AckLevel;
use crate::http::{Answer, CONTINUE, DateHeader, Head, Method, Persistence};
use crate::telemetry::CoreMetrics;

/// Most requests of a connection that wait for their answers; past it nothing more is read from it.
pub const ANSWERS_MAX: usize = 16;
/// Answers are sent in pieces of about this size.
const SEND_BYTES_TARGET: usize = 64 << 10;

/// What a request's head says about the form of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) is_head: bool,
    pub(super) persistence: Persistence,
}

impl Shape {
    pub(super) fn of(head: &Head<'_>) -> Self {
        let persistence = match (head.keep_alive, head.is_http10) {
            (false, _) => Persistence::Close,
            (true, false) => Persistence::KeepAlive,
            (true, true) => Persistence::KeepAliveHttp10,
        };
        Self { is_head: head.method == Method::Head, persistence }
    }

    /// An HTTP/1.1 request on a connection that goes on.
    fn usual() -> Self {
        Self { is_head: false, persistence: Persistence::KeepAlive }
    }

    /// For answers to what was no request, or not all of one.
    pub(super) fn last(is_head: bool) -> Self {
        Self { is_head, persistence: Persistence::Close }
    }

    /// The same, ending the connection.
    pub(super) fn and_close(self) -> Self {
        Self { persistence: Persistence::Close, ..self }
    }

    pub(super) fn is_last(self) -> bool {
        self.persistence == Persistence::Close
    }
}

/// One answer, or the place of one.
#[derive(Debug)]
enum Slot {
    /// `100 Continue`.
    Continue,
    /// Complete.
    Response(Box<Response>, Shape),
    /// A 202 that waits for its level, or may go.
    Accepted { accepted: Accepted, shape: Shape, granted: bool },
}

impl Slot {
    /// What its body holds; a 202 for one event holds nothing of its own.
    fn held_bytes(&self) -> u32 {
        let bytes = match self {
            Self::Response(response, _) => response.body.len(),
            Self::Accepted { accepted: Accepted { body: AcceptedBody::Batch(body), .. }, .. } => body.len(),
            Self::Accepted { .. } | Self::Continue => 0,
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn is_ready(&self) -> bool {
        !matches!(self, Self::Accepted { granted: false, .. })
    }
}

/// A bounded ring of answers. Each has a number that only grows, so that a waiter finds its answer again.
///
/// A connection without requests holds no memory for it: rings come from, and go back to, [`SpareRings`].
#[derive(Debug, Default)]
pub(super) struct Answers {
    slots: VecDeque<Slot>,
    first: u32,
    /// What their bodies hold.
    bytes: u32,
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What their bodies hold.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes as usize
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= ANSWERS_MAX
    }

    pub(super) fn is_ready(&self) -> bool {
        self.slots.front().is_some_and(Slot::is_ready)
    }

    pub(super) fn push_continue(&mut self, spares: &mut SpareRings) {
        self.push(Slot::Continue, spares);
    }

    pub(super) fn push_response(&mut self, response: Response, shape: Shape, spares: &mut SpareRings) {
        self.push(Slot::Response(Box::new(response), shape), spares);
    }

    /// Pushes the place of a 202; returns its number.
    pub(super) fn push_accepted(&mut self, accepted: Accepted, shape: Shape, spares: &mut SpareRings) -> u32 {
        self.push(Slot::Accepted { accepted, shape, granted: false }, spares)
    }

    fn push(&mut self, slot: Slot, spares: &mut SpareRings) -> u32 {
        if self.slots.capacity() == 0 {
            self.slots = spares.take();
        }
        self.bytes = self.bytes.saturating_add(slot.held_bytes());
        self.slots.push_back(slot);
        self.first.wrapping_add(u32::try_from(self.slots.len() - 1).expect("a handful"))
    }

    /// The 202 with this number may go.
    pub(super) fn grant(&mut self, number: u32) {
        match self.slot(number) {
            Slot::Accepted { granted, .. } => *granted = true,
            other => panic!("a waiter's answer was {other:?}"),
        }
    }

    /// Replaces the 202 with this number by what `refuse` makes of it.
    pub(super) fn refuse(&mut self, number: u32, refuse: impl FnOnce(&Accepted) -> Response) {
        let slot = self.slot(number);
        let before = slot.held_bytes();
        // Taken out for a moment: the response is made of what the 202 would have said.
        let Slot::Accepted { accepted, shape, .. } = std::mem::replace(slot, Slot::Continue) else {
            panic!("a waiter's answer is a 202")
        };
        *slot = Slot::Response(Box::new(refuse(&accepted)), shape);
        let after = slot.held_bytes();
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
    }

    fn slot(&mut self, number: u32) -> &mut Slot {
        let index = number.wrapping_sub(self.first) as usize;
        self.slots.get_mut(index).expect("an answer stays until it was sent")
    }

    /// Writes all answers that may go, in order, up to a piece's size; returns whether the last one ends the connection.
    pub(super) fn write_ready(
        &mut self,
        out: &mut Vec<u8>,
        pen: &mut Pen,
        metrics: &CoreMetrics,
        spares: &mut SpareRings,
    ) -> bool {
        let (mut granted, mut is_last) = (0, false);
        while out.len() < SEND_BYTES_TARGET && !is_last && self.is_ready() {
            let slot = self.slots.pop_front().expect("just looked at");
            self.first = self.first.wrapping_add(1);
            self.bytes = self.bytes.saturating_sub(slot.held_bytes());
            match slot {
                Slot::Continue => out.extend_from_slice(CONTINUE),
                Slot::Response(response, shape) => {
                    metrics.count_answer(response.status);
                    is_last = shape.is_last();
                    pen.write_response(&response, shape, out);
                }
                Slot::Accepted { accepted, shape, .. } => {
                    granted += 1;
                    is_last = shape.is_last();
                    pen.write_accepted(&accepted, shape, out);
                }
            }
        }
        metrics.count_accepted_answers(granted);
        if self.slots.is_empty() {
            spares.give_back(std::mem::take(&mut self.slots));
        }
        is_last
    }
}

/// Writes answers, and remembers how most of them begin.
#[derive(Debug)]
pub(super) struct Pen {
    date: DateHeader,
    second: u64,
    /// The head of a 202 for one event on a connection that goes on, by level; made anew when the date has changed.
    heads: [Vec<u8>; AckLevel::ALL.len()],
}

impl Pen {
    /// A pen for this second, since the Unix epoch.
    pub(super) fn new(second: u64) -> Self {
        Self { date: DateHeader::at(second), second, heads: Default::default() }
    }

    /// Moves on to another second.
    pub(super) fn advance(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            self.date.advance(second);
            self.heads.iter_mut().for_each(Vec::clear);
        }
    }

    fn write_response(&self, response: &Response, shape: Shape, out: &mut Vec<u8>) {
        let answer = Answer {
            status: response.status,
            content_type: response.content_type,
            fields: &response.fields,
            body: &response.body,
            is_head: shape.is_head,
            persistence: shape.persistence,
        };
        answer.write(&self.date, out);
    }

    fn write_accepted(&mut self, accepted: &Accepted, shape: Shape, out: &mut Vec<u8>) {
        let is_usual = accepted.echo.is_empty() && shape == Shape::usual();
        match &accepted.body {
            AcceptedBody::One(id) if is_usual => {
                let body = one_body(*id);
                let head = &mut self.heads[accepted.level.index()];
                if head.is_empty() {
                    write_accepted(accepted, &body, shape, &self.date, head);
                    head.truncate(head.len() - body.len());
                }
                out.extend_from_slice(head);
                out.extend_from_slice(&body);
            }
            AcceptedBody::One(id) => write_accepted(accepted, &one_body(*id), shape, &self.date, out),
            AcceptedBody::Batch(body) => write_accepted(accepted, body.as_bytes(), shape, &self.date, out),
            AcceptedBody::Nothing => write_accepted(accepted, &[], shape, &self.date, out),
        }
    }
}

fn write_accepted(accepted: &Accepted, body: &[u8], shape: Shape, date: &DateHeader, out: &mut Vec<u8>) {
    let mut fields = vec![("Forebay-Ack", accepted.level.as_str().into())];
    accepted.echo.add_to(&mut fields);
    let answer = Answer {
        status: 202,
        content_type: (!body.is_empty()).then_some("application/json"),
        fields: &fields,
        body,
        is_head: shape.is_head,
        persistence: shape.persistence,
    };
    answer.write(date, out);
}

/// Rings that no connection needs now.
#[derive(Debug, Default)]
pub(super) struct SpareRings(Vec<VecDeque<Slot>>);

impl SpareRings {
    /// More than this many are given back to the allocator.
    const SPARES_MAX: usize = 1024;

    fn take(&mut self) -> VecDeque<Slot> {
        self.0.pop().unwrap_or_else(|| VecDeque::with_capacity(ANSWERS_MAX))
    }

    fn give_back(&mut self, ring: VecDeque<Slot>) {
        if ring.capacity() > 0 && self.0.len() < Self::SPARES_MAX {
            self.0.push(ring);
        }
    }
}
