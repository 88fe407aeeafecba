//! The seam between the reactor and whatever turns the wheel.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

/// A descriptor that the driver knows. Plain number: whoever holds it decides when it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub RawFd);

/// Whom a completion belongs to: a slot, and which use of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Index of the slot.
    pub slot: u32,
    /// Which use of the slot; [`Token::GENERATION_BITS`] bits count.
    pub generation: u32,
}

impl Token {
    /// How many bits of the generation travel through the kernel.
    pub const GENERATION_BITS: u32 = 28;

    /// The generation after this one.
    pub fn next_generation(generation: u32) -> u32 {
        (generation + 1) & ((1 << Self::GENERATION_BITS) - 1)
    }
}

/// What the driver is asked to do.
#[derive(Debug)]
pub enum Operation {
    /// Accept connections until cancelled or failed (multishot).
    Accept(Socket),
    /// Accept one connection. For sockets that several rings listen on: the kernel wakes the one that has waited longest, and one that never
    /// stops waiting would get them all.
    AcceptOne(Socket),
    /// Receive into provided buffers until cancelled, failed or ended (multishot).
    Receive(Socket),
    /// Send `bytes[start..]`. Never two at once on a socket.
    Send {
        /// The connection.
        socket: Socket,
        /// Owned by the operation until its last completion.
        bytes: Vec<u8>,
        /// How much of it is already sent.
        start: usize,
    },
    /// Stop the [`Operation::Accept`] or [`Operation::AcceptOne`] of the same token.
    CancelAccept,
    /// Stop the [`Operation::Receive`] of the same token.
    CancelReceive,
    /// Close the descriptor. Nothing else may be in flight on it.
    Close(Socket),
    /// Write to a file, into the page cache: at once where the file system can say that it would not have to wait, and else in the background.
    /// One at a time; the file stays open until its completion.
    Write {
        /// An open file.
        file: RawFd,
        /// Position in it.
        at: u64,
        /// What goes there, one behind the other; owned by the operation until its completion.
        parts: [Bytes; 3],
    },
    /// Bring what was written to the file onto the disk (`fdatasync`). One at a time; the file stays open until it is handed over.
    Sync(RawFd),
    /// Tell each time the eventfd is readable (multishot).
    Watch(RawFd),
}

/// Which directions a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The sending side: the peer sees the end of the stream.
    Write,
    /// Both: receives end and sends fail, so that every operation in flight completes soon.
    Both,
}

/// The kernel's answers.
#[derive(Debug)]
pub enum Completion {
    /// From [`Operation::Accept`] or [`Operation::AcceptOne`].
    Accepted {
        /// The listener's token.
        token: Token,
        /// The new connection, or why there is none.
        result: Result<Socket, Errno>,
        /// Whether the operation goes on; if not, submit it again.
        more: bool,
    },
    /// From [`Operation::Receive`].
    Received {
        /// The connection's token.
        token: Token,
        /// Bytes, the end, or a failure.
        result: Received,
        /// Whether the operation goes on; if not, submit it again (after giving buffers back).
        more: bool,
    },
    /// From [`Operation::Send`]: its last completion, so `bytes` comes back.
    Sent {
        /// The connection's token.
        token: Token,
        /// How many bytes were taken; may be fewer than asked for.
        result: Result<usize, Errno>,
        /// The memory that the operation owned.
        bytes: Vec<u8>,
        /// Where this send had started in it.
        start: usize,
    },
    /// From [`Operation::Close`]: the descriptor is gone, its number may come again.
    Closed {
        /// The connection's token.
        token: Token,
    },
    /// From [`Operation::Write`].
    Written {
        /// How many bytes were taken; fewer than asked for only if the disk is full or fails.
        result: Result<usize, Errno>,
    },
    /// From [`Operation::Sync`].
    Synced {
        /// Whether it is there. After a failure, nobody knows what is.
        result: Result<(), Errno>,
    },
    /// From [`Operation::Watch`].
    Woken {
        /// The watcher's token.
        token: Token,
        /// Whether the operation goes on.
        more: bool,
    },
}

/// What a receive brought.
#[derive(Debug)]
pub enum Received {
    /// Bytes in a buffer on loan: give it back with [`Driver::give_back`].
    Data(Lease),
    /// The peer will send no more.
    End,
    /// An error; `ENOBUFS` when no buffer was free, `ECANCELED` after [`Operation::CancelReceive`].
    Failed(Errno),
}

/// A receive buffer out on loan. Not `Clone`: exactly one holder, who gives it back.
#[must_use = "a buffer that is not given back is lost to the ring"]
#[derive(Debug)]
pub struct Lease {
    /// Which buffer.
    pub(crate) buffer: u16,
    /// Bytes received.
    pub(crate) bytes: u32,
}

impl Lease {
    /// A lease of a driver's own making (for drivers outside of this module).
    pub fn new(buffer: u16, bytes: u32) -> Self {
        Self { buffer, bytes }
    }

    /// Which buffer it is.
    pub fn buffer(&self) -> u16 {
        self.buffer
    }

    /// How many bytes were received.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// What a thread has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time.
    pub cpu: Duration,
    /// How often there was nothing to do, so that it slept.
    pub waits: u64,
}

/// Turns the wheel: submits operations, waits, brings completions, reads clocks, lends buffers.
pub trait Driver {
    /// Queues an operation; the kernel sees it at the next turn at the latest.
    fn submit(&mut self, token: Token, operation: Operation);

    /// Hands over what was submitted, waits up to `wait` for a completion (zero: not at all) and appends all that came.
    ///
    /// # Errors
    /// Only what [`faults`](super::faults) calls fatal.
    fn turn(&mut self, wait: Duration, completions: &mut Vec<Completion>) -> Result<(), Errno>;

    /// The bytes of a buffer on loan; the holder may spoil them.
    fn lent(&mut self, lease: &Lease) -> &mut [u8];

    /// Ends a loan.
    fn give_back(&mut self, lease: Lease);

    /// Shuts a connection down, at once; it never blocks.
    fn shutdown(&mut self, socket: Socket, how: How);

    /// The address of a connection's other side; none if it is gone.
    fn peer(&self, socket: Socket) -> Option<IpAddr>;

    /// Monotonic clock.
    fn now(&self) -> Duration;

    /// Wall clock, since the Unix epoch.
    fn wall(&self) -> Duration;

    /// What this thread has used so far.
    fn usage(&self) -> Usage;
}
