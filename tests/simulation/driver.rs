//! A driver without a kernel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;
use std::time::Duration;

use bytes::Bytes;
use forebay::handoff::Doorbell;
use forebay::uring::{Completion, Driver, How, Lease, Operation, Received, Socket, Token, Usage};
use rustix::io::Errno;

use crate::disk::SimDisk;

/// The listener's descriptor; connections count up from behind it.
pub(crate) const LISTENER: Socket = Socket(3);
/// Where the wall clock starts: some day in 2026.
const WALL: Duration = Duration::from_secs(1_795_000_000);
/// Longest that a completion is held back.
const LATE: Duration = Duration::from_millis(20);

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }

    /// True in so many of a thousand cases.
    pub(crate) fn happens(&mut self, permille: usize) -> bool {
        self.below(1000) < permille
    }
}

/// How often things go wrong, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A receive brings fewer bytes than have come.
    pub(crate) split_read: usize,
    /// A send takes fewer bytes than it was given.
    pub(crate) short_send: usize,
    /// A receive finds no buffer although there is one.
    pub(crate) no_buffers: usize,
    /// A multishot operation ends with a success.
    pub(crate) ends_early: usize,
    /// The connection is reset.
    pub(crate) reset: usize,
    /// No descriptor is free for a new connection.
    pub(crate) no_descriptor: usize,
    /// A completion is held back.
    pub(crate) late: usize,
    /// A write or a sync takes up to a second.
    pub(crate) slow_disk: usize,
}

/// Which errno an operation gets that is made to fail.
pub(crate) type FailWith = fn(&Operation) -> Option<Errno>;

/// One connection, seen from both sides.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Client to server.
    pub(crate) up: VecDeque<u8>,
    /// The client sends no more.
    pub(crate) up_ended: bool,
    /// Server to client, as far as it was sent.
    pub(crate) down: Vec<u8>,
    /// The server sends no more.
    pub(crate) down_ended: bool,
    /// Bytes that the client has room for; `None`: any number.
    pub(crate) window: Option<usize>,
    /// Either side tore it down.
    pub(crate) reset: bool,
    /// The server shut its receiving side.
    pub(crate) deaf: bool,
    /// The server closed its descriptor.
    pub(crate) closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Receiving {
    token: Token,
    not_before: Duration,
    is_cancelled: bool,
}

#[derive(Debug)]
struct Sending {
    token: Token,
    socket: Socket,
    bytes: Vec<u8>,
    start: usize,
    not_before: Duration,
}

/// A write on its way.
#[derive(Debug)]
struct Writing {
    file: RawFd,
    at: u64,
    parts: [Bytes; 3],
    /// Once it has happened: some time before it is told.
    result: Option<Result<usize, Errno>>,
    not_before: Duration,
}

/// A sync on its way: what it is to bring to the disk.
#[derive(Debug)]
struct Syncing {
    inode: usize,
    sectors: BTreeSet<usize>,
    not_before: Duration,
}

/// The simulated kernel.
#[derive(Debug)]
pub(crate) struct SimDriver {
    pub(crate) dice: Dice,
    pub(crate) faults: Faults,
    pub(crate) wires: BTreeMap<RawFd, Wire>,
    /// Connections that wait to be accepted.
    pub(crate) backlog: VecDeque<Wire>,
    /// The operation that is to fail, counted from zero, and with what.
    pub(crate) fail: Option<(usize, FailWith)>,
    /// Operations so far.
    pub(crate) operations: usize,
    /// Longest sleep: while clients have things to do, time must not run away.
    pub(crate) sleep_max: Duration,
    pub(crate) now: Duration,
    /// No write and no sync returns.
    pub(crate) disk_stalls: bool,
    next_descriptor: RawFd,
    accepting: Option<Token>,
    accept_cancelled: bool,
    accept_errno: Option<Errno>,
    listener_open: bool,
    receiving: BTreeMap<RawFd, Receiving>,
    receive_errors: Vec<(Token, Errno)>,
    sending: Vec<Sending>,
    send_errors: Vec<(Sending, Errno)>,
    closing: Vec<(Token, RawFd)>,
    watching: Option<Token>,
    writing: Option<Writing>,
    syncing: Option<Syncing>,
    disk: SimDisk,
    doorbell: Doorbell,
    buffers: Vec<Vec<u8>>,
    free: Vec<u16>,
}

