//! Whether a run may be believed: did the generator do what it was to do?

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::tally::{Tally, histogram, record};
use crate::units::{shown_percent, shown_us_exact};

/// How late a request may leave by the generator's own fault, in the 99th percentile: so much, ...
const LATE_MAX: Duration = Duration::from_millis(1);
/// ... or this share of the 99th percentile of latencies, where that is more: it changes little in them.
const LATE_SHARE_MAX: f64 = 0.05;
/// A thread that works, or waits for its CPU, for more than this share of the time may see answers late.
const BUSY_SHARE_MAX: f64 = 0.9;
/// It does if it is at work for more than this share of what an answer takes until it looks again, in the mean: half of that an answer lies there unseen, ...
const UNSEEN_SHARE_MAX: f64 = 0.25;
/// ... or if it waits for its CPU for more than this share of the time.
const QUEUED_SHARE_MAX: f64 = 0.1;

/// How the generator itself did.
#[derive(Debug)]
pub(crate) struct Effort {
    /// How late requests left although a connection was idle, microseconds: since they were due, or since a connection became idle
    /// if that was later.
    pub(crate) late_us: Histogram<u64>,
    /// For how long answers may have lain there unseen, microseconds: so long the thread had been at work when it found them.
    unseen_us: Histogram<u64>,
    /// Share of the time (0 to 1) in which the busiest thread worked or waited for its CPU.
    pub(crate) busy: f64,
    /// The part of it in which one waited for its CPU.
    pub(crate) queued: f64,
    /// Requests that were due and never left, because no connection became idle.
    pub(crate) unsent: u64,
}

impl Effort {
    pub(crate) fn new() -> Self {
        Self { late_us: histogram(3), unseen_us: histogram(3), busy: 0.0, queued: 0.0, unsent: 0 }
    }

    /// A request leaves, so long after it could have.
    pub(crate) fn send(&mut self, late: Duration) {
        record(&mut self.late_us, late);
    }

    /// Answers are found when a thread looks for them after so much work.
    pub(crate) fn find(&mut self, worked: Duration, answers: u64) {
        let us = u64::try_from(worked.as_micros()).unwrap_or(u64::MAX);
        self.unseen_us.saturating_record_n(us, answers);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.late_us.add(&other.late_us).expect("the same bounds");
        self.unseen_us.add(&other.unseen_us).expect("the same bounds");
        self.busy = self.busy.max(other.busy);
        self.queued = self.queued.max(other.queued);
        self.unsent += other.unsent;
    }

    /// Why a run at a given rate must not be taken for what the server does; none if it may.
    pub(crate) fn fault(&self, tally: &Tally) -> Option<Fault> {
        let p99 = |histogram: &Histogram<u64>| Duration::from_micros(histogram.value_at_quantile(0.99));
        judge(&Signs {
            late: p99(&self.late_us),
            lag: p99(&tally.lag_us),
            latency: p99(&tally.response_us),
            unseen_share: self.unseen_us.mean() / tally.service_us.mean().max(1.0),
            busy: self.busy,
            queued: self.queued,
            has_unsent: self.unsent > 0,
        })
    }
}

/// What is judged; durations are 99th percentiles.
#[derive(Clone, Copy, Debug)]
struct Signs {
    /// By how much requests left late though a connection was idle.
    late: Duration,
    /// By how much they left late for any reason.
    lag: Duration,
    latency: Duration,
    /// For how long answers may have lain there unseen, as a share of what they took, in the mean.
    unseen_share: f64,
    busy: f64,
    queued: f64,
    has_unsent: bool,
}

/// Why a run is invalid.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "the generator was late: 1 % of the requests left {} or more after they could have",
        shown_us_exact(.0.as_secs_f64() * 1e6)
    )]
    Late(Duration),
    #[error(
        "the generator had no time left: its busiest thread was busy {} of the time and requests left late",
        shown_percent(*.0)
    )]
    Busy(f64),
}

/// A run at a given rate is invalid if
///
/// - 1 % of the requests left later than they could have by more than [`LATE_MAX`] and by more than [`LATE_SHARE_MAX`] of the latency that
///   was measured (waiting for a connection that waits for its answer is the server's latency, and no fault); or
/// - a thread was busy for more than [`BUSY_SHARE_MAX`] of the time, requests left late, or not at all, and answers may have lain there
///   unseen for more than [`UNSEEN_SHARE_MAX`] of what they took, or the thread waited for its CPU for more than [`QUEUED_SHARE_MAX`] of the time: connections
///   then seem to wait for answers that have long come. To be busy alone is no fault: with little to do, a thread that looks for each answer by itself is as busy as one
///   that finds a hundred at once.
///
/// Without a rate nothing is ever late: a thread that is busy all the time is what was asked for.
fn judge(signs: &Signs) -> Option<Fault> {
    let late_max = LATE_MAX.max(signs.latency.mul_f64(LATE_SHARE_MAX));
    if signs.late > late_max {
        Some(Fault::Late(signs.late))
    } else {
        let is_behind = signs.lag > late_max || signs.has_unsent;
        let is_blind = signs.unseen_share > UNSEEN_SHARE_MAX || signs.queued > QUEUED_SHARE_MAX;
        (signs.busy > BUSY_SHARE_MAX && is_behind && is_blind).then_some(Fault::Busy(signs.busy))
    }
}

