//! One connection: what its bytes mean and where it stands. It has no socket to speak of: the turn does what [`Connection`] needs.

mod holding;
mod stalled;
mod unwrapping;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use stalled::Stalled;

use super::answers::{Answers, Shape, SpareRings};
use super::awaiting::{Awaiting, AwaitingBatch};
use super::memory::Memory;
use super::pool::{Errands, Work};
use super::sources::{Seat, Sources};
use crate::api::{Accepted, Examination, Judgement, Moment, Outcome, Response, Service, Ticket};
use crate::clock::{ms, us};
use crate::event::TurnBatch;
use crate::http::{BodyLength, Decoder, HeadLimits, KnownHead, Step};
use crate::uring::{Socket, Token};
use crate::wire::Wire;

/// Bytes that may wait for answers to leave before nothing more is received; what was on its way is still kept.
pub(super) const STALLED_BYTES_MAX: usize = 64 << 10;
/// Heads that are known by heart.
pub(super) const KNOWN_HEADS: usize = 1024;
/// Bytes that are read and thrown away for the sake of an answer that must not be lost to a reset.
const DISCARDED_BYTES_MAX: u32 = 16 << 20;

/// Where a connection is in its life. The last three are the steps of freeing its slot: stop, join, free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The slot is free.
    Free,
    /// Requests are taken.
    Open,
    /// No more requests; answers are still to leave.
    Flushing,
    /// All answers have left and our side is shut: what still comes is thrown away until the peer ends too (RFC 9112 section 9.6).
    Lingering,
    /// Both sides are shut: operations in flight come back.
    Joining,
    /// Nothing is in flight but the close.
    Closing,
}

/// What a connection waits for, and so which timeout holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Head,
    Body,
}

/// How long each phase may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) head: Duration,
    pub(super) body: Duration,
    pub(super) idle: Duration,
}

/// What the bytes of all connections are judged with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) service: Service,
    pub(super) batch: TurnBatch,
    /// Its 202s.
    pub(super) awaiting: AwaitingBatch,
    pub(super) spares: SpareRings,
    pub(super) moment: Moment,
    pub(super) limits: HeadLimits,
    /// The last heads, each shared by few connections: most memory would be for those that idle.
    pub(super) known_heads: Box<[KnownHead; KNOWN_HEADS]>,
    pub(super) timeouts: Timeouts,
    /// How many connections each address has.
    pub(super) sources: Arc<Sources>,
    /// Work that is done elsewhere.
    pub(super) errands: Errands,
    /// What clients make this reactor hold.
    pub(super) memory: Memory,
    /// Memory for what TLS held.
    pub(super) plain: Vec<u8>,
    /// Every answer ends its connection now.
    pub(super) is_draining: bool,
}

/// A request whose body is not complete.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    shape: Shape,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) socket: Socket,
    pub(super) life: Life,
    /// A receive is in flight.
    pub(super) is_receiving: bool,
    /// Its cancellation is, too.
    pub(super) is_cancelling: bool,
    /// A send is in flight.
    pub(super) is_sending: bool,
    /// The peer sends no more.
    pub(super) has_ended: bool,
    /// Listed for the end of the turn.
    pub(super) is_listed: bool,
    /// Monotonic; what the phase allows.
    pub(super) deadline_ms: u64,
    /// When the send in flight must have made progress; `u64::MAX` without one.
    pub(super) send_deadline_ms: u64,
    /// When the timer wheel will look; `u64::MAX` if it will not.
    pub(super) scheduled_ms: u64,
    /// Monotonic, in seconds: from then on its next answer is its last, so that a balancer can spread the load.
    pub(super) old_s: u32,
    /// Bytes that were thrown away.
    discarded_bytes: u32,
    /// Whose connection it is, as the socket or the balancer says.
    pub(super) address: Option<IpAddr>,
    /// Held for its address. In a box, for connections are many and few have one.
    pub(super) seat: Option<Box<Seat>>,
    /// What is around HTTP, if anything is.
    pub(super) wire: Option<Box<Wire>>,
    pub(super) answers: Answers,
    /// Bytes that came while there was no place for more answers.
    pub(super) stalled: Stalled,
    decoder: Decoder,
    pending: Option<Box<Pending>>,
    /// In a body whose request was refused already.
    is_skipping: bool,
    /// A body is being examined elsewhere; no further request is looked at.
    examined: Option<Shape>,
    /// What that takes at most.
    examined_bytes: u32,
    /// What is counted as held for this connection: what waits to be sent, and all else.
    output_bytes: u32,
    held_bytes: u32,
}

