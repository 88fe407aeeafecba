//! The one list of all numbers that leave a node, made from its state at one moment. docs/metrics.md has a line for each name.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use uuid::Uuid;

use super::family::{Families, Spread};
use super::{
    AppBalance, Balance, CoreMetrics, FleetMetrics, ForwarderMetrics, HandshakeMetrics, Headroom, Observed,
};

/// The state that all numbers are taken from.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// Each core's counters.
    pub cores: &'a [&'a CoreMetrics],
    /// The ledger.
    pub balance: &'a Balance,
    /// The apps that have numbers of their own; the rest counts as `other`.
    pub listed: &'a BTreeSet<Uuid>,
    /// Bytes that the journal has on the disk.
    pub journal_bytes: u64,
    /// Bytes that it may have.
    pub journal_bytes_max: u64,
    /// Whether there is a broker to forward to.
    pub has_broker: bool,
    /// What the forwarder counts.
    pub forwarder: &'a ForwarderMetrics,
    /// What TLS handshakes came to.
    pub handshakes: &'a HandshakeMetrics,
    /// The names of the refusal codes, by index.
    pub rejection_codes: &'a [&'static str],
    /// What is looked at once a second.
    pub observed: &'a Observed,
    /// What following a fleet came to, if there is one.
    pub fleet: Option<&'a FleetMetrics>,
    /// The monotonic clock.
    pub now_ms: u64,
    /// What is left of the node's capacity; none while there is too little traffic to tell.
    pub headroom: Option<&'a Headroom>,
    /// Whether a balancer should send traffic here.
    pub is_ready: bool,
    /// Of the program.
    pub version: &'static str,
    /// Time since the node started.
    pub uptime: Duration,
    /// When the node started, since the Unix epoch.
    pub started: Duration,
}

impl Scrape<'_> {
    /// The list.
    pub fn families(&self) -> Families {
        let mut families = Families::default();
        requests(&mut families, self);
        events(&mut families, self);
        app_events(&mut families, self.balance, self.listed);
        journal(&mut families, self);
        clients(&mut families, self);
        broker(&mut families, self.has_broker, self.forwarder);
        threads(&mut families, self);
        capacity(&mut families, self.headroom);
        if let Some(fleet) = self.fleet {
            fleet.add_to(&mut families, self.now_ms);
        }
        process(&mut families, self);
        families
    }

    fn sum(&self, of: fn(&CoreMetrics) -> u64) -> u64 {
        self.cores.iter().map(|core| of(core)).sum()
    }
}

fn requests(families: &mut Families, scrape: &Scrape<'_>) {
    let requests = families.counter("forebay_requests_total", "Answers by HTTP status.");
    for status in super::STATUSES {
        let answers = scrape.cores.iter().flat_map(|core| core.requests());
        let count: u64 = answers.filter(|(other, _)| *other == status).map(|(_, count)| count).sum();
        requests.per("code", status.to_string(), count);
    }
    families
        .histogram("forebay_request_seconds", "From the turn that had the whole request to its answer.")
        .single(Spread::of(scrape.cores.iter().map(|core| &core.request_seconds)));
}

fn events(families: &mut Families, scrape: &Scrape<'_>) {
    let balance = scrape.balance;
    families
        .counter("forebay_events_received_total", "Events whose verdict is known.")
        .single(balance.received);
    families.counter("forebay_events_accepted_total", "Events taken over.").single(balance.accepted);
    let rejected = families.counter("forebay_events_rejected_total", "Events refused, by code.");
    for (code, count) in scrape.rejection_codes.iter().zip(&balance.rejected) {
        rejected.per("code", *code, *count);
    }
    families
        .counter("forebay_events_confirmed_total", "Events confirmed by the broker.")
        .single(balance.settled.confirmed);
    families
        .counter("forebay_events_parked_total", "Events that no broker would take, set aside.")
        .single(balance.settled.parked);
    families
        .gauge("forebay_events_pending", "Events accepted and not yet confirmed.")
        .single(balance.pending);
}

