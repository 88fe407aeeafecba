//! How a node does, in one page: what the dashboard shows, and `GET /api/pulse` gives.
//!
//! Once a second the operators' thread hands in a [`Sample`]; the page itself is put together only when somebody asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::capacity::{Capacity, Headroom};
use super::percentiles::Percentiles;
use super::sample::{Sample, per_second};
use super::traffic::Traffic;
use super::trends::{Point, Rates, Trends};
use super::verdict::{Signs, Verdict};
use super::{AppBalance, Unhealthy};

/// Samples to one look at the ledger by app, which costs something for each app there is.
const SAMPLES_PER_LEDGER: u64 = 5;

/// What is called what: an app's part of the registry that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppLabel {
    /// Its name.
    pub name: String,
    /// Events a second that it may send; none: as many as it likes.
    pub events_per_second: Option<u32>,
}

/// What the counters do not tell.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The node's name.
    pub node: String,
    /// The version that runs.
    pub version: &'static str,
    /// Time since the start.
    pub uptime: Duration,
    /// What `/livez` would say.
    pub live: Result<(), Unhealthy>,
    /// What `/readyz` would say.
    pub ready: Result<(), Unhealthy>,
    /// Whether the journal's disk fails somewhere.
    pub is_journal_failing: bool,
    /// The most bytes that the journal may have.
    pub journal_bytes_max: u64,
    /// How long the oldest event waits that is not confirmed, if that is known.
    pub oldest_pending: Option<Duration>,
    /// The broker.
    pub broker: Broker,
}

/// How the broker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Broker {
    /// Whether there is one.
    pub configured: bool,
    /// Whether it takes messages.
    pub up: bool,
    /// Messages sent and not yet confirmed.
    pub unconfirmed_messages: u64,
}

/// Who is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: &'static str,
    /// Since its start.
    pub uptime_seconds: u64,
}

/// A reactor.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reactor {
    /// Share of the last second that was not spent waiting.
    pub busy_ratio: f64,
    /// Answers a second.
    pub requests_per_second: f64,
    /// Open connections.
    pub connections: u64,
    /// Batches between it and the forwarder.
    pub queue_batches: u64,
}

/// The journal.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Journal {
    /// Bytes on the disk.
    pub bytes: u64,
    /// The most there may be.
    pub bytes_max: u64,
    /// How fast it grows; below zero while it shrinks.
    pub growth_bytes_per_second: f64,
    /// When it would be full if it went on growing so; none while it does not grow.
    pub full_in_seconds: Option<u64>,
    /// How long the oldest event waits that is not confirmed, if that is known.
    pub oldest_pending_seconds: Option<f64>,
}

/// An app that sends much.
#[derive(Clone, Debug, Serialize)]
pub struct App {
    /// Its id.
    pub id: Uuid,
    /// Its name and limit; none if it is in no registry any more.
    #[serde(flatten)]
    pub label: Option<AppLabel>,
    /// Events taken over, a second.
    pub accepted_per_second: f64,
    /// Events refused, a second.
    pub rejected_per_second: f64,
}

/// The ledger, over all lives of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Events whose verdict is known.
    pub received: u64,
    /// Taken over.
    pub accepted: u64,
    /// Refused.
    pub rejected: u64,
    /// Confirmed.
    pub confirmed: u64,
    /// Parked, because no broker would take them.
    pub parked: u64,
    /// Taken over, and neither confirmed nor parked.
    pub pending: u64,
}

/// The page.
#[derive(Clone, Debug, Serialize)]
pub struct Pulse {
    /// Who.
    pub node: Node,
    /// How it does.
    pub verdict: Verdict,
    /// Events and requests a second, over the last five seconds.
    pub rates: Rates,
    /// How long answers of the last ten seconds took; none if there were none.
    pub latency: Option<Percentiles>,
    /// What is left; none while there is too little traffic to tell.
    pub capacity: Option<Headroom>,
    /// Each reactor, by core.
    pub reactors: Vec<Reactor>,
    /// Open connections.
    pub connections: u64,
    /// Batches between reactors and forwarder.
    pub queue_batches: u64,
    /// The journal.
    pub journal: Journal,
    /// The broker.
    pub broker: Broker,
    /// Those that send most, most first.
    pub apps: Vec<App>,
    /// The ledger.
    pub ledger: Totals,
    /// The last second, as the history has it; none in the first.
    pub point: Option<Point>,
}

/// What pulses are made of.
#[derive(Debug)]
pub struct Pulses {
    trends: Trends,
    capacity: Capacity,
    traffic: Traffic,
    samples: u64,
}

