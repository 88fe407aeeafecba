//! How many events an app may send: a token bucket that all reactors share, without a lock.
//!
//! It is kept as GCRA keeps it (ITU-T I.371, the virtual scheduling form): one number, the moment at which the bucket will be full again. Taking
//! from it moves that moment on; what would move it further ahead than a full bucket's worth is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Parts of a nanosecond that a bucket counts in: at the highest rate, an event's share is still 1,600 of them.
const PARTS: u64 = 16;
/// Highest rate that can be given, in events a second.
pub const EVENTS_PER_SECOND_MAX: u32 = 10_000_000;
/// Largest burst that can be given: a second of the highest rate.
pub(super) const BURST_MAX: u32 = EVENTS_PER_SECOND_MAX;

/// When an app's bucket is full again, on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

/// The bound of one app, and what is left of it.
#[derive(Clone, Debug)]
pub struct Limit {
    bucket: Arc<Bucket>,
    /// Events a second.
    events_per_second: u32,
    burst: u32,
}

/// There is not enough in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// When there will be.
    pub wait: Duration,
    /// What is there now, in events.
    pub left: u32,
    /// The app's rate.
    pub events_per_second: u32,
}

impl Limit {
    pub(super) fn new(bucket: Arc<Bucket>, events_per_second: u32, burst: u32) -> Self {
        Self { bucket, events_per_second, burst }
    }

    /// Whether `events` could be taken now.
    pub fn look(&self, events: u32, now: Duration) -> Result<(), Exhausted> {
        self.full_at(self.bucket.0.load(Ordering::Relaxed), events, now).map(drop)
    }

    /// Takes `events`, all or none. More than the bucket ever holds are taken from a full one, which then stays empty for that much longer.
    pub fn take(&self, events: u32, now: Duration) -> Result<(), Exhausted> {
        let mut full_at = self.bucket.0.load(Ordering::Relaxed);
        loop {
            let next = self.full_at(full_at, events, now)?;
            // Nothing else is published by this number: no order is needed.
            match self.bucket.0.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// When the bucket will be full if `events` are taken now.
    fn full_at(&self, full_at: u64, events: u32, now: Duration) -> Result<u64, Exhausted> {
        let now = parts(now);
        let share = PARTS * 1_000_000_000 / u64::from(self.events_per_second);
        // A file that was edited by hand may have any burst: one that is too large to count bounds nothing.
        let worth = |events: u32| u64::from(events).saturating_mul(share);
        let lacking = full_at.saturating_sub(now);
        let whole = worth(self.burst);
        let after = lacking.saturating_add(worth(events.min(self.burst)));
        if after <= whole {
            return Ok(now.saturating_add(lacking).saturating_add(worth(events)));
        }
        Err(Exhausted {
            wait: Duration::from_nanos((after - whole) / PARTS),
            left: u32::try_from(whole.saturating_sub(lacking) / share).expect("at most `burst`"),
            events_per_second: self.events_per_second,
        })
    }
}

/// A moment, in the bucket's unit: good for 36 years of uptime.
fn parts(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX / PARTS).saturating_mul(PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(events_per_second: u32, burst: u32) -> Limit {
        Limit::new(Arc::default(), events_per_second, burst)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = limit(1000, 50);
        let mut now = Duration::from_secs(7);
        assert_eq!((0..100).filter(|_| limit.take(1, now).is_ok()).count(), 50);
        let exhausted = limit.take(10, now).expect_err("empty");
        assert_eq!(
            exhausted,
            Exhausted { wait: Duration::from_millis(10), left: 0, events_per_second: 1000 }
        );
        now += exhausted.wait;
        assert!(limit.look(10, now).is_ok());
        assert!(limit.take(10, now).is_ok() && limit.take(1, now).is_err());
        let passed: usize = (0..10_000)
            .map(|_| {
                now += Duration::from_millis(1);
                (0..3).filter(|_| limit.take(1, now).is_ok()).count()
            })
            .sum();
        assert_eq!(passed, 10_000, "ten seconds");
    }

    #[test]
    fn a_batch_larger_than_the_burst_passes_a_full_bucket_and_is_paid_for_later() {
        let limit = limit(100, 10);
        let now = Duration::from_secs(7);
        assert!(limit.take(200, now).is_ok());
        let exhausted = limit.take(1, now).expect_err("in debt");
        assert_eq!((exhausted.wait, exhausted.left), (Duration::from_millis(1910), 0));
        assert!(limit.take(1, now + exhausted.wait).is_ok());
        assert!(limit.take(200, now + Duration::from_secs(2)).is_err(), "not full yet");
        assert!(limit.take(200, now + Duration::from_millis(2110)).is_ok());
    }

    #[test]
    fn no_burst_is_too_large_to_count() {
        let now = Duration::from_secs(7);
        for burst in [BURST_MAX, u32::MAX] {
            let limit = limit(1, burst);
            for _ in 0..3 {
                limit.take(1_000, now).expect("far below the burst");
            }
            assert!(limit.take(burst, now).is_err() || burst == u32::MAX, "{burst}");
            let _ = limit.take(u32::MAX, now + Duration::from_secs(1 << 29));
            let _ = limit.look(u32::MAX, now);
        }
    }

    #[test]
    fn the_highest_rate_is_kept_too() {
        let limit = limit(EVENTS_PER_SECOND_MAX, 1);
        let start = Duration::from_secs(1 << 29);
        let passed =
            (0..100_000u64).filter(|i| limit.take(1, start + Duration::from_nanos(50 * i)).is_ok()).count();
        assert_eq!(passed, 50_000);
    }

    #[test]
    fn threads_share_one_bucket() {
        let limit = limit(1000, 1000);
        let now = Duration::from_secs(7);
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let limit = limit.clone();
                std::thread::spawn(move || (0..1000).filter(|_| limit.take(1, now).is_ok()).count())
            })
            .collect();
        let passed: usize = takers.into_iter().map(|taker| taker.join().expect("no panic")).sum();
        assert_eq!(passed, 1000);
    }
}
