//! What lies around HTTP, taken off a connection's bytes.

use super::{Connection, Desk, Life};
use crate::http::Violation;
use crate::reactor::answers::Shape;
use crate::reactor::pool::Work;
use crate::reactor::sources::Entered;
use crate::wire::{self, Session};

impl Connection {
    /// Takes what is around HTTP off the bytes.
    pub(super) fn unwrap(&mut self, mut input: &mut [u8], desk: &mut Desk) {
        let mut wire = self.wire.take().expect("looked at before");
        let mut plain = std::mem::take(&mut desk.plain);
        while !input.is_empty() && self.life == Life::Open {
            let (used, step) = wire.receive(input, &mut plain);
            input = &mut input[used..];
            match step {
                wire::Step::Plain => {}
                wire::Step::Client(client) => {
                    self.address = client.or(self.address);
                    self.take_seat(wire.is_plain(), desk);
                }
                wire::Step::Shake(session) => {
                    desk.errands.send(self.token(), Work::Shake { session, plain: Vec::new() });
                }
                wire::Step::Broken(detail) => {
                    let violation = Violation::Malformed(detail);
                    let response = desk.service.violation(violation, None, self.address, desk.moment);
                    self.answer(response, Shape::last(false), desk);
                }
                wire::Step::TurnedAway | wire::Step::Failed => self.life = Life::Flushing,
            }
        }
        self.has_ended |= wire.has_ended();
        self.wire = (!wire.is_plain()).then_some(wire);
        if !plain.is_empty() {
            self.handle_plain(&plain, desk);
            plain.clear();
        }
        desk.plain = plain;
    }

    /// A handshake has come as far as its bytes reached.
    pub(in crate::reactor) fn handle_shaken(&mut self, session: Box<Session>, plain: &[u8], desk: &mut Desk) {
        let has_failed = session.has_failed();
        let wire = self.wire.as_mut().expect("it waits for its session");
        let mut kept = wire.come_back(session);
        if self.life != Life::Open {
            return;
        }
        if has_failed {
            self.life = Life::Flushing;
            return;
        }
        if wire.is_open() {
            self.deadline_ms = crate::clock::ms(desk.moment.now + desk.timeouts.idle);
        }
        if !plain.is_empty() {
            self.handle_plain(plain, desk);
        }
        // Even if nothing is kept: the session may have brought the peer's goodbye.
        self.handle_bytes(&mut kept, desk);
    }

    /// Takes one of its address's seats; `is_plain` if it can be told that there is none.
    fn take_seat(&mut self, is_plain: bool, desk: &mut Desk) {
        match desk.sources.enter(self.address) {
            Entered::Welcome(seat) => self.seat = seat.map(Box::new),
            Entered::Refused(seat) if is_plain => {
                self.seat = Some(Box::new(seat));
                self.refuse(desk, true);
            }
            Entered::Refused(_) | Entered::TurnedAway => self.life = Life::Flushing,
        }
    }
}