impl SimDriver {
    /// A driver with `buffers` receive buffers of `buffer_bytes`, woken by `doorbell`, that writes to `disk`.
    pub(crate) fn new(
        seed: u64,
        faults: Faults,
        buffers: u16,
        buffer_bytes: usize,
        doorbell: Doorbell,
        disk: SimDisk,
    ) -> Self {
        Self {
            dice: Dice(seed),
            faults,
            wires: BTreeMap::new(),
            backlog: VecDeque::new(),
            fail: None,
            operations: 0,
            now: Duration::from_secs(1000),
            disk_stalls: false,
            next_descriptor: LISTENER.0 + 1,
            accepting: None,
            accept_cancelled: false,
            accept_errno: None,
            listener_open: true,
            receiving: BTreeMap::new(),
            receive_errors: Vec::new(),
            sending: Vec::new(),
            send_errors: Vec::new(),
            closing: Vec::new(),
            watching: None,
            writing: None,
            syncing: None,
            disk,
            doorbell,
            sleep_max: Duration::MAX,
            buffers: vec![vec![0; buffer_bytes]; buffers.into()],
            free: (0..buffers).collect(),
        }
    }

    /// Receive buffers out on loan.
    pub(crate) fn on_loan(&self) -> usize {
        self.buffers.len() - self.free.len()
    }

    /// Operations without their last completion, the watch and the accept aside.
    pub(crate) fn in_flight(&self) -> usize {
        self.receiving.len() + self.sending.len() + self.closing.len()
    }

    /// Whether the server still listens.
    pub(crate) fn listens(&self) -> bool {
        self.listener_open
    }

    /// The wall clock at a moment of the monotonic one.
    pub(crate) fn wall_at(now: Duration) -> Duration {
        WALL + now
    }

    fn is_late(&mut self, not_before: Duration) -> bool {
        self.now < not_before || self.dice.happens(self.faults.late)
    }

    fn disk_delay(&mut self) -> Duration {
        let is_slow = self.dice.happens(self.faults.slow_disk);
        Duration::from_millis(if is_slow { self.dice.below(1000) as u64 } else { 0 })
    }

    fn accept(&mut self, completions: &mut Vec<Completion>) {
        let Some(token) = self.accepting else { return };
        if self.accept_cancelled {
            self.accept_cancelled = false;
            self.accepting = None;
            completions.push(Completion::Accepted { token, result: Err(Errno::CANCELED), more: false });
            return;
        }
        if let Some(errno) = self.accept_errno.take() {
            self.accepting = None;
            completions.push(Completion::Accepted { token, result: Err(errno), more: false });
            return;
        }
        while let Some(wire) = self.backlog.pop_front() {
            if self.dice.happens(self.faults.no_descriptor) {
                self.backlog.push_front(wire);
                self.accepting = None;
                completions.push(Completion::Accepted { token, result: Err(Errno::MFILE), more: false });
                return;
            }
            let descriptor = self.next_descriptor;
            self.next_descriptor += 1;
            self.wires.insert(descriptor, wire);
            let more = !self.dice.happens(self.faults.ends_early);
            completions.push(Completion::Accepted { token, result: Ok(Socket(descriptor)), more });
            if !more {
                self.accepting = None;
                return;
            }
        }
    }

    fn receive(&mut self, completions: &mut Vec<Completion>) {
        for (token, errno) in std::mem::take(&mut self.receive_errors) {
            completions.push(Completion::Received { token, result: Received::Failed(errno), more: false });
        }
        for descriptor in self.receiving.keys().copied().collect::<Vec<_>>() {
            let Receiving { token, not_before, is_cancelled } = self.receiving[&descriptor];
            if self.is_late(not_before) {
                continue;
            }
            let mut ended = |this: &mut Self, result| {
                this.receiving.remove(&descriptor);
                completions.push(Completion::Received { token, result, more: false });
            };
            if is_cancelled {
                ended(self, Received::Failed(Errno::CANCELED));
                continue;
            }
            let reset = self.dice.happens(self.faults.reset);
            let wire = self.wires.get_mut(&descriptor).expect("a socket that is open");
            wire.reset |= reset;
            if wire.reset {
                ended(self, Received::Failed(Errno::CONNRESET));
                continue;
            }
            if wire.deaf || (wire.up.is_empty() && wire.up_ended) {
                ended(self, Received::End);
                continue;
            }
            if wire.up.is_empty() {
                continue;
            }
            if self.free.is_empty() || self.dice.happens(self.faults.no_buffers) {
                ended(self, Received::Failed(Errno::NOBUFS));
                continue;
            }
            let buffer = self.free.remove(self.dice.below(self.free.len()));
            let room = self.buffers[usize::from(buffer)].len();
            let mut bytes = wire.up.len().min(room);
            if self.dice.happens(self.faults.split_read) {
                bytes = 1 + self.dice.below(bytes);
            }
            let wire = self.wires.get_mut(&descriptor).expect("a socket that is open");
            for (place, byte) in self.buffers[usize::from(buffer)].iter_mut().zip(wire.up.drain(..bytes)) {
                *place = byte;
            }
            let lease = Lease::new(buffer, u32::try_from(bytes).expect("small"));
            let more = !self.dice.happens(self.faults.ends_early);
            if !more {
                self.receiving.remove(&descriptor);
            }
            completions.push(Completion::Received { token, result: Received::Data(lease), more });
        }
    }

