//! The real driver.

use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

use super::buffers::Buffers;
use super::driver::{Completion, Driver, How, Lease, Operation, Received, Socket, Token, Usage};
use super::faults::{Failing, Remedy, remedy};
use super::in_flight::{Send, Sends, Writing};
use super::support::UringError;
use super::user_data::{Kind, cancel, pack, unpack};
use crate::clock;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Entries of the submission queue; the completion queue has four times as many.
    pub entries: u32,
    /// Provided receive buffers; a power of two.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { entries: 1024, buffers: 128, buffer_bytes: 32 << 10 }
    }
}

/// How long a dropped ring waits for the kernel to let go of memory before it leaks it instead.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
const BUFFER_GROUP: u16 = 0;

/// io_uring, set up with `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN`: made and used on one thread.
pub struct Ring {
    uring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<Buffers>,
    sends: Sends,
    /// The write in flight.
    writing: Option<Box<Writing>>,
    /// Operations whose last completion has not been seen.
    in_flight: usize,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Ring {
    /// Sets the ring up on the calling thread, which is the only one that may use it.
    pub fn new(options: RingOptions) -> Result<Self, UringError> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_cqsize(options.entries * 4)
            .build(options.entries)
            .map_err(|error| {
                explain("io_uring_setup (SINGLE_ISSUER, DEFER_TASKRUN, COOP_TASKRUN)", &error)
            })?;
        let parameters = uring.params();
        if !parameters.is_feature_nodrop() {
            return Err(UringError::explain("IORING_FEAT_NODROP", Errno::NOTSUP));
        }
        if !parameters.is_feature_ext_arg() {
            return Err(UringError::explain("IORING_FEAT_EXT_ARG", Errno::NOTSUP));
        }
        // What blocks goes to threads of the kernel, which may run anywhere: here they stay where this thread was pinned to, whose CPU has
        // in its cache what they are to write.
        uring
            .submitter()
            .register_iowq_aff(&affinity())
            .map_err(|error| explain("io_uring_register (IORING_REGISTER_IOWQ_AFF)", &error))?;
        let buffers = Buffers::register(&uring, options.buffers, options.buffer_bytes, BUFFER_GROUP)
            .map_err(|errno| UringError::explain("io_uring_register (IORING_REGISTER_PBUF_RING)", errno))?;
        Ok(Self {
            uring: ManuallyDrop::new(uring),
            buffers: ManuallyDrop::new(buffers),
            sends: Sends::default(),
            writing: None,
            in_flight: 0,
        })
    }