impl Pulses {
    /// Without any past; `codes` are the names of the refusal codes, by index.
    pub fn new(codes: Vec<&'static str>) -> Self {
        Self {
            trends: Trends::new(codes),
            capacity: Capacity::default(),
            traffic: Traffic::default(),
            samples: 0,
        }
    }

    /// Takes the sample of another second. `apps` gives the ledger by app; it is called only now and then.
    pub fn observe(&mut self, sample: Sample, apps: impl FnOnce() -> BTreeMap<Uuid, AppBalance>) {
        if self.samples.is_multiple_of(SAMPLES_PER_LEDGER) {
            self.traffic.observe(&apps(), sample.at);
        }
        self.samples += 1;
        self.capacity.observe(&sample);
        self.trends.observe(sample);
    }

    /// The last minutes, oldest first.
    pub fn history(&self) -> &VecDeque<Point> {
        self.trends.points()
    }

    /// What is left, of a node whose journal may have `journal_bytes_max`; none while there is too little traffic to tell.
    pub fn headroom(&self, journal_bytes_max: u64) -> Option<Headroom> {
        self.capacity.headroom(journal_bytes_max)
    }

    /// The page of now; none before the first sample. `label` finds what an app is called.
    pub fn pulse(
        &self,
        circumstances: &Circumstances,
        label: impl Fn(Uuid) -> Option<AppLabel>,
    ) -> Option<Pulse> {
        let sample = self.trends.newest()?;
        let rates = self.trends.rates();
        let point = self.trends.points().back().cloned();
        let sum = |of: fn(&super::CoreSample) -> u64| sample.cores.iter().map(of).sum::<u64>();
        let busiest =
            sample.cores.iter().map(|core| core.busy_permille).enumerate().max_by_key(|(_, busy)| *busy);
        let verdict = Verdict::on(&Signs {
            live: circumstances.live,
            ready: circumstances.ready,
            is_journal_failing: circumstances.is_journal_failing,
            is_broker_away: circumstances.broker.configured && !circumstances.broker.up,
            unavailable_percent: rates.unavailable_percent,
            busiest,
            journal_bytes: sample.journal_bytes,
            journal_bytes_max: circumstances.journal_bytes_max,
        });
        let reactor = |(core, of): (usize, &super::CoreSample)| Reactor {
            busy_ratio: ratio(of.busy_permille),
            requests_per_second: rates.of_cores.get(core).copied().unwrap_or(0.0),
            connections: of.connections,
            queue_batches: of.queue_batches,
        };
        let app = |of: &super::AppTraffic| App {
            id: of.app,
            label: label(of.app),
            accepted_per_second: of.accepted_per_second,
            rejected_per_second: of.rejected_per_second,
        };
        Some(Pulse {
            node: Node {
                id: circumstances.node.clone(),
                version: circumstances.version,
                uptime_seconds: circumstances.uptime.as_secs(),
            },
            verdict,
            latency: point.as_ref().and_then(|point| point.latency),
            capacity: self.headroom(circumstances.journal_bytes_max),
            reactors: sample.cores.iter().enumerate().map(reactor).collect(),
            connections: sum(|core| core.connections),
            queue_batches: sum(|core| core.queue_batches),
            journal: self.journal(sample, circumstances),
            broker: circumstances.broker,
            apps: self.traffic.top().iter().map(app).collect(),
            ledger: Totals {
                received: sample.received(),
                accepted: sample.accepted,
                rejected: sample.rejected.iter().sum(),
                confirmed: sample.settled.confirmed,
                parked: sample.settled.parked,
                pending: sample.pending(),
            },
            point,
            rates,
        })
    }

