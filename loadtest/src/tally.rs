//! What became of the requests of one thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Counts and latencies; each thread has its own, and they are added up in the end.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Answers by status and `code`.
    pub(crate) answers: BTreeMap<(u16, String), u64>,
    /// Good requests that were accepted.
    pub(crate) accepted: u64,
    /// Good requests that got another answer.
    pub(crate) refused: u64,
    /// Bad requests that were accepted.
    pub(crate) bad_accepted: u64,
    /// Bad requests that were refused.
    pub(crate) bad_refused: u64,
    /// Requests whose connection ended without an answer.
    pub(crate) unanswered: u64,
    /// Connections that had to be opened again.
    pub(crate) reconnects: u64,
    /// From the moment a good request left (or should have left) to its 2xx, microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// The same for good requests that got another answer.
    pub(crate) refusal_latency_us: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
            accepted: 0,
            refused: 0,
            bad_accepted: 0,
            bad_refused: 0,
            unanswered: 0,
            reconnects: 0,
            latency_us: histogram(),
            refusal_latency_us: histogram(),
        }
    }
}

impl Tally {
    /// A good request got its 2xx.
    pub(crate) fn accept(&mut self, latency: Duration) {
        self.accepted += 1;
        record(&mut self.latency_us, latency);
    }

    /// A good request got another answer.
    pub(crate) fn refuse(&mut self, latency: Duration) {
        self.refused += 1;
        record(&mut self.refusal_latency_us, latency);
    }

    /// Counts an answer; 202s, the many, are counted by [`Self::accepted`] and [`Self::bad_accepted`] alone until the end.
    pub(crate) fn count(&mut self, status: u16, code: &str) {
        *self.answers.entry((status, code.to_owned())).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (answer, count) in &other.answers {
            *self.answers.entry(answer.clone()).or_default() += count;
        }
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.bad_accepted += other.bad_accepted;
        self.bad_refused += other.bad_refused;
        self.unanswered += other.unanswered;
        self.reconnects += other.reconnects;
        self.latency_us.add(&other.latency_us).expect("the same bounds");
        self.refusal_latency_us.add(&other.refusal_latency_us).expect("the same bounds");
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds")
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us.max(1));
}

/// What the progress bar shows of one thread.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) answered: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Progress {
    pub(crate) fn set(&self, tally: &Tally) {
        let answered = tally.accepted + tally.refused + tally.bad_accepted + tally.bad_refused;
        self.answered.store(answered, Ordering::Relaxed);
        self.refused.store(tally.refused + tally.unanswered, Ordering::Relaxed);
    }
}