/// The ledger by app: those on the list have numbers of their own.
fn app_events(families: &mut Families, balance: &Balance, listed: &BTreeSet<Uuid>) {
    let events = families.counter(
        "forebay_app_events_total",
        "Events of an app, by what became of them: all are accepted or rejected; limited (past its rate) is part of rejected, confirmed \
         and parked are parts of accepted.",
    );
    let (own, rest): (Vec<_>, Vec<_>) = balance.apps.iter().partition(|(id, _)| listed.contains(id));
    let mut other = AppBalance::default();
    for (_, app) in &rest {
        other.accepted += app.accepted;
        other.rejected += app.rejected;
        other.limited += app.limited;
        other.settled.add(app.settled);
    }
    let own = own.into_iter().map(|(id, app)| (id.to_string(), *app));
    for (name, app) in own.chain((!rest.is_empty()).then(|| ("other".to_owned(), other))) {
        for (outcome, count) in [
            ("accepted", app.accepted),
            ("rejected", app.rejected),
            ("limited", app.limited),
            ("confirmed", app.settled.confirmed),
            ("parked", app.settled.parked),
        ] {
            events.sample(vec![("app", name.clone().into()), ("outcome", outcome.into())], count);
        }
    }
}

fn journal(families: &mut Families, scrape: &Scrape<'_>) {
    families.gauge("forebay_journal_bytes", "Bytes of the journal's segments.").single(scrape.journal_bytes);
    families
        .gauge("forebay_journal_max_bytes", "Bytes that the journal may have: --journal-max.")
        .single(scrape.journal_bytes_max);
    // The look is up to a second old; that nothing is pending is known now.
    let is_empty = scrape.balance.pending == 0;
    let oldest = if is_empty { Duration::ZERO } else { scrape.observed.oldest_pending };
    families
        .gauge(
            "forebay_journal_oldest_pending_seconds",
            "Age of the oldest event that is neither confirmed nor parked.",
        )
        .single(oldest);
}

fn capacity(families: &mut Families, headroom: Option<&Headroom>) {
    let left = families.gauge(
        "forebay_capacity_headroom_ratio",
        "Share of the capacity that is left, 0 to 1; estimated, and not there while there is too little traffic to tell.",
    );
    headroom.inspect(|headroom| left.single(headroom.headroom_ratio));
    let limit = families.gauge(
        "forebay_capacity_requests_per_second",
        "Requests a second at the limit, spread as they are; likewise.",
    );
    headroom.inspect(|headroom| limit.single(headroom.requests_per_second));
}

fn clients(families: &mut Families, scrape: &Scrape<'_>) {
    families
        .gauge("forebay_connections", "Open connections.")
        .single(scrape.sum(|core| core.connections.value()));
    families
        .gauge("forebay_held_bytes", "Memory held for clients: bodies, answers, TLS; --memory-max bounds it.")
        .single(scrape.sum(|core| core.held_bytes.value()));
    let handshakes =
        families.counter("forebay_tls_handshakes_total", "TLS handshakes, by what became of them.");
    let HandshakeMetrics { full, resumed, failed, refused, certificate_not_after_seconds } =
        scrape.handshakes;
    for (outcome, count) in [("full", full), ("resumed", resumed), ("failed", failed), ("refused", refused)] {
        handshakes.per("outcome", outcome, count.load(Relaxed));
    }
    let not_after = families.gauge(
        "forebay_tls_certificate_not_after_seconds",
        "When the certificate in use ends, Unix time; none without TLS.",
    );
    match certificate_not_after_seconds.value() {
        0 => {}
        ends => not_after.single(ends),
    }
}

fn broker(families: &mut Families, has_broker: bool, forwarder: &ForwarderMetrics) {
    families
        .gauge("forebay_broker_configured", "1 if there is a broker to forward to: --amqp-url.")
        .single(u64::from(has_broker));
    families
        .gauge("forebay_broker_up", "1 while a broker takes messages.")
        .single(forwarder.broker_up.value());
    families
        .gauge("forebay_broker_unconfirmed_messages", "Messages sent and not yet confirmed.")
        .single(forwarder.unconfirmed_messages.value());
    families
        .counter("forebay_broker_published_messages_total", "Messages sent, repeats included.")
        .single(forwarder.published_messages.value());
    families
        .counter("forebay_broker_republished_messages_total", "Messages sent again.")
        .single(forwarder.republished_messages.value());
    families
        .counter("forebay_broker_returned_messages_total", "Messages that came back as unroutable.")
        .single(forwarder.returned_messages.value());
    families
        .counter("forebay_broker_nacked_messages_total", "Messages that the broker nacked.")
        .single(forwarder.nacked_messages.value());
    families
        .counter("forebay_broker_connects_total", "Connections opened to a broker.")
        .single(forwarder.connects.value());
    families
        .histogram(
            "forebay_confirm_seconds",
            "From sending a message to the broker to the confirm that is believed.",
        )
        .single(Spread::of([&forwarder.confirm_seconds]));
}

