//! Counters, gauges and the latency histogram.

use std::sync::atomic::{AtomicU64, Ordering};

use super::apps::Apps;
use super::refusals::RefusalLog;

/// Status codes that a node answers with; the `code` label of `forebay_requests_total`.
pub const STATUSES: [u16; 17] =
    [200, 202, 204, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 429, 431, 500, 503];

/// Room for refusal codes; `api::Code` asserts that it fits.
const REJECTION_CODES_MAX: usize = 48;

/// A count with a single writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the one writer may call it.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What TLS handshakes came to. Counted by whoever shakes hands, so by several threads; a handshake costs far more.
#[derive(Debug, Default)]
pub struct HandshakeMetrics {
    /// With a key exchange and a signature.
    pub full: AtomicU64,
    /// From a ticket.
    pub resumed: AtomicU64,
    /// Not completed: the client broke the rules, or knows nothing that is spoken here.
    pub failed: AtomicU64,
    /// Not begun: too many were under way.
    pub refused: AtomicU64,
    /// When the certificate in use ends, seconds since the Unix epoch; 0 where there is none. Written by the operators' thread alone.
    pub certificate_not_after_seconds: Gauge,
}

/// A level with a single writer and any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The level.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of durations in buckets that double, from 16 µs: bucket `i` holds those up to `16 << i` µs. Each is cut into [`Latencies::PARTS`] of equal
/// width, so that a percentile is told to an eighth; who shows buckets shows the sums.
#[derive(Debug)]
pub struct Latencies {
    parts: [Counter; Self::BUCKETS * Self::PARTS],
    over: Counter,
    sum_us: Counter,
}

impl Default for Latencies {
    fn default() -> Self {
        let parts = [const { Counter(AtomicU64::new(0)) }; Self::BUCKETS * Self::PARTS];
        Self { parts, over: Counter::default(), sum_us: Counter::default() }
    }
}

impl Latencies {
    /// Number of buckets with an upper bound; the last is about 8.4 s.
    pub const BUCKETS: usize = 20;
    /// Parts of a bucket.
    pub const PARTS: usize = 8;

    /// Records `count` durations of `us` microseconds.
    pub fn record(&self, us: u64, count: u64) {
        // In steps of the narrowest part: the first sixteen have a part each, then a part is as wide as the leading four bits leave open.
        let step = (us.max(1) - 1) / 2;
        let doublings = (u64::BITS - 1 - (step | 7).leading_zeros() - 2) as usize;
        let index = if doublings == 0 {
            usize::try_from(step).expect("below eight")
        } else {
            let leading = usize::try_from(step >> (doublings - 1)).expect("eight to fifteen");
            doublings * Self::PARTS + leading - Self::PARTS
        };
        self.parts.get(index).unwrap_or(&self.over).add(count);
        self.sum_us.add(us * count);
    }

    /// Upper bound of a bucket, in microseconds.
    pub fn bound_us(index: usize) -> u64 {
        16 << index
    }

    /// Upper bound of a part, in microseconds.
    pub fn part_bound_us(index: usize) -> u64 {
        let (bucket, part) = (index / Self::PARTS, index % Self::PARTS);
        let whole = if bucket == 0 { 0 } else { Self::PARTS };
        ((whole + part + 1) as u64) << bucket.max(1)
    }

    /// The count of each bucket, those over the last bound, and the sum in microseconds.
    pub fn values(&self) -> ([u64; Self::BUCKETS], u64, u64) {
        let bucket = |i: usize| self.parts[i * Self::PARTS..][..Self::PARTS].iter().map(Counter::value).sum();
        (std::array::from_fn(bucket), self.over.value(), self.sum_us.value())
    }

    /// Adds the count of each part to `sums`, and those over the last bound to the last one's: no percentile is told that nothing bounds.
    pub fn add_parts(&self, sums: &mut [u64; Self::BUCKETS * Self::PARTS]) {
        for (sum, part) in sums.iter_mut().zip(&self.parts) {
            *sum += part.value();
        }
        sums[Self::BUCKETS * Self::PARTS - 1] += self.over.value();
    }
}

#[derive(Debug)]
struct Rejections([Counter; REJECTION_CODES_MAX]);

impl Default for Rejections {
    fn default() -> Self {
        Self([const { Counter(AtomicU64::new(0)) }; REJECTION_CODES_MAX])
    }
}

