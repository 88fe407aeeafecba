//! What following the fleet's stream came to.

use super::{Counter, Families, Gauge};

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

    /// Adds its numbers, as they are at `now_ms` on the monotonic clock.
    pub(super) fn add_to(&self, families: &mut Families, now_ms: u64) {
        families
            .gauge(
                "forebay_registry_stale_seconds",
                "For how long apps and keys may have been stale; 0 while the fleet is followed.",
            )
            .single(self.stale_seconds(now_ms));
        let entries = families
            .counter("forebay_fleet_entries_total", "Entries of the fleet's stream, by what became of them.");
        for (outcome, count) in [
            ("applied", &self.applied),
            ("known", &self.known),
            ("conflict", &self.conflicts),
            ("gap", &self.gaps),
            ("refused", &self.refused),
        ] {
            entries.per("outcome", outcome, count.value());
        }
        families
            .counter("forebay_fleet_snapshots_total", "Snapshots published by this node.")
            .single(self.snapshots.value());
        families
            .counter("forebay_fleet_connects_total", "Connections opened to the fleet's stream.")
            .single(self.connects.value());
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
        let mut families = Families::default();
        metrics.add_to(&mut families, 11_000);
        let page = super::super::render(&families);
        for line in ["forebay_registry_stale_seconds 2", "forebay_fleet_entries_total{outcome=\"refused\"} 3"]
        {
            assert!(page.lines().any(|l| l == line), "missing {line} in\n{page}");
        }
        metrics.stale_since_ms.set(0);
        assert_eq!(metrics.stale_seconds(12_000), 0);
    }
}