fn threads(families: &mut Families, scrape: &Scrape<'_>) {
    let queues = families.gauge("forebay_queue_batches", "Batches between a reactor and the forwarder.");
    for (core, metrics) in scrape.cores.iter().enumerate() {
        queues.per("core", core.to_string(), metrics.queue_batches.value());
    }
    let reactors = families.gauge(
        "forebay_reactor_busy_ratio",
        "Share of the time that a reactor did not wait, over the last second.",
    );
    for (core, metrics) in scrape.cores.iter().enumerate() {
        reactors.per("core", core.to_string(), ratio_of_permille(metrics.busy_permille.value()));
    }
    let others = families.gauge(
        "forebay_thread_busy_ratio",
        "CPUs that a thread of the node besides its reactors used over the last second.",
    );
    for (thread, busy) in &scrape.observed.usage.threads {
        others.per("thread", thread.clone(), *busy);
    }
}

fn process(families: &mut Families, scrape: &Scrape<'_>) {
    families
        .gauge("forebay_ready", "1 while a balancer should send traffic here, as /readyz says.")
        .single(u64::from(scrape.is_ready));
    families.gauge("forebay_build_info", "1; says which version runs.").per("version", scrape.version, 1);
    families.gauge("forebay_uptime_seconds", "Time since the node started.").single(scrape.uptime);
    let usage = &scrape.observed.usage;
    families
        .counter("process_cpu_seconds_total", "CPU time of all threads, user and system.")
        .single(usage.cpu);
    families.gauge("process_resident_memory_bytes", "Resident memory.").single(usage.resident_bytes);
    families.gauge("process_open_fds", "Open descriptors.").single(usage.descriptors);
    families.gauge("process_start_time_seconds", "When the node started, Unix time.").single(scrape.started);
}

