//! The last minutes of a node: a point a second, and what rates and percentiles are worked out from.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::percentiles::Percentiles;
use super::sample::{Sample, per_second};

/// Points that are kept: five minutes.
pub const POINTS_MAX: usize = 300;
/// Seconds that rates are told over.
const RATE_SAMPLES: usize = 5;
/// Seconds that percentiles are told over.
const PERCENTILE_SAMPLES: usize = 10;
/// Seconds that the journal's growth is told over: it grows by whole segments.
const GROWTH_POINTS: usize = 60;
/// Below this many, nothing is told of growth: a node that starts makes its first segments.
const GROWTH_POINTS_LEAST: usize = 30;

/// One second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Its end, Unix time in seconds.
    pub time: f64,
    /// Events taken over, a second.
    pub accepted: f64,
    /// Events confirmed or parked, a second.
    pub confirmed: f64,
    /// Events refused, a second, by the codes that were given.
    pub refused: BTreeMap<&'static str, f64>,
    /// How long answers of the last ten seconds took; none if there were none.
    pub latency: Option<Percentiles>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
}

/// Rates over the last seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Answers.
    pub requests: f64,
    /// Events whose verdict is known.
    pub received: f64,
    /// Events taken over.
    pub accepted: f64,
    /// Events confirmed or parked.
    pub confirmed: f64,
    /// Events refused, by code.
    pub refused: BTreeMap<&'static str, f64>,
    /// Answers of 5xx in a hundred.
    pub unavailable_percent: f64,
    /// Answers of each reactor.
    #[serde(skip)]
    pub of_cores: Vec<f64>,
}

/// See the module.
#[derive(Debug)]
pub struct Trends {
    codes: Vec<&'static str>,
    samples: VecDeque<Sample>,
    points: VecDeque<Point>,
}

impl Trends {
    /// Without any past; `codes` are the names of the refusal codes, by index.
    pub fn new(codes: Vec<&'static str>) -> Self {
        Self { codes, samples: VecDeque::new(), points: VecDeque::new() }
    }

    /// Takes the sample of another second, and forgets the oldest.
    pub fn observe(&mut self, sample: Sample) {
        let point = self.samples.back().map(|before| Point {
            time: tenths(sample.wall.as_secs_f64()),
            accepted: rate(before, &sample, |s| s.accepted),
            confirmed: rate(before, &sample, |s| s.settled.events()),
            refused: self.refused(before, &sample),
            latency: self
                .behind(PERCENTILE_SAMPLES - 1)
                .and_then(|before| Percentiles::between(&before.latencies, &sample.latencies)),
            journal_bytes: sample.journal_bytes,
        });
        if self.samples.len() > PERCENTILE_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        if let Some(point) = point {
            if self.points.len() == POINTS_MAX {
                self.points.pop_front();
            }
            self.points.push_back(point);
        }
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// The last minutes, oldest first.
    pub fn points(&self) -> &VecDeque<Point> {
        &self.points
    }

    /// Rates over the last seconds.
    pub fn rates(&self) -> Rates {
        let (Some(before), Some(now)) = (self.behind(RATE_SAMPLES), self.newest()) else {
            return Rates::default();
        };
        let elapsed = now.at.saturating_sub(before.at);
        let unavailable = per_second(before.unavailable(), now.unavailable(), elapsed);
        let answers = per_second(before.answers(), now.answers(), elapsed);
        Rates {
            requests: tenths(answers),
            received: rate(before, now, Sample::received),
            accepted: rate(before, now, |s| s.accepted),
            confirmed: rate(before, now, |s| s.settled.events()),
            refused: self.refused(before, now),
            unavailable_percent: if answers > 0.0 { unavailable * 100.0 / answers } else { 0.0 },
            of_cores: before
                .cores
                .iter()
                .zip(&now.cores)
                .map(|(before, now)| tenths(per_second(before.answers, now.answers, elapsed)))
                .collect(),
        }
    }

    /// How fast the journal grows, bytes a second; below zero while it shrinks.
    pub fn journal_growth(&self) -> f64 {
        if self.points.len() < GROWTH_POINTS_LEAST {
            return 0.0;
        }
        let behind = self.points.len().saturating_sub(GROWTH_POINTS + 1);
        let (Some(before), Some(now)) = (self.points.get(behind), self.points.back()) else { return 0.0 };
        let seconds = now.time - before.time;
        if seconds <= 0.0 {
            return 0.0;
        }
        let elapsed = Duration::from_secs_f64(seconds);
        let grown = per_second(before.journal_bytes, now.journal_bytes, elapsed);
        tenths(grown - per_second(now.journal_bytes, before.journal_bytes, elapsed))
    }

    /// The sample of so many seconds before the newest, or the oldest there is.
    fn behind(&self, seconds: usize) -> Option<&Sample> {
        self.samples.get((self.samples.len()).saturating_sub(seconds + 1))
    }

    fn refused(&self, before: &Sample, now: &Sample) -> BTreeMap<&'static str, f64> {
        let elapsed = now.at.saturating_sub(before.at);
        self.codes
            .iter()
            .zip(before.rejected.iter().zip(&now.rejected))
            .filter(|(_, (before, now))| now > before)
            .map(|(code, (before, now))| (*code, tenths(per_second(*before, *now, elapsed))))
            .collect()
    }
}