    /// Operations whose last completion has not been seen.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Receive buffers out on loan.
    pub fn on_loan(&self) -> usize {
        usize::from(self.buffers.on_loan())
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to outlives the operation: sends point into `self.sends` and writes into
            // `self.writing`, which keep the bytes until the last completion; receives use the registered buffers; all else carries plain numbers.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it over now, without waiting.
            self.enter(0, Duration::ZERO).expect("submitting to a ring of our own");
        }
    }

    fn enter(&self, want: usize, wait: Duration) -> Result<(), Errno> {
        let timeout = Timespec::new().sec(wait.as_secs()).nsec(wait.subsec_nanos());
        let entered = if want == 0 {
            self.uring.submitter().submit()
        } else {
            self.uring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&timeout))
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
                if remedy(Failing::Enter, errno) == Remedy::Retry { Ok(()) } else { Err(errno) }
            }
        }
    }

    /// What an entry of the completion queue means to those above; `None` if it is the ring's own business.
    fn translate(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (kind, token) = unpack(entry.user_data());
        let more = cqueue::more(entry.flags());
        if !more {
            self.in_flight -= 1;
        }
        let result = match u32::try_from(entry.result()) {
            Ok(value) => Ok(value),
            Err(_) => Err(Errno::from_raw_os_error(-entry.result())),
        };
        match kind {
            Kind::Accept => {
                let result = result.map(|_| Socket(entry.result()));
                Some(Completion::Accepted { token, result, more })
            }
            Kind::Receive => {
                let buffer = cqueue::buffer_select(entry.flags());
                let result = match (result, buffer) {
                    (Ok(bytes), Some(buffer)) => {
                        self.buffers.lend(buffer);
                        let lease = Lease { buffer, bytes };
                        if bytes > 0 {
                            Received::Data(lease)
                        } else {
                            self.give_back(lease);
                            Received::End
                        }
                    }
                    (Ok(_), None) => Received::End,
                    (Err(errno), Some(buffer)) => {
                        self.buffers.lend(buffer);
                        self.give_back(Lease { buffer, bytes: 0 });
                        Received::Failed(errno)
                    }
                    (Err(errno), None) => Received::Failed(errno),
                };
                Some(Completion::Received { token, result, more })
            }
            Kind::Send => {
                assert!(!more, "a plain send has one completion");
                let send = self.sends.take(token.slot);
                let result = result.map(|bytes| bytes as usize);
                Some(Completion::Sent { token: send.token, result, bytes: send.bytes, start: send.start })
            }
            Kind::Close => Some(Completion::Closed { token }),
            Kind::Write => {
                self.writing = None;
                Some(Completion::Written { result: result.map(|bytes| bytes as usize) })
            }
            Kind::Sync => Some(Completion::Synced { result: result.map(drop) }),
            Kind::Watch => Some(Completion::Woken { token, more }),
            Kind::Cancel => None,
        }
    }

    /// Cancels everything and waits until the kernel has let go of all memory; `false` if it did not in time.
    fn join(&mut self) -> bool {
        let cancelled = self.uring.submitter().register_sync_cancel(None, CancelBuilder::any());
        // ENOENT: nothing was in flight.
        let _ = cancelled;
        let deadline = self.now() + JOIN_TIMEOUT;
        let mut completions = Vec::new();
        while self.in_flight > 0 {
            if self.now() >= deadline || self.turn(Duration::from_millis(100), &mut completions).is_err() {
                return false;
            }
            for completion in completions.drain(..) {
                match completion {
                    Completion::Received { result: Received::Data(lease), .. } => self.give_back(lease),
                    // Accepted while the ring was going away: nobody will serve it.
                    Completion::Accepted { result: Ok(socket), .. } => close(socket.0),
                    _ => {}
                }
            }
        }
        true
    }
}