#[allow(clippy::cast_precision_loss, reason = "at most 1000")]
fn ratio_of_permille(permille: u64) -> f64 {
    permille as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::journal::SettledEvents;
    use crate::telemetry::{Bound, ListedApps, Number, Usage, Value, render};

    /// All that a node with one core has to show, in `show`.
    fn shown<T>(show: impl FnOnce(&Scrape<'_>) -> T) -> T {
        let metrics = CoreMetrics::default();
        metrics.request_seconds.record(10, 5);
        metrics.request_seconds.record(20, 3);
        let app = |n| {
            let accepted = 100 - u64::try_from(n).expect("small");
            (Uuid::from_u128(n), AppBalance { accepted, ..AppBalance::default() })
        };
        let balance = Balance {
            received: 10,
            accepted: 8,
            rejected: vec![0, 2],
            settled: SettledEvents { confirmed: 5, parked: 1 },
            pending: 2,
            apps: (0..52).map(app).collect(),
        };
        let handshakes = HandshakeMetrics::default();
        handshakes.certificate_not_after_seconds.set(1_900_000_000);
        let forwarder = ForwarderMetrics::default();
        forwarder.confirm_seconds.record(10_000_000, 1);
        let usage = Usage {
            threads: [("keeper".to_owned(), 0.01), ("pool-0".to_owned(), 0.0)].into(),
            cpu: Duration::from_millis(1230),
            resident_bytes: 1 << 20,
            descriptors: 42,
        };
        show(&Scrape {
            cores: &[&metrics],
            balance: &balance,
            listed: &ListedApps::default().admit(&balance.apps),
            journal_bytes: 4096,
            journal_bytes_max: 8192,
            has_broker: true,
            forwarder: &forwarder,
            handshakes: &handshakes,
            rejection_codes: &["a", "b"],
            observed: &Observed { usage, oldest_pending: Duration::from_millis(7500) },
            fleet: Some(&FleetMetrics::default()),
            now_ms: 9_000,
            headroom: Some(&Headroom {
                headroom_ratio: 0.75,
                requests_per_second: 1000.0,
                bound_by: Bound::Reactor,
            }),
            is_ready: true,
            version: "1.2.3",
            uptime: Duration::from_millis(1500),
            started: Duration::from_millis(1_800_000_000_500),
        })
    }

    #[test]
    fn the_page_shows_the_state() {
        let page = shown(|scrape| render(&scrape.families()));
        for line in [
            "forebay_events_received_total 10",
            "forebay_events_accepted_total 8",
            "forebay_events_rejected_total{code=\"b\"} 2",
            "forebay_events_confirmed_total 5",
            "forebay_events_parked_total 1",
            "forebay_events_pending 2",
            "forebay_app_events_total{app=\"00000000-0000-0000-0000-000000000001\",outcome=\"accepted\"} 99",
            "forebay_app_events_total{app=\"other\",outcome=\"accepted\"} 99",
            "forebay_journal_bytes 4096",
            "forebay_journal_max_bytes 8192",
            "forebay_journal_oldest_pending_seconds 7.5",
            "forebay_request_seconds_bucket{le=\"0.000016\"} 5",
            "forebay_request_seconds_bucket{le=\"0.000032\"} 8",
            "forebay_request_seconds_bucket{le=\"+Inf\"} 8",
            "forebay_request_seconds_count 8",
            "forebay_confirm_seconds_bucket{le=\"8.388608\"} 0",
            "forebay_confirm_seconds_bucket{le=\"+Inf\"} 1",
            "forebay_confirm_seconds_sum 10",
            "forebay_tls_certificate_not_after_seconds 1900000000",
            "forebay_thread_busy_ratio{thread=\"keeper\"} 0.01",
            "forebay_thread_busy_ratio{thread=\"pool-0\"} 0",
            "forebay_ready 1",
            "forebay_build_info{version=\"1.2.3\"} 1",
            "forebay_uptime_seconds 1.5",
            "process_cpu_seconds_total 1.23",
            "process_resident_memory_bytes 1048576",
            "process_open_fds 42",
            "process_start_time_seconds 1800000000.5",
        ] {
            assert!(page.lines().any(|l| l == line), "missing {line} in\n{page}");
        }
    }

    #[test]
    fn what_is_not_pending_has_no_age_and_what_has_no_certificate_no_end() {
        let page = shown(|scrape| {
            let balance = Balance { pending: 0, ..scrape.balance.clone() };
            let (balance, handshakes) = (&balance, &HandshakeMetrics::default());
            render(&Scrape { balance, handshakes, ..*scrape }.families())
        });
        assert!(page.contains("\nforebay_journal_oldest_pending_seconds 0\n"), "{page}");
        assert!(!page.contains("\nforebay_tls_certificate_not_after_seconds "), "{page}");
    }

    #[test]
    fn a_counter_of_apps_never_falls_and_their_sum_is_exact_while_they_change_rank() {
        let list = ListedApps::default();
        let mut apps: BTreeMap<_, _> =
            (0..60).map(|id| (Uuid::from_u128(id), AppBalance::default())).collect();
        let mut before = BTreeMap::new();
        for round in 0..200_u64 {
            // One after another overtakes the others.
            let app = apps.get_mut(&Uuid::from_u128(u128::from(round * 7 % 60))).expect("there");
            app.accepted += round * round;
            let balance = Balance { apps: apps.clone(), ..Balance::default() };
            let mut families = Families::default();
            app_events(&mut families, &balance, &list.admit(&balance.apps));
            let page = render(&families);
            let now: BTreeMap<_, u64> = page
                .lines()
                .filter(|line| line.contains("outcome=\"accepted\""))
                .map(|line| line.rsplit_once(' ').expect("a value"))
                .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
                .collect();
            assert_eq!(now.len(), 51, "50 and the others");
            let sum: u64 = apps.values().map(|app| app.accepted).sum();
            assert_eq!(now.values().sum::<u64>(), sum);
            for (name, value) in &before {
                assert!(now.get(name).is_some_and(|now| now >= value), "{name} fell from {value} in {page}");
            }
            before = now;
        }
    }

    #[test]
    fn every_name_is_in_the_document_and_the_document_has_no_other() {
        let (document, _) = include_str!("../../docs/metrics.md").split_once("\n## ").expect("sections");
        let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let rows = document.lines().filter(|line| line.starts_with("| `")).map(cells);
        let mut documented: BTreeMap<String, (String, String)> = BTreeMap::new();
        for row in rows {
            let (name, kind, labels) = (row[1].trim_matches('`'), row[2].clone(), row[4].clone());
            let before = documented.insert(name.to_owned(), (kind, labels));
            assert_eq!(before, None, "{name} is documented twice");
        }
        shown(|scrape| {
            for family in scrape.families().iter() {
                let name = family.name;
                let (kind, labels) =
                    documented.remove(name).unwrap_or_else(|| panic!("{name} is not in the document"));
                assert_eq!(kind, family.kind.as_str(), "{name}");
                let sample = family.readings.first().unwrap_or_else(|| panic!("{name} has a sample here"));
                let names: Vec<_> = sample.labels.iter().map(|(label, _)| format!("`{label}`")).collect();
                assert_eq!(labels, names.join(", "), "{name}");
                let is_time = matches!(sample.value, Value::Number(Number::Seconds(_)) | Value::Spread(_));
                assert!(!is_time || name.contains("_seconds"), "{name} is a time");
            }
        });
        assert!(documented.is_empty(), "no such metrics: {documented:?}");
    }
}
