//! How much more a node could take, worked out from what it does.
//!
//! A reactor's CPU time is modelled as `waits · a + answers · c`: what it costs to fall asleep and be woken, and what an answer costs. As load rises a
//! reactor finds more to do whenever it wakes, so an answer's share of `a` shrinks; one that does not sleep any more is at its limit, `1 / c`. `a` and `c` are
//! fitted (least squares, neither below zero) to the seconds of the window, and to the heaviest ones of the last day in which requests were like those of now
//! ([`Peaks`]): what an answer costs near the limit has to have been seen. As long as it was not, and load was too even to tell the two apart, what an answer
//! costs now is taken for all there is, which tells the limit too low rather than too high; and `c` is never believed to be below a quarter of that. Of the
//! heaviest seconds, an answer's price is the most that `c` may be. The least is what it would be if as many answers shared each turn as connections allow:
//! a reactor that is not full begins a turn for each few requests, and the price of a turn is known in answers ([`TURN_ANSWERS`]). So the more answers shared
//! their turns then, the surer is the limit, whatever the fit says. A reactor counts as full before all of its CPU is used ([`USABLE`]).
//!
//! A thread of the kernel writes the journal for a reactor, on the reactor's CPU. Its time is counted as the reactor's; without it, a node would be told to have
//! room that its own writes need.
//!
//! The node's limit is that of the reactor that would get there first, if the load stays spread as it is. Three more things may bound it before: the
//! forwarder's thread, and all CPUs together, which the other threads share with the reactors: both are fitted to the waits and answers of all reactors, for a
//! reactor that wakes is what they get their work from; and a journal that fills. See docs/capacity.md for what this cannot see.

use std::collections::VecDeque;
use std::iter::Sum;
use std::time::Duration;

use serde::Serialize;

use super::peaks::{Peak, Peaks};
use super::sample::{OtherThreads, Sample, Work, per_second};

/// Seconds that are looked at.
const WINDOW_SAMPLES: usize = 60;
/// Below this share of a CPU, a reactor's figures say more about its timers than about its load.
const BUSY_LEAST: f64 = 0.02;
/// How many times cheaper than now an answer is believed to become: what little load tells of much load is not exact.
const PRICE_FALL_MAX: f64 = 4.0;
/// Refusals for want of room, of all answers, above which a second tells nothing of what an answer costs: they are cheap.
const UNAVAILABLE_MOST: f64 = 0.01;
/// How many answers to small events cost as much as a turn in which answers are sent costs beside them: being woken, two more turns (for the journal's write,
/// and for what was sent), the write itself.
const TURN_ANSWERS: f64 = 1.75;
/// With so many bytes, an answer costs twice what one to a small event does; a turn does not.
const BYTES_AS_AN_ANSWER: f64 = 12.0 * 1024.0;
/// A reactor that is full answers this part of its connections in a turn: the others' requests come while that one's events are written.
const CONNECTIONS_PER_TURN: f64 = 0.5;
/// The share of a CPU that can be used: at more, each stall of disk or memory leaves a queue that does not become shorter again.
const USABLE: f64 = 0.95;
/// Seconds with so many of the answers that the heaviest one has are as heavy: of all of them together an answer's price is surer than of one.
const NEARLY_HEAVIEST: f64 = 0.9;
/// What a second has.
const SECOND_US: u64 = 1_000_000;
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
    cores: Vec<CoreLook>,
    unavailable: u64,
    accepted: u64,
    settled: u64,
    journal_bytes: u64,
    others: OtherThreads,
}

/// One look at a reactor.
#[derive(Clone, Copy, Debug)]
struct CoreLook {
    work: Work,
    connections: u64,
}

/// A sliding window of looks, and the heaviest seconds before it.
#[derive(Debug, Default)]
pub struct Capacity {
    looks: VecDeque<Look>,
    peaks: Peaks<[Look; 2]>,
}

