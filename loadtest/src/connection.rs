//! One connection of the generator.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::Duration;

use forebay::uring::{Driver, Operation, Socket, Token};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::request::Kind;

/// Wait before a connection that was refused is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// A request on its way: when it should have left, when it did, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) due: Duration,
    pub(crate) left: Duration,
    pub(crate) kind: Kind,
    pub(crate) app: u32,
    /// It left after the warm-up.
    pub(crate) counts: bool,
}

/// Requests that will have no answer, without those of the warm-up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    pub(crate) requests: u64,
    /// Those among them that were to be accepted.
    pub(crate) good: u64,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected; to be tried again.
    Down { until: Duration },
    /// On its way to be connected.
    Connecting,
    /// Connected.
    Up,
    /// Of no more use: its operations come back, then it is closed.
    Ending,
    /// The close is in flight.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: SocketAddr,
    pub(crate) state: State,
    pub(crate) is_receiving: bool,
    pub(crate) is_sending: bool,
    /// Requests without answers, oldest first.
    pub(crate) waiting: VecDeque<Sent>,
    /// Requests that were sent since it was opened.
    pub(crate) requests: u64,
    /// Since when it could send.
    pub(crate) idle_since: Duration,
    /// It stands in the row of those that can send.
    pub(crate) is_in_row: bool,
    /// When it may be opened again, once it has ended.
    open_at: Duration,
    /// Bytes of an answer that is not complete.
    pub(crate) partial: Vec<u8>,
    /// Memory for the next requests.
    pub(crate) buffer: Vec<u8>,
    socket: Socket,
    slot: u32,
    generation: u32,
}

impl Connection {
    pub(crate) fn new(slot: usize, address: SocketAddr) -> Self {
        Self {
            address,
            state: State::Down { until: Duration::ZERO },
            is_receiving: false,
            is_sending: false,
            waiting: VecDeque::new(),
            requests: 0,
            idle_since: Duration::ZERO,
            is_in_row: false,
            open_at: Duration::ZERO,
            partial: Vec::new(),
            buffer: Vec::new(),
            socket: Socket(-1),
            slot: u32::try_from(slot).expect("far fewer connections"),
            generation: 0,
        }
    }

    pub(crate) fn token(&self) -> Token {
        Token { slot: self.slot, generation: self.generation }
    }

    /// Whether requests can be sent now.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Up && self.waiting.is_empty() && !self.is_sending
    }

    /// Begins to connect, or looks what became of that; an error if it was refused. It never blocks: a server whose queue of new
    /// connections is full lets them wait for seconds, and all others would wait with them.
    pub(crate) fn connect(&mut self, driver: &mut impl Driver) -> std::io::Result<()> {
        let connected = match self.state {
            State::Down { until } if driver.now() >= until => {
                self.requests = 0;
                begin_connecting(self.address).map(|(stream, is_connected)| {
                    self.socket = Socket(stream.into_raw_fd());
                    self.generation = Token::next_generation(self.generation);
                    self.state = State::Connecting;
                    // Tells if it is refused; once connected it goes on.
                    self.receive(driver);
                    is_connected
                })
            }
            State::Connecting => Ok(driver.peer(self.socket).is_some()),
            _ => return Ok(()),
        };
        match connected {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.state = State::Up;
                Ok(())
            }
            Err(error) => {
                self.state = State::Down { until: driver.now() + RETRY };
                Err(error)
            }
        }
    }

    /// Sends `bytes[start..]`.
    pub(crate) fn send(&mut self, driver: &mut impl Driver, bytes: Vec<u8>, start: usize) {
        self.is_sending = true;
        driver.submit(self.token(), Operation::Send { socket: self.socket, bytes, start });
    }

    /// Goes on receiving after the operation ended.
    pub(crate) fn receive(&mut self, driver: &mut impl Driver) {
        self.is_receiving = true;
        driver.submit(self.token(), Operation::Receive(self.socket));
    }

    /// Gives the connection up; returns which requests stay without answer.
    pub(crate) fn end(&mut self, driver: &mut impl Driver) -> Lost {
        if matches!(self.state, State::Up | State::Connecting) {
            let wait = if self.state == State::Up { Duration::ZERO } else { RETRY };
            self.open_at = driver.now() + wait;
            self.state = State::Ending;
            driver.shutdown(self.socket, forebay::uring::How::Both);
        }
        self.partial.clear();
        let mut lost = Lost::default();
        for sent in self.waiting.drain(..).filter(|sent| sent.counts) {
            lost.requests += 1;
            lost.good += u64::from(matches!(sent.kind, Kind::Good(_)));
        }
        lost
    }

    /// The close is done: it may be opened again, at once unless it was refused.
    pub(crate) fn close(&mut self) {
        self.state = State::Down { until: self.open_at };
    }

    /// Closes it once nothing is in flight.
    pub(crate) fn close_if_ended(&mut self, driver: &mut impl Driver) {
        if self.state == State::Ending && !self.is_receiving && !self.is_sending {
            self.state = State::Closing;
            driver.submit(self.token(), Operation::Close(self.socket));
        }
    }
}

/// Begins to connect; whether that is done already, as it is on loopback.
fn begin_connecting(address: SocketAddr) -> std::io::Result<(OwnedFd, bool)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    net::sockopt::set_tcp_nodelay(&socket, true)?;
    let is_connected = match net::connect(&socket, &address) {
        Ok(()) => true,
        // On loopback the answer is there by now; what it was, the call could not see.
        Err(Errno::INPROGRESS) => {
            net::sockopt::socket_error(&socket)??;
            net::getpeername(&socket).is_ok()
        }
        Err(errno) => return Err(errno.into()),
    };
    // The ring waits by itself, unless a socket says that nobody may.
    fcntl_setfl(&socket, OFlags::empty())?;
    Ok((socket, is_connected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay::uring::{Ring, RingOptions};
    use std::net::TcpListener;

    #[test]
    fn loopback_tells_at_once_whether_somebody_listens_and_a_refusal_is_not_asked_again_at_once() {
        let mut ring = Ring::new(RingOptions::default()).expect("a kernel with io_uring");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut connection = Connection::new(0, address);
        connection.connect(&mut ring).expect("somebody listens");
        assert!(connection.state == State::Up && connection.is_idle());
        drop(listener);
        let mut refused = Connection::new(1, address);
        refused.connect(&mut ring).expect_err("nobody listens");
        let State::Down { until } = refused.state else { panic!("{refused:?}") };
        assert!(until > ring.now());
        refused.connect(&mut ring).expect("not tried before its time");
    }

    #[test]
    fn what_is_lost_leaves_the_warm_up_out() {
        let mut ring = Ring::new(RingOptions::default()).expect("a kernel with io_uring");
        let mut connection = Connection::new(0, "127.0.0.1:1".parse().expect("an address"));
        let bad = Kind::Bad(crate::request::Bad::BrokenJson);
        for (kind, counts) in [(Kind::Good(0), true), (Kind::Good(0), false), (bad, true), (bad, false)] {
            let (due, left) = (Duration::ZERO, Duration::ZERO);
            connection.waiting.push_back(Sent { due, left, kind, app: 0, counts });
        }
        let lost = connection.end(&mut ring);
        assert_eq!((lost.requests, lost.good, connection.waiting.len()), (2, 1, 0));
    }
}