fn rate(before: &Sample, now: &Sample, of: impl Fn(&Sample) -> u64) -> f64 {
    tenths(per_second(of(before), of(now), now.at.saturating_sub(before.at)))
}

/// Nobody reads further behind the point.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SettledEvents;
    use crate::telemetry::sample::{CoreSample, OtherThreads};

    fn sample(second: u64) -> Sample {
        Sample {
            at: Duration::from_secs(second),
            wall: Duration::from_secs(1_000_000 + second),
            cores: vec![CoreSample {
                answers: second * 200,
                unavailable: second * 4,
                ..CoreSample::default()
            }],
            accepted: second * 100,
            rejected: vec![0, second * 10],
            settled: SettledEvents { confirmed: second * 90, parked: 0 },
            latencies: Box::new(std::array::from_fn(|part| if part == 3 { second * 200 } else { 0 })),
            journal_bytes: second * 4096,
            others: OtherThreads::default(),
        }
    }

    fn after(seconds: u64) -> Trends {
        let mut trends = Trends::new(vec!["empty_body", "invalid_json"]);
        (0..=seconds).for_each(|second| trends.observe(sample(second)));
        trends
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "differences of small whole numbers")]
    fn rates_are_differences_over_the_last_seconds() {
        let trends = after(40);
        let rates = trends.rates();
        assert_eq!((rates.requests, rates.received, rates.accepted), (200.0, 110.0, 100.0));
        assert_eq!((rates.confirmed, rates.unavailable_percent), (90.0, 2.0));
        assert_eq!(rates.refused, [("invalid_json", 10.0)].into(), "what was not given is left out");
        assert_eq!(rates.of_cores, [200.0]);
        assert_eq!(trends.journal_growth(), 4096.0);
        let point = trends.points().back().expect("forty of them");
        let latency = point.latency.expect("some were answered");
        assert_eq!((latency.count, latency.p50_ms, point.accepted), (2000, 0.008, 100.0));
    }

    #[test]
    fn a_node_that_has_just_started_has_no_rates() {
        assert_eq!(Trends::new(vec![]).rates(), Rates::default());
        let trends = after(0);
        assert_eq!((trends.rates().received, trends.points().len()), (0.0, 0));
    }

    #[test]
    fn memory_is_bounded() {
        let trends = after(2 * POINTS_MAX as u64);
        assert_eq!((trends.samples.len(), trends.points().len()), (PERCENTILE_SAMPLES + 1, POINTS_MAX));
    }
}
