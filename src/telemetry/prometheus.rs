//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::Write;

use super::{CoreMetrics, ForwarderMetrics, Latencies};
use crate::handoff::CoreLog;

/// Everything that a scrape shows.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// Each core's counters and log.
    pub cores: &'a [(&'a CoreMetrics, &'a CoreLog)],
    /// What the forwarder counts.
    pub forwarder: &'a ForwarderMetrics,
    /// The names of the refusal codes, by index.
    pub rejection_codes: &'a [&'static str],
    /// Time since the node started, seconds.
    pub uptime_seconds: f64,
}

/// Renders the page.
pub fn render(scrape: &Scrape<'_>) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    let cores = scrape.cores;
    let sum = |of: fn(&CoreMetrics, &CoreLog) -> u64| cores.iter().map(|(m, l)| of(m, l)).sum::<u64>();

    page.family("forebay_requests_total", "counter", "Answers by HTTP status.");
    for status in super::STATUSES {
        let count: u64 =
            cores.iter().flat_map(|(m, _)| m.requests()).filter(|(s, _)| *s == status).map(|(_, c)| c).sum();
        page.line("forebay_requests_total", &format!("{{code=\"{status}\"}}"), count);
    }
    page.single(
        "forebay_events_received_total",
        "counter",
        "Events whose verdict is known.",
        sum(|m, _| m.received.value()),
    );
    page.single(
        "forebay_events_accepted_total",
        "counter",
        "Events taken over.",
        sum(|m, _| m.accepted.value()),
    );
    page.family("forebay_events_rejected_total", "counter", "Events refused, by code.");
    for (index, code) in scrape.rejection_codes.iter().enumerate() {
        let count: u64 = cores.iter().map(|(m, _)| m.rejected(index)).sum();
        page.line("forebay_events_rejected_total", &format!("{{code=\"{code}\"}}"), count);
    }
    let confirmed = sum(|_, l| {
        let parked = l.parked();
        l.settled().0.saturating_sub(parked)
    });
    page.single("forebay_events_confirmed_total", "counter", "Events confirmed by the broker.", confirmed);
    page.single(
        "forebay_events_parked_total",
        "counter",
        "Events that no broker would take, set aside.",
        sum(|_, l| l.parked()),
    );
    page.single(
        "forebay_events_pending",
        "gauge",
        "Events accepted and not yet confirmed.",
        sum(|_, l| l.pending()),
    );
    page.single("forebay_connections", "gauge", "Open connections.", sum(|m, _| m.connections.value()));

    page.family(
        "forebay_request_seconds",
        "histogram",
        "From the turn that had the whole request to its answer.",
    );
    let mut below = 0;
    for index in 0..Latencies::BUCKETS {
        below += cores.iter().map(|(m, _)| m.request_seconds.values().0[index]).sum::<u64>();
        let bound = seconds(Latencies::bound_us(index));
        page.line("forebay_request_seconds_bucket", &format!("{{le=\"{bound}\"}}"), below);
    }
    below += sum(|m, _| m.request_seconds.values().1);
    page.line("forebay_request_seconds_bucket", "{le=\"+Inf\"}", below);
    page.line("forebay_request_seconds_sum", "", seconds(sum(|m, _| m.request_seconds.values().2)));
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
    for (core, (metrics, _)) in cores.iter().enumerate() {
        page.line("forebay_queue_batches", &format!("{{core=\"{core}\"}}"), metrics.queue_batches.value());
    }
    page.family(
        "forebay_reactor_busy_ratio",
        "gauge",
        "Share of the time that a reactor did not wait, over the last second.",
    );
    for (core, (metrics, _)) in cores.iter().enumerate() {
        let ratio = ratio_of_permille(metrics.busy_permille.value());
        page.line("forebay_reactor_busy_ratio", &format!("{{core=\"{core}\"}}"), ratio);
    }
    page.single("forebay_uptime_seconds", "gauge", "Time since the node started.", scrape.uptime_seconds);
    page.0
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
    use crate::handoff::Offset;

    #[test]
    fn the_ledger_shows_and_the_histogram_is_cumulative() {
        let (metrics, log) = (CoreMetrics::default(), CoreLog::default());
        metrics.received.add(9);
        metrics.accepted.add(8);
        metrics.count_rejected(1, 1);
        metrics.request_seconds.record(10, 5);
        metrics.request_seconds.record(20, 3);
        log.set_queued(Offset(8));
        log.set_read(Offset(8));
        log.set_published(Offset(8));
        log.set_settled(Offset(6), 1);
        let page = render(&Scrape {
            cores: &[(&metrics, &log)],
            forwarder: &ForwarderMetrics::default(),
            rejection_codes: &["a", "b"],
            uptime_seconds: 1.5,
        });
        for line in [
            "forebay_events_received_total 10",
            "forebay_events_accepted_total 8",
            "forebay_events_rejected_total{code=\"b\"} 1",
            "forebay_events_confirmed_total 5",
            "forebay_events_parked_total 1",
            "forebay_events_pending 2",
            "forebay_request_seconds_bucket{le=\"0.000016\"} 5",
            "forebay_request_seconds_bucket{le=\"0.000032\"} 8",
            "forebay_request_seconds_bucket{le=\"+Inf\"} 8",
            "forebay_request_seconds_count 8",
        ] {
            assert!(page.lines().any(|l| l == line), "missing {line} in\n{page}");
        }
    }
}
