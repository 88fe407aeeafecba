//! What became of the requests of one thread.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::request::Bad;

/// Longest latency that is told apart.
const LATENCY_US_MAX: u64 = 600_000_000;

/// What an answer means for whoever sent a good request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// 2xx: taken over.
    Accepted,
    /// 429: more than the app may send.
    Limited,
    /// 503 `overloaded` or `draining`: more than the node takes.
    Overloaded,
    /// Any other 4xx: the request was found wrong.
    Refused,
    /// Any other answer, or none: nobody knows what became of the events.
    Failed,
}

impl Meaning {
    pub(crate) const ALL: [Self; 5] =
        [Self::Accepted, Self::Limited, Self::Overloaded, Self::Refused, Self::Failed];

    /// The meaning of a status and of the `code` of its problem (RFC 9457).
    pub(crate) fn of(status: u16, code: &str) -> Self {
        match (status, code) {
            (200..=299, _) => Self::Accepted,
            (429, _) => Self::Limited,
            (503, "overloaded" | "draining") => Self::Overloaded,
            (400..=499, _) => Self::Refused,
            _ => Self::Failed,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Limited => "limited",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// What it stands for, for people.
    pub(crate) fn means(self) -> &'static str {
        match self {
            Self::Accepted => "2xx: taken over",
            Self::Limited => "429: more than the app may send",
            Self::Overloaded => "503 overloaded or draining: more than the node takes",
            Self::Refused => "any other 4xx: found wrong",
            Self::Failed => "any other answer, or none: nobody knows what became of it",
        }
    }
}

/// Good requests by what their answers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meanings([u64; Meaning::ALL.len()]);

impl Meanings {
    pub(crate) fn of(&self, meaning: Meaning) -> u64 {
        self.0[meaning as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, meaning: Meaning, count: u64) {
        self.0[meaning as usize] += count;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// Answers by status and `code`.
pub(crate) type Answers = BTreeMap<(u16, String), u64>;

/// An answer to a good request, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// Since the start of the run.
    pub(crate) at: Duration,
    pub(crate) meaning: Meaning,
    /// Since the request should have left.
    pub(crate) response: Duration,
    /// Since it left.
    pub(crate) service: Duration,
}

/// Counts and latencies; each thread has its own, and they are added up in the end.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Those other than 2xx, to good requests and to bad ones.
    pub(crate) answers: Answers,
    /// Good requests that were sent.
    pub(crate) sent: u64,
    /// Of these, what was answered, or never will be.
    pub(crate) meanings: Meanings,
    /// Events in good requests that were accepted; with batches more than requests, and fewer than were in them if items were refused.
    pub(crate) events: u64,
    /// Items that were refused of batches that were accepted.
    pub(crate) items_refused: u64,
    /// Bad requests that were accepted.
    pub(crate) bad_accepted: u64,
    /// Bad requests that were refused.
    pub(crate) bad_refused: u64,
    /// Bad requests by what was wrong with them: how many were accepted, how many refused.
    pub(crate) bad: BTreeMap<Bad, (u64, u64)>,
    /// Requests whose connection ended without an answer.
    pub(crate) unanswered: u64,
    /// Those among them that were good.
    pub(crate) unanswered_good: u64,
    /// Connections that had to be opened again.
    pub(crate) reconnects: u64,
    /// Connections that were closed because they had carried as many requests as they were to.
    pub(crate) retired: u64,
    /// From the moment an accepted request should have left to its answer, microseconds.
    pub(crate) response_us: Histogram<u64>,
    /// The same, from the moment it left.
    pub(crate) service_us: Histogram<u64>,
    /// As [`Self::response_us`], of requests that got another answer.
    pub(crate) refusal_us: Histogram<u64>,
    /// How late requests left that were to leave at a given moment, microseconds.
    pub(crate) lag_us: Histogram<u64>,
    /// The same over time.
    pub(crate) series: Series,
    /// As [`Self::response_us`], since somebody last looked, if somebody looks.
    pub(crate) recent_us: Option<Histogram<u64>>,
}

impl Tally {
    /// Nothing yet, of a run that may take `duration`.
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            answers: BTreeMap::new(),
            sent: 0,
            meanings: Meanings::default(),
            events: 0,
            items_refused: 0,
            bad_accepted: 0,
            bad_refused: 0,
            bad: BTreeMap::new(),
            unanswered: 0,
            unanswered_good: 0,
            reconnects: 0,
            retired: 0,
            response_us: histogram(3),
            service_us: histogram(3),
            refusal_us: histogram(3),
            lag_us: histogram(3),
            series: Series::new(duration),
            recent_us: None,
        }
    }