    fn journal(&self, sample: &Sample, circumstances: &Circumstances) -> Journal {
        let (bytes, bytes_max) = (sample.journal_bytes, circumstances.journal_bytes_max);
        let growth = self.trends.journal_growth();
        let left = per_second(bytes, bytes_max, Duration::from_secs(1));
        let full_in = (growth > 0.0).then(|| Duration::try_from_secs_f64(left / growth).ok()).flatten();
        Journal {
            bytes,
            bytes_max,
            growth_bytes_per_second: growth,
            full_in_seconds: full_in.map(|time| time.as_secs()),
            oldest_pending_seconds: circumstances.oldest_pending.map(|age| age.as_secs_f64()),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "at most 1000")]
fn ratio(permille: u64) -> f64 {
    permille as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::journal::Ledger;
    use crate::telemetry::{Books, CoreMetrics, Earlier, Word};
    use std::sync::Arc;

    fn circumstances() -> Circumstances {
        Circumstances {
            node: "one".to_owned(),
            version: "1.2.3",
            uptime: Duration::from_secs(9),
            live: Ok(()),
            ready: Ok(()),
            is_journal_failing: false,
            journal_bytes_max: 1 << 20,
            oldest_pending: Some(Duration::from_millis(1500)),
            broker: Broker { configured: true, up: true, unconfirmed_messages: 3 },
        }
    }

    fn books() -> (Books, Arc<CoreMetrics>) {
        let core = Arc::<CoreMetrics>::default();
        let books = Books {
            cores: vec![core.clone()],
            ledger: Arc::<Ledger>::default(),
            earlier: Earlier::default(),
            rejection_codes: vec!["empty_body", "rate_limited"],
        };
        (books, core)
    }

    fn second(pulses: &mut Pulses, books: &Books, second: u64) {
        let at = Duration::from_secs(second);
        let sample = Sample::take(books, second * 1024, at, Duration::from_secs(1_000) + at);
        pulses.observe(sample, || books.balance().apps);
    }

    #[test]
    fn a_page_says_what_the_counters_say() {
        let (books, core) = books();
        let app = Uuid::from_u128(7);
        let mut pulses = Pulses::new(books.rejection_codes.clone());
        assert!(pulses.pulse(&circumstances(), |_| None).is_none(), "nothing was seen yet");
        for at in 1..=36 {
            core.accepted.add(50);
            core.apps.of(app).accepted.add(50);
            core.count_accepted_answers(50);
            core.count_rejected(1, 5);
            core.count_answer(429);
            core.request_seconds.record(100, 50);
            core.busy_permille.set(250);
            second(&mut pulses, &books, at);
        }
        let label =
            |id| (id == app).then(|| AppLabel { name: "shop".to_owned(), events_per_second: Some(100) });
        let pulse = pulses.pulse(&circumstances(), label).expect("half a minute");
        let json = serde_json::to_value(&pulse).expect("plain data");
        for (place, expected) in [
            ("/node/id", serde_json::json!("one")),
            ("/verdict/word", "OK".into()),
            ("/rates/accepted", 50.0.into()),
            ("/rates/requests", 51.0.into()),
            ("/rates/refused/rate_limited", 5.0.into()),
            ("/latency/p50_ms", 0.104.into()),
            ("/capacity", serde_json::Value::Null),
            ("/reactors/0/busy_ratio", 0.25.into()),
            ("/journal/bytes", 36_864.into()),
            ("/journal/growth_bytes_per_second", 1024.0.into()),
            ("/journal/full_in_seconds", 988.into()),
            ("/journal/oldest_pending_seconds", 1.5.into()),
            ("/broker/unconfirmed_messages", 3.into()),
            ("/apps/0/name", "shop".into()),
            ("/apps/0/events_per_second", 100.into()),
            ("/apps/0/accepted_per_second", 50.0.into()),
            ("/ledger/received", 1980.into()),
            ("/ledger/pending", 1800.into()),
            ("/point/time", 1036.0.into()),
        ] {
            assert_eq!(json.pointer(place), Some(&expected), "{place} of {json}");
        }
        assert_eq!(pulses.history().len(), 35);
    }

    #[test]
    fn a_broker_that_is_away_shows_at_once() {
        let (books, _) = books();
        let mut pulses = Pulses::new(books.rejection_codes.clone());
        second(&mut pulses, &books, 1);
        let broker = Broker { configured: true, ..Broker::default() };
        let away = pulses.pulse(&Circumstances { broker, ..circumstances() }, |_| None).expect("a second");
        assert_eq!(away.verdict.word, Word::Degraded);
        let alone = pulses.pulse(&Circumstances { broker: Broker::default(), ..circumstances() }, |_| None);
        assert_eq!(alone.expect("a second").verdict.word, Word::Ok, "where there is none, none is missed");
    }

    #[test]
    fn ten_thousand_apps_cost_far_less_than_a_hundredth_of_a_cpu() {
        let (books, core) = books();
        for app in 0..10_000 {
            core.apps.of(Uuid::from_u128(app)).accepted.add(1);
        }
        let mut pulses = Pulses::new(books.rejection_codes.clone());
        let mut spent = Vec::new();
        for run in 0..5 {
            // CPU time: on a machine that does much else, a quick test takes long.
            let before = clock::thread_cpu();
            // Ten seconds of a node: two looks at all apps among them.
            for at in 1..=10 {
                second(&mut pulses, &books, run * 10 + at);
            }
            spent.push(clock::thread_cpu().saturating_sub(before));
        }
        // The cheapest: others may have had the caches meanwhile.
        let least = spent.into_iter().min().expect("five runs");
        println!("{} us a second", least.as_micros() / 10);
        assert!(least < Duration::from_secs(10) / 200, "{least:?} for ten seconds");
    }
}