/// What one reactor counts. Aligned so that no other core's writes share its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreMetrics {
    /// Answers by status, in the order of [`STATUSES`].
    requests: [Counter; STATUSES.len()],
    /// Refused events by `api::Code`.
    rejected: Rejections,
    /// Events taken over.
    pub accepted: Counter,
    /// Bytes of their records, as they lie in the journal.
    pub accepted_bytes: Counter,
    /// The same and more, by app.
    pub apps: Apps,
    /// The last refusals, for those who ask why.
    pub refusals: RefusalLog,
    /// Refusals of unknown apps that nothing was kept of, because there were many.
    pub unkept_refusals: Counter,
    /// From the turn that had the whole request to the answer being made.
    pub request_seconds: Latencies,
    /// Open connections.
    pub connections: Gauge,
    /// Batches in the queue to the forwarder.
    pub queue_batches: Gauge,
    /// Share of the last second that was not spent waiting, in thousandths.
    pub busy_permille: Gauge,
    /// When the thread last looked at itself, about once a second, monotonic µs.
    pub looked_us: Gauge,
    /// Its CPU time up to then, µs.
    pub cpu_us: Gauge,
    /// How often it had slept up to then.
    pub waits: Gauge,
    /// Answers up to then.
    pub answers: Gauge,
    /// Turns up to then in which answers were sent.
    pub answering_turns: Gauge,
    /// Accepted bytes up to then, so that all of these are of one moment.
    pub bytes: Gauge,
    /// Monotonic clock of the last turn, ms: the heartbeat that `/livez` looks at.
    pub turned_ms: Gauge,
    /// Since when there has been no room for new events, monotonic ms; 0 when there is.
    pub refusing_since_ms: Gauge,
    /// When there last was no room, likewise.
    pub refused_last_ms: Gauge,
    /// What clients make this core hold, bytes.
    pub held_bytes: Gauge,
    /// 1 while the journal's disk fails.
    pub journal_failing: Gauge,
}

impl CoreMetrics {
    /// Counts an answer.
    pub fn count_answer(&self, status: u16) {
        let index = STATUSES.iter().position(|s| *s == status);
        self.requests[index.expect("every status of the contract is listed")].add(1);
    }

    /// Counts `count` answers `202`: the hot path knows its status.
    pub fn count_accepted_answers(&self, count: u64) {
        const ACCEPTED: usize = 1;
        self.requests[ACCEPTED].add(count);
    }

    /// Counts refused events; `code` is the index of an `api::Code`.
    pub fn count_rejected(&self, code: usize, events: u64) {
        self.rejected.0[code].add(events);
    }

    /// Answers so far, with their status.
    pub fn requests(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.iter().zip(&self.requests).map(|(status, counter)| (*status, counter.value()))
    }

    /// All answers so far.
    pub fn answered(&self) -> u64 {
        self.requests.iter().map(Counter::value).sum()
    }

    /// Refused events so far, for an `api::Code`.
    pub fn rejected(&self, code: usize) -> u64 {
        self.rejected.0[code].value()
    }
}

/// What the forwarder counts.
#[derive(Debug, Default)]
pub struct ForwarderMetrics {
    /// 1 while a channel to a broker is open and it takes messages.
    pub broker_up: Gauge,
    /// Messages sent and not yet confirmed.
    pub unconfirmed_messages: Gauge,
    /// Messages sent, repeats included.
    pub published_messages: Counter,
    /// Messages sent again after a nack, a return, a timeout or a lost connection.
    pub republished_messages: Counter,
    /// Messages that came back as unroutable.
    pub returned_messages: Counter,
    /// Messages that the broker nacked.
    pub nacked_messages: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Since when the broker has been up or down, monotonic ms.
    pub broker_changed_ms: Gauge,
    /// From sending a message to the confirm that is believed.
    pub confirm_seconds: Latencies,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_bucket_that_bounds_it() {
        let latencies = Latencies::default();
        for us in [0, 1, 16, 17, 32, 33, 1_000_000] {
            latencies.record(us, 1);
        }
        latencies.record(u64::from(u32::MAX), 2);
        let (buckets, over, sum_us) = latencies.values();
        assert_eq!((buckets[0], buckets[1], buckets[2]), (3, 2, 1));
        assert_eq!(buckets[16], 1, "a second is under {} us", Latencies::bound_us(16));
        assert_eq!((over, sum_us), (2, 1_000_099 + 2 * u64::from(u32::MAX)));
    }

    #[test]
    fn a_part_holds_what_lies_between_its_bound_and_the_one_before() {
        for index in 0..Latencies::BUCKETS * Latencies::PARTS {
            let bound = Latencies::part_bound_us(index);
            let before = if index == 0 { 0 } else { Latencies::part_bound_us(index - 1) };
            assert!(index < Latencies::PARTS || (bound - before) * 8 <= bound, "{before} to {bound}");
            let latencies = Latencies::default();
            latencies.record(before + 1, 1);
            latencies.record(bound, 1);
            let mut sums = [0; Latencies::BUCKETS * Latencies::PARTS];
            latencies.add_parts(&mut sums);
            assert_eq!(sums[index], 2, "{before} to {bound}");
            let whole = index / Latencies::PARTS;
            assert_eq!(latencies.values().0[whole], 2, "a part lies in one bucket");
            assert!(bound <= Latencies::bound_us(whole), "and ends with it at the latest");
        }
    }

    #[test]
    fn the_accepted_shortcut_counts_202() {
        let metrics = CoreMetrics::default();
        metrics.count_accepted_answers(3);
        metrics.count_answer(202);
        assert_eq!(metrics.requests().find(|(status, _)| *status == 202), Some((202, 4)));
    }
}