    /// A good request leaves, so long after the start and so long after it should have.
    pub(crate) fn send(&mut self, at: Duration, lag: Duration) {
        self.sent += 1;
        record(&mut self.lag_us, lag);
        self.series.at(at).sent += 1;
    }

    /// A good request got its answer.
    pub(crate) fn answer(&mut self, answered: Answered) {
        let Answered { at, meaning, response, service } = answered;
        self.meanings.count(meaning, 1);
        let interval = self.series.at(at);
        interval.meanings.count(meaning, 1);
        if meaning == Meaning::Accepted {
            record(&mut interval.response_us, response);
            record(&mut self.response_us, response);
            record(&mut self.service_us, service);
            if let Some(recent_us) = &mut self.recent_us {
                record(recent_us, response);
            }
        } else {
            record(&mut self.refusal_us, response);
        }
    }

    /// A bad request got its answer.
    pub(crate) fn answer_bad(&mut self, bad: Bad, is_accepted: bool) {
        let (accepted, refused) = (u64::from(is_accepted), u64::from(!is_accepted));
        self.bad_accepted += accepted;
        self.bad_refused += refused;
        let sum = self.bad.entry(bad).or_default();
        *sum = (sum.0 + accepted, sum.1 + refused);
    }

    /// So many requests, of which so many are good, will have no answer.
    pub(crate) fn give_up(&mut self, at: Duration, requests: u64, good: u64) {
        self.unanswered += requests;
        self.unanswered_good += good;
        self.meanings.count(Meaning::Failed, good);
        self.series.at(at).meanings.count(Meaning::Failed, good);
    }

    /// Counts an answer that is no 2xx.
    pub(crate) fn count(&mut self, at: Duration, status: u16, code: &str) {
        count_one(&mut self.answers, status, code);
        count_one(&mut self.series.at(at).answers, status, code);
    }

    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.meanings.total() - self.unanswered_good + self.bad_accepted + self.bad_refused
    }

    pub(crate) fn add(&mut self, other: &Self) {
        add_all(&mut self.answers, &other.answers);
        self.sent += other.sent;
        self.meanings.add(&other.meanings);
        self.events += other.events;
        self.items_refused += other.items_refused;
        self.bad_accepted += other.bad_accepted;
        self.bad_refused += other.bad_refused;
        for (bad, (accepted, refused)) in &other.bad {
            let sum = self.bad.entry(*bad).or_default();
            *sum = (sum.0 + accepted, sum.1 + refused);
        }
        self.unanswered += other.unanswered;
        self.unanswered_good += other.unanswered_good;
        self.reconnects += other.reconnects;
        self.retired += other.retired;
        self.response_us.add(&other.response_us).expect("the same bounds");
        self.service_us.add(&other.service_us).expect("the same bounds");
        self.refusal_us.add(&other.refusal_us).expect("the same bounds");
        self.lag_us.add(&other.lag_us).expect("the same bounds");
        self.series.add(&other.series);
    }
}

/// Looks before it leaps: a code that is known needs no text of its own.
fn count_one(answers: &mut Answers, status: u16, code: &str) {
    match answers.iter_mut().find(|((known, name), _)| (*known, name.as_str()) == (status, code)) {
        Some((_, count)) => *count += 1,
        None => {
            answers.insert((status, code.to_owned()), 1);
        }
    }
}

