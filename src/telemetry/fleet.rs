//! What following the fleet's stream came to.

use std::fmt::Write;

use super::{Counter, Gauge};

/// Written by the task that follows, on the operators' thread.
#[derive(Debug, Default)]
pub struct FleetMetrics {
    /// Since when apps and keys may be stale, on the monotonic clock; 0 while they are fresh.
    pub stale_since_ms: Gauge,
    /// Changes that were taken.
    pub applied: Counter,
    /// Changes and snapshots that were known already.
    pub known: Counter,
    /// Changes that another one was faster than.
    pub conflicts: Counter,
    /// Changes of something that was never seen here.
    pub gaps: Counter,
    /// Entries that this fleet has not sealed, or that cannot be read.
    pub refused: Counter,
    /// Snapshots that this node has published.
    pub snapshots: Counter,
    /// Connections opened to follow the stream.
    pub connects: Counter,
}

impl FleetMetrics {
    /// For how long apps and keys may have been stale, in seconds; 0 while they are fresh.
    pub fn stale_seconds(&self, now_ms: u64) -> u64 {
        match self.stale_since_ms.value() {
            0 => 0,
            since_ms => (now_ms.saturating_sub(since_ms) / 1000).max(1),
        }
    }

    /// The lines of the metrics page.
    pub fn render(&self, now_ms: u64) -> String {
        let mut page = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: &[(&str, u64)]| {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(page, "{name}{labels} {value}");
            }
        };
        family(
            "forebay_registry_stale_seconds",
            "gauge",
            "For how long apps and keys may have been stale; 0 while the fleet is followed.",
            &[("", self.stale_seconds(now_ms))],
        );
        family(
            "forebay_fleet_entries_total",
            "counter",
            "Entries of the fleet's stream, by what became of them.",
            &[
                ("{outcome=\"applied\"}", self.applied.value()),
                ("{outcome=\"known\"}", self.known.value()),
                ("{outcome=\"conflict\"}", self.conflicts.value()),
                ("{outcome=\"gap\"}", self.gaps.value()),
                ("{outcome=\"refused\"}", self.refused.value()),
            ],
        );
        family(
            "forebay_fleet_snapshots_total",
            "counter",
            "Snapshots published by this node.",
            &[("", self.snapshots.value())],
        );
        family(
            "forebay_fleet_connects_total",
            "counter",
            "Connections opened to the fleet's stream.",
            &[("", self.connects.value())],
        );
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_stale_from_the_first_moment_on_and_fresh_at_once() {
        let metrics = FleetMetrics::default();
        assert_eq!(metrics.stale_seconds(9_000), 0);
        metrics.stale_since_ms.set(8_900);
        assert_eq!((metrics.stale_seconds(9_000), metrics.stale_seconds(11_000)), (1, 2));
        metrics.refused.add(3);
        let page = metrics.render(11_000);
        for line in ["forebay_registry_stale_seconds 2", "forebay_fleet_entries_total{outcome=\"refused\"} 3"]
        {
            assert!(page.lines().any(|l| l == line), "missing {line} in\n{page}");
        }
        metrics.stale_since_ms.set(0);
        assert_eq!(metrics.stale_seconds(12_000), 0);
    }
}
