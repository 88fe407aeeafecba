//! Waiting longer after each failure, never in step with others.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Exponential backoff with a cap and jitter: the n-th wait lies between half and all of `first * 2^n`, at most `cap`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
    jitter: fastrand::Rng,
}

impl Backoff {
    /// Starts with `first` and never waits longer than `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let mut seed = [0u8; 8];
        SystemRandom::new().fill(&mut seed).expect("the system's random numbers never run out");
        Self::seeded(first, cap, u64::from_be_bytes(seed))
    }

    /// The same, with jitter that comes again for the same `seed`.
    pub fn seeded(first: Duration, cap: Duration, seed: u64) -> Self {
        Self { first, cap, failures: 0, jitter: fastrand::Rng::with_seed(seed) }
    }

    /// How long to wait after one more failure.
    pub fn wait(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.failures.min(20)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + whole.mul_f64(self.jitter.f64()) / 2
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_anew_after_a_success() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, cap);
        for whole_ms in [100, 200, 400, 800, 1000, 1000, 1000] {
            let wait = backoff.wait();
            let whole = Duration::from_millis(whole_ms);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
        for _ in 0..100 {
            assert!(backoff.wait() <= cap);
        }
    }

    #[test]
    fn a_seed_tells_the_waits_and_others_have_others() {
        let waits = |mut backoff: Backoff| [0; 8].map(|_| backoff.wait());
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        let seeded = |seed| waits(Backoff::seeded(first, cap, seed));
        assert_eq!(seeded(7), seeded(7));
        assert_ne!(seeded(7), seeded(8));
        let unseeded = || waits(Backoff::new(first, cap));
        assert_ne!(unseeded(), unseeded());
    }
}
