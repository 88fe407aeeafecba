//! One thread's loop: sends, receives, counts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::uring::{Completion, Driver, Received, Ring, RingOptions};
use rustix::io::Errno;

use crate::answers::Answers;
use crate::connection::{Connection, Lost, Sent, State};
use crate::progress::Progress;
use crate::request::{Kind, Requests};
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::validity::{Effort, Worked, queued};

/// How long to wait for the last answers.
const GRACE: Duration = Duration::from_secs(15);
/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Longest sleep while connections are on their way: nothing else tells that they are there.
const CONNECTING_SLEEP_MAX: Duration = Duration::from_millis(1);
/// How long the first connections may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a thread is given.
#[derive(Debug)]
pub(crate) struct Share {
    /// Of each connection.
    pub(crate) addresses: Vec<SocketAddr>,
    /// When requests are due; none: as fast as answers come.
    pub(crate) schedule: Option<Schedule>,
    /// How long to send without counting, and how long from the start in all.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Requests of this thread.
    pub(crate) requests_max: u64,
    /// Requests that a connection sends at once.
    pub(crate) pipeline: usize,
    /// Requests that a connection carries until it is opened anew.
    pub(crate) requests_per_connection: u64,
    pub(crate) keeps_ids: bool,
    pub(crate) is_batch: bool,
    pub(crate) requests: Requests,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) progress: Arc<Progress>,
}

/// What a thread brings back.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// How the generator itself did.
    pub(crate) effort: Effort,
    /// Accepted events: id and number of the payload.
    pub(crate) ids: Vec<(String, u32)>,
    /// From the first request that counts to the last answer.
    pub(crate) taken: Duration,
}

impl Outcome {
    /// Nothing yet, of a run that may take `duration`.
    pub(crate) fn new(duration: Duration) -> Self {
        Self { tally: Tally::new(duration), effort: Effort::new(), ids: Vec::new(), taken: Duration::ZERO }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.effort.add(&other.effort);
        self.ids.extend(other.ids);
        self.taken = self.taken.max(other.taken);
    }
}

/// Why a thread could not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GeneratorError {
    #[error(transparent)]
    Uring(#[from] forebay::uring::UringError),
    #[error("cannot pin to CPU {cpu}: {errno}")]
    Pin { cpu: usize, errno: Errno },
    #[error("the ring failed: {0}")]
    Ring(Errno),
    #[error("{address}: {error}")]
    Connect { address: SocketAddr, error: std::io::Error },
}

/// The thread's state.
struct Generator {
    share: Share,
    ring: Ring,
    connections: Vec<Connection>,
    /// Slots of connections that can send, the one that has waited longest first: each gets its turn.
    idle: VecDeque<usize>,
    /// Slots of connections that are to be connected.
    down: Vec<usize>,
    answers: Answers,
    effort: Effort,
    sent: u64,
    /// When it last looked for answers.
    looked: Duration,
    /// Something was sent since.
    has_sent: bool,
    start: Duration,
    /// When it begins to count.
    begin: Duration,
    deadline: Duration,
}

/// Runs a share to its end.
pub(crate) fn run(share: Share, cpu: Option<usize>) -> Result<Outcome, GeneratorError> {
    if let Some(cpu) = cpu {
        forebay::uring::pin_thread(&[cpu]).map_err(|errno| GeneratorError::Pin { cpu, errno })?;
    }
    let ring = Ring::new(RingOptions::default())?;
    let connections: Vec<_> =
        share.addresses.iter().enumerate().map(|(slot, address)| Connection::new(slot, *address)).collect();
    let counted = share.duration.saturating_sub(share.warm_up);
    let answers = Answers::new(counted, share.keeps_ids, share.is_batch);
    let mut generator = Generator {
        ring,
        idle: VecDeque::with_capacity(connections.len()),
        down: (0..connections.len()).collect(),
        connections,
        answers,
        effort: Effort::new(),
        sent: 0,
        looked: Duration::ZERO,
        has_sent: false,
        start: Duration::ZERO,
        begin: Duration::ZERO,
        deadline: Duration::ZERO,
        share,
    };
    generator.open_all()?;
    generator.go()?;
    let taken = generator.ring.now().saturating_sub(generator.begin);
    let Generator { answers: Answers { tally, ids, .. }, effort, .. } = generator;
    Ok(Outcome { tally, effort, ids, taken })
}