impl Capacity {
    /// Adds a look, and forgets the oldest.
    pub fn observe(&mut self, sample: &Sample) {
        if self.looks.len() > WINDOW_SAMPLES {
            self.looks.pop_front();
        }
        let look = Look {
            at: sample.at,
            cores: sample
                .cores
                .iter()
                .map(|core| CoreLook { work: core.work, connections: core.connections })
                .collect(),
            unavailable: sample.unavailable(),
            accepted: sample.accepted,
            settled: sample.settled.events(),
            journal_bytes: sample.journal_bytes,
            others: sample.others,
        };
        let peak = self.looks.back().and_then(|before| look.peak_since(before));
        if let Some(peak) = peak {
            self.peaks.observe(peak);
        }
        self.looks.push_back(look);
    }

    /// What is left, of a node whose journal may have `journal_bytes_max`; none while there is too little traffic to tell.
    pub fn headroom(&self, journal_bytes_max: u64) -> Option<Headroom> {
        if self.looks.len() <= SAMPLES_LEAST {
            return None;
        }
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let rate = per_second(first.answers(), last.answers(), self.elapsed());
        if rate < RATE_LEAST {
            return None;
        }
        let reactors: Vec<f64> = (0..last.cores.len())
            .filter_map(|core| self.used_part(|look, then| look.reactor_since(then, core)))
            .collect();
        let forwarder =
            self.used_part(|look, then| look.others_since(then, |others| others.forwarder_permille));
        let (part, bound_by) = reactors
            .iter()
            .map(|part| (*part, Bound::Reactor))
            .chain(self.cpus_part(&reactors).map(|part| (part, Bound::Cpus)))
            .chain(forwarder.map(|part| (part, Bound::Forwarder)))
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

    /// How long the window is.
    fn elapsed(&self) -> Duration {
        let ends = self.looks.front().zip(self.looks.back());
        ends.map_or(Duration::ZERO, |(first, last)| last.at.saturating_sub(first.at))
    }

    /// How much of all CPUs is used by reactors that use so much of theirs, and by all other threads; none if nobody has looked.
    #[allow(clippy::cast_precision_loss, reason = "a number of CPUs")]
    fn cpus_part(&self, reactors: &[f64]) -> Option<f64> {
        let cpus = self.looks.back()?.others.cpus?;
        let rest = self.used_part(Look::rest_since).unwrap_or(0.0);
        Some((reactors.iter().sum::<f64>() + rest) / cpus as f64)
    }

    /// How much of its limit is used by what did `since` from one look to the next; none while it does too little.
    fn used_part(&self, since: impl Fn(&Look, &Look) -> Option<Second>) -> Option<f64> {
        let pairs = self.looks.iter().zip(self.looks.iter().skip(1));
        let mut seconds: Vec<Second> = pairs.filter_map(|(then, look)| since(look, then)).collect();
        let now: Second = seconds.iter().copied().sum();
        let elapsed_us = self.elapsed().as_secs_f64() * 1e6;
        if elapsed_us <= 0.0 || now.answers <= 0.0 || now.cpu_us / elapsed_us < BUSY_LEAST {
            return None;
        }
        let now_us = now.price_us();
        let mut bounds_us = (now_us / PRICE_FALL_MAX, now_us);
        let peaks = self.peaks.like(now.bytes / now.answers);
        let peaks: Vec<(&Peak<_>, Second)> = peaks
            .filter_map(|peak| {
                let [then, look] = &peak.what;
                Some((peak, since(look, then)?))
            })
            .collect();
        let heaviest = peaks.iter().map(|(peak, _)| peak.answers).fold(0.0, f64::max);
        let near = peaks.iter().filter(|(peak, _)| peak.answers >= heaviest * NEARLY_HEAVIEST);
        let peak: Second = near.map(|(_, second)| *second).sum();
        // Else others had all of it.
        if peak.answers > 0.0 {
            let peak_us = peak.price_us().min(now_us);
            bounds_us = (peak_us * peak.price_fall(), peak_us);
        }
        seconds.extend(peaks.iter().map(|(_, second)| second));
        Some(now.answers / elapsed_us * answer_us(&seconds)?.clamp(bounds_us.0, bounds_us.1) / USABLE)
    }

    /// How much more comes than the broker takes, if the journal will soon be full of it.
    fn journal_part(&self, bytes_max: u64) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let elapsed = self.elapsed();
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
    /// Of all reactors.
    fn answers(&self) -> u64 {
        self.cores.iter().map(|core| core.work.answers).sum()
    }

    /// What all reactors did since a look before; none if none has looked at itself.
    fn reactors_since(&self, then: &Self) -> Option<Second> {
        let seconds = then.cores.iter().zip(&self.cores).filter_map(|(before, now)| Second::of(before, now));
        let all: Second = seconds.sum();
        (all.cpu_us > 0.0).then_some(all)
    }

    /// The second since a look before, if it tells what an answer costs.
    #[allow(clippy::cast_precision_loss, reason = "a second's counts")]
    fn peak_since(&self, then: &Self) -> Option<Peak<[Self; 2]>> {
        let all = self.reactors_since(then)?;
        let unavailable = self.unavailable.saturating_sub(then.unavailable) as f64;
        if all.answers <= 0.0 || unavailable > all.answers * UNAVAILABLE_MOST {
            return None;
        }
        let mut busy = 0.0_f64;
        for (core, (before, now)) in then.cores.iter().zip(&self.cores).enumerate() {
            // Other threads' time is of the second between the looks: that of a reactor has to be so, too.
            let elapsed_us = now.work.at_us.saturating_sub(before.work.at_us);
            if !(SECOND_US / 2..SECOND_US * 3 / 2).contains(&elapsed_us) {
                return None;
            }
            busy = busy.max(self.reactor_since(then, core)?.cpu_us / elapsed_us as f64);
        }
        let bytes_per_answer = all.bytes / all.answers;
        let what = [then.clone(), self.clone()];
        Some(Peak { at: self.at, answers: all.answers, busy, bytes_per_answer, what })
    }

    /// What a reactor did since a look before, and what the kernel wrote for it, as far as its answers are a part of all; none if it has not looked at itself.
    fn reactor_since(&self, then: &Self, core: usize) -> Option<Second> {
        let reactor = Second::of(then.cores.get(core)?, self.cores.get(core)?)?;
        let writers = self.others_since(then, |others| others.writers_permille);
        let written_us = writers
            .filter(|all| all.answers > 0.0)
            .map_or(0.0, |all| all.cpu_us * reactor.answers / all.answers);
        Some(Second { cpu_us: reactor.cpu_us + written_us, ..reactor })
    }

    /// What other threads took since a look before, beside what all reactors did; none if nobody has looked at these threads.
    #[allow(clippy::cast_precision_loss, reason = "thousandths of some CPUs")]
    fn others_since(&self, then: &Self, of: fn(&OtherThreads) -> Option<u64>) -> Option<Second> {
        let busy = of(&self.others)? as f64 / 1e3;
        let cpu_us = busy * self.at.saturating_sub(then.at).as_secs_f64() * 1e6;
        Some(Second { cpu_us, ..self.reactors_since(then)? })
    }

    /// What all threads took since a look before that neither are reactors nor write for them.
    fn rest_since(&self, then: &Self) -> Option<Second> {
        let all = self.others_since(then, |others| others.process_permille)?;
        let reactors = self.reactors_since(then)?;
        let writers = self.others_since(then, |others| others.writers_permille);
        let elsewhere_us = reactors.cpu_us + writers.map_or(0.0, |writers| writers.cpu_us);
        Some(Second { cpu_us: (all.cpu_us - elsewhere_us).max(0.0), ..all })
    }
}

/// What something did between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    cpu_us: f64,
    waits: f64,
    answers: f64,
    /// Turns in which they were sent.
    turns: f64,
    /// How many turns they would have taken if as many had shared each as connections allow.
    turns_least: f64,
    /// Of events taken over.
    bytes: f64,
}