impl Driver for Ring {
    fn submit(&mut self, token: Token, operation: Operation) {
        let (kind, slot_token, entry) = match operation {
            Operation::Accept(listener) => (
                Kind::Accept,
                token,
                opcode::AcceptMulti::new(Fd(listener.0)).flags(libc::SOCK_CLOEXEC).build(),
            ),
            Operation::AcceptOne(listener) => (
                Kind::Accept,
                token,
                // Nobody asks for the address here, and a connection that needs it asks by itself.
                opcode::Accept::new(Fd(listener.0), std::ptr::null_mut(), std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC)
                    .build(),
            ),
            Operation::Receive(socket) => {
                (Kind::Receive, token, opcode::RecvMulti::new(Fd(socket.0), self.buffers.group()).build())
            }
            Operation::Send { socket, bytes, start } => {
                assert!(start < bytes.len(), "an empty send would never end");
                let slot = self.sends.put(Send { token, bytes, start });
                let rest = self.sends.rest(slot);
                let length = u32::try_from(rest.len()).expect("answers are far below 4 GiB");
                let entry =
                    opcode::Send::new(Fd(socket.0), rest.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build();
                (Kind::Send, Token { slot, generation: 0 }, entry)
            }
            Operation::CancelAccept => (Kind::Cancel, token, cancel(Kind::Accept, token)),
            Operation::CancelReceive => (Kind::Cancel, token, cancel(Kind::Receive, token)),
            Operation::Close(socket) => (Kind::Close, token, opcode::Close::new(Fd(socket.0)).build()),
            Operation::Write { file, at, parts } => {
                assert!(self.writing.is_none(), "one write at a time");
                let writing = self.writing.insert(Box::new(Writing::new(parts)));
                let count = u32::try_from(writing.vectors.len()).expect("a handful");
                let entry = opcode::Writev::new(Fd(file), writing.vectors.as_ptr(), count).offset(at).build();
                (Kind::Write, token, entry)
            }
            Operation::Sync(file) => {
                let flags = io_uring::types::FsyncFlags::DATASYNC;
                (Kind::Sync, token, opcode::Fsync::new(Fd(file)).flags(flags).build())
            }
            Operation::Watch(descriptor) => {
                let readable = u32::from(libc::POLLIN.cast_unsigned());
                (Kind::Watch, token, opcode::PollAdd::new(Fd(descriptor), readable).multi(true).build())
            }
        };
        self.in_flight += 1;
        self.push(&entry.user_data(pack(kind, slot_token)));
    }

    fn turn(&mut self, wait: Duration, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        // With DEFER_TASKRUN completions are made only while we wait in the kernel: enter even when nothing is to be waited for.
        self.enter(1, wait)?;
        loop {
            // One at a time: translating needs the whole ring, and syncing the queue is a load of its head and tail.
            let Some(entry) = self.uring.completion().next() else { break };
            if let Some(completion) = self.translate(&entry) {
                completions.push(completion);
            }
        }
        Ok(())
    }

    fn lent(&mut self, lease: &Lease) -> &mut [u8] {
        self.buffers.lent(lease.buffer, lease.bytes())
    }

    fn give_back(&mut self, lease: Lease) {
        self.buffers.give_back(lease.buffer);
    }

    fn peer(&self, socket: Socket) -> Option<IpAddr> {
        assert!(socket.0 >= 0, "a socket of an open connection");
        // SAFETY: not -1 (asserted), and the caller owns the descriptor until it submits its close.
        let socket = unsafe { BorrowedFd::borrow_raw(socket.0) };
        let address = rustix::net::getpeername(socket).ok().flatten()?;
        SocketAddr::try_from(address).ok().map(|address| address.ip())
    }

    fn shutdown(&mut self, socket: Socket, how: How) {
        let how = match how {
            How::Write => rustix::net::Shutdown::Write,
            How::Both => rustix::net::Shutdown::Both,
        };
        assert!(socket.0 >= 0, "a socket of an open connection");
        // SAFETY: not -1 (asserted), and the caller owns the descriptor until it submits its close.
        let socket = unsafe { BorrowedFd::borrow_raw(socket.0) };
        // ENOTCONN when the peer was faster: the aim is reached.
        let _ = rustix::net::shutdown(socket, how);
    }

    fn now(&self) -> Duration {
        clock::monotonic()
    }

    fn wall(&self) -> Duration {
        clock::wall()
    }

    fn usage(&self) -> Usage {
        Usage { cpu: clock::thread_cpu(), waits: waits() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let quiet = self.join();
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        if quiet {
            // SAFETY: as above; and no operation refers to the memory any more (`join` saw every last completion).
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        } else {
            // The kernel may still write to it: better a leak than a stray write.
            std::mem::forget((std::mem::take(&mut self.sends), self.writing.take()));
        }
    }
}

/// How often this thread has slept: its voluntary context switches.
fn waits() -> u64 {
    // SAFETY: numbers alone, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the numbers are ours. It cannot fail for the calling thread; if it did, they would stay zero.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    u64::try_from(usage.ru_nvcsw).unwrap_or(0)
}

/// The CPUs that this thread may run on.
fn affinity() -> libc::cpu_set_t {
    // SAFETY: a set of bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours and as large as we say. It cannot fail then; if it did, an empty set would be refused by whoever takes it.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    set
}

fn close(descriptor: RawFd) {
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(descriptor) });
}