impl Connection {
    /// An unused slot.
    pub(super) fn free(slot: u32, generation: u32) -> Self {
        Self {
            slot,
            generation,
            socket: Socket(-1),
            life: Life::Free,
            is_receiving: false,
            is_cancelling: false,
            is_sending: false,
            has_ended: false,
            is_listed: false,
            deadline_ms: u64::MAX,
            send_deadline_ms: u64::MAX,
            scheduled_ms: u64::MAX,
            old_s: u32::MAX,
            discarded_bytes: 0,
            address: None,
            seat: None,
            wire: None,
            answers: Answers::default(),
            stalled: Stalled::default(),
            decoder: Decoder::default(),
            pending: None,
            is_skipping: false,
            examined: None,
            examined_bytes: 0,
            output_bytes: 0,
            held_bytes: 0,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        if self.decoder.is_idle() {
            Phase::Idle
        } else if self.decoder.is_in_head() {
            Phase::Head
        } else {
            Phase::Body
        }
    }

    /// Whether nothing is under way: no request, no answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.life == Life::Open
            && self.phase() == Phase::Idle
            && self.answers.is_empty()
            && self.stalled.is_empty()
            && self.examined.is_none()
            && !self.is_sending
    }

    /// Whether a request that is complete is being examined.
    pub(super) fn is_examined(&self) -> bool {
        self.examined.is_some()
    }

    /// Whether bytes are wanted.
    pub(super) fn wants_bytes(&self) -> bool {
        match self.life {
            Life::Open => {
                let kept = self.wire.as_ref().map_or(0, |wire| wire.kept_bytes());
                !self.answers.is_full() && self.stalled.len() + kept <= STALLED_BYTES_MAX
            }
            Life::Flushing | Life::Lingering => self.discarded_bytes <= DISCARDED_BYTES_MAX,
            Life::Free | Life::Joining | Life::Closing => false,
        }
    }

    pub(super) fn token(&self) -> Token {
        Token { slot: self.slot, generation: self.generation }
    }

    /// Takes bytes that came; what is encrypted is decrypted in place.
    pub(super) fn handle_bytes(&mut self, input: &mut [u8], desk: &mut Desk) {
        match self.life {
            Life::Open if self.wire.is_some() => self.unwrap(input, desk),
            _ => self.handle_plain(input, desk),
        }
    }

    fn handle_plain(&mut self, input: &[u8], desk: &mut Desk) {
        match self.life {
            Life::Open if self.stalled.is_empty() => {
                let used = self.feed(input, desk);
                self.keep(&input[used..]);
            }
            Life::Open => self.keep(input),
            Life::Flushing | Life::Lingering => self.discard(input),
            Life::Free | Life::Joining | Life::Closing => {}
        }
    }

    /// Goes on with bytes that had stalled.
    pub(super) fn resume(&mut self, desk: &mut Desk) {
        let mut stalled = std::mem::take(&mut self.stalled);
        let used = self.feed(stalled.rest(), desk);
        stalled.advance(used);
        if self.life == Life::Open {
            self.stalled = stalled;
        }
    }

    /// A send is in flight, and has until then to make progress.
    pub(super) fn begin_send(&mut self, until: Duration) {
        self.is_sending = true;
        self.send_deadline_ms = ms(until);
    }

    /// Nothing is left of a send. A connection idles from its last answer on.
    pub(super) fn end_send(&mut self, desk: &Desk) {
        self.send_deadline_ms = u64::MAX;
        if self.life == Life::Open && self.phase() == Phase::Idle {
            self.deadline_ms = ms(desk.moment.now + desk.timeouts.idle);
        }
    }

    /// When a deadline is due.
    pub(super) fn next_ms(&self) -> u64 {
        self.deadline_ms.min(self.send_deadline_ms)
    }

    fn discard(&mut self, input: &[u8]) {
        let bytes = u32::try_from(input.len()).unwrap_or(u32::MAX);
        self.discarded_bytes = self.discarded_bytes.saturating_add(bytes);
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.life == Life::Open {
            self.stalled.extend(rest);
        } else {
            self.discard(rest);
        }
    }

