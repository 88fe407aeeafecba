//! The floor: what it costs to take requests from sockets and to answer them, and nothing else.
//!
//! The node's own ring, with what the node makes use of: multishot accept and receive, provided buffers, one enter a turn, one coalesced send a
//! connection and turn. Of a request it finds the end (an empty line, then `Content-Length` bytes) and nothing more: any request gets the same
//! 202, as long as a node's. It trusts its client, which is the load tester.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use forebay::uring::{Completion, Driver, Operation, Received, Ring, RingOptions, Socket, Token, listen};
use memchr::memmem;
use rustix::io::Errno;

const LISTENER: Token = Token { slot: u32::MAX, generation: 0 };
const LENGTH: &[u8] = b"Content-Length: ";
const HEAD_END: &[u8] = b"\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 45\r\nForebay-Ack: written\r\n\r\n{\"id\":\"00000000-0000-0000-0000-000000000000\"}";

/// One connection.
struct Connection {
    socket: Socket,
    /// Of a head that is not complete.
    assembly: Vec<u8>,
    /// Bytes of the body under way that are still to come.
    body_left: usize,
    /// Requests that are complete and not answered.
    answers: usize,
    /// The memory of the send, unless it is under way.
    out: Option<Vec<u8>>,
}

/// Answers until it is killed.
pub(crate) fn serve(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    let listener = listen(address).expect("a free port");
    let mut ring = Ring::new(RingOptions::default()).expect("a kernel with io_uring");
    let accept = Socket(listener.as_raw_fd());
    ring.submit(LISTENER, Operation::Accept(accept));
    let mut connections: Vec<Connection> = Vec::new();
    let (mut completions, mut touched) = (Vec::new(), Vec::new());
    loop {
        ring.turn(Duration::from_secs(1), &mut completions).expect("the ring turns");
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { result, more, .. } => {
                    let socket = result.expect("a descriptor");
                    // A slot serves one connection: a run has a few hundred.
                    let slot = u32::try_from(connections.len()).expect("a few hundred");
                    connections.push(Connection {
                        socket,
                        assembly: Vec::new(),
                        body_left: 0,
                        answers: 0,
                        out: Some(Vec::new()),
                    });
                    ring.submit(Token { slot, generation: 0 }, Operation::Receive(socket));
                    if !more {
                        ring.submit(LISTENER, Operation::Accept(accept));
                    }
                }
                Completion::Received { token, result, more } => {
                    let connection = &mut connections[token.slot as usize];
                    match result {
                        Received::Data(lease) => {
                            connection.find_ends(ring.lent(&lease));
                            ring.give_back(lease);
                            touched.push(token);
                        }
                        Received::Failed(Errno::NOBUFS) => {}
                        Received::End | Received::Failed(_) => {
                            ring.submit(token, Operation::Close(connection.socket));
                            continue;
                        }
                    }
                    if !more {
                        ring.submit(token, Operation::Receive(connection.socket));
                    }
                }
                Completion::Sent { token, result, mut bytes, start } => {
                    let connection = &mut connections[token.slot as usize];
                    match result {
                        Ok(sent) if start + sent < bytes.len() => {
                            let (socket, start) = (connection.socket, start + sent);
                            ring.submit(token, Operation::Send { socket, bytes, start });
                        }
                        // Whoever does not read any more has gone.
                        _ => {
                            bytes.clear();
                            connection.out = Some(bytes);
                            touched.push(token);
                        }
                    }
                }
                Completion::Closed { .. } => {}
                other => unreachable!("nothing else was asked for: {other:?}"),
            }
        }
        for token in touched.drain(..) {
            connections[token.slot as usize].answer(token, &mut ring);
        }
    }
}

impl Connection {
    /// Counts the requests that end in `input`.
    fn find_ends(&mut self, mut input: &[u8]) {
        loop {
            let here = self.body_left.min(input.len());
            input = &input[here..];
            self.body_left -= here;
            if self.body_left > 0 {
                return;
            }
            if here > 0 {
                self.answers += 1;
            }
            if input.is_empty() {
                return;
            }
            let kept = self.assembly.len();
            let end = if kept == 0 {
                memmem::find(input, HEAD_END)
            } else {
                self.assembly.extend_from_slice(input);
                memmem::find(&self.assembly, HEAD_END)
            };
            let Some(end) = end else {
                if kept == 0 {
                    self.assembly.extend_from_slice(input);
                }
                return;
            };
            let head = if kept == 0 { &input[..end] } else { &self.assembly[..end] };
            self.body_left = body_bytes(head);
            self.assembly.clear();
            input = &input[end + HEAD_END.len() - kept..];
        }
    }

    /// Sends all answers at once, unless a send is under way: then they come with the next.
    fn answer(&mut self, token: Token, ring: &mut Ring) {
        if self.answers == 0 {
            return;
        }
        let Some(mut bytes) = self.out.take() else { return };
        for _ in 0..std::mem::take(&mut self.answers) {
            bytes.extend_from_slice(ANSWER);
        }
        ring.submit(token, Operation::Send { socket: self.socket, bytes, start: 0 });
    }
}

/// What `Content-Length` says; the load tester's requests all have a body.
fn body_bytes(head: &[u8]) -> usize {
    let at = memmem::find(head, LENGTH).expect("a request of the load tester") + LENGTH.len();
    let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |bytes, digit| bytes * 10 + usize::from(digit - b'0'))
}
