//! One connection of the generator.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use forebay::uring::{Driver, Operation, Socket, Token};

use crate::request::Kind;

/// Wait before a connection that was refused is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// A request on its way: when it should have left, when it did, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) due: Duration,
    pub(crate) left: Duration,
    pub(crate) kind: Kind,
}

/// Requests that will have no answer.
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
    /// Connected.
    Up,
    /// Of no more use: its operations come back, then it is closed.
    Ending,
    /// The close is in flight.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: String,
    pub(crate) state: State,
    pub(crate) is_receiving: bool,
    pub(crate) is_sending: bool,
    /// Requests without answers, oldest first.
    pub(crate) waiting: VecDeque<Sent>,
    /// Bytes of an answer that is not complete.
    pub(crate) partial: Vec<u8>,
    /// Memory for the next requests.
    pub(crate) buffer: Vec<u8>,
    socket: Socket,
    slot: u32,
    generation: u32,
}

impl Connection {
    pub(crate) fn new(slot: usize, address: String) -> Self {
        Self {
            address,
            state: State::Down { until: Duration::ZERO },
            is_receiving: false,
            is_sending: false,
            waiting: VecDeque::new(),
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

    /// Connects if it is time to; loopback and local networks answer at once, so this may block.
    pub(crate) fn connect(&mut self, driver: &mut impl Driver) -> std::io::Result<()> {
        let State::Down { until } = self.state else { return Ok(()) };
        if driver.now() < until {
            return Ok(());
        }
        let stream =
            TcpStream::connect(&self.address).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        match stream {
            Ok(stream) => {
                self.socket = Socket(stream.into_raw_fd());
                self.generation = Token::next_generation(self.generation);
                self.state = State::Up;
                self.is_receiving = true;
                driver.submit(self.token(), Operation::Receive(self.socket));
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
        if self.state == State::Up {
            self.state = State::Ending;
            driver.shutdown(self.socket, forebay::uring::How::Both);
        }
        self.partial.clear();
        let good = self.waiting.iter().filter(|sent| sent.kind != Kind::Bad).count() as u64;
        let lost = Lost { requests: self.waiting.len() as u64, good };
        self.waiting.clear();
        lost
    }

    /// Closes it once nothing is in flight.
    pub(crate) fn close_if_ended(&mut self, driver: &mut impl Driver) {
        if self.state == State::Ending && !self.is_receiving && !self.is_sending {
            self.state = State::Closing;
            driver.submit(self.token(), Operation::Close(self.socket));
        }
    }
}
