//! What one thread of the generator shows of itself while it runs, without ever waiting for who looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::tally::{Meanings, Tally, coarse_histogram};

/// How things stood when a thread was asked.
#[derive(Debug)]
pub(crate) struct Glimpse {
    /// Good requests that were sent, since the start.
    pub(crate) sent: u64,
    /// Good requests by what became of them, since the start.
    pub(crate) meanings: Meanings,
    /// Answers other than 2xx, since the start.
    pub(crate) answers: BTreeMap<(u16, String), u64>,
    /// Response times of what was accepted since the glimpse before, microseconds.
    pub(crate) response_us: Histogram<u64>,
}

impl Glimpse {
    pub(crate) fn new() -> Self {
        Self {
            sent: 0,
            meanings: Meanings::default(),
            answers: BTreeMap::new(),
            response_us: coarse_histogram(),
        }
    }
}

/// Where a thread leaves a glimpse of its tally when it is asked for one.
///
/// The two sides take turns: only who looks locks it while nothing is wanted, only the thread while something is. So the thread never waits,
/// and pays for a load a turn and a swap a few times a second.
#[derive(Debug)]
pub(crate) struct Progress {
    is_wanted: AtomicBool,
    glimpse: Mutex<Glimpse>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { is_wanted: AtomicBool::new(false), glimpse: Mutex::new(Glimpse::new()) }
    }
}

impl Progress {
    /// Leaves a glimpse if one is wanted.
    pub(crate) fn publish(&self, tally: &mut Tally) {
        if !self.is_wanted.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut glimpse) = self.glimpse.try_lock() else { return };
        glimpse.sent = tally.sent;
        glimpse.meanings = tally.meanings;
        glimpse.answers.clone_from(&tally.answers);
        // Once somebody looks, latencies are kept for them; who looked has emptied the other one.
        let recent = tally.recent_us.get_or_insert_with(coarse_histogram);
        std::mem::swap(recent, &mut glimpse.response_us);
        drop(glimpse);
        self.is_wanted.store(false, Ordering::Release);
    }

    /// Lets a glimpse be seen if there is a new one, and asks for the next; whether there was one.
    pub(crate) fn look(&self, see: impl FnOnce(&Glimpse)) -> bool {
        if self.is_wanted.load(Ordering::Acquire) {
            return false;
        }
        let mut glimpse = self.glimpse.lock().unwrap_or_else(PoisonError::into_inner);
        see(&glimpse);
        glimpse.response_us.reset();
        drop(glimpse);
        self.is_wanted.store(true, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tally::{Answered, Meaning};

    #[test]
    fn each_latency_is_seen_once_and_nothing_is_kept_until_somebody_looks() {
        let (progress, mut tally) = (Progress::default(), Tally::new(Duration::from_secs(10)));
        let answer = |tally: &mut Tally, number: u64| {
            for _ in 0..number {
                let at = Duration::from_secs(1);
                let (meaning, response) = (Meaning::Accepted, Duration::from_millis(1));
                tally.answer(Answered { at, meaning, response, service: response });
            }
        };
        let seen = || {
            let mut seen = (0, 0);
            let is_new = progress.look(|glimpse| {
                seen = (glimpse.meanings.total(), glimpse.response_us.len());
            });
            (is_new, seen)
        };
        answer(&mut tally, 5);
        progress.publish(&mut tally);
        assert!(tally.recent_us.is_none());
        assert_eq!(seen(), (true, (0, 0)), "nothing was asked for yet");
        assert_eq!(seen(), (false, (0, 0)), "the thread had no turn since");
        progress.publish(&mut tally);
        answer(&mut tally, 3);
        progress.publish(&mut tally);
        assert_eq!(seen(), (true, (5, 0)), "published once for each time it is asked");
        progress.publish(&mut tally);
        assert_eq!(seen(), (true, (8, 3)));
        answer(&mut tally, 2);
        progress.publish(&mut tally);
        assert_eq!(seen(), (true, (10, 2)));
    }
}
