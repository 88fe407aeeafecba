//! The end of a turn: its events go to the forwarder, its answers to the clients.

use std::time::Duration;

use super::{Reactor, schedule, stop, touch};
use crate::clock::{ms, us};
use crate::config::AckLevel;
use crate::reactor::connection::{Awaiting, Life};
use crate::reactor::waiters::Waiter;
use crate::uring::{Driver, How, Operation, Token};

/// How long a connection lingers for the sake of its last answer.
const LINGER: Duration = Duration::from_secs(2);

impl<D: Driver> Reactor<D> {
    /// Hands the turn's events over, and only then decides on their answers.
    pub(super) fn commit(&mut self) {
        let (events, records) = self.desk.batch.take();
        if events == 0 {
            return;
        }
        let mut end = self.inlet.next();
        let is_pushed = self.inlet.push(events, records);
        if is_pushed {
            self.metrics.received.add(events.into());
            self.metrics.accepted.add(events.into());
        }
        let moment = self.desk.moment;
        let mut awaiting = std::mem::take(&mut self.desk.awaiting);
        for Awaiting { slot, generation, number, events, level } in awaiting.drain(..) {
            end = end.plus(events.into());
            // Its connection may have died in the same turn; its events have not.
            let Some(connection) = self.table.find(Token { slot, generation }) else { continue };
            if !is_pushed {
                let service = &mut self.desk.service;
                connection.answers.refuse(number, |accepted| service.overloaded(accepted, moment));
            } else if level == AckLevel::Queued {
                connection.answers.grant(number);
                self.answered += 1;
            } else {
                let since_us = us(moment.now);
                let expires_ms = ms(moment.now + self.options.ack_timeout);
                let waiter = Waiter { end, events, slot, generation, number, since_us, expires_ms };
                self.waiters.push(level, waiter);
            }
        }
        self.desk.awaiting = awaiting;
    }

    /// Releases the answers whose level was reached, and those whose time is up.
    pub(super) fn release(&mut self) {
        if self.waiters.next_ms() == u64::MAX {
            self.inlet.forget_parked();
            return;
        }
        let is_waiting = self.waiters.is_waiting(AckLevel::Confirmed);
        let settled = self.inlet.look(is_waiting);
        let now_us = us(self.desk.moment.now);
        while let Some(waiter) = self.waiters.pop_reached(AckLevel::Confirmed, settled) {
            if self.inlet.is_parked(waiter.end, waiter.events) {
                // It never will be confirmed: its app may as well know now.
                self.refuse_waiter(waiter);
                continue;
            }
            self.metrics.request_seconds.record(now_us - waiter.since_us, 1);
            let token = Token { slot: waiter.slot, generation: waiter.generation };
            if let Some(connection) = self.table.find(token) {
                connection.answers.grant(waiter.number);
                touch(&mut self.touched, connection);
            }
        }
        while let Some(waiter) = self.waiters.pop_expired(ms(self.desk.moment.now)) {
            self.refuse_waiter(waiter);
        }
        if is_waiting && !self.waiters.is_waiting(AckLevel::Confirmed) {
            self.inlet.await_settled(false);
        }
    }

    /// The level was not reached: in time, or ever, because no broker would take the event.
    fn refuse_waiter(&mut self, waiter: Waiter) {
        let token = Token { slot: waiter.slot, generation: waiter.generation };
        let Some(connection) = self.table.find(token) else { return };
        let (service, moment) = (&mut self.desk.service, self.desk.moment);
        connection
            .answers
            .refuse(waiter.number, |accepted| service.ack_timeout(accepted, AckLevel::Queued, moment));
        touch(&mut self.touched, connection);
    }

    /// Brings a connection to where it should be.
    pub(super) fn advance(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        connection.is_listed = false;
        let token = Token { slot, generation: connection.generation };
        if connection.life == Life::Open && connection.has_ended && connection.stalled.is_empty() {
            connection.handle_end(&mut self.desk);
        }
        let has_answers = matches!(connection.life, Life::Open | Life::Flushing);
        if has_answers && !connection.is_sending && connection.answers.is_ready() {
            let mut bytes = self.buffers.pop().unwrap_or_default();
            let is_last = connection.answers.write_ready(
                &mut bytes,
                &mut self.pen,
                &self.metrics,
                &mut self.desk.spares,
            );
            if is_last {
                connection.life = Life::Flushing;
            }
            connection.begin_send(self.desk.moment.now + self.options.idle_timeout);
            self.driver.submit(token, Operation::Send { socket: connection.socket, bytes, start: 0 });
        }
        if connection.life == Life::Flushing && !connection.is_sending && connection.answers.is_empty() {
            if connection.has_ended {
                stop(&mut self.driver, connection);
            } else {
                self.driver.shutdown(connection.socket, How::Write);
                connection.life = Life::Lingering;
                connection.deadline_ms = ms(self.desk.moment.now + LINGER);
            }
        }
        if connection.life == Life::Lingering && (connection.has_ended || !connection.wants_bytes()) {
            stop(&mut self.driver, connection);
        }
        let wants_bytes = connection.wants_bytes() && !connection.has_ended;
        if wants_bytes && !connection.is_receiving {
            connection.is_receiving = true;
            self.driver.submit(token, Operation::Receive(connection.socket));
        } else if !wants_bytes && connection.is_receiving && !connection.is_cancelling {
            connection.is_cancelling = true;
            self.driver.submit(token, Operation::CancelReceive);
        }
        if connection.life == Life::Joining && !connection.is_receiving && !connection.is_sending {
            connection.life = Life::Closing;
            self.driver.submit(token, Operation::Close(connection.socket));
        }
        if connection.life == Life::Open && !connection.stalled.is_empty() && !connection.answers.is_full() {
            self.resumable.push(slot);
        }
        if !matches!(connection.life, Life::Joining | Life::Closing) {
            schedule(&mut self.wheel, connection);
        }
    }
}