    fn send(&mut self, completions: &mut Vec<Completion>) {
        for (Sending { token, bytes, start, .. }, errno) in std::mem::take(&mut self.send_errors) {
            completions.push(Completion::Sent { token, result: Err(errno), bytes, start });
        }
        for sending in std::mem::take(&mut self.sending) {
            if self.is_late(sending.not_before) {
                self.sending.push(sending);
                continue;
            }
            let Sending { token, socket, bytes, start, .. } = sending;
            let short = self.dice.happens(self.faults.short_send);
            let rest = bytes.len() - start;
            let wanted = if short { 1 + self.dice.below(rest) } else { rest };
            let wire = self.wires.get_mut(&socket.0).expect("a socket that is open");
            if wire.reset || wire.down_ended {
                completions.push(Completion::Sent { token, result: Err(Errno::PIPE), bytes, start });
                continue;
            }
            let taken = wanted.min(wire.window.unwrap_or(usize::MAX));
            if taken == 0 {
                self.sending.push(Sending { token, socket, bytes, start, not_before: self.now });
                continue;
            }
            wire.down.extend_from_slice(&bytes[start..start + taken]);
            if let Some(window) = &mut wire.window {
                *window -= taken;
            }
            completions.push(Completion::Sent { token, result: Ok(taken), bytes, start });
        }
    }

    fn write(&mut self, completions: &mut Vec<Completion>) {
        let Some(mut writing) = self.writing.take() else { return };
        let is_due = writing.not_before <= self.now && !self.disk_stalls;
        if writing.result.is_none() && (is_due || self.dice.happens(500)) {
            let parts = writing.parts.each_ref().map(|part| IoSlice::new(part));
            writing.result = Some(self.disk.write(writing.file, writing.at, &parts));
        }
        match writing.result {
            Some(result) if is_due => completions.push(Completion::Written { result }),
            _ => self.writing = Some(writing),
        }
    }

    fn sync(&mut self, completions: &mut Vec<Completion>) {
        if let Some(Syncing { inode, sectors, .. }) =
            self.syncing.take_if(|syncing| syncing.not_before <= self.now && !self.disk_stalls)
        {
            completions.push(Completion::Synced { result: self.disk.end_sync(inode, &sectors) });
        }
    }

    fn watch(&mut self, completions: &mut Vec<Completion>) {
        if let Some(token) = self.watching
            && self.doorbell.is_rung()
        {
            let more = !self.dice.happens(self.faults.ends_early);
            if !more {
                self.watching = None;
            }
            completions.push(Completion::Woken { token, more });
        }
    }

    fn close(&mut self, completions: &mut Vec<Completion>) {
        for (token, descriptor) in std::mem::take(&mut self.closing) {
            if descriptor == LISTENER.0 {
                self.listener_open = false;
            } else {
                assert!(!self.receiving.contains_key(&descriptor), "closed with a receive in flight");
                assert!(
                    self.sending.iter().all(|s| s.socket.0 != descriptor),
                    "closed with a send in flight"
                );
                let wire = self.wires.get_mut(&descriptor).expect("closed once");
                assert!(!wire.closed, "closed once");
                wire.closed = true;
                wire.down_ended = true;
            }
            completions.push(Completion::Closed { token });
        }
    }
}