fn add_all(sum: &mut Answers, other: &Answers) {
    for (answer, count) in other {
        *sum.entry(answer.clone()).or_default() += count;
    }
}

/// A stretch of a run.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Good requests that left in it.
    pub(crate) sent: u64,
    /// Good requests whose answers came in it.
    pub(crate) meanings: Meanings,
    /// Answers other than 2xx that came in it, to good requests and to bad ones.
    pub(crate) answers: Answers,
    /// Of those that were accepted.
    pub(crate) response_us: Histogram<u64>,
}

/// A run, cut into equal stretches.
#[derive(Debug)]
pub(crate) struct Series {
    /// How long each is.
    pub(crate) interval: Duration,
    pub(crate) intervals: Vec<Interval>,
}

impl Series {
    /// Long runs have longer stretches: a plot has no more places, and each takes memory.
    const INTERVALS_MAX: u32 = 600;

    fn new(duration: Duration) -> Self {
        let interval = duration.div_f64(Self::INTERVALS_MAX.into());
        Self { interval: interval.max(Duration::from_secs(1)), intervals: Vec::new() }
    }

    fn at(&mut self, at: Duration) -> &mut Interval {
        let index = at.as_nanos() / self.interval.as_nanos();
        let index = usize::try_from(index).expect("a run ends soon after its duration");
        while self.intervals.len() <= index {
            self.intervals.push(Interval {
                sent: 0,
                meanings: Meanings::default(),
                answers: Answers::new(),
                response_us: coarse_histogram(),
            });
        }
        &mut self.intervals[index]
    }

    fn add(&mut self, other: &Self) {
        assert_eq!(self.interval, other.interval, "of the same run");
        for (index, from) in (0..).zip(&other.intervals) {
            let to = self.at(self.interval * index);
            to.sent += from.sent;
            to.meanings.add(&from.meanings);
            add_all(&mut to.answers, &from.answers);
            to.response_us.add(&from.response_us).expect("the same bounds");
        }
    }
}

/// For what is kept many times: 24 KiB each, latencies told apart to 1 %.
pub(crate) fn coarse_histogram() -> Histogram<u64> {
    histogram(2)
}

pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, digits).expect("constant bounds")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_what_it_means() {
        for (status, code, meaning) in [
            (202, "", Meaning::Accepted),
            (429, "rate_limited", Meaning::Limited),
            (503, "overloaded", Meaning::Overloaded),
            (503, "draining", Meaning::Overloaded),
            (503, "ack_timeout", Meaning::Failed),
            (503, "journal_failed", Meaning::Failed),
            (401, "invalid_token", Meaning::Refused),
            (500, "", Meaning::Failed),
        ] {
            assert_eq!(Meaning::of(status, code), meaning, "{status} {code}");
        }
    }

    #[test]
    fn threads_add_up_also_over_time() {
        let ms = Duration::from_millis;
        let mut sum = Tally::new(ms(5000));
        for (at, meaning) in [(100, Meaning::Accepted), (2500, Meaning::Accepted), (2700, Meaning::Limited)] {
            let mut one = Tally::new(ms(5000));
            one.send(ms(at - 20), ms(1));
            if meaning != Meaning::Accepted {
                one.count(ms(at), 429, "rate_limited");
            }
            one.answer(Answered { at: ms(at), meaning, response: ms(21), service: ms(20) });
            sum.add(&one);
        }
        sum.give_up(ms(4000), 3, 2);
        assert_eq!((sum.sent, sum.meanings.total(), sum.meanings.of(Meaning::Accepted)), (3, 5, 2));
        let counts: Vec<_> = sum
            .series
            .intervals
            .iter()
            .map(|interval| (interval.sent, interval.meanings.total(), interval.response_us.len()))
            .collect();
        assert_eq!(counts, [(1, 1, 1), (0, 0, 0), (2, 2, 1), (0, 0, 0), (0, 2, 0)]);
        let limited = [((429, "rate_limited".to_owned()), 1)].into();
        assert_eq!((&sum.answers, &sum.series.intervals[2].answers), (&limited, &limited));
    }
}