    /// Feeds the decoder until it wants more, the ring of answers is full, or no more requests are taken; returns how much was used.
    fn feed(&mut self, input: &[u8], desk: &mut Desk) -> usize {
        let (before, mut steps, mut heads) = (self.phase(), 0u32, 0u32);
        let mut pending = self.pending.take().map(|pending| *pending);
        let mut used = 0;
        let known = self.slot as usize % KNOWN_HEADS;
        // A body that is passed over needs no place for an answer: its request has one.
        while self.life == Life::Open
            && self.examined.is_none()
            && (self.is_skipping || !self.answers.is_full())
        {
            let ahead = input.len() - used;
            let (more, step) = self.decoder.step(&input[used..], desk.limits, &mut desk.known_heads[known]);
            let here = ahead - more;
            used += more;
            steps += 1;
            let body_bytes_max = match step {
                Step::More => break,
                Step::Head(head) => {
                    heads += 1;
                    let shape = Shape::of(&head);
                    match desk.service.judge(&head, self.address, &desk.batch, desk.moment) {
                        // What is here already takes no more memory.
                        Judgement::Take { ticket, .. } if !desk.memory.has_room(to_come(head.body, here)) => {
                            self.is_skipping = true;
                            let response = desk.service.no_memory(ticket, self.address, desk.moment);
                            self.answer(response, shape, desk);
                            Err(desk.service.skip_bytes_max())
                        }
                        Judgement::Take { ticket, bytes_max } => {
                            // RFC 9110 section 10.1.1: not needed when the body is coming already.
                            let is_expected =
                                matches!(head.body, BodyLength::Chunked | BodyLength::Length(1..));
                            if head.expects_continue && is_expected && here == 0 {
                                self.answers.push_continue(&mut desk.spares);
                            }
                            pending = Some(Pending { ticket, shape });
                            Ok(bytes_max)
                        }
                        Judgement::Answer(response) => {
                            self.is_skipping = true;
                            self.answer(response, shape, desk);
                            Err(desk.service.skip_bytes_max())
                        }
                    }
                }
                Step::Body(body) => {
                    let Pending { ticket, shape } = pending.take().expect("a body has its head");
                    let (before, moment) = (desk.batch.bytes(), desk.moment);
                    let outcome = desk.service.complete(ticket, body, self.address, &mut desk.batch, moment);
                    self.settle(outcome, before, shape, desk);
                    continue;
                }
                Step::Skipped => {
                    self.is_skipping = false;
                    continue;
                }
                Step::Violation(violation) => {
                    if !self.is_skipping {
                        let ticket = pending.take().map(|pending| pending.ticket);
                        let response = desk.service.violation(violation, ticket, self.address, desk.moment);
                        self.answer(response, Shape::last(self.decoder.is_for_head()), desk);
                    }
                    self.life = Life::Flushing;
                    break;
                }
            };
            match body_bytes_max {
                Ok(bytes_max) => self.decoder.take_body(bytes_max),
                Err(bytes_max) => self.decoder.skip_body(bytes_max),
            }
        }
        self.pending = pending.map(Box::new);
        self.set_deadline(before, steps > 1, heads > 0, desk);
        used
    }

    /// What a body has come to; the batch had so many bytes before.
    fn settle(&mut self, outcome: Outcome, before: usize, shape: Shape, desk: &mut Desk) {
        match outcome {
            Outcome::Accepted(accepted) => {
                let bytes = u32::try_from(desk.batch.bytes() - before).expect("bounded by a segment");
                self.await_level(accepted, bytes, shape, desk);
            }
            Outcome::Answer(response) => self.answer(response, shape, desk),
            Outcome::Later(examination) => {
                self.examined = Some(shape);
                self.examined_bytes = u32::try_from(examination.bytes_max()).unwrap_or(u32::MAX);
                desk.errands.send(self.token(), Work::Examine(examination));
            }
        }
    }

    /// A body was examined: its request goes on, and those behind it may.
    pub(super) fn handle_examined(&mut self, examination: Examination, desk: &mut Desk) {
        let shape = self.examined.take().expect("it waits for its body");
        self.examined_bytes = 0;
        // One that was cut has nobody to be answered.
        if self.life == Life::Open {
            let (before, moment) = (desk.batch.bytes(), desk.moment);
            let outcome = desk.service.conclude(examination, self.address, &mut desk.batch, moment);
            self.settle(outcome, before, shape, desk);
        }
    }

