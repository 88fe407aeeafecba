//! The answers that wait for a watermark of this core's log.

use std::collections::VecDeque;

use crate::config::AckLevel;
use crate::journal::Offset;

/// One 202 that waits: the events `[end - events, end)` of the log, and where its answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) end: Offset,
    pub(super) events: u32,
    /// Its connection, by slot and generation: a connection that is gone has forgotten its waiters, never its events.
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// Its answer's number on that connection.
    pub(super) number: u32,
    /// Monotonic clock, of the turn that had the whole request.
    pub(super) since_us: u64,
    pub(super) expires_ms: u64,
}

/// A queue a level. Offsets and deadlines grow from front to back, so that only fronts are ever looked at.
#[derive(Debug, Default)]
pub(super) struct Waiters([VecDeque<Waiter>; AckLevel::ALL.len()]);

impl Waiters {
    pub(super) fn push(&mut self, level: AckLevel, waiter: Waiter) {
        let queue = &mut self.0[level.index()];
        if let Some(last) = queue.back() {
            assert!(last.end < waiter.end && last.expires_ms <= waiter.expires_ms, "waiters come in order");
        }
        queue.push_back(waiter);
    }

    pub(super) fn is_waiting(&self, level: AckLevel) -> bool {
        !self.0[level.index()].is_empty()
    }

    /// The next waiter that `watermark` releases.
    pub(super) fn pop_reached(&mut self, level: AckLevel, watermark: Offset) -> Option<Waiter> {
        self.0[level.index()].pop_front_if(|waiter| waiter.end <= watermark)
    }

    /// The next waiter whose time is up, whatever its level.
    pub(super) fn pop_expired(&mut self, now_ms: u64) -> Option<Waiter> {
        self.0.iter_mut().find_map(|queue| queue.pop_front_if(|waiter| waiter.expires_ms <= now_ms))
    }

    /// When the next waiter's time is up.
    pub(super) fn next_ms(&self) -> u64 {
        self.0
            .iter()
            .filter_map(|queue| queue.front())
            .map(|waiter| waiter.expires_ms)
            .min()
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(end: u64, expires_ms: u64) -> Waiter {
        Waiter { end: Offset(end), events: 2, slot: 0, generation: 0, number: 0, since_us: 0, expires_ms }
    }

    #[test]
    fn a_watermark_releases_a_prefix_of_its_own_level() {
        let mut waiters = Waiters::default();
        waiters.push(AckLevel::Confirmed, waiter(2, 10));
        waiters.push(AckLevel::Confirmed, waiter(4, 10));
        waiters.push(AckLevel::Synced, waiter(3, 20));
        assert_eq!(waiters.pop_reached(AckLevel::Confirmed, Offset(3)), Some(waiter(2, 10)));
        assert_eq!(waiters.pop_reached(AckLevel::Confirmed, Offset(3)), None);
        assert_eq!(waiters.pop_reached(AckLevel::Written, Offset(9)), None);
        assert!(waiters.is_waiting(AckLevel::Synced) && !waiters.is_waiting(AckLevel::Written));
    }

    #[test]
    fn time_takes_waiters_of_all_levels() {
        let mut waiters = Waiters::default();
        waiters.push(AckLevel::Confirmed, waiter(4, 10));
        waiters.push(AckLevel::Written, waiter(2, 5));
        assert_eq!(waiters.next_ms(), 5);
        assert_eq!(waiters.pop_expired(4), None);
        assert_eq!(waiters.pop_expired(10), Some(waiter(2, 5)));
        assert_eq!(waiters.pop_expired(10), Some(waiter(4, 10)));
        assert_eq!((waiters.pop_expired(99), waiters.next_ms()), (None, u64::MAX));
    }
}
