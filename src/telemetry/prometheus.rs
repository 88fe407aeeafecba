//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::{AppBalance, Balance, CoreMetrics, ForwarderMetrics, HandshakeMetrics, Latencies};

/// Apps with lines of their own; the rest counts as `other`.
const APPS_MAX: usize = 50;

/// Everything that a scrape shows.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// Each core's counters.
    pub cores: &'a [&'a CoreMetrics],
    /// The ledger.
    pub balance: &'a Balance,
    /// Bytes that the journal has on the disk.
    pub journal_bytes: u64,
    /// What the forwarder counts.
    pub forwarder: &'a ForwarderMetrics,
    /// What TLS handshakes came to.
    pub handshakes: &'a HandshakeMetrics,
    /// The names of the refusal codes, by index.
    pub rejection_codes: &'a [&'static str],
    /// Time since the node started, seconds.
    pub uptime_seconds: f64,
}

/// Renders the page.
pub fn render(scrape: &Scrape<'_>) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    let (cores, balance) = (scrape.cores, scrape.balance);
    let sum = |of: fn(&CoreMetrics) -> u64| cores.iter().map(|core| of(core)).sum::<u64>();

    page.family("forebay_requests_total", "counter", "Answers by HTTP status.");
    for status in super::STATUSES {
        let count: u64 =
            cores.iter().flat_map(|core| core.requests()).filter(|(s, _)| *s == status).map(|(_, c)| c).sum();
        page.line("forebay_requests_total", &format!("{{code=\"{status}\"}}"), count);
    }
    page.single(
        "forebay_events_received_total",
        "counter",
        "Events whose verdict is known.",
        balance.received,
    );
    page.single("forebay_events_accepted_total", "counter", "Events taken over.", balance.accepted);
    page.family("forebay_events_rejected_total", "counter", "Events refused, by code.");
    for (code, count) in scrape.rejection_codes.iter().zip(&balance.rejected) {
        page.line("forebay_events_rejected_total", &format!("{{code=\"{code}\"}}"), count);
    }
    page.single(
        "forebay_events_confirmed_total",
        "counter",
        "Events confirmed by the broker.",
        balance.settled.confirmed,
    );
    page.single(
        "forebay_events_parked_total",
        "counter",
        "Events that no broker would take, set aside.",
        balance.settled.parked,
    );
    page.single("forebay_events_pending", "gauge", "Events accepted and not yet confirmed.", balance.pending);
    app_events(&mut page, balance);
    page.single("forebay_journal_bytes", "gauge", "Bytes of the journal's segments.", scrape.journal_bytes);
    page.single("forebay_connections", "gauge", "Open connections.", sum(|core| core.connections.value()));

    page.single(
        "forebay_held_bytes",
        "gauge",
        "Memory held for clients: bodies, answers, TLS; --memory-max bounds it.",
        sum(|core| core.held_bytes.value()),
    );
    page.family("forebay_tls_handshakes_total", "counter", "TLS handshakes, by what became of them.");
    let HandshakeMetrics { full, resumed, failed, refused } = scrape.handshakes;
    for (outcome, count) in [("full", full), ("resumed", resumed), ("failed", failed), ("refused", refused)] {
        let labels = format!("{{outcome=\"{outcome}\"}}");
        page.line("forebay_tls_handshakes_total", &labels, count.load(Relaxed));
    }

    page.family(
        "forebay_request_seconds",
        "histogram",
        "From the turn that had the whole request to its answer.",
    );
    let mut below = 0;
    for index in 0..Latencies::BUCKETS {
        below += cores.iter().map(|core| core.request_seconds.values().0[index]).sum::<u64>();
        let bound = seconds(Latencies::bound_us(index));
        page.line("forebay_request_seconds_bucket", &format!("{{le=\"{bound}\"}}"), below);
    }
    below += sum(|core| core.request_seconds.values().1);
    page.line("forebay_request_seconds_bucket", "{le=\"+Inf\"}", below);
    page.line("forebay_request_seconds_sum", "", seconds(sum(|core| core.request_seconds.values().2)));
    page.line("forebay_request_seconds_count", "", below);

    let forwarder = scrape.forwarder;
    page.single(
        "forebay_broker_up",
        "gauge",
        "1 while a broker takes messages.",
        forwarder.broker_up.value(),
    );
    page.single(
        "forebay_broker_unconfirmed_messages",
        "gauge",
        "Messages sent and not yet confirmed.",
        forwarder.unconfirmed_messages.value(),
    );
    page.single(
        "forebay_broker_published_messages_total",
        "counter",
        "Messages sent, repeats included.",
        forwarder.published_messages.value(),
    );
    page.single(
        "forebay_broker_republished_messages_total",
        "counter",
        "Messages sent again.",
        forwarder.republished_messages.value(),
    );
    page.single(
        "forebay_broker_returned_messages_total",
        "counter",
        "Messages that came back as unroutable.",
        forwarder.returned_messages.value(),
    );
    page.single(
        "forebay_broker_nacked_messages_total",
        "counter",
        "Messages that the broker nacked.",
        forwarder.nacked_messages.value(),
    );
    page.single(
        "forebay_broker_connects_total",
        "counter",
        "Connections opened to a broker.",
        forwarder.connects.value(),
    );

    page.family("forebay_queue_batches", "gauge", "Batches between a reactor and the forwarder.");
    for (core, metrics) in cores.iter().enumerate() {
        page.line("forebay_queue_batches", &format!("{{core=\"{core}\"}}"), metrics.queue_batches.value());
    }
    page.family(
        "forebay_reactor_busy_ratio",
        "gauge",
        "Share of the time that a reactor did not wait, over the last second.",
    );
    for (core, metrics) in cores.iter().enumerate() {
        let ratio = ratio_of_permille(metrics.busy_permille.value());
        page.line("forebay_reactor_busy_ratio", &format!("{{core=\"{core}\"}}"), ratio);
    }
    page.single("forebay_uptime_seconds", "gauge", "Time since the node started.", scrape.uptime_seconds);
    page.0
}

