//! What lies around HTTP on the wire: a balancer's PROXY header, and TLS. Without I/O: bytes in, bytes out.
//!
//! [`proxy`] reads the header that says whose connection a balancer passes on. [`Session`] is the server's side of a TLS connection. [`Wire`] puts them
//! in their order: first the header, then TLS, then HTTP.

pub mod proxy;
mod session;
mod tls;

use std::net::IpAddr;
use std::sync::Arc;

pub use session::{Session, TlsFailed};
pub use tls::{Tls, TlsFilesError};

/// The first byte of a TLS connection: a handshake record (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What a session takes besides the bytes that it keeps, about.
const SESSION_BYTES: usize = 4 << 10;

/// What has to come before HTTP, and what goes around it, on one connection.
#[derive(Debug)]
pub struct Wire {
    /// Bytes of a PROXY header that is not complete, where one is required.
    header: Option<Vec<u8>>,
    tls: State,
}

#[derive(Debug)]
enum State {
    /// Bytes are HTTP.
    Plain,
    /// TLS, of which nothing has come.
    Awaited(Arc<Tls>),
    Session(Box<Session>),
    /// The session is away to shake hands; what has come since.
    Away(Vec<u8>),
}

/// What bytes have come to.
#[derive(Debug)]
pub enum Step {
    /// What they held of HTTP is in `plain`.
    Plain,
    /// The PROXY header is complete: the client's address, or none if the balancer speaks for itself.
    Client(Option<IpAddr>),
    /// The session has work to do that takes long: it is to be given back with [`Wire::come_back`] after [`Session::shake`].
    Shake(Box<Session>),
    /// There are as many handshakes as there may be.
    TurnedAway,
    /// The other side does not keep to what is spoken here.
    Broken(&'static str),
    /// The TLS connection has failed. What it still has to say is to be sent.
    Failed,
}

impl Wire {
    /// A connection that begins with a PROXY header, or with TLS, or both.
    pub fn new(has_header: bool, tls: Option<Arc<Tls>>) -> Self {
        Self { header: has_header.then(Vec::new), tls: tls.map_or(State::Plain, State::Awaited) }
    }

    /// Takes bytes; they are written over. Returns how many were used: call it again with the rest until it is empty.
    pub fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> (usize, Step) {
        if self.header.is_some() {
            return self.receive_header(input);
        }
        if let State::Awaited(tls) = &self.tls {
            if input[0] != HANDSHAKE_RECORD {
                self.tls = State::Plain;
                return (input.len(), Step::Broken("TLS is spoken here: use https://."));
            }
            let Some(session) = Session::begin(tls) else { return (input.len(), Step::TurnedAway) };
            self.tls = State::Session(Box::new(session));
        }
        let step = match &mut self.tls {
            State::Plain => {
                plain.extend_from_slice(input);
                Step::Plain
            }
            State::Awaited(_) => unreachable!("begun above"),
            State::Away(kept) => {
                kept.extend_from_slice(input);
                Step::Plain
            }
            State::Session(session) if session.is_shaking() => {
                session.keep(input);
                let State::Session(session) = std::mem::replace(&mut self.tls, State::Away(Vec::new()))
                else {
                    unreachable!("it is a session")
                };
                Step::Shake(session)
            }
            State::Session(session) => match session.receive(input, plain) {
                Ok(()) => Step::Plain,
                Err(TlsFailed) => Step::Failed,
            },
        };
        (input.len(), step)
    }

    fn receive_header(&mut self, input: &[u8]) -> (usize, Step) {
        let kept = self.header.as_mut().expect("a header is awaited");
        let before = kept.len();
        kept.extend_from_slice(&input[..input.len().min(proxy::HEADER_BYTES_MAX - before)]);
        match proxy::parse(kept) {
            proxy::Parsed::More => (input.len(), Step::Plain),
            proxy::Parsed::Header { client, bytes } => {
                self.header = None;
                (bytes - before, Step::Client(client))
            }
            proxy::Parsed::Broken => {
                self.header = None;
                self.tls = State::Plain;
                (input.len(), Step::Broken("A PROXY header has to come first from this address."))
            }
        }
    }

    /// Takes the session back, with what has come meanwhile: to be received as if it came now.
    pub fn come_back(&mut self, session: Box<Session>) -> Vec<u8> {
        match std::mem::replace(&mut self.tls, State::Session(session)) {
            State::Away(kept) => kept,
            other => panic!("a session came back to {other:?}"),
        }
    }

    /// Whether HTTP may be spoken: nothing has to come before it any more.
    pub fn is_open(&self) -> bool {
        self.header.is_none()
            && match &self.tls {
                State::Plain => true,
                State::Session(session) => !session.is_shaking(),
                State::Awaited(_) | State::Away(_) => false,
            }
    }

    /// Whether bytes are plain HTTP, in both directions.
    pub fn is_plain(&self) -> bool {
        self.header.is_none() && matches!(self.tls, State::Plain)
    }

    /// What it takes, about: a TLS session has keys and states besides its bytes.
    pub fn held_bytes(&self) -> usize {
        match &self.tls {
            State::Plain | State::Awaited(_) => 0,
            State::Session(session) => SESSION_BYTES + session.held_bytes(),
            State::Away(kept) => SESSION_BYTES + kept.len(),
        }
    }

    /// Bytes that wait for a session that is away.
    pub fn kept_bytes(&self) -> usize {
        if let State::Away(kept) = &self.tls { kept.len() } else { 0 }
    }

    /// The peer has said that it will send no more.
    pub fn has_ended(&self) -> bool {
        matches!(&self.tls, State::Session(session) if session.has_ended())
    }

    /// Whether TLS itself has something to send.
    pub fn has_output(&self) -> bool {
        matches!(&self.tls, State::Session(session) if session.has_output())
    }

    /// Makes what goes on the wire of `plain` and of what TLS itself has to send; `is_last` says goodbye. `sealed` is empty.
    pub fn send(&mut self, plain: &[u8], is_last: bool, sealed: &mut Vec<u8>) {
        match &mut self.tls {
            State::Session(session) => session.send(plain, is_last, sealed),
            State::Plain => sealed.extend_from_slice(plain),
            State::Awaited(_) | State::Away(_) => {}
        }
    }
}
