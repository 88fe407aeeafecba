//! Whatever is counted, and whenever the socket takes what: a strict reader of the protocol comes to the same numbers as the page for Prometheus.

#[allow(dead_code, reason = "shared with the tests of whole nodes, which look at other parts of it")]
#[path = "end_to_end/support/dogstatsd.rs"]
mod dogstatsd;

use std::collections::BTreeMap;
use std::time::Duration;

use dogstatsd::{Decimal, Received};
use forebay::telemetry::{Dogstatsd, Families, Kind, Latencies, Number, Spread, Value};
use proptest::prelude::*;

/// What is counted between two pushes, and how many of the second one's datagrams are taken.
#[derive(Clone, Debug)]
struct Step {
    /// By label.
    counts: Vec<(String, u64)>,
    us: u64,
    latencies: Vec<(usize, u64)>,
    busy: f64,
    taken: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let label = prop_oneof!["[a-c]", "[ -~]{0,12}", "\\PC{0,300}"];
    let counts = prop::collection::vec((label, 0..1u64 << 40), 0..40);
    let latencies =
        prop::collection::vec((0..=Latencies::BUCKETS, prop_oneof![0..5u64, 0..1u64 << 24]), 0..30);
    let step = (counts, 0..1u64 << 50, latencies, 0.0..4.0f64, prop_oneof![Just(usize::MAX), 0..4usize]);
    let step =
        step.prop_map(|(counts, us, latencies, busy, taken)| Step { counts, us, latencies, busy, taken });
    prop::collection::vec(step, 1..12)
}

/// The state of a node.
#[derive(Default)]
struct Counted {
    events: BTreeMap<String, u64>,
    cpu: Duration,
    spread: Spread,
}

impl Counted {
    fn add(&mut self, step: &Step) {
        for (label, count) in &step.counts {
            *self.events.entry(label.clone()).or_default() += count;
        }
        // The largest are counted for themselves alone: others come and go.
        self.cpu += Duration::from_micros(step.us);
        for (index, count) in &step.latencies {
            *self.spread.buckets.get_mut(*index).unwrap_or(&mut self.spread.over) += count;
            self.spread.sum += Duration::from_micros(step.us);
        }
    }

    fn families(&self, busy: f64) -> Families {
        let mut families = Families::default();
        let mut largest: Vec<_> = self.events.iter().collect();
        largest.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let (own, rest) = largest.split_at(largest.len().min(5));
        let events = families.counter("forebay_app_events_total", "E.");
        for (label, count) in own {
            events.per("app", (*label).clone(), **count);
        }
        events.per("app", "other apps", rest.iter().map(|(_, count)| **count).sum::<u64>());
        families.counter("process_cpu_seconds_total", "C.").single(self.cpu);
        families.histogram("forebay_request_seconds", "R.").single(self.spread.clone());
        families.gauge("forebay_thread_busy_ratio", "B.").per("thread", "x", busy);
        families
    }
}

fn nanos(duration: Duration) -> Decimal {
    Decimal(i128::try_from(duration.as_nanos()).expect("small") * 100_000_000_000)
}

/// All that is counted in a list, by name; labels may look alike once they are tags.
fn sums(families: &Families) -> BTreeMap<String, Decimal> {
    let mut sums = BTreeMap::<String, Decimal>::new();
    for family in families.iter().filter(|family| family.kind == Kind::Counter) {
        for sample in &family.readings {
            let value = match &sample.value {
                Value::Number(Number::Count(count)) => nanos(Duration::from_secs(*count)),
                Value::Number(Number::Seconds(seconds)) => nanos(*seconds),
                other => panic!("{other:?} is not counted"),
            };
            sums.entry(family.name.replace('_', ".")).or_default().0 += value.0;
        }
    }
    sums
}

proptest! {
    #[test]
    fn every_datagram_is_good_and_nothing_is_lost_or_counted_twice(
        steps in steps(),
        bytes_max in prop_oneof![Just(1432usize), Just(8192)],
    ) {
        let mut encoder = Dogstatsd::new("node-1", bytes_max);
        let (mut counted, mut received) = (Counted::default(), Received::default());
        let mut push = |encoder: &mut Dogstatsd, families: &Families, taken: usize| {
            for datagram in encoder.push(families).into_iter().take(taken) {
                prop_assert!(datagram.bytes().len() <= bytes_max);
                received.take(datagram.bytes()).map_err(TestCaseError::fail)?;
                encoder.handle_sent(datagram);
            }
            Ok(())
        };
        for step in &steps {
            counted.add(step);
            push(&mut encoder, &counted.families(step.busy), step.taken)?;
        }
        let busy = steps.last().expect("one at least").busy;
        let families = counted.families(busy);
        push(&mut encoder, &families, usize::MAX)?;

        let mut counts = BTreeMap::<String, Decimal>::new();
        for ((name, _), count) in &received.counts {
            counts.entry(name.clone()).or_default().0 += count.0;
        }
        let sum = counts.remove("forebay.request.seconds.sum").unwrap_or_default();
        prop_assert_eq!(sum, nanos(counted.spread.sum));
        for (name, expected) in sums(&families) {
            prop_assert_eq!(counts.get(&name).copied().unwrap_or_default(), expected, "{}", name);
        }
        let of_request = (String::from("forebay.request.seconds"), String::from("node:node-1"));
        let values = received.distributions.get(&of_request).cloned().unwrap_or_default();
        for (index, count) in counted.spread.buckets.iter().chain([&counted.spread.over]).enumerate() {
            let bound = Duration::from_micros(Latencies::bound_us(index));
            prop_assert_eq!(values.get(&nanos(bound)).copied().unwrap_or(0), *count, "bucket {}", index);
        }
        let shown: Vec<_> = received.gauges.values().collect();
        prop_assert_eq!(shown.len(), 1);
        #[allow(clippy::cast_precision_loss, reason = "compared roughly")]
        let shown = shown[0].0 as f64 / 1e20;
        prop_assert!((shown - busy).abs() < 1e-9);
    }
}
