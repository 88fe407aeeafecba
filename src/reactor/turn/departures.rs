//! The end of a turn: its events go to the journal and the forwarder, its answers to the clients.

use std::io::IoSlice;
use std::os::fd::RawFd;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use super::{NOBODY, Reactor, keep_buffer, schedule, stop, touch};
use crate::api::Code;
use crate::clock::{ms, us};
use crate::config::AckLevel;
use crate::handoff::Batch;
use crate::journal::format::BatchHead;
use crate::journal::{AppendError, SegmentWriter};
use crate::reactor::connection::{Awaiting, Life};
use crate::reactor::waiters::Waiter;
use crate::telemetry::Phase;
use crate::uring::{Driver, How, Operation, Token};

/// How long a connection lingers for the sake of its last answer.
const LINGER: Duration = Duration::from_secs(2);

/// The driver, as the journal sees it.
struct Writer<'a, D>(&'a mut D);

impl<D: Driver> SegmentWriter for Writer<'_, D> {
    fn write(&mut self, file: RawFd, at: u64, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.0.write(file, at, parts)
    }
}

impl<D: Driver> Reactor<D> {
    /// Hands the turn's events over, and only then decides on their answers.
    pub(super) fn commit(&mut self) {
        let (events, records) = self.desk.batch.take();
        if events == 0 {
            return;
        }
        let mut end = self.appender.log().marks().appended();
        let mut awaiting = std::mem::take(&mut self.desk.awaiting);
        let is_queued_enough = awaiting.iter().all(|awaiting| awaiting.level == AckLevel::Queued);
        let outcome = if is_queued_enough && self.push(events, &records) {
            Ok(())
        } else {
            self.append(events, records)
        };
        let moment = self.desk.moment;
        for Awaiting { app, slot, generation, number, events, level } in awaiting.drain(..) {
            end = end.plus(events.into());
            if outcome.is_ok() {
                self.desk.service.count_accepted(app, events);
            }
            // Its connection may have died in the same turn; its events have not.
            let Some(connection) = self.table.find(Token { slot, generation }) else { continue };
            if let Err(error) = outcome {
                let service = &mut self.desk.service;
                let code = match error {
                    AppendError::Full => Code::Overloaded,
                    AppendError::Failed => Code::JournalFailed,
                };
                connection.answers.refuse(number, |accepted| service.not_taken_over(accepted, code, moment));
            } else if level <= AckLevel::Written {
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

    /// Hands the turn's events over through the queue alone, if it has room.
    fn push(&mut self, events: u32, records: &Bytes) -> bool {
        let is_pushed = self.inlet.push(events, records.clone());
        if is_pushed {
            let marks = self.appender.log().marks();
            let end = marks.appended();
            marks.set_written(end);
            if self.appender.is_synced() {
                marks.set_synced(end);
            }
        }
        is_pushed
    }

    /// Writes the turn's events to the journal, and tells the forwarder of them.
    fn append(&mut self, events: u32, records: Bytes) -> Result<(), AppendError> {
        let first = self.appender.log().marks().appended();
        let head = BatchHead { first, events };
        let now_ms = ms(self.desk.moment.now);
        self.appender.append(&mut Writer(&mut self.driver), head, records.clone(), now_ms)?;
        let marks = self.appender.log().marks();
        marks.set_appended(head.end());
        marks.set_written(head.end());
        self.inlet.tell(Batch { first, events, records });
        Ok(())
    }

    /// Makes good what the disk has failed, if it works again.
    pub(super) fn mend(&mut self) {
        self.appender.recover(&mut Writer(&mut self.driver), ms(self.desk.moment.now));
        self.desk.service.set_journal_failing(self.appender.is_failing());
    }

    /// Begins a sync if one is due. Last in the turn: until the driver has it, the file must stay.
    pub(super) fn sync(&mut self) {
        let is_awaited = self.waiters.is_waiting(AckLevel::Synced) || self.has_no_clients();
        if let Some(file) = self.appender.poll_sync(is_awaited, ms(self.desk.moment.now)) {
            self.driver.submit(NOBODY, Operation::Sync(file));
        }
    }

    /// Releases the answers whose level was reached, and those whose time is up.
    pub(super) fn release(&mut self) {
        if self.waiters.next_ms() == u64::MAX {
            self.inlet.forget_parked();
            return;
        }
        let is_waiting = self.waiters.is_waiting(AckLevel::Confirmed);
        let settled = self.inlet.look(is_waiting);
        // What the broker has confirmed survives more than a power cut, and what was parked is on the disk too.
        let synced = self.appender.log().marks().synced().max(settled);
        while let Some(waiter) = self.waiters.pop_reached(AckLevel::Synced, synced) {
            self.grant_waiter(waiter);
        }
        while let Some(waiter) = self.waiters.pop_reached(AckLevel::Confirmed, settled) {
            if self.inlet.is_parked(waiter.end, waiter.events) {
                // It never will be confirmed: its app may as well know now.
                self.refuse_waiter(waiter);
            } else {
                self.grant_waiter(waiter);
            }
        }
        while let Some(waiter) = self.waiters.pop_expired(ms(self.desk.moment.now)) {
            self.refuse_waiter(waiter);
        }
        if is_waiting && !self.waiters.is_waiting(AckLevel::Confirmed) {
            self.inlet.await_settled(false);
        }
    }

    fn grant_waiter(&mut self, waiter: Waiter) {
        self.metrics.request_seconds.record(us(self.desk.moment.now) - waiter.since_us, 1);
        let token = Token { slot: waiter.slot, generation: waiter.generation };
        if let Some(connection) = self.table.find(token) {
            connection.answers.grant(waiter.number);
            touch(&mut self.touched, connection);
        }
    }

    /// The level was not reached: in time, or ever, because no broker would take the event.
    fn refuse_waiter(&mut self, waiter: Waiter) {
        let token = Token { slot: waiter.slot, generation: waiter.generation };
        let Some(connection) = self.table.find(token) else { return };
        // Whoever waits asked for more than `written`, and the write has returned.
        let is_synced = waiter.end <= self.appender.log().marks().synced();
        let reached = if is_synced { AckLevel::Synced } else { AckLevel::Written };
        let (service, moment) = (&mut self.desk.service, self.desk.moment);
        connection.answers.refuse(waiter.number, |accepted| service.ack_timeout(accepted, reached, moment));
        touch(&mut self.touched, connection);
    }

    /// Brings a connection to where it should be.
    pub(super) fn advance(&mut self, slot: u32) {
        let send_until = self.desk.moment.now + self.send_timeout();
        let connection = self.table.at(slot);
        connection.is_listed = false;
        let token = Token { slot, generation: connection.generation };
        connection.settle_memory(&mut self.desk);
        if connection.life == Life::Open
            && connection.has_ended
            && connection.stalled.is_empty()
            && !connection.is_examined()
        {
            connection.handle_end(&mut self.desk);
        }
        let has_answers = matches!(connection.life, Life::Open | Life::Flushing);
        let has_output =
            connection.answers.is_ready() || connection.wire.as_ref().is_some_and(|wire| wire.has_output());
        if has_answers && !connection.is_sending && has_output {
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
            if let Some(wire) = &mut connection.wire {
                let mut sealed = self.buffers.pop().unwrap_or_default();
                wire.send(&bytes, is_last, &mut sealed);
                keep_buffer(&mut self.buffers, std::mem::replace(&mut bytes, sealed));
            }
            connection.begin_send(send_until);
            connection.hold_output(bytes.len(), &mut self.desk);
            self.driver.submit(token, Operation::Send { socket: connection.socket, bytes, start: 0 });
        }
        if connection.life == Life::Flushing && !connection.is_sending && connection.answers.is_empty() {
            if connection.has_ended || self.phase == Phase::Cutting {
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
        let may_go_on = !connection.answers.is_full() && !connection.is_examined();
        if connection.life == Life::Open && !connection.stalled.is_empty() && may_go_on {
            self.resumable.push(slot);
        }
        if !matches!(connection.life, Life::Joining | Life::Closing) {
            schedule(&mut self.wheel, connection);
        }
    }
}