impl Second {
    /// Of a reactor; none if it has not looked at itself between.
    #[allow(clippy::cast_precision_loss, reason = "a second's counts")]
    fn of(before: &CoreLook, now: &CoreLook) -> Option<Self> {
        let connections = now.connections as f64;
        let (before, now) = (&before.work, &now.work);
        let answers = now.answers.saturating_sub(before.answers) as f64;
        let turns = now.answering_turns.saturating_sub(before.answering_turns) as f64;
        (now.cpu_us > before.cpu_us).then(|| Self {
            cpu_us: (now.cpu_us - before.cpu_us) as f64,
            waits: now.waits.saturating_sub(before.waits) as f64,
            answers,
            turns,
            turns_least: turns.min(answers / (connections * CONNECTIONS_PER_TURN)),
            bytes: now.bytes.saturating_sub(before.bytes) as f64,
        })
    }

    /// What an answer costs, with all that is done beside it, µs.
    fn price_us(&self) -> f64 {
        self.cpu_us / self.answers
    }

    /// To what part of this an answer's price would fall if turns were shared by as many as connections allow.
    fn price_fall(&self) -> f64 {
        let turn_answers = TURN_ANSWERS / (1.0 + self.bytes / self.answers / BYTES_AS_AN_ANSWER);
        (self.answers + turn_answers * self.turns_least) / (self.answers + turn_answers * self.turns)
    }
}