/// CPU time of a thread, and time for which it waited for a CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worked {
    pub(crate) at: Duration,
    pub(crate) cpu: Duration,
    pub(crate) queued: Duration,
}

impl Worked {
    /// Share of the time since `start` in which the thread worked, or would have liked to.
    pub(crate) fn busy_since(&self, start: &Self) -> f64 {
        self.share_since(start, |worked| worked.cpu + worked.queued)
    }

    /// Share of the time since `start` in which the thread waited for its CPU.
    pub(crate) fn queued_since(&self, start: &Self) -> f64 {
        self.share_since(start, |worked| worked.queued)
    }

    fn share_since(&self, start: &Self, of: fn(&Self) -> Duration) -> f64 {
        let time = self.at.saturating_sub(start.at);
        of(self).saturating_sub(of(start)).as_secs_f64() / time.as_secs_f64().max(1e-9)
    }
}

/// For how long the calling thread has waited for a CPU since its start; zero if the kernel does not count it.
pub(crate) fn queued() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    parse_queued(&text).unwrap_or_default()
}

/// The second number of a `schedstat`: nanoseconds in the run queue (`Documentation/scheduler/sched-stats.rst`).
fn parse_queued(text: &str) -> Option<Duration> {
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::{Answered, Meaning};

    #[test]
    fn only_what_the_generator_did_is_its_fault() {
        let us = Duration::from_micros;
        let fine = Signs {
            late: us(80),
            lag: us(90),
            latency: us(900),
            unseen_share: 0.1,
            busy: 0.4,
            queued: 0.02,
            has_unsent: false,
        };
        // Busy, and behind: that may be the server's fault.
        let behind = Signs { busy: 0.99, lag: us(60_000), latency: us(90_000), ..fine };
        for (signs, fault) in [
            (fine, None),
            // All connections wait for a slow server: late, but not by its own fault.
            (Signs { lag: us(800_000), latency: us(900_000), has_unsent: true, ..fine }, None),
            (Signs { late: us(1_001), ..fine }, Some(Fault::Late(us(1_001)))),
            // Three milliseconds matter beside five, but not beside a hundred.
            (Signs { late: us(3_000), latency: us(5_000), ..fine }, Some(Fault::Late(us(3_000)))),
            (Signs { late: us(3_000), latency: us(100_000), ..fine }, None),
            (
                Signs { late: us(6_000), lag: us(6_000), latency: us(100_000), ..fine },
                Some(Fault::Late(us(6_000))),
            ),
            // Busy, and yet in time.
            (Signs { busy: 0.99, ..fine }, None),
            (behind, None),
            (Signs { unseen_share: 0.26, ..behind }, Some(Fault::Busy(0.99))),
            (Signs { queued: 0.11, ..behind }, Some(Fault::Busy(0.99))),
            (Signs { busy: 0.99, has_unsent: true, unseen_share: 0.26, ..fine }, Some(Fault::Busy(0.99))),
            (Signs { busy: 0.89, unseen_share: 0.9, queued: 0.5, has_unsent: true, ..behind }, None),
            // Nothing is late.
            (Signs { busy: 0.99, unseen_share: 0.9, queued: 0.5, ..fine }, None),
        ] {
            assert_eq!(judge(&signs), fault, "{signs:?}");
        }
    }

    #[test]
    fn a_thread_that_finds_answers_after_much_work_is_blamed_and_one_that_finds_them_at_once_is_not() {
        let us = Duration::from_micros;
        let fault = |worked: u64| {
            let mut effort = Effort { busy: 0.95, unsent: 1, ..Effort::new() };
            let mut tally = Tally::new(Duration::from_secs(1));
            for at in 0..100 {
                let (response, service) = (us(90_000), us(300));
                let at = Duration::from_millis(at);
                tally.answer(Answered { at, meaning: Meaning::Accepted, response, service });
                effort.find(us(worked), 1);
            }
            effort.fault(&tally)
        };
        assert_eq!(fault(30), None);
        assert_eq!(fault(150), Some(Fault::Busy(0.95)));
    }

    #[test]
    fn busy_is_work_and_waiting_for_a_cpu() {
        let ms = Duration::from_millis;
        let start = Worked { at: ms(1000), cpu: ms(50), queued: ms(10) };
        let end = Worked { at: ms(3000), cpu: ms(1050), queued: ms(510) };
        assert!((end.busy_since(&start) - 0.75).abs() < 1e-9);
        assert!((end.queued_since(&start) - 0.25).abs() < 1e-9);
        assert_eq!(parse_queued("103634 2880931 2\n"), Some(Duration::from_nanos(2_880_931)));
        assert_eq!(parse_queued(""), None);
    }
}
