//! Percentiles of what happened between two samples.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Latencies;
use super::sample::LatencyParts;

/// How long answers took: never told too short, and too long by an eighth at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them took no longer, ms.
    pub p50_ms: f64,
    /// 99 of a hundred, ms.
    pub p99_ms: f64,
    /// 999 of a thousand, ms.
    pub p999_ms: f64,
    /// How many there were.
    pub count: u64,
}

impl Percentiles {
    /// Of what was counted after `before` and up to `now`; none if that is nothing.
    pub fn between(before: &LatencyParts, now: &LatencyParts) -> Option<Self> {
        let most_us = Latencies::part_bound_us(Latencies::BUCKETS * Latencies::PARTS - 1);
        let mut histogram =
            Histogram::<u64>::new_with_bounds(1, most_us, 2).expect("bounds that a histogram can have");
        for (index, (before, now)) in before.iter().zip(now).enumerate() {
            // A histogram tells the upper end of its own buckets, which are narrower than a part.
            histogram
                .record_n(Latencies::part_bound_us(index), now.saturating_sub(*before))
                .expect("no part lies beyond the last");
        }
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile).min(most_us));
        Some(Self { p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), count: histogram.len() })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a few seconds")]
fn milliseconds(us: u64) -> f64 {
    us as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_time_between_and_near_the_truth() {
        let parts = |latencies: &Latencies| {
            let mut parts = [0; Latencies::BUCKETS * Latencies::PARTS];
            latencies.add_parts(&mut parts);
            parts
        };
        let latencies = Latencies::default();
        latencies.record(1_000_000, 500);
        let before = parts(&latencies);
        assert_eq!(Percentiles::between(&before, &before), None);
        for us in 1..=1000 {
            latencies.record(us, 1);
        }
        let told = Percentiles::between(&before, &parts(&latencies)).expect("a thousand");
        assert_eq!(told.count, 1000);
        for (told_ms, true_ms) in [(told.p50_ms, 0.5), (told.p99_ms, 0.99), (told.p999_ms, 0.999)] {
            assert!(told_ms >= true_ms && told_ms <= true_ms * 1.14, "{told_ms} for {true_ms}");
        }
    }

    #[test]
    fn what_took_longer_than_anything_is_told_as_the_last_bound() {
        let latencies = Latencies::default();
        latencies.record(u64::from(u32::MAX), 1);
        let mut now = [0; Latencies::BUCKETS * Latencies::PARTS];
        latencies.add_parts(&mut now);
        let told = Percentiles::between(&[0; Latencies::BUCKETS * Latencies::PARTS], &now).expect("one");
        assert!((8_388.0..8_389.0).contains(&told.p50_ms), "{told:?}");
    }
}
