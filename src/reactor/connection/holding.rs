//! What a connection holds in memory, counted.

use super::{Connection, Desk, Life, Phase};
use crate::reactor::answers::Shape;

impl Connection {
    /// So many bytes wait to be sent.
    pub(in crate::reactor) fn hold_output(&mut self, bytes: usize, desk: &mut Desk) {
        desk.memory.change(self.output_bytes as usize, bytes);
        self.output_bytes = u32::try_from(bytes).expect("a piece and an answer");
    }

    /// Counts what is held now. A body that has grown beyond what there is room for is refused.
    pub(in crate::reactor) fn settle_memory(&mut self, desk: &mut Desk) {
        let held = self.holds();
        let before = self.held_bytes as usize;
        let is_in_body = self.life == Life::Open && self.phase() == Phase::Body && !self.is_skipping;
        if held > before && is_in_body && !desk.memory.has_room(held - before) {
            let ticket = self.forget_request().expect("a body has its ticket");
            let response = desk.service.no_memory(ticket, self.address, desk.moment);
            self.answer(response, Shape::last(false), desk);
        }
        let held = self.holds();
        desk.memory.change(before, held);
        self.held_bytes = u32::try_from(held).expect("bounded by the largest body");
    }

    /// Nothing is held any more.
    pub(in crate::reactor) fn release_memory(&mut self, desk: &mut Desk) {
        desk.memory.change((self.held_bytes + self.output_bytes) as usize, 0);
        (self.held_bytes, self.output_bytes) = (0, 0);
    }

    fn holds(&self) -> usize {
        let wire = self.wire.as_ref().map_or(0, |wire| wire.held_bytes());
        let request = self.decoder.reserved_bytes() + self.stalled.len() + self.examined_bytes as usize;
        request + self.answers.held_bytes() + wire
    }
}
