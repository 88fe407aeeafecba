//! One thread's loop: sends, receives, counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::uring::{Completion, Driver, Received, Ring, RingOptions};

use crate::connection::{Connection, Lost, Sent, State};
use crate::credentials::Tokens;
use crate::options::RunOptions;
use crate::request::{Kind, Payloads, Requests};
use crate::response::{self, Response};
use crate::tally::{Answered, Meaning, Progress, Tally};

/// How long to wait for the last answers.
const GRACE: Duration = Duration::from_secs(15);
/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What a thread is given.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) options: RunOptions,
    /// `host:port` of each connection.
    pub(crate) addresses: Vec<String>,
    /// Requests a second of this thread.
    pub(crate) rate: Option<f64>,
    /// Requests of this thread.
    pub(crate) requests_max: u64,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) number: u64,
}

/// What a thread brings back.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Accepted events: id and payload.
    pub(crate) ids: Vec<(String, u32)>,
    /// From the first request to the last answer.
    pub(crate) taken: Duration,
}

impl Outcome {
    /// Nothing yet, of a run that may take `duration`.
    pub(crate) fn new(duration: Duration) -> Self {
        Self { tally: Tally::new(duration), ids: Vec::new(), taken: Duration::ZERO }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
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
    Pin { cpu: usize, errno: rustix::io::Errno },
    #[error("the ring failed: {0}")]
    Ring(rustix::io::Errno),
    #[error("{address}: {error}")]
    Connect { address: String, error: std::io::Error },
}

/// Moments at which requests are due.
#[derive(Debug)]
struct Schedule {
    start: Duration,
    period: Duration,
    next: u32,
}

impl Schedule {
    fn due(&self) -> Duration {
        self.start + self.period * self.next
    }

    fn advance(&mut self) {
        // Long runs: the count stays small, so that multiplying it stays exact.
        self.next += 1;
        if self.next == 1 << 16 {
            self.start += self.period * self.next;
            self.next = 0;
        }
    }
}

/// The thread's state.
struct Generator {
    share: Share,
    ring: Ring,
    connections: Vec<Connection>,
    requests: Requests,
    token_version: u64,
    outcome: Outcome,
    /// The connection that has its turn.
    first: usize,
    sent: u64,
    start: Duration,
    deadline: Duration,
}

/// Runs a share to its end.
pub(crate) fn run(share: Share, cpu: Option<usize>) -> Result<Outcome, GeneratorError> {
    if let Some(cpu) = cpu {
        forebay::uring::pin_thread(&[cpu]).map_err(|errno| GeneratorError::Pin { cpu, errno })?;
    }
    let mut ring = Ring::new(RingOptions::default())?;
    let mut connections: Vec<_> = share
        .addresses
        .iter()
        .enumerate()
        .map(|(slot, address)| Connection::new(slot, address.clone()))
        .collect();
    for connection in &mut connections {
        let address = connection.address.clone();
        connection.connect(&mut ring).map_err(|error| GeneratorError::Connect { address, error })?;
    }
    let (token_version, requests) = render(&share);
    let start = ring.now();
    let deadline = start + share.options.duration;
    let mut generator = Generator {
        ring,
        connections,
        requests,
        token_version,
        outcome: Outcome::new(share.options.duration),
        first: 0,
        sent: 0,
        start,
        deadline,
        share,
    };
    generator.go()?;
    generator.outcome.taken = generator.ring.now().saturating_sub(start);
    Ok(generator.outcome)
}

fn render(share: &Share) -> (u64, Requests) {
    let (version, token) = share.tokens.newest();
    let host = &share.addresses[0];
    (
        version,
        Requests::render(
            &share.options,
            host,
            token.as_deref(),
            &share.payloads,
            share.number + share.options.seed,
        ),
    )
}

impl Generator {
    fn go(&mut self) -> Result<(), GeneratorError> {
        let mut schedule = self.share.rate.map(|rate| Schedule {
            start: self.start,
            period: Duration::from_secs_f64(1.0 / rate),
            next: 0,
        });
        let mut completions = Vec::new();
        loop {
            let now = self.ring.now();
            let is_over = now >= self.deadline
                || self.sent >= self.share.requests_max
                || self.share.stop.load(Ordering::Relaxed);
            if is_over {
                let is_quiet = self.connections.iter().all(|connection| connection.waiting.is_empty());
                if is_quiet || now >= self.deadline + GRACE {
                    break;
                }
            } else {
                self.refresh_token();
                self.send_due(now, schedule.as_mut());
            }
            let wait = match &schedule {
                Some(schedule) if !is_over => schedule.due().saturating_sub(self.ring.now()).min(SLEEP_MAX),
                _ => SLEEP_MAX,
            };
            self.ring.turn(wait, &mut completions).map_err(GeneratorError::Ring)?;
            for completion in completions.drain(..) {
                self.handle(completion);
            }
            self.share.progress.set(&self.outcome.tally);
        }
        for slot in 0..self.connections.len() {
            self.give_up(slot);
        }
        Ok(())
    }

    /// Gives a connection up, with all that it still waits for.
    fn give_up(&mut self, slot: usize) {
        let Lost { requests, good } = self.connections[slot].end(&mut self.ring);
        if requests > 0 {
            let at = self.ring.now().saturating_sub(self.start);
            self.outcome.tally.give_up(at, requests, good);
        }
    }