impl Generator {
    /// Opens all connections; afterwards one that cannot be opened is tried again, but a target that is not there is told at once.
    fn open_all(&mut self) -> Result<(), GeneratorError> {
        let deadline = self.ring.now() + CONNECT_TIMEOUT;
        let mut completions = Vec::new();
        while !self.down.is_empty() {
            let now = self.ring.now();
            let fail = |address, error: Errno| GeneratorError::Connect { address, error: error.into() };
            for slot in std::mem::take(&mut self.down) {
                let connection = &mut self.connections[slot];
                let address = connection.address;
                connection
                    .connect(&mut self.ring)
                    .map_err(|error| GeneratorError::Connect { address, error })?;
                if connection.state == State::Connecting && now >= deadline {
                    return Err(fail(address, Errno::TIMEDOUT));
                }
                self.settle(slot, now);
            }
            if !self.down.is_empty() {
                self.turn(CONNECTING_SLEEP_MAX, &mut completions)?;
                let has_failed =
                    |connection: &&Connection| !matches!(connection.state, State::Up | State::Connecting);
                if let Some(connection) = self.connections.iter().find(has_failed) {
                    return Err(fail(connection.address, Errno::CONNREFUSED));
                }
            }
        }
        Ok(())
    }

    fn go(&mut self) -> Result<(), GeneratorError> {
        self.start = self.ring.now();
        self.looked = self.start;
        self.begin = self.start + self.share.warm_up;
        self.deadline = self.start + self.share.duration;
        self.answers.begin_at(self.begin);
        for connection in &mut self.connections {
            connection.idle_since = self.start;
        }
        let started = self.worked();
        let mut completions = Vec::new();
        let mut over_at = None;
        loop {
            let now = self.ring.now();
            self.connect(now);
            if over_at.is_none() {
                self.share.requests.refresh();
                // What was due before the end still leaves, if it can.
                self.send_due(now.min(self.deadline), now);
                let is_stopped = self.share.stop.load(Ordering::Relaxed);
                if now >= self.deadline || self.sent >= self.share.requests_max || is_stopped {
                    over_at = Some(now);
                    let worked = self.worked();
                    self.effort.busy = worked.busy_since(&started);
                    self.effort.queued = worked.queued_since(&started);
                    self.count_unsent(now);
                }
            }
            if let Some(over_at) = over_at {
                let is_quiet = self.connections.iter().all(|connection| connection.waiting.is_empty());
                if is_quiet || now >= over_at + GRACE {
                    break;
                }
            }
            self.turn(self.longest_sleep(over_at.is_some()), &mut completions)?;
            self.share.progress.publish(&mut self.answers.tally);
        }
        for slot in 0..self.connections.len() {
            self.give_up(slot);
        }
        Ok(())
    }

    fn worked(&self) -> Worked {
        Worked { at: self.ring.now(), cpu: self.ring.usage().cpu, queued: queued() }
    }

    /// How long nothing is to be done but to take what comes.
    fn longest_sleep(&self, is_over: bool) -> Duration {
        let mut sleep = SLEEP_MAX;
        if !is_over {
            // Without a connection that is idle there is nothing to be done in time.
            let due = self.share.schedule.as_ref().and_then(Schedule::due).filter(|_| !self.idle.is_empty());
            let next = due.map_or(self.deadline, |due| self.deadline.min(self.start + due));
            sleep = sleep.min(next.saturating_sub(self.ring.now()));
        }
        if self.down.is_empty() { sleep } else { sleep.min(CONNECTING_SLEEP_MAX) }
    }

    fn turn(&mut self, wait: Duration, completions: &mut Vec<Completion>) -> Result<(), GeneratorError> {
        self.ring.turn(wait, completions).map_err(GeneratorError::Ring)?;
        let before = std::mem::replace(&mut self.looked, self.ring.now());
        // A send completes at once, so nothing was waited for: what has come may have come while this thread was at work.
        let worked = if std::mem::take(&mut self.has_sent) {
            self.looked.saturating_sub(before)
        } else {
            Duration::ZERO
        };
        let has_come = |completion: &&Completion| matches!(completion, Completion::Received { .. });
        self.effort.find(worked, completions.iter().filter(has_come).count() as u64);
        for completion in completions.drain(..) {
            self.handle(completion);
        }
        Ok(())
    }

    /// Gives a connection up, with all that it still waits for.
    fn give_up(&mut self, slot: usize) {
        let Lost { requests, good } = self.connections[slot].end(&mut self.ring);
        if requests > 0 {
            let at = self.ring.now().saturating_sub(self.begin);
            self.answers.tally.give_up(at, requests, good);
        }
    }

    /// Connects what is not connected. A node that is being restarted refuses connections for a while.
    fn connect(&mut self, now: Duration) {
        for slot in std::mem::take(&mut self.down) {
            let _ = self.connections[slot].connect(&mut self.ring);
            self.settle(slot, now);
        }
    }

    /// Puts a connection where it belongs after something happened to it: into the row of those that can send, or of those that are to be
    /// connected; one that has carried its requests is ended.
    fn settle(&mut self, slot: usize, now: Duration) {
        let connection = &mut self.connections[slot];
        if matches!(connection.state, State::Down { .. } | State::Connecting) {
            self.down.push(slot);
        } else if connection.is_idle() {
            if connection.requests >= self.share.requests_per_connection {
                self.answers.tally.retired += u64::from(now >= self.begin);
                connection.end(&mut self.ring);
                return;
            }
            connection.idle_since = now;
            if !connection.is_in_row {
                connection.is_in_row = true;
                self.idle.push_back(slot);
            }
        }
    }

