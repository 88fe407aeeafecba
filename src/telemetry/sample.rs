//! The counters of a node at one moment, as little of them as trends need.

use std::time::Duration;

use super::{Books, Latencies};
use crate::journal::SettledEvents;

/// Counts of durations, by the parts of [`Latencies`].
pub type LatencyParts = [u64; Latencies::BUCKETS * Latencies::PARTS];

/// What one reactor has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSample {
    /// Answers.
    pub answers: u64,
    /// Those with a status of 500 or more.
    pub unavailable: u64,
    /// Share of its last second that was not spent waiting, in thousandths.
    pub busy_permille: u64,
    /// Open connections.
    pub connections: u64,
    /// Batches between it and the forwarder.
    pub queue_batches: u64,
    /// What its work has cost, as it last looked itself.
    pub work: Work,
}

/// What a reactor has done and what that took, all of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The moment, on the monotonic clock, µs.
    pub at_us: u64,
    /// CPU time, µs.
    pub cpu_us: u64,
    /// How often it slept.
    pub waits: u64,
    /// Answers.
    pub answers: u64,
    /// Turns in which answers were sent.
    pub answering_turns: u64,
    /// Bytes of events taken over.
    pub bytes: u64,
}

/// How busy threads were that do not count it themselves, in the second before, in thousandths of a CPU; none of what nobody has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherThreads {
    /// The forwarder's.
    pub forwarder_permille: Option<u64>,
    /// Those of the kernel that write for the reactors, all together.
    pub writers_permille: Option<u64>,
    /// All of the process, reactors included.
    pub process_permille: Option<u64>,
    /// How many CPUs the process may use.
    pub cpus: Option<u64>,
}

/// The counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, on the monotonic clock.
    pub at: Duration,
    /// When, since the Unix epoch.
    pub wall: Duration,
    /// Each reactor's.
    pub cores: Vec<CoreSample>,
    /// Events taken over, in all lives of the node.
    pub accepted: u64,
    /// Events refused in all its lives, by the index of their code.
    pub rejected: Vec<u64>,
    /// Events that were confirmed or parked.
    pub settled: SettledEvents,
    /// How long answers took.
    pub latencies: Box<LatencyParts>,
    /// Bytes that the journal has on the disk.
    pub journal_bytes: u64,
    /// What other threads did; whoever takes the sample adds it.
    pub others: OtherThreads,
}

impl Sample {
    /// Reads the counters. Costs some loads for each reactor, whatever the number of apps.
    pub fn take(books: &Books, journal_bytes: u64, at: Duration, wall: Duration) -> Self {
        // First: nothing leaves before it was counted as taken over.
        let settled = books.ledger.total();
        let mut latencies = Box::new([0; Latencies::BUCKETS * Latencies::PARTS]);
        let mut rejected: Vec<u64> = books
            .rejection_codes
            .iter()
            .map(|code| books.earlier.rejected.get(*code).copied().unwrap_or(0))
            .collect();
        let mut accepted = books.earlier.accepted;
        let mut cores = Vec::with_capacity(books.cores.len());
        for core in &books.cores {
            core.request_seconds.add_parts(&mut latencies);
            accepted += core.accepted.value();
            for (code, count) in rejected.iter_mut().enumerate() {
                *count += core.rejected(code);
            }
            cores.push(CoreSample {
                answers: core.answered(),
                unavailable: core.requests().filter(|(status, _)| *status >= 500).map(|(_, n)| n).sum(),
                busy_permille: core.busy_permille.value(),
                connections: core.connections.value(),
                queue_batches: core.queue_batches.value(),
                work: Work {
                    at_us: core.looked_us.value(),
                    cpu_us: core.cpu_us.value(),
                    waits: core.waits.value(),
                    answers: core.answers.value(),
                    answering_turns: core.answering_turns.value(),
                    bytes: core.bytes.value(),
                },
            });
        }
        let others = OtherThreads::default();
        Self { at, wall, cores, accepted, rejected, settled, latencies, journal_bytes, others }
    }

    /// Events whose verdict is known.
    pub fn received(&self) -> u64 {
        self.accepted + self.rejected.iter().sum::<u64>()
    }

    /// Answers of all reactors.
    pub fn answers(&self) -> u64 {
        self.cores.iter().map(|core| core.answers).sum()
    }

    /// Those with a status of 500 or more.
    pub fn unavailable(&self) -> u64 {
        self.cores.iter().map(|core| core.unavailable).sum()
    }

    /// Events taken over, and neither confirmed nor parked.
    pub fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.settled.events())
    }
}

/// How much more `now` is than `before`, a second; nothing where a count went back.
#[allow(clippy::cast_precision_loss, reason = "differences of counts stay far below 2^53")]
pub(super) fn per_second(before: u64, now: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { now.saturating_sub(before) as f64 / elapsed.as_secs_f64() }
}
