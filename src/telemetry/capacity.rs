//! How much more a node could take, worked out from what it does.
//!
//! A reactor's CPU time is modelled as `turns · a + answers · c`: each turn has its price, and each answer has. As load rises a turn finds more to do, so
//! the price of an answer falls towards `c`. Once the reactor does not wait any more, a turn of `n` answers takes `a + n · c`, and `n` is what came in
//! during the turn before; the rate at which a turn has grown to [`TURN_AT_LIMIT_US`] is called the limit: `(1 - a / turn) / c`. `a` and `c` are fitted (least
//! squares, neither below zero) to the seconds of the window. While load was too even to tell them apart, what an answer costs now is taken for all there
//! is, which tells the limit too low rather than too high.
//!
//! A thread of the kernel writes the journal for a reactor, on the reactor's CPU. What it takes is part of the price of an answer; without it, a node would be
//! told to have room that its own writes need.
//!
//! The node's limit is that of the reactor that would get there first, if the load stays spread as it is. Three more things may bound it before: all CPUs
//! together, the forwarder's thread, and a journal that fills. See docs/capacity.md for what this cannot see.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::sample::{OtherThreads, Sample, Work, per_second};

/// Seconds that are looked at.
const WINDOW_SAMPLES: usize = 60;
/// How long a turn may become before the node counts as full, µs: what a 202 may wait for those before it.
const TURN_AT_LIMIT_US: f64 = 5_000.0;
/// Below this share of a CPU, a reactor's figures say more about its timers than about its load.
const BUSY_LEAST: f64 = 0.02;
/// Answers a second below which nothing is told.
const RATE_LEAST: f64 = 50.0;
/// Samples before anything is told.
const SAMPLES_LEAST: usize = 10;
/// A journal that would be full within this time bounds the node; until then, what grows may shrink again.
const FULL_SOON: Duration = Duration::from_mins(10);
/// A backlog that grew by less than the events of so many seconds, over the whole window, is what is on its way to the broker. A journal grows by whole
/// segments, so its size alone does not tell the two apart.
const BACKLOG_LEAST_SECONDS: f64 = 1.0;

/// What a node would meet first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// A reactor's CPU.
    Reactor,
    /// All CPUs that the process may use.
    Cpus,
    /// The forwarder's thread.
    Forwarder,
    /// The journal fills, because the broker takes less than comes.
    Journal,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Headroom {
    /// Requests a second at the limit, spread over the reactors as they are.
    pub requests_per_second: f64,
    /// 1 - used / limit: 0 when nothing is left.
    pub headroom_ratio: f64,
    /// What is the limit.
    pub bound_by: Bound,
}

/// One look at what capacity is worked out from.
#[derive(Clone, Debug)]
struct Look {
    at: Duration,
    cores: Vec<Work>,
    accepted: u64,
    settled: u64,
    journal_bytes: u64,
    others: OtherThreads,
}

/// A sliding window of looks.
#[derive(Debug, Default)]
pub struct Capacity {
    looks: VecDeque<Look>,
}

impl Capacity {
    /// Adds a look, and forgets the oldest.
    pub fn observe(&mut self, sample: &Sample) {
        if self.looks.len() > WINDOW_SAMPLES {
            self.looks.pop_front();
        }
        self.looks.push_back(Look {
            at: sample.at,
            cores: sample.cores.iter().map(|core| core.work).collect(),
            accepted: sample.accepted,
            settled: sample.settled.events(),
            journal_bytes: sample.journal_bytes,
            others: sample.others,
        });
    }