    /// The moment at which the next request was due, if that has come and the request may leave.
    fn next_due(&mut self, until: Duration) -> Option<Duration> {
        if self.sent >= self.share.requests_max {
            return None;
        }
        match &mut self.share.schedule {
            None => (until < self.deadline).then_some(until),
            Some(schedule) => {
                let due = self.start + schedule.due()?;
                if due > until {
                    return None;
                }
                schedule.advance();
                Some(due)
            }
        }
    }

    /// Sends on idle connections what is due until then.
    fn send_due(&mut self, until: Duration, now: Duration) {
        while let Some(slot) = self.idle.front().copied() {
            if !self.connections[slot].is_idle() {
                // It ended in the row.
                self.idle.pop_front();
                self.connections[slot].is_in_row = false;
                continue;
            }
            let mut bytes = std::mem::take(&mut self.connections[slot].buffer);
            bytes.clear();
            let idle_since = self.connections[slot].idle_since;
            let carried = self.connections[slot].requests;
            let room = self.share.requests_per_connection - carried;
            for _ in 0..room.min(self.share.pipeline.max(1) as u64) {
                let Some(due) = self.next_due(until) else { break };
                self.sent += 1;
                let (kind, app) = self.share.requests.write_next(&mut bytes);
                let counts = due >= self.begin;
                if counts && matches!(kind, Kind::Good(_)) {
                    self.answers.tally.send(now.saturating_sub(self.begin), now.saturating_sub(due));
                    self.effort.send(now.saturating_sub(due.max(idle_since)));
                }
                let connection = &mut self.connections[slot];
                connection.requests += 1;
                connection.waiting.push_back(Sent { due, left: now, kind, app, counts });
            }
            let connection = &mut self.connections[slot];
            if bytes.is_empty() {
                connection.buffer = bytes;
                return; // nothing is due on any connection
            }
            self.idle.pop_front();
            connection.is_in_row = false;
            connection.send(&mut self.ring, bytes, 0);
            self.has_sent = true;
        }
    }

    /// Counts what was due and will not leave any more.
    fn count_unsent(&mut self, now: Duration) {
        if self.sent < self.share.requests_max && self.share.schedule.is_some() {
            while self.next_due(now.min(self.deadline)).is_some() {
                self.effort.unsent += 1;
            }
        }
    }

    fn handle(&mut self, completion: Completion) {
        let slot = match completion {
            Completion::Received { token, result, more } => {
                let slot = token.slot as usize;
                self.connections[slot].is_receiving = more;
                self.receive(slot, result);
                slot
            }
            Completion::Sent { token, result, bytes, start } => {
                let slot = token.slot as usize;
                let connection = &mut self.connections[slot];
                connection.is_sending = false;
                match result {
                    Ok(sent) if start + sent < bytes.len() && connection.state == State::Up => {
                        connection.send(&mut self.ring, bytes, start + sent);
                    }
                    Ok(_) => connection.buffer = bytes,
                    Err(_) => self.give_up(slot),
                }
                slot
            }
            Completion::Closed { token } => {
                let slot = token.slot as usize;
                self.connections[slot].close();
                slot
            }
            Completion::Accepted { .. }
            | Completion::Woken { .. }
            | Completion::Written { .. }
            | Completion::Synced { .. } => {
                unreachable!("nothing was asked to accept, watch or sync")
            }
        };
        self.connections[slot].close_if_ended(&mut self.ring);
        // Those on their way to be connected stand in their row already.
        if self.connections[slot].state != State::Connecting {
            let now = self.ring.now();
            self.settle(slot, now);
            self.connections[slot].close_if_ended(&mut self.ring);
        }
    }

    fn receive(&mut self, slot: usize, result: Received) {
        let connection = &mut self.connections[slot];
        let is_open = matches!(connection.state, State::Up | State::Connecting);
        match result {
            Received::Data(lease) => {
                let now = self.ring.now();
                if is_open {
                    let bytes = self.ring.lent(&lease);
                    let has_ended = self.answers.take(connection, bytes, now, &self.share.requests);
                    if has_ended {
                        self.answers.tally.reconnects += 1;
                        self.give_up(slot);
                    }
                }
                self.ring.give_back(lease);
                let connection = &mut self.connections[slot];
                if !connection.is_receiving && connection.state == State::Up {
                    connection.receive(&mut self.ring);
                }
            }
            Received::Failed(Errno::NOBUFS) if is_open => connection.receive(&mut self.ring),
            Received::End | Received::Failed(_) => {
                if connection.state == State::Up {
                    self.answers.tally.reconnects += 1;
                }
                self.give_up(slot);
            }
        }
    }
}