impl Driver for SimDriver {
    fn submit(&mut self, token: Token, operation: Operation) {
        let number = self.operations;
        self.operations += 1;
        let errno = self.fail.and_then(|(n, with)| if n == number { with(&operation) } else { None });
        let not_before = if self.dice.happens(self.faults.late) {
            self.now + LATE.mul_f64(f64::from(u32::try_from(self.dice.below(1000)).expect("small")) / 1000.0)
        } else {
            self.now
        };
        if let (
            Operation::Receive(socket) | Operation::Send { socket, .. },
            Some(Errno::CONNRESET | Errno::PIPE),
        ) = (&operation, errno)
        {
            self.wires.get_mut(&socket.0).expect("a socket that is open").reset = true;
        }
        match (operation, errno) {
            // A single accept is one that always ends early, which any may.
            (Operation::Accept(socket) | Operation::AcceptOne(socket), errno) => {
                assert_eq!(socket, LISTENER);
                assert!(self.accepting.is_none() && self.listener_open, "one accept at a time");
                self.accepting = Some(token);
                self.accept_errno = errno;
            }
            (Operation::Receive(_), Some(errno)) => self.receive_errors.push((token, errno)),
            (Operation::Receive(socket), None) => {
                let before =
                    self.receiving.insert(socket.0, Receiving { token, not_before, is_cancelled: false });
                assert!(before.is_none(), "one receive at a time");
            }
            (Operation::Send { socket, bytes, start }, errno) => {
                assert!(start < bytes.len(), "an empty send");
                assert!(self.sending.iter().all(|s| s.socket != socket), "one send at a time");
                let sending = Sending { token, socket, bytes, start, not_before };
                match errno {
                    Some(errno) => self.send_errors.push((sending, errno)),
                    None => self.sending.push(sending),
                }
            }
            (Operation::CancelAccept, _) => self.accept_cancelled = true,
            (Operation::CancelReceive, _) => {
                if let Some(receiving) =
                    self.receiving.values_mut().find(|receiving| receiving.token == token)
                {
                    receiving.is_cancelled = true;
                }
            }
            (Operation::Close(socket), _) => self.closing.push((token, socket.0)),
            (Operation::Write { file, at, parts }, _) => {
                assert!(self.writing.is_none(), "one write at a time");
                let not_before = not_before + self.disk_delay();
                self.writing = Some(Writing { file, at, parts, result: None, not_before });
            }
            (Operation::Sync(file), _) => {
                assert!(self.syncing.is_none(), "one sync at a time");
                let (inode, sectors) = self.disk.begin_sync(file);
                let not_before = not_before + self.disk_delay();
                self.syncing = Some(Syncing { inode, sectors, not_before });
            }
            (Operation::Watch(_), _) => {
                assert!(self.watching.is_none(), "one watch at a time");
                self.watching = Some(token);
            }
        }
    }

    fn turn(&mut self, wait: Duration, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        let before = completions.len();
        self.accept(completions);
        self.receive(completions);
        self.send(completions);
        self.write(completions);
        self.sync(completions);
        self.watch(completions);
        self.close(completions);
        // A turn with work takes a little time; one without sleeps, unless something was only held back.
        let is_held_back = self.syncing.is_some()
            || self.writing.is_some()
            || self.in_flight() > self.receiving.len()
            || self.receiving.values().any(|r| r.is_cancelled || r.not_before > self.now);
        self.now += match () {
            () if completions.len() > before => Duration::from_micros(20),
            () if is_held_back => wait.min(Duration::from_millis(1)),
            () => wait.min(self.sleep_max),
        };
        Ok(())
    }

    fn lent(&mut self, lease: &Lease) -> &mut [u8] {
        assert!(!self.free.contains(&lease.buffer()), "a buffer that is out on loan");
        &mut self.buffers[usize::from(lease.buffer())][..lease.bytes()]
    }

    fn give_back(&mut self, lease: Lease) {
        let buffer = lease.buffer();
        assert!(!self.free.contains(&buffer), "given back once");
        // What was lent is the kernel's again: whoever still reads it reads garbage.
        self.buffers[usize::from(buffer)].fill(0xdd);
        self.free.push(buffer);
    }

    fn peer(&self, _: Socket) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn shutdown(&mut self, socket: Socket, how: How) {
        let wire = self.wires.get_mut(&socket.0).expect("a socket that is open");
        assert!(!wire.closed, "shut down before the close");
        wire.down_ended = true;
        wire.deaf |= how == How::Both;
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn wall(&self) -> Duration {
        WALL + self.now
    }

    fn usage(&self) -> Usage {
        Usage { cpu: self.now / 2, waits: 0 }
    }
}