    /// What is left, of a node whose journal may have `journal_bytes_max`; none while there is too little traffic to tell.
    pub fn headroom(&self, journal_bytes_max: u64) -> Option<Headroom> {
        if self.looks.len() <= SAMPLES_LEAST {
            return None;
        }
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let elapsed = last.at.saturating_sub(first.at);
        let rate = per_second(first.answers(), last.answers(), elapsed);
        if rate < RATE_LEAST {
            return None;
        }
        let writers_us = self.busy(|others| others.writers_permille).map_or(0.0, |busy| busy * 1e6 / rate);
        let (part, bound_by) = (0..last.cores.len())
            .filter_map(|core| Some((self.used_part(core, writers_us)?, Bound::Reactor)))
            .chain(self.busy(|others| others.process_permille).map(|busy| (busy, Bound::Cpus)))
            .chain(self.busy(|others| others.forwarder_permille).map(|busy| (busy, Bound::Forwarder)))
            .chain(self.journal_part(journal_bytes_max).map(|part| (part, Bound::Journal)))
            .max_by(|one, other| one.0.total_cmp(&other.0))?;
        if part <= 0.0 {
            return None;
        }
        Some(Headroom {
            requests_per_second: rate / part,
            headroom_ratio: (1.0 - part).clamp(0.0, 1.0),
            bound_by,
        })
    }

    /// Busy share of other threads, on average over the window; none if nobody has looked.
    #[allow(clippy::cast_precision_loss, reason = "thousandths of some CPUs, and a minute's looks")]
    fn busy(&self, of: fn(&OtherThreads) -> Option<u64>) -> Option<f64> {
        // The first look is about the second before the window.
        let busy: Vec<u64> = self.looks.iter().skip(1).filter_map(|look| of(&look.others)).collect();
        (!busy.is_empty()).then(|| busy.iter().sum::<u64>() as f64 / busy.len() as f64 / 1e3)
    }

    /// How much of its limit a reactor uses, if the kernel takes `writers_us` for each answer; none while it does too little.
    fn used_part(&self, core: usize, writers_us: f64) -> Option<f64> {
        let seconds: Vec<Second> = self
            .looks
            .iter()
            .zip(self.looks.iter().skip(1))
            .filter_map(|(before, now)| Second::between(before.cores.get(core)?, now.cores.get(core)?))
            .collect();
        let sum = |of: fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>();
        let (cpu_us, answers) = (sum(|s| s.cpu_us), sum(|s| s.answers));
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let elapsed_us = last.at.saturating_sub(first.at).as_secs_f64() * 1e6;
        if elapsed_us <= 0.0 || answers <= 0.0 || cpu_us / elapsed_us < BUSY_LEAST {
            return None;
        }
        let now = answers / elapsed_us;
        // What it would reach if an answer never cost less than now.
        let at_least = 1.0 / (cpu_us / answers + writers_us);
        let (turn_us, answer_us) = fit(&seconds)?;
        let grown = (1.0 - turn_us / TURN_AT_LIMIT_US) / (answer_us + writers_us);
        Some(now / at_least.max(if grown.is_finite() { grown } else { 0.0 }))
    }

    /// How much more comes than the broker takes, if the journal will soon be full of it.
    fn journal_part(&self, bytes_max: u64) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let elapsed = last.at.saturating_sub(first.at);
        let growth = per_second(first.journal_bytes, last.journal_bytes, elapsed);
        let left = per_second(last.journal_bytes, bytes_max, Duration::from_secs(1));
        if growth <= 0.0 || left / growth > FULL_SOON.as_secs_f64() {
            return None;
        }
        let (taken, given) = (
            per_second(first.accepted, last.accepted, elapsed),
            per_second(first.settled, last.settled, elapsed),
        );
        let is_backlog = (taken - given) * elapsed.as_secs_f64() > taken * BACKLOG_LEAST_SECONDS;
        // Nothing given back: any rate is too much.
        is_backlog.then(|| taken / given.max(taken / 1e6))
    }
}

impl Look {
    /// Answers of all reactors.
    fn answers(&self) -> u64 {
        self.cores.iter().map(|core| core.answers).sum()
    }
}

/// What a reactor did between two looks.
#[derive(Clone, Copy, Debug)]
struct Second {
    cpu_us: f64,
    turns: f64,
    answers: f64,
}