impl Sum for Second {
    fn sum<I: Iterator<Item = Self>>(seconds: I) -> Self {
        seconds.fold(Self::default(), |all, second| Self {
            cpu_us: all.cpu_us + second.cpu_us,
            waits: all.waits + second.waits,
            answers: all.answers + second.answers,
            turns: all.turns + second.turns,
            turns_least: all.turns_least + second.turns_least,
            bytes: all.bytes + second.bytes,
        })
    }
}

/// What an answer costs when nobody sleeps, µs: the `c` for which `waits · a + answers · c` is nearest to the CPU time.
fn answer_us(seconds: &[Second]) -> Option<f64> {
    let sum = |of: fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>();
    let (ww, aa, wa) =
        (sum(|s| s.waits * s.waits), sum(|s| s.answers * s.answers), sum(|s| s.waits * s.answers));
    let (wc, ac) = (sum(|s| s.waits * s.cpu_us), sum(|s| s.answers * s.cpu_us));
    if aa <= 0.0 {
        return None;
    }
    let answers_alone = ac / aa;
    let determinant = ww * aa - wa * wa;
    // Where waits and answers kept the same ratio, nothing tells their prices apart.
    if determinant <= 1e-3 * ww * aa {
        return Some(answers_alone);
    }
    let (wait_us, answer_us) = ((aa * wc - wa * ac) / determinant, (ww * ac - wa * wc) / determinant);
    // A price below zero is noise.
    Some(if wait_us < 0.0 || answer_us <= 0.0 { answers_alone } else { answer_us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SettledEvents;
    use crate::telemetry::sample::CoreSample;

    /// Of a journal.
    const BYTES_MAX: u64 = 1 << 30;

    /// A node whose reactors follow the model exactly: a wait, which begins a turn, costs 10 µs, if nothing else is said, an answer 4 µs.
    struct Model {
        capacity: Capacity,
        sample: Sample,
        wait_us: u64,
        connections: u64,
        bytes_per_answer: u64,
        refused_per_second: u64,
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
            Self {
                capacity: Capacity::default(),
                sample,
                wait_us: 10,
                connections: 64,
                bytes_per_answer: 600,
                refused_per_second: 0,
            }
        }

        /// A second in which each reactor answers so many requests, and sleeps so often.
        fn second(&mut self, done: &[(u64, u64)]) {
            self.capacity.observe(&self.sample);
            self.sample.at += Duration::from_secs(1);
            for (core, (answers, waits)) in self.sample.cores.iter_mut().zip(done) {
                core.work.at_us += SECOND_US;
                core.work.answers += answers;
                core.work.answering_turns += waits;
                core.connections = self.connections;
                core.work.bytes += answers * self.bytes_per_answer;
                core.answers += answers;
                core.unavailable += self.refused_per_second;
                core.work.waits += waits;
                core.work.cpu_us += waits * self.wait_us + answers * 4;
                self.sample.accepted += answers;
                self.sample.settled.confirmed += answers;
            }
        }
    }

    fn is_near(told: f64, expected: f64) -> bool {
        (told - expected).abs() < expected * 0.01
    }

    #[test]
    fn the_price_of_a_wait_and_of_an_answer_are_told_apart_when_load_varies() {
        let mut node = Model::new(1);
        for second in 0..30 {
            // As load rises, it sleeps less.
            let answers = 10_000 + second * 1_000;
            node.second(&[(answers, 8_000 - second * 100)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // One in 4 µs.
        assert!(is_near(told.requests_per_second, USABLE * 250_000.0), "{told:?}");
        assert_eq!(told.bound_by, Bound::Reactor);
    }

    #[test]
    fn an_answer_is_not_believed_to_become_more_than_four_times_cheaper() {
        let mut node = Model::new(1);
        for second in 0..30 {
            node.second(&[(1_000 + second * 10, 10_000 - second * 100)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        let now_us = 4.0 + 10.0 * (10_000.0 - 1_450.0) / 1_145.0;
        assert!(
            (told.requests_per_second - USABLE * 4e6 / now_us).abs() < 1e6 / now_us * 0.1,
            "{told:?} of {now_us} µs"
        );
    }

    /// After ten seconds of a burst, some of them refused, and ten minutes of little and even load of so many bytes.
    fn calm_after_a_burst(refused: u64, bytes_per_answer: u64) -> Headroom {
        let mut node = Model::new(1);
        node.refused_per_second = refused;
        for _ in 0..10 {
            node.second(&[(150_000, 10_000)]);
        }
        (node.refused_per_second, node.bytes_per_answer) = (0, bytes_per_answer);
        for _ in 0..600 {
            node.second(&[(10_000, 10_000)]);
        }
        node.capacity.headroom(BYTES_MAX).expect("enough traffic")
    }

    #[test]
    fn a_burst_of_such_requests_is_remembered() {
        let told = calm_after_a_burst(0, 650);
        // Of 700 ms, what 150,000 answers take when each turn has 32 of them, and not 15.
        let turn_answers = TURN_ANSWERS / (1.0 + 600.0 / BYTES_AS_AN_ANSWER);
        let fall = (1.0 + turn_answers / 32.0) / (1.0 + turn_answers / 15.0);
        assert!(is_near(told.requests_per_second, USABLE * 150_000.0 / (0.7 * fall)), "{told:?}");
    }

    /// What a node tells of a reactor's limit that did so much for ten seconds, in turns that cost as much as 1.75 answers, and little after that.
    fn told_after(answers: u64, turns: u64, bytes_per_answer: u64, connections: u64) -> f64 {
        let mut node = Model { wait_us: 7, bytes_per_answer, connections, ..Model::new(1) };
        for _ in 0..10 {
            node.second(&[(answers, turns)]);
        }
        for _ in 0..600 {
            node.second(&[(5_000, 5_000)]);
        }
        node.capacity.headroom(BYTES_MAX).expect("enough traffic").requests_per_second
    }

    #[test]
    fn a_reactor_that_had_nothing_of_a_burst_learns_nothing_of_it() {
        let mut node = Model::new(2);
        for _ in 0..10 {
            // Its timers' work alone.
            node.sample.cores[1].work.cpu_us += 100;
            node.second(&[(150_000, 10_000), (0, 0)]);
        }
        for _ in 0..600 {
            node.second(&[(1_000, 1_000), (10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // The second one is the fuller now: 14 µs an answer.
        assert!(is_near(told.headroom_ratio, 1.0 - 0.14 / USABLE), "{told:?}");
    }

    #[test]
    fn much_load_and_full_load_tell_the_same_limit() {
        let limit = USABLE * 1e6 / (4.0 + 7.0 / 32.0);
        for (answers, turns) in [(60_000, 45_000), (110_000, 50_000), (170_000, 40_000), (224_000, 7_000)] {
            let told = told_after(answers, turns, 0, 64);
            assert!(is_near(told, limit), "{answers}: {told}, not {limit}");
        }
    }

    #[test]
    fn no_more_answers_share_a_turn_than_there_are_connections_for() {
        let told = told_after(100_000, 50_000, 0, 4);
        assert!(is_near(told, USABLE * 100_000.0 / 0.75), "{told}");
        assert!(is_near(told_after(100_000, 50_000, 0, 3), told), "nor fewer than shared them");
    }

    #[test]
    fn what_takes_long_loses_less_of_its_price() {
        let told = told_after(60_000, 45_000, 12 << 10, 64);
        let fall = (1.0 + 0.875 / 32.0) / (1.0 + 0.875 * 0.75);
        assert!(is_near(told, USABLE * 60_000.0 / (0.555 * fall)), "{told}");
    }

    #[test]
    fn one_second_of_a_burst_does_not_decide() {
        let mut node = Model::new(1);
        for second in 0..20 {
            node.second(&[(220_000, 10_000)]);
            if second == 10 {
                // Its CPU time was counted late.
                node.sample.cores[0].work.answers += 10_000;
                node.sample.cores[0].work.cpu_us -= 100_000;
            }
        }
        for _ in 0..600 {
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // All CPU time is used up by the 220,000, but for 2 %; alone, that second would promise 248,000.
        assert!((220_000.0..220_000.0 * 1.1).contains(&told.requests_per_second), "{told:?}");
    }

    #[test]
    fn a_burst_of_others_or_of_refusals_tells_nothing() {
        for told in [calm_after_a_burst(0, 900), calm_after_a_burst(10_000, 600)] {
            assert!(is_near(told.requests_per_second, USABLE * 1e6 / 14.0), "{told:?}");
        }
    }

    #[test]
    fn even_load_tells_the_limit_too_low_rather_than_too_high() {
        let mut node = Model::new(1);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        // 14 µs an answer, as it is now.
        assert!(is_near(told.requests_per_second, USABLE * 1e6 / 14.0), "{told:?}");
        assert!(is_near(told.headroom_ratio, 1.0 - 0.14 / USABLE), "{told:?}");
    }

    #[test]
    fn the_fullest_reactor_is_the_nodes_limit() {
        let mut node = Model::new(2);
        for _ in 0..30 {
            node.second(&[(30_000, 30_000), (10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, USABLE * 40_000.0 / 0.42), "{told:?}");
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
        assert!(
            is_near(told.requests_per_second, USABLE * 20_000.0) && told.bound_by == Bound::Forwarder,
            "{told:?}"
        );
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
        assert!(is_near(told.requests_per_second, USABLE * 20_000.0 / 0.36), "{told:?}");
        // A wait costs 5 µs in the kernel's thread too, and an answer 3 µs.
        let mut varied = Model::new(1);
        for (answers, waits) in [(10_000, 8_000), (20_000, 4_000)].repeat(15) {
            varied.second(&[(answers, waits)]);
            varied.sample.others.writers_permille = Some((waits * 5 + answers * 3) / 1_000);
        }
        let told = varied.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, USABLE * 1.0 / 7e-6), "{told:?}");
    }

    #[test]
    fn what_other_threads_need_when_a_reactor_wakes_is_not_an_answers_price_either() {
        let mut node = Model::new(2);
        for (answers, waits) in [(5_000, 5_000), (20_000, 10_000)].repeat(15) {
            node.second(&[(answers, waits); 2]);
            // Besides what the model has, 30 µs for each wait of a reactor, 16 µs for an answer; and a forwarder that is nowhere near its limit.
            node.sample.others.process_permille = Some((2 * waits * 40 + 2 * answers * 20) / 1_000);
            node.sample.others.cpus = Some(4);
            node.sample.others.forwarder_permille = Some((2 * answers * 2) / 1_000);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(is_near(told.requests_per_second, USABLE * 1.0 / 5e-6), "{told:?}");
        assert_eq!(told.bound_by, Bound::Cpus);
    }

    #[test]
    fn cpus_that_other_threads_use_too_are_the_limit() {
        let mut node = Model::new(1);
        node.sample.others.process_permille = Some(1000);
        node.sample.others.cpus = Some(4);
        for _ in 0..30 {
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(
            is_near(told.requests_per_second, USABLE * 40_000.0) && told.bound_by == Bound::Cpus,
            "{told:?}"
        );
    }

    #[test]
    fn a_second_in_which_others_were_busy_is_one_of_many() {
        let mut node = Model::new(1);
        for second in 0..31 {
            node.sample.others.forwarder_permille = Some(if second == 30 { 1000 } else { 400 });
            node.second(&[(10_000, 10_000)]);
        }
        let told = node.capacity.headroom(BYTES_MAX).expect("enough traffic");
        assert!(
            is_near(told.headroom_ratio, 1.0 - 0.42 / USABLE) && told.bound_by == Bound::Forwarder,
            "{told:?}"
        );
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
