//! What came out of the ring, and what it means for its connection.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;

use super::{NOBODY, REFUSED_AT_ONCE_MAX, Reactor, keep_buffer, stop, touch};
use crate::clock::ms;
use crate::reactor::connection::Life;
use crate::reactor::pool::Work;
use crate::reactor::sources::Entered;
use crate::telemetry::Phase;
use crate::uring::faults::{Failing, Remedy, remedy};
use crate::uring::{Completion, Driver, Operation, Received, Socket, Token};
use crate::wire::Wire;

impl<D: Driver> Reactor<D> {
    pub(super) fn handle(&mut self, completion: Completion) -> Result<(), Errno> {
        match completion {
            Completion::Accepted { token, result, more } => {
                let accepted = self.listeners.handle_accepted(token, result, more, self.desk.moment.now)?;
                if let Some(socket) = accepted {
                    self.accept(socket);
                }
            }
            Completion::Received { token, result, more } => self.handle_received(token, result, more)?,
            Completion::Sent { token, result, bytes, start } => {
                self.handle_sent(token, result, bytes, start)?;
            }
            Completion::Closed { token } => {
                if !self.listeners.handle_closed(token)
                    && let Some(connection) = self.table.find(token)
                {
                    connection.release_memory(&mut self.desk);
                    self.table.remove(token.slot);
                    self.connections.fetch_sub(1, Ordering::Relaxed);
                    self.listeners.handle_room();
                }
            }
            Completion::Written { result } => self.handle_written(result),
            Completion::Synced { result } => self.appender.handle_synced(result, ms(self.desk.moment.now)),
            Completion::Woken { more, .. } => {
                self.doorbell.answer();
                self.is_watching = more;
            }
        }
        Ok(())
    }

    fn accept(&mut self, socket: Socket) {
        let open = self.connections.load(Ordering::Relaxed);
        let has_room = open < self.options.connections_max + REFUSED_AT_ONCE_MAX;
        // One whose other side is gone already has no address, and will not stay.
        let address = self.driver.peer(socket);
        let is_balancer = self.is_balancer(address);
        // Behind a balancer the seat is taken when the client is known.
        let entered = if is_balancer { Entered::Welcome(None) } else { self.desk.sources.enter(address) };
        let (seat, is_refused) = match entered {
            Entered::Welcome(seat) => (seat, false),
            Entered::Refused(seat) => (Some(seat), true),
            Entered::TurnedAway => {
                self.driver.submit(NOBODY, Operation::Close(socket));
                return;
            }
        };
        let Some(connection) = has_room.then(|| self.table.insert(socket)).flatten() else {
            self.driver.submit(NOBODY, Operation::Close(socket));
            return;
        };
        self.connections.fetch_add(1, Ordering::Relaxed);
        connection.address = address;
        connection.seat = seat.map(Box::new);
        connection.wire =
            (is_balancer || self.tls.is_some()).then(|| Box::new(Wire::new(is_balancer, self.tls.clone())));
        let old = self.desk.moment.now + spread(self.options.connection_age, socket, self.desk.moment.now);
        connection.old_s = u32::try_from(old.as_secs() + 1).unwrap_or(u32::MAX);
        // What comes before HTTP comes at once.
        let timeouts = &self.desk.timeouts;
        let timeout =
            if connection.wire.is_some() { timeouts.head.min(timeouts.idle) } else { timeouts.idle };
        connection.deadline_ms = ms(self.desk.moment.now + timeout);
        if self.phase == Phase::Cutting {
            stop(&mut self.driver, connection);
        } else if open >= self.options.connections_max || is_refused {
            connection.refuse(&mut self.desk, is_refused);
        }
        touch(&mut self.touched, connection);
    }

    /// What took long is done; its connection may have gone meanwhile.
    pub(super) fn handle_done(&mut self, token: Token, work: Work) {
        let Some(connection) = self.table.find(token) else { return };
        match work {
            Work::Shake { session, plain } => {
                connection.handle_shaken(session, &plain, &mut self.desk);
            }
            Work::Examine(examination) => connection.handle_examined(*examination, &mut self.desk),
        }
        touch(&mut self.touched, connection);
    }

    fn handle_received(&mut self, token: Token, result: Received, more: bool) -> Result<(), Errno> {
        let Some(connection) = self.table.find(token) else {
            panic!("a slot is freed only after the last completion of its receive");
        };
        if !more {
            connection.is_receiving = false;
            connection.is_cancelling = false;
        }
        match result {
            Received::Data(lease) => {
                connection.handle_bytes(self.driver.lent(&lease), &mut self.desk);
                self.driver.give_back(lease);
            }
            Received::End => connection.has_ended = true,
            Received::Failed(errno) => match remedy(Failing::Receive, errno) {
                Remedy::Retry | Remedy::Cancelled => {}
                Remedy::ClosePeer => {
                    connection.has_ended = true;
                    stop(&mut self.driver, connection);
                }
                Remedy::Pause | Remedy::Fatal => return Err(errno),
            },
        }
        touch(&mut self.touched, connection);
        Ok(())
    }

    fn handle_sent(
        &mut self,
        token: Token,
        result: Result<usize, Errno>,
        bytes: Vec<u8>,
        start: usize,
    ) -> Result<(), Errno> {
        let until = self.desk.moment.now + self.send_timeout();
        let Some(connection) = self.table.find(token) else {
            panic!("a slot is freed only after the last completion of its send");
        };
        connection.is_sending = false;
        let start = match result {
            Ok(sent) => start + sent,
            Err(errno) => match remedy(Failing::Send, errno) {
                Remedy::Retry => start,
                Remedy::Cancelled | Remedy::ClosePeer => {
                    stop(&mut self.driver, connection);
                    bytes.len()
                }
                Remedy::Pause | Remedy::Fatal => return Err(errno),
            },
        };
        if start < bytes.len() && connection.life != Life::Joining {
            let operation = Operation::Send { socket: connection.socket, bytes, start };
            connection.begin_send(until);
            self.driver.submit(token, operation);
            touch(&mut self.touched, connection);
            return Ok(());
        }
        connection.end_send(&self.desk);
        connection.hold_output(0, &mut self.desk);
        keep_buffer(&mut self.buffers, bytes);
        touch(&mut self.touched, connection);
        Ok(())
    }
}

/// A tenth more or less, so that connections that came together do not go together.
fn spread(age: Duration, socket: Socket, now: Duration) -> Duration {
    let seed = u64::from(now.subsec_nanos()) ^ u64::from(socket.0.cast_unsigned());
    // Fibonacci hashing: neighbours land far apart.
    let permille = 900 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 201;
    age.mul_f64(f64::from(u16::try_from(permille).expect("at most 1100")) / 1000.0)
}