impl Second {
    /// None if the reactor has not looked at itself between.
    #[allow(clippy::cast_precision_loss, reason = "a second's counts")]
    fn between(before: &Work, now: &Work) -> Option<Self> {
        (now.cpu_us > before.cpu_us).then(|| Self {
            cpu_us: (now.cpu_us - before.cpu_us) as f64,
            turns: now.turns.saturating_sub(before.turns) as f64,
            answers: now.answers.saturating_sub(before.answers) as f64,
        })
    }
}

/// The price of a turn and of an answer, µs, so that `turns · a + answers · c` is nearest to the CPU time.
fn fit(seconds: &[Second]) -> Option<(f64, f64)> {
    let sum = |of: fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>();
    let (tt, aa, ta) =
        (sum(|s| s.turns * s.turns), sum(|s| s.answers * s.answers), sum(|s| s.turns * s.answers));
    let (tc, ac) = (sum(|s| s.turns * s.cpu_us), sum(|s| s.answers * s.cpu_us));
    if aa <= 0.0 {
        return None;
    }
    let answers_alone = (0.0, ac / aa);
    let determinant = tt * aa - ta * ta;
    // Where turns and answers kept the same ratio, nothing tells their prices apart.
    if determinant <= 1e-3 * tt * aa {
        return Some(answers_alone);
    }
    let (turn_us, answer_us) = ((aa * tc - ta * ac) / determinant, (tt * ac - ta * tc) / determinant);
    // A price below zero is noise.
    if turn_us < 0.0 || answer_us <= 0.0 { Some(answers_alone) } else { Some((turn_us, answer_us)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SettledEvents;
    use crate::telemetry::sample::CoreSample;

    /// Of a journal.
    const BYTES_MAX: u64 = 1 << 30;

    /// A node whose reactors follow the model exactly: a turn costs 10 µs, an answer 4 µs.
    struct Model {
        capacity: Capacity,
        sample: Sample,
    }

    impl Model {
        fn new(reactors: usize) -> Self {
            let sample = Sample {
                at: Duration::ZERO,
                wall: Duration::ZERO,
                cores: vec![CoreSample::default(); reactors],
                accepted: 0,
                rejected: Vec::new(),
                settled: SettledEvents::default(),
                latencies: Box::new([0; 160]),
                journal_bytes: 0,
                others: OtherThreads::default(),
            };
            Self { capacity: Capacity::default(), sample }
        }

        /// A second in which each reactor answers so many requests in so many turns.
        fn second(&mut self, done: &[(u64, u64)]) {
            self.capacity.observe(&self.sample);
            self.sample.at += Duration::from_secs(1);
            for (core, (answers, turns)) in self.sample.cores.iter_mut().zip(done) {
                core.work.answers += answers;
                core.work.turns += turns;
                core.work.cpu_us += turns * 10 + answers * 4;
                self.sample.accepted += answers;
                self.sample.settled.confirmed += answers;
            }
        }
    }

    fn is_near(told: f64, expected: f64) -> bool {
        (told - expected).abs() < expected * 0.01
    }

    #[test]
    fn the_price_of_a_turn_and_of_an_answer_are_told_apart_when_load_varies() {
        let mut node = Model::new(1);
        for second in 0..30 {
            // As load rises, turns hold more.
            let answers = 10_000 + second * 1_000;
            node.second(&[(answers, 8_000 - second * 100)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // (1 - 10 / 5000) / 4 µs.
        assert!(is_near(told.requests_per_second, 249_500.0), "{told:?}");
        assert_eq!(told.bound_by, Bound::Reactor);
    }

    #[test]
    fn even_load_tells_the_limit_too_low_rather_than_too_high() {
        let mut node = Model::new(1);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // 14 µs an answer, as it is now.
        assert!(is_near(told.requests_per_second, 1e6 / 14.0), "{told:?}");
        assert!(is_near(told.headroom_ratio, 1.0 - 0.14), "{told:?}");
    }

    #[test]
    fn the_fullest_reactor_is_the_nodes_limit() {
        let mut node = Model::new(2);
        for _ in 0..30 {
            node.second(&[(30_000, 30_000), (10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, 40_000.0 / 0.42), "{told:?}");
    }

    #[test]
    fn too_little_traffic_tells_nothing() {
        let mut node = Model::new(1);
        for _ in 0..30 {
            node.second(&[(40, 60)]);
        }
        assert_eq!(node.capacity.headroom(BYTES_MAX), None);
        let mut young = Model::new(1);
        for _ in 0..SAMPLES_LEAST {
            young.second(&[(30_000, 30_000)]);
        }
        assert_eq!(young.capacity.headroom(BYTES_MAX), None, "and so does a node that has just started");
    }

    #[test]
    fn a_busier_forwarder_is_the_limit() {
        let mut node = Model::new(1);
        node.sample.others.forwarder_permille = Some(500);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, 20_000.0) && told.bound_by == Bound::Forwarder, "{told:?}");
    }

    #[test]
    fn what_the_kernel_writes_for_a_reactor_is_part_of_the_price_of_an_answer() {
        let mut node = Model::new(2);
        // A fifth of a CPU for 20,000 answers: 10 µs each.
        node.sample.others.writers_permille = Some(200);
        for _ in 0..30 {
            node.second(&[(15_000, 15_000), (5_000, 5_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // The fuller reactor: 15,000 of 14 µs and 10 µs.
        assert!(is_near(told.requests_per_second, 20_000.0 / 0.36), "{told:?}");
        let mut varied = Model::new(1);
        varied.sample.others.writers_permille = Some(100);
        for second in 0..30 {
            let answers = 10_000 + second % 2 * 10_000;
            varied.second(&[(answers, 8_000 - second % 2 * 4_000)]);
        }
        let told = varied.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // 4 µs, and 100,000 µs for the mean of 10,000 and 20,000; it was told near the end of a window, so the mean is not exact.
        let expected = (1.0 - 10.0 / TURN_AT_LIMIT_US) / (4e-6 + 0.1 / 15_000.0);
        assert!((told.requests_per_second - expected).abs() < expected * 0.02, "{told:?}");
    }

    #[test]
    fn cpus_that_other_threads_use_too_are_the_limit() {
        let mut node = Model::new(1);
        node.sample.others.process_permille = Some(250);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, 40_000.0) && told.bound_by == Bound::Cpus, "{told:?}");
    }

    #[test]
    fn a_second_in_which_others_were_busy_is_one_of_many() {
        let mut node = Model::new(1);
        for second in 0..31 {
            node.sample.others.forwarder_permille = Some(if second == 30 { 1000 } else { 400 });
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.headroom_ratio, 1.0 - 0.42) && told.bound_by == Bound::Forwarder, "{told:?}");
    }

    #[test]
    fn a_new_segment_is_no_backlog() {
        let mut node = Model::new(1);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
        }
        // What is on its way to the broker, and a segment for it, in a journal that has no room for many.
        node.sample.settled.confirmed -= 7_000;
        node.sample.journal_bytes += 16 << 20;
        node.second(&[(10_000, 10_000)]);
        node.second(&[(10_000, 10_000)]);
        let told = node.capacity.headroom(64 << 20).expect("enough traffic");
        assert_eq!(told.bound_by, Bound::Reactor, "{told:?}");
    }

    #[test]
    fn a_journal_that_will_soon_be_full_bounds_the_node_to_what_the_broker_takes() {
        let mut node = Model::new(1);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
            node.sample.settled.confirmed -= 8_000;
            node.sample.journal_bytes += 10 << 20;
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, 2_000.0), "{told:?}");
        assert_eq!((told.headroom_ratio, told.bound_by), (0.0, Bound::Journal));
        let told = node.capacity.headroom(1 << 40).expect("enough traffic");
        assert_eq!(told.bound_by, Bound::Reactor, "there is room for days");
    }

    #[test]
    fn the_window_is_bounded() {
        let mut node = Model::new(1);
        for _ in 0..500 {
            node.second(&[(10_000, 10_000)]);
        }
        assert_eq!(node.capacity.looks.len(), WINDOW_SAMPLES + 1);
    }
}
