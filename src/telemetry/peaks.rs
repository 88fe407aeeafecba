//! The heaviest seconds of a node's past: what they cost tells more of its limit than a quiet minute does.

use std::time::Duration;

/// Below this share of its CPU, a reactor's second tells little of its limit.
const BUSY_LEAST: f64 = 0.5;
/// Requests are alike if one has up to this many times the bytes of the other.
const ALIKE: f64 = 1.2;
/// Seconds that are kept of requests that are alike.
const ALIKE_MAX: usize = 8;
/// Seconds that are kept of all.
const PEAKS_MAX: usize = 64;
/// How long they are kept: a day has its peak.
const AGE_MAX: Duration = Duration::from_hours(24);

/// A heavy second.
#[derive(Clone, Debug)]
pub(super) struct Peak<T> {
    /// When, on the monotonic clock.
    pub(super) at: Duration,
    /// Answers in it. Not how busy reactors were says how heavy it was: where it costs much to be woken, little load keeps them as busy as much does.
    pub(super) answers: f64,
    /// The share of its CPU that the busiest reactor used.
    pub(super) busy: f64,
    /// What requests were like: bytes taken over for each answer.
    pub(super) bytes_per_answer: f64,
    /// What happened.
    pub(super) what: T,
}

impl<T> Peak<T> {
    fn is_like(&self, bytes_per_answer: f64) -> bool {
        let (less, more) =
            (self.bytes_per_answer.min(bytes_per_answer), self.bytes_per_answer.max(bytes_per_answer));
        more <= less * ALIKE
    }
}

/// The heaviest seconds, bounded in number and age.
#[derive(Debug)]
pub(super) struct Peaks<T>(Vec<Peak<T>>);

impl<T> Default for Peaks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Peaks<T> {
    /// Keeps a second if it had more answers than others of such requests; forgets those that are too old, and the oldest of too many.
    pub(super) fn observe(&mut self, peak: Peak<T>) {
        self.0.retain(|kept| peak.at.saturating_sub(kept.at) < AGE_MAX);
        if peak.busy < BUSY_LEAST {
            return;
        }
        let alike = || self.0.iter().enumerate().filter(|(_, kept)| kept.is_like(peak.bytes_per_answer));
        let replaced = if alike().count() >= ALIKE_MAX {
            let lightest = alike().min_by(|(_, one), (_, other)| one.answers.total_cmp(&other.answers));
            match lightest {
                Some((_, kept)) if kept.answers >= peak.answers => return,
                lightest => lightest.map(|(index, _)| index),
            }
        } else if self.0.len() >= PEAKS_MAX {
            self.0.iter().enumerate().min_by_key(|(_, kept)| kept.at).map(|(index, _)| index)
        } else {
            None
        };
        if let Some(index) = replaced {
            self.0.swap_remove(index);
        }
        self.0.push(peak);
    }

    /// The heaviest seconds of requests like these.
    pub(super) fn like(&self, bytes_per_answer: f64) -> impl Iterator<Item = &Peak<T>> {
        self.0.iter().filter(move |peak| peak.is_like(bytes_per_answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peak(second: u64, busy: f64, bytes_per_answer: f64) -> Peak<u64> {
        let at = Duration::from_secs(second);
        Peak { at, answers: busy * 1e5, busy, bytes_per_answer, what: second }
    }

    fn like(peaks: &Peaks<u64>, bytes_per_answer: f64) -> Vec<u64> {
        let mut found: Vec<u64> = peaks.like(bytes_per_answer).map(|peak| peak.what).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn the_heaviest_of_those_alike_are_kept() {
        let mut peaks = Peaks::default();
        for second in 0..20_u32 {
            peaks.observe(peak(u64::from(second), 0.4 + f64::from(second % 10) * 0.05, 600.0));
        }
        peaks.observe(peak(20, 0.6, 5_000.0));
        // Busier than half a CPU are 2 to 9 and 12 to 19; of each pair, one was the later.
        assert_eq!(like(&peaks, 650.0), [6, 7, 8, 9, 16, 17, 18, 19]);
        assert_eq!(like(&peaks, 5_500.0), [20]);
        assert_eq!(like(&peaks, 1_000.0), [0; 0]);
    }

    #[test]
    fn they_are_forgotten_by_age_and_by_number() {
        let mut peaks = Peaks::default();
        for second in 0..1_000_u32 {
            peaks.observe(peak(u64::from(second), 0.9, 1.3_f64.powi(i32::try_from(second).unwrap() % 300)));
        }
        assert_eq!(peaks.0.len(), PEAKS_MAX);
        peaks.observe(peak(100_000, 0.1, 1.0));
        assert_eq!(peaks.0.len(), 0);
    }

    #[test]
    fn requests_without_bytes_are_like_each_other() {
        let mut peaks = Peaks::default();
        peaks.observe(peak(1, 0.9, 0.0));
        assert_eq!(like(&peaks, 0.0), [1]);
        assert_eq!(like(&peaks, 1.0), [0; 0]);
    }
}
