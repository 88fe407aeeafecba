//! The end of a turn: its events go to the journal and the forwarder, its answers to the clients.

use std::time::Duration;

use rustix::io::Errno;

use super::{NOBODY, Reactor, keep_buffer, schedule, stop, touch};
use crate::api::Code;
use crate::clock::{ms, us};
use crate::config::AckLevel;
use crate::handoff::Batch;
use crate::journal::format::BatchHead;
use crate::journal::{AppendError, Offset, SegmentWrite, Wish};
use crate::reactor::awaiting::Awaiting;
use crate::reactor::connection::Life;
use crate::reactor::waiters::Waiter;
use crate::telemetry::Phase;
use crate::uring::{Driver, How, Operation, Token};

/// How long a connection lingers for the sake of its last answer.
const LINGER: Duration = Duration::from_secs(2);

impl<D: Driver> Reactor<D> {
    /// Hands the events over that have come, unless others are on their way: only when they are taken over, their answers are decided on.
    pub(super) fn commit(&mut self) {
        self.drive_journal();
        if self.appender.is_busy() {
            return;
        }
        let (events, records) = self.desk.batch.take();
        if events == 0 {
            return;
        }
        std::mem::swap(&mut self.committing, &mut self.desk.awaiting);
        let head = BatchHead { first: self.appender.log().marks().appended(), events };
        // What is behind goes to the journal as long as that takes it.
        let is_for_journal = self.inlet.is_behind() && records.len() <= self.appender.room();
        if self.committing.is_queued_enough() && !is_for_journal && self.inlet.push(events, records.clone()) {
            let marks = self.appender.log().marks();
            marks.set_written(head.end());
            if self.appender.is_synced() {
                marks.set_synced(head.end());
            }
            self.grant(head.first);
            return;
        }
        match self.appender.append(head, records) {
            Ok(()) => self.drive_journal(),
            Err(error) => self.refuse(error),
        }
    }

    /// Does what the journal wishes.
    fn drive_journal(&mut self) {
        while let Some(wish) = self.appender.poll(ms(self.desk.moment.now)) {
            match wish {
                Wish::Write(SegmentWrite { file, at, parts }) => {
                    self.driver.submit(NOBODY, Operation::Write { file, at, parts });
                }
                Wish::Refused(error) => self.refuse(error),
            }
        }
    }

    /// A write has ended: if it was that of new events, the forwarder is told of them.
    pub(super) fn handle_written(&mut self, result: Result<usize, Errno>) {
        let now_ms = ms(self.desk.moment.now);
        let Some((head, records)) = self.appender.handle_written(result, now_ms) else { return };
        let BatchHead { first, events } = head;
        let marks = self.appender.log().marks();
        marks.set_appended(head.end());
        marks.set_written(head.end());
        self.inlet.tell(Batch { first, events, records });
        self.grant(first);
    }

    /// The events from `first` on, which were on their way, are taken over: their answers may go, or wait for more.
    fn grant(&mut self, first: Offset) {
        let now_us = us(self.driver.now());
        let mut end = first;
        for (awaiting, is_told) in self.committing.drain() {
            let Awaiting { app, slot, generation, number, events, bytes, level, since_us } = awaiting;
            end = end.plus(events.into());
            self.desk.service.count_accepted(app, events, bytes, self.desk.moment);
            // Its connection may have died meanwhile; its events have not.
            let Some(connection) = self.table.find(Token { slot, generation }).filter(|_| !is_told) else {
                continue;
            };
            if level <= AckLevel::Written {
                self.metrics.request_seconds.record(now_us.saturating_sub(since_us), 1);
                connection.answers.grant(number);
                touch(&mut self.touched, connection);
            } else {
                let expires_ms = since_us / 1000 + ms(self.options.ack_timeout);
                let waiter = Waiter { end, events, slot, generation, number, since_us, expires_ms };
                self.waiters.push(level, waiter);
            }
        }
    }

    /// The events that were on their way are not taken over.
    fn refuse(&mut self, error: AppendError) {
        let code = match error {
            AppendError::Full => Code::Overloaded,
            AppendError::Failed => Code::JournalFailed,
        };
        let (service, moment) = (&mut self.desk.service, self.desk.moment);
        for (Awaiting { app, slot, generation, number, events, .. }, is_told) in self.committing.drain() {
            match self.table.find(Token { slot, generation }).filter(|_| !is_told) {
                Some(connection) => {
                    let address = connection.address;
                    connection
                        .answers
                        .refuse(number, |accepted| service.not_taken_over(accepted, code, address, moment));
                    touch(&mut self.touched, connection);
                }
                None => service.count_not_taken_over(app, code, events, moment),
            }
        }
    }

    /// When the next answer's time is up whose events are not taken over.
    pub(super) fn awaiting_next_ms(&self) -> u64 {
        let since_us = self.committing.since_us().min(self.desk.awaiting.since_us());
        since_us.div_ceil(1000).saturating_add(ms(self.options.ack_timeout))
    }

    /// Tells those whose time is up. Their events go on.
    fn expire_awaiting(&mut self) {
        let until_us = us(self.desk.moment.now.saturating_sub(self.options.ack_timeout));
        let (service, moment) = (&mut self.desk.service, self.desk.moment);
        for batch in [&mut self.committing, &mut self.desk.awaiting] {
            while let Some(Awaiting { slot, generation, number, .. }) = batch.pop_expired(until_us) {
                let Some(connection) = self.table.find(Token { slot, generation }) else { continue };
                let (reached, address) = (AckLevel::Queued, connection.address);
                let told = |accepted: &_| service.ack_timeout(accepted, reached, address, moment);
                connection.answers.refuse(number, told);
                touch(&mut self.touched, connection);
            }
        }
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
        self.expire_awaiting();
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
        let address = connection.address;
        let told = |accepted: &_| service.ack_timeout(accepted, reached, address, moment);
        connection.answers.refuse(waiter.number, told);
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
            self.has_answered = true;
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