/// The ledger by app: the largest have lines of their own.
fn app_events(page: &mut Page, balance: &Balance) {
    page.family("forebay_app_events_total", "counter", "Events of an app, by what became of them: all are accepted or rejected; limited (past its rate) is part of rejected, confirmed and parked are parts of accepted.");
    let mut apps: Vec<_> = balance.apps.iter().collect();
    apps.sort_by_key(|(_, app)| std::cmp::Reverse(app.accepted + app.rejected));
    let (own, rest) = apps.split_at(apps.len().min(APPS_MAX));
    let mut other = AppBalance::default();
    for (_, app) in rest {
        other.accepted += app.accepted;
        other.rejected += app.rejected;
        other.limited += app.limited;
        other.settled.add(app.settled);
    }
    let own = own.iter().map(|(id, app)| (id.to_string(), **app));
    for (name, app) in own.chain((!rest.is_empty()).then(|| ("other".to_owned(), other))) {
        for (outcome, count) in [
            ("accepted", app.accepted),
            ("rejected", app.rejected),
            ("limited", app.limited),
            ("confirmed", app.settled.confirmed),
            ("parked", app.settled.parked),
        ] {
            let labels = format!("{{app=\"{name}\",outcome=\"{outcome}\"}}");
            page.line("forebay_app_events_total", &labels, count);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "sums of microseconds stay far below 2^53")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[allow(clippy::cast_precision_loss, reason = "at most 1000")]
fn ratio_of_permille(permille: u64) -> f64 {
    permille as f64 / 1e3
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.line(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SettledEvents;
    use uuid::Uuid;

    #[test]
    fn the_ledger_shows_and_the_histogram_is_cumulative() {
        let metrics = CoreMetrics::default();
        metrics.request_seconds.record(10, 5);
        metrics.request_seconds.record(20, 3);
        let settled = SettledEvents { confirmed: 5, parked: 1 };
        let app = |n| {
            (
                Uuid::from_u128(n),
                AppBalance { accepted: 100 - u64::try_from(n).expect("small"), ..AppBalance::default() },
            )
        };
        let balance = Balance {
            received: 10,
            accepted: 8,
            rejected: vec![0, 2],
            settled,
            pending: 2,
            apps: (0..52).map(app).collect(),
        };
        let page = render(&Scrape {
            cores: &[&metrics],
            balance: &balance,
            journal_bytes: 4096,
            handshakes: &HandshakeMetrics::default(),
            forwarder: &ForwarderMetrics::default(),
            rejection_codes: &["a", "b"],
            uptime_seconds: 1.5,
        });
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
            "forebay_request_seconds_bucket{le=\"0.000016\"} 5",
            "forebay_request_seconds_bucket{le=\"0.000032\"} 8",
            "forebay_request_seconds_bucket{le=\"+Inf\"} 8",
            "forebay_request_seconds_count 8",
        ] {
            assert!(page.lines().any(|l| l == line), "missing {line} in\n{page}");
        }
    }
}