    fn refresh_token(&mut self) {
        if self.share.tokens.newest().0 != self.token_version {
            (self.token_version, self.requests) = render(&self.share);
        }
    }

    /// Sends on every idle connection what is due, beginning behind the one that was served last: each gets its turn.
    fn send_due(&mut self, now: Duration, mut schedule: Option<&mut Schedule>) {
        let (count, first) = (self.connections.len(), self.first);
        for step in 0..count {
            let index = (first + step) % count;
            let connection = &mut self.connections[index];
            // A node that is being restarted refuses connections for a while.
            let _ = connection.connect(&mut self.ring);
            if !connection.is_idle() {
                continue;
            }
            let mut bytes = std::mem::take(&mut connection.buffer);
            bytes.clear();
            for _ in 0..self.share.options.pipeline.max(1) {
                let due = match &mut schedule {
                    None => now,
                    Some(schedule) if schedule.due() <= now => {
                        let due = schedule.due();
                        schedule.advance();
                        due
                    }
                    Some(_) => break,
                };
                if self.sent >= self.share.requests_max {
                    break;
                }
                self.sent += 1;
                let kind = self.requests.write_next(&mut bytes);
                if kind != Kind::Bad {
                    self.outcome.tally.send(now.saturating_sub(self.start), now.saturating_sub(due));
                }
                connection.waiting.push_back(Sent { due, left: now, kind });
            }
            if bytes.is_empty() {
                connection.buffer = bytes;
                if schedule.is_some() {
                    return; // nothing is due on any connection
                }
            } else {
                connection.send(&mut self.ring, bytes, 0);
                self.first = (index + 1) % count;
            }
        }
    }

    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Received { token, result, more } => {
                let slot = token.slot as usize;
                let connection = &mut self.connections[slot];
                connection.is_receiving = more;
                match result {
                    Received::Data(lease) => {
                        let now = self.ring.now();
                        let bytes = self.ring.lent(&lease);
                        if connection.state == State::Up {
                            let wants_ids = self.share.options.ids.is_some();
                            let has_ended = take_answers(
                                connection,
                                bytes,
                                self.start,
                                now,
                                &mut self.outcome,
                                wants_ids,
                            );
                            if has_ended {
                                self.outcome.tally.reconnects += 1;
                                self.give_up(slot);
                            }
                        }
                        self.ring.give_back(lease);
                        let connection = &mut self.connections[slot];
                        if !more && connection.state == State::Up {
                            connection.receive(&mut self.ring);
                        }
                    }
                    Received::Failed(rustix::io::Errno::NOBUFS) if connection.state == State::Up => {
                        connection.receive(&mut self.ring);
                    }
                    Received::End | Received::Failed(_) => {
                        if connection.state == State::Up {
                            self.outcome.tally.reconnects += 1;
                        }
                        self.give_up(slot);
                    }
                }
                self.connections[slot].close_if_ended(&mut self.ring);
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
                self.connections[slot].close_if_ended(&mut self.ring);
            }
            Completion::Closed { token } => {
                self.connections[token.slot as usize].state = State::Down { until: Duration::ZERO };
            }
            Completion::Accepted { .. }
            | Completion::Woken { .. }
            | Completion::Written { .. }
            | Completion::Synced { .. } => {
                unreachable!("nothing was asked to accept, watch or sync")
            }
        }
    }
}

/// Takes all complete answers; returns whether the connection has ended.
fn take_answers(
    connection: &mut Connection,
    bytes: &[u8],
    start: Duration,
    now: Duration,
    outcome: &mut Outcome,
    wants_ids: bool,
) -> bool {
    let mut kept = std::mem::take(&mut connection.partial);
    let input = if kept.is_empty() {
        bytes
    } else {
        kept.extend_from_slice(bytes);
        &kept
    };
    let mut used = 0;
    let mut has_ended = false;
    while used < input.len() && !has_ended {
        match response::parse(&input[used..]) {
            Ok(Some((answer, length))) => {
                used += length;
                if answer.status == 100 {
                    continue;
                }
                has_ended = answer.close;
                let Some(sent) = connection.waiting.pop_front() else { return true };
                count(&answer, sent, start, now, outcome, wants_ids);
            }
            Ok(None) => break,
            Err(_) => return true,
        }
    }
    if used < input.len() {
        connection.partial = input[used..].to_vec();
    }
    has_ended
}

fn count(
    answer: &Response<'_>,
    sent: Sent,
    start: Duration,
    now: Duration,
    outcome: &mut Outcome,
    wants_ids: bool,
) {
    let Sent { due, left, kind } = sent;
    let is_accepted = (200..300).contains(&answer.status);
    // The many: nothing is looked for in them.
    let code = if is_accepted { "" } else { response::member(answer.body, "code").unwrap_or_default() };
    let tally = &mut outcome.tally;
    if !is_accepted {
        tally.count(answer.status, code);
    }
    match kind {
        Kind::Good(payload) => {
            tally.answer(Answered {
                at: now.saturating_sub(start),
                meaning: Meaning::of(answer.status, code),
                response: now.saturating_sub(due),
                service: now.saturating_sub(left),
            });
            if wants_ids && is_accepted {
                let id = response::member(answer.body, "id").unwrap_or_default().to_owned();
                outcome.ids.push((id, payload));
            }
        }
        Kind::Bad if is_accepted => tally.bad_accepted += 1,
        Kind::Bad => tally.bad_refused += 1,
    }
}