fn explain(feature: &'static str, error: &std::io::Error) -> UringError {
    UringError::explain(feature, Errno::from_io_error(error).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, IntoRawFd};

    use bytes::Bytes;

    use super::*;

    fn ring() -> Ring {
        Ring::new(RingOptions { entries: 8, buffers: 4, buffer_bytes: 1024 }).expect("a kernel with io_uring")
    }

    fn token(slot: u32) -> Token {
        Token { slot, generation: 7 }
    }

    /// Turns until `take` finds what it looks for; a deadline, so that a bug cannot hang the test.
    fn await_completion<T>(ring: &mut Ring, mut take: impl FnMut(&mut Ring, Completion) -> Option<T>) -> T {
        let deadline = ring.now() + Duration::from_secs(10);
        let mut completions = Vec::new();
        loop {
            assert!(ring.now() < deadline, "no completion within 10 s");
            ring.turn(Duration::from_millis(100), &mut completions).expect("a turn");
            for completion in completions.drain(..) {
                if let Some(found) = take(ring, completion) {
                    return found;
                }
            }
        }
    }

    fn connected() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        let (accepted, _) = listener.accept().expect("just connected");
        (Socket(accepted.into_raw_fd()), peer)
    }

    #[test]
    fn one_accept_and_one_receive_serve_many() {
        let listener = super::super::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address =
            TcpListener::from(listener.try_clone().expect("a descriptor")).local_addr().expect("bound");
        let mut ring = ring();
        ring.submit(token(1), Operation::Accept(Socket(listener.as_raw_fd())));
        for _ in 0..3 {
            let mut peer = TcpStream::connect(address).expect("loopback");
            let socket = await_completion(&mut ring, |_, completion| match completion {
                Completion::Accepted { token: t, result: Ok(socket), more: true } if t == token(1) => {
                    Some(socket)
                }
                other => panic!("not an accept: {other:?}"),
            });
            ring.submit(token(2), Operation::Receive(socket));
            for text in ["one", "two"] {
                peer.write_all(text.as_bytes()).expect("a live peer");
                let got = await_completion(&mut ring, |ring, completion| match completion {
                    Completion::Received { result: Received::Data(lease), more: true, .. } => {
                        let bytes = ring.lent(&lease).to_vec();
                        ring.give_back(lease);
                        Some(bytes)
                    }
                    _ => None,
                });
                assert_eq!(got, text.as_bytes());
            }
            drop(peer);
            await_completion(&mut ring, |_, completion| {
                matches!(completion, Completion::Received { result: Received::End, more: false, .. })
                    .then_some(())
            });
            ring.submit(token(2), Operation::Close(socket));
            await_completion(&mut ring, |_, completion| {
                matches!(completion, Completion::Closed { .. }).then_some(())
            });
        }
        assert_eq!((ring.on_loan(), ring.in_flight()), (0, 1), "only the accept is left");
    }

    #[test]
    fn rings_that_share_a_listener_take_turns() {
        let listener = super::super::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address =
            TcpListener::from(listener.try_clone().expect("a descriptor")).local_addr().expect("bound");
        let mut rings = [ring(), ring()];
        let mut accepted = [0; 2];
        let submit = |ring: &mut Ring| {
            ring.submit(token(1), Operation::AcceptOne(Socket(listener.as_raw_fd())));
            // Handed over now, so that it waits.
            let mut none = Vec::new();
            ring.turn(Duration::ZERO, &mut none).expect("a ring");
            assert!(none.is_empty(), "{none:?}");
        };
        rings.iter_mut().for_each(submit);
        for _ in 0..6 {
            let _peer = TcpStream::connect(address).expect("loopback");
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            'accepted: loop {
                assert!(std::time::Instant::now() < deadline, "nobody accepts");
                for (index, ring) in rings.iter_mut().enumerate() {
                    let mut completions = Vec::new();
                    ring.turn(Duration::ZERO, &mut completions).expect("a ring");
                    match completions.pop() {
                        Some(Completion::Accepted { result: Ok(socket), more: false, .. }) => {
                            super::close(socket.0);
                            accepted[index] += 1;
                            submit(ring);
                            break 'accepted;
                        }
                        None => {}
                        other => panic!("not an accept: {other:?}"),
                    }
                }
            }
        }
        assert_eq!(accepted, [3, 3]);
    }

    #[test]
    fn when_buffers_run_out_the_receive_ends_and_goes_on_after_they_are_back() {
        let mut ring = ring();
        let (socket, mut peer) = connected();
        let sent: Vec<u8> = (0..16_384u32).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
        peer.write_all(&sent).expect("fits the socket's buffer");
        ring.submit(token(1), Operation::Receive(socket));
        let (mut got, mut held, mut starved) = (Vec::new(), Vec::new(), 0);
        while got.len() < sent.len() {
            let failed = await_completion(&mut ring, |ring, completion| match completion {
                Completion::Received { result: Received::Data(lease), .. } => {
                    got.extend_from_slice(ring.lent(&lease));
                    held.push(lease);
                    (got.len() == sent.len()).then_some(false)
                }
                Completion::Received { result: Received::Failed(Errno::NOBUFS), more: false, .. } => {
                    Some(true)
                }
                other => panic!("unexpected {other:?}"),
            });
            for lease in held.drain(..) {
                ring.give_back(lease);
            }
            if failed {
                starved += 1;
                ring.submit(token(1), Operation::Receive(socket));
            }
        }
        assert_eq!(got, sent);
        assert!(starved > 0, "four buffers of 1 KiB cannot take 16 KiB at once");
        close(socket.0);
    }

    #[test]
    fn a_send_keeps_its_memory_until_its_last_completion_however_late() {
        let mut ring = ring();
        let (socket, mut peer) = connected();
        // Far more than the socket takes while nobody reads: the kernel holds the memory.
        let bytes = vec![b'x'; 16 << 20];
        let address = bytes.as_ptr();
        ring.submit(token(1), Operation::Send { socket, bytes, start: 0 });
        let mut completions = Vec::new();
        ring.turn(Duration::ZERO, &mut completions).expect("a turn");
        let reader = std::thread::spawn(move || {
            let mut got = 0;
            let mut buffer = vec![0; 1 << 20];
            while got < 16 << 20 {
                match peer.read(&mut buffer).expect("a live peer") {
                    0 => break,
                    n => {
                        assert!(buffer[..n].iter().all(|b| *b == b'x'), "the memory was reused too early");
                        got += n;
                    }
                }
            }
            got
        });
        let (mut start, mut shorts) = (0, 0);
        while start < 16 << 20 {
            let sent = completions
                .pop()
                .unwrap_or_else(|| await_completion(&mut ring, |_, completion| Some(completion)));
            let Completion::Sent { result: Ok(taken), bytes, start: from, .. } = sent else {
                panic!("a send: {sent:?}")
            };
            assert_eq!(bytes.as_ptr(), address, "the very memory comes back");
            start = from + taken;
            if start < bytes.len() {
                shorts += 1;
                ring.submit(token(1), Operation::Send { socket, bytes, start });
            }
        }
        assert!(shorts > 0, "16 MiB do not fit a socket at once");
        assert_eq!(reader.join().expect("the reader"), 16 << 20);
        close(socket.0);
    }

    #[test]
    fn dropping_the_ring_joins_what_is_in_flight() {
        let mut ring = ring();
        let (socket, peer) = connected();
        ring.submit(token(1), Operation::Receive(socket));
        ring.submit(token(2), Operation::Send { socket, bytes: vec![0; 16 << 20], start: 0 });
        ring.turn(Duration::ZERO, &mut Vec::new()).expect("a turn");
        assert!(ring.in_flight() > 0);
        assert!(ring.join(), "the kernel let go");
        assert_eq!(ring.in_flight(), 0);
        drop((ring, peer));
        close(socket.0);
    }

    #[test]
    fn more_completions_than_the_queue_holds_are_not_lost() {
        let mut ring = ring();
        let wanted = 200; // the completion queue holds 32
        for slot in 0..wanted {
            let (socket, peer) = connected();
            drop(peer);
            ring.submit(token(slot), Operation::Close(socket));
        }
        let mut closed = std::collections::HashSet::new();
        await_completion(&mut ring, |_, completion| {
            if let Completion::Closed { token } = completion {
                assert!(closed.insert(token.slot), "told twice");
            }
            (closed.len() == wanted as usize).then_some(())
        });
        assert_eq!(ring.in_flight(), 0);
    }

    #[test]
    fn a_ring_of_the_doorbell_ends_the_wait() {
        let mut ring = ring();
        let doorbell = crate::handoff::Doorbell::new().expect("an eventfd");
        ring.submit(token(9), Operation::Watch(doorbell.descriptor()));
        for _ in 0..3 {
            let other = doorbell.clone();
            let ringer = std::thread::spawn(move || other.ring());
            let more = await_completion(&mut ring, |_, completion| match completion {
                Completion::Woken { token: t, more } if t == token(9) => Some(more),
                _ => None,
            });
            ringer.join().expect("the ringer");
            assert!(more, "the watch goes on");
            doorbell.answer();
        }
    }

    #[test]
    fn a_write_lands_where_it_is_to_one_part_behind_the_other() {
        let mut ring = ring();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("written");
        let mut write = |at, parts: [&'static [u8]; 3]| {
            let parts = parts.map(Bytes::from_static);
            ring.submit(token(1), Operation::Write { file: file.as_raw_fd(), at, parts });
            await_completion(&mut ring, |_, completion| match completion {
                Completion::Written { result } => Some(result),
                other => panic!("not a write: {other:?}"),
            })
        };
        assert_eq!(write(2, [b"ab", b"", b"c"]), Ok(3));
        assert_eq!(write(8, [b"d", b"ef", b"g"]), Ok(4));
        let mut content = String::new();
        std::io::Seek::rewind(&mut file).expect("a file");
        file.read_to_string(&mut content).expect("read");
        assert_eq!(content, "01abc567defg");
        let closed = RawFd::MAX;
        let parts = [Bytes::from_static(b"x"), Bytes::new(), Bytes::new()];
        ring.submit(token(1), Operation::Write { file: closed, at: 0, parts });
        let failed = await_completion(&mut ring, |_, completion| Some(completion));
        assert!(matches!(failed, Completion::Written { result: Err(Errno::BADF) }), "{failed:?}");
        assert_eq!(ring.in_flight(), 0);
    }

    #[test]
    fn a_cancelled_receive_says_so_and_leaves_the_connection_usable() {
        let mut ring = ring();
        let (socket, mut peer) = connected();
        ring.submit(token(1), Operation::Receive(socket));
        ring.turn(Duration::ZERO, &mut Vec::new()).expect("a turn");
        ring.submit(token(1), Operation::CancelReceive);
        await_completion(&mut ring, |_, completion| {
            matches!(
                completion,
                Completion::Received { result: Received::Failed(Errno::CANCELED), more: false, .. }
            )
            .then_some(())
        });
        peer.write_all(b"later").expect("a live peer");
        ring.submit(token(1), Operation::Receive(socket));
        await_completion(&mut ring, |ring, completion| match completion {
            Completion::Received { result: Received::Data(lease), .. } => {
                assert_eq!(ring.lent(&lease), b"later");
                ring.give_back(lease);
                Some(())
            }
            _ => None,
        });
        close(socket.0);
    }
}