    /// An answer that is complete.
    fn answer(&mut self, response: Response, shape: Shape, desk: &mut Desk) {
        let shape = self.end_with(shape, response.close, desk);
        self.answers.push_response(response, shape, &mut desk.spares);
    }

    /// A 202, once its events have the level asked for.
    fn await_level(&mut self, accepted: Accepted, bytes: u32, shape: Shape, desk: &mut Desk) {
        let Accepted { app, events, level, .. } = accepted;
        let shape = self.end_with(shape, false, desk);
        let number = self.answers.push_accepted(accepted, shape, &mut desk.spares);
        let (slot, generation) = (self.slot, self.generation);
        let since_us = us(desk.moment.now);
        desk.awaiting.push(Awaiting { app, slot, generation, number, events, bytes, level, since_us });
    }

    /// Whether this answer is the connection's last: then no more requests are taken.
    fn end_with(&mut self, shape: Shape, is_last: bool, desk: &Desk) -> Shape {
        let is_last = is_last || desk.is_draining || desk.moment.now.as_secs() >= u64::from(self.old_s);
        let shape = if is_last { shape.and_close() } else { shape };
        if shape.is_last() {
            self.life = Life::Flushing;
        }
        shape
    }

    /// A head has its time from its first byte, a body from the end of its head; else the connection may idle.
    fn set_deadline(&mut self, before: Phase, has_finished: bool, has_begun_body: bool, desk: &Desk) {
        let timeout = match self.phase() {
            Phase::Idle => desk.timeouts.idle,
            Phase::Head if before != Phase::Head || has_finished => desk.timeouts.head,
            Phase::Body if has_begun_body => desk.timeouts.body,
            Phase::Head | Phase::Body => return,
        };
        self.deadline_ms = ms(desk.moment.now + timeout);
    }

    /// The peer ended its stream and all of it was looked at.
    pub(super) fn handle_end(&mut self, desk: &mut Desk) {
        let is_cut_short = self.phase() != Phase::Idle && !self.is_skipping;
        let shape = Shape::last(self.decoder.is_for_head());
        let ticket = self.forget_request();
        if is_cut_short {
            let response = desk.service.cut_short(ticket, self.address, desk.moment);
            self.answer(response, shape, desk);
        }
        self.life = Life::Flushing;
    }

    /// The head or body took too long.
    pub(super) fn handle_timeout(&mut self, desk: &mut Desk) {
        let in_head = self.phase() == Phase::Head;
        let shape = Shape::last(self.decoder.is_for_head());
        let ticket = self.forget_request();
        if !self.is_skipping {
            let response = desk.service.timed_out(in_head, ticket, self.address, desk.moment);
            self.answer(response, shape, desk);
        }
        self.life = Life::Flushing;
    }

    /// Time is up for this node. Says so to a request that is not complete, if nothing is on its way to the client; returns whether it did.
    pub(super) fn handle_cut(&mut self, desk: &mut Desk) -> bool {
        let is_in_body = self.life == Life::Open && self.phase() == Phase::Body && !self.is_skipping;
        if !is_in_body || self.is_sending || !self.answers.is_empty() {
            return false;
        }
        let ticket = self.forget_request().expect("a body has its ticket");
        let response = desk.service.cut_off(ticket, self.address, desk.moment);
        self.answer(response, Shape::last(false), desk);
        true
    }

    /// There are too many connections: says so, if that can be said yet, and ends.
    pub(super) fn refuse(&mut self, desk: &mut Desk, of_address: bool) {
        if self.wire.is_some() {
            self.life = Life::Flushing;
            return;
        }
        let response = desk.service.too_many_connections(of_address, self.address, desk.moment);
        self.answer(response, Shape::last(false), desk);
    }

    /// What was known of a request that will not be completed.
    fn forget_request(&mut self) -> Option<Ticket> {
        self.decoder = Decoder::default();
        self.pending.take().map(|pending| pending.ticket)
    }
}

/// How much memory the rest of a body will take, of which `here` bytes have come.
fn to_come(body: BodyLength, here: usize) -> usize {
    match body {
        BodyLength::Length(bytes) if bytes > here as u64 => usize::try_from(bytes).unwrap_or(usize::MAX),
        BodyLength::Length(_) | BodyLength::None => 0,
        // Nobody knows; it is looked at as it grows.
        BodyLength::Chunked => 1,
    }
}
