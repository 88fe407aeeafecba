//! The listening sockets of one reactor: armed, paused when descriptors run out, closed when the node stops.

use std::time::Duration;

use rustix::io::Errno;

use crate::uring::faults::{Failing, Remedy, remedy};
use crate::uring::{Driver, Operation, Socket, Token};

/// How long accepting pauses when no descriptor is free, unless a connection ends sooner.
const PAUSE: Duration = Duration::from_millis(100);

/// The token of a listener: slots that no connection ever has. It needs no generation, for a listener is never replaced.
fn token(index: usize) -> Token {
    Token { slot: u32::MAX - 1 - u32::try_from(index).expect("a handful of listeners"), generation: 0 }
}

fn index(token: Token) -> usize {
    (u32::MAX - 1).wrapping_sub(token.slot) as usize
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No accept is in flight.
    Idle,
    Armed,
    /// No descriptor was free.
    Paused {
        until_ms: u64,
    },
    Cancelling,
    /// As idle, and never to be armed again.
    Cancelled,
    /// The close is in flight.
    Closing,
    Closed,
}

#[derive(Debug)]
struct Listener {
    socket: Socket,
    state: State,
    /// An accept was in flight since the node stops.
    has_looked: bool,
}

#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// Other reactors accept on the same sockets.
    are_shared: bool,
    /// Connections that came in this turn: while some do, the kernel's queues are not empty.
    accepted: usize,
    is_stopping: bool,
    is_cut: bool,
}

impl Listeners {
    pub(super) fn new(sockets: Vec<Socket>, are_shared: bool) -> Self {
        let listeners = sockets
            .into_iter()
            .map(|socket| Listener { socket, state: State::Idle, has_looked: false })
            .collect();
        Self { all: listeners, are_shared, accepted: 0, is_stopping: false, is_cut: false }
    }

    /// An accept's completion; the connection, if it brought one.
    pub(super) fn handle_accepted(
        &mut self,
        token: Token,
        result: Result<Socket, Errno>,
        more: bool,
        now: Duration,
    ) -> Result<Option<Socket>, Errno> {
        let listener = &mut self.all[index(token)];
        if !more {
            listener.state = match listener.state {
                State::Armed => State::Idle,
                State::Cancelling => State::Cancelled,
                other => other,
            };
        }
        match result {
            Ok(socket) => {
                self.accepted += 1;
                Ok(Some(socket))
            }
            Err(errno) => match remedy(Failing::Accept, errno) {
                Remedy::Retry | Remedy::Cancelled => Ok(None),
                Remedy::Pause => {
                    if listener.state == State::Idle {
                        listener.state = State::Paused { until_ms: crate::clock::ms(now + PAUSE) };
                    }
                    Ok(None)
                }
                Remedy::ClosePeer | Remedy::Fatal => Err(errno),
            },
        }
    }

    /// A close's completion; whether it was a listener's.
    pub(super) fn handle_closed(&mut self, token: Token) -> bool {
        let listener = self.all.get_mut(index(token)).filter(|listener| listener.state == State::Closing);
        listener.map(|listener| listener.state = State::Closed).is_some()
    }

    /// A descriptor was freed.
    pub(super) fn handle_room(&mut self) {
        for listener in &mut self.all {
            if matches!(listener.state, State::Paused { .. }) {
                listener.state = State::Idle;
            }
        }
    }

    /// The node stops: accept what has come already, then no more.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        // One more look, even if descriptors were short a moment ago.
        self.handle_room();
    }

    /// Time is up: accept no more, whatever comes.
    pub(super) fn cut(&mut self) {
        self.is_stopping = true;
        self.is_cut = true;
    }

    /// When a pause ends.
    pub(super) fn next_ms(&self) -> u64 {
        let pauses = self.all.iter().filter_map(|listener| match listener.state {
            State::Paused { until_ms } => Some(until_ms),
            _ => None,
        });
        pauses.min().unwrap_or(u64::MAX)
    }

    /// Whether a stop is under way, which goes on turn by turn without waiting.
    pub(super) fn is_closing(&self) -> bool {
        self.is_stopping && !self.is_closed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.all.iter().all(|listener| listener.state == State::Closed)
    }

    /// End of a turn: arms what should be armed; once stopped, cancels after a turn in which nothing came.
    pub(super) fn advance(&mut self, driver: &mut impl Driver, now: Duration) {
        let now_ms = crate::clock::ms(now);
        let came = std::mem::take(&mut self.accepted);
        let (is_stopping, is_cut) = (self.is_stopping, self.is_cut);
        for (index, listener) in self.all.iter_mut().enumerate() {
            if matches!(listener.state, State::Paused { until_ms } if until_ms <= now_ms) {
                listener.state = State::Idle;
            }
            match listener.state {
                State::Armed if is_cut || is_stopping && came == 0 => {
                    driver.submit(token(index), Operation::CancelAccept);
                    listener.state = State::Cancelling;
                }
                State::Idle if !is_cut && (!is_stopping || came > 0 || !listener.has_looked) => {
                    let accept = if self.are_shared { Operation::AcceptOne } else { Operation::Accept };
                    driver.submit(token(index), accept(listener.socket));
                    listener.state = State::Armed;
                    listener.has_looked = is_stopping;
                }
                State::Idle | State::Paused { .. } if is_stopping => listener.state = State::Cancelled,
                _ => {}
            }
            if listener.state == State::Cancelled {
                driver.submit(token(index), Operation::Close(listener.socket));
                listener.state = State::Closing;
            }
        }
    }
}
