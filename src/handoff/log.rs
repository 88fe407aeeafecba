//! Offsets, and the watermarks of one core's log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a reactor, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The number as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position of an event in the log of its core: the count of events before it.
///
/// As a watermark it is an exclusive end: everything below it has the property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `events` further on.
    #[must_use]
    pub fn plus(self, events: u64) -> Self {
        Self(self.0 + events)
    }

    /// How many events lie between `earlier` and this offset.
    pub fn since(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The watermarks of one core's log, each the end of a contiguous prefix:
/// `settled ≤ published ≤ read ≤ queued`.
///
/// The reactor alone moves `queued`; the forwarder alone moves the others. An event is *settled* when the broker
/// confirmed it or when it was parked because no broker would take it; `parked` counts the latter.
#[derive(Debug, Default)]
pub struct CoreLog {
    queued: AtomicU64,
    read: AtomicU64,
    published: AtomicU64,
    settled: AtomicU64,
    parked: AtomicU64,
}

impl CoreLog {
    /// End of what the reactor handed over.
    pub fn queued(&self) -> Offset {
        Offset(self.queued.load(Ordering::Acquire))
    }

    /// End of what the forwarder took out of the queue.
    pub fn read(&self) -> Offset {
        Offset(self.read.load(Ordering::Acquire))
    }

    /// End of what was sent to the broker at least once.
    pub fn published(&self) -> Offset {
        Offset(self.published.load(Ordering::Acquire))
    }

    /// End of what the broker confirmed (or what was parked).
    pub fn settled(&self) -> Offset {
        Offset(self.settled.load(Ordering::Acquire))
    }

    /// Number of events below [`Self::settled`] that were parked instead of confirmed.
    pub fn parked(&self) -> u64 {
        self.parked.load(Ordering::Acquire)
    }

    /// Events handed over and not yet settled.
    pub fn pending(&self) -> u64 {
        // `settled` first: it only grows, so the difference cannot be negative.
        let settled = self.settled();
        self.queued().since(settled)
    }

    /// Reactor: everything below `end` is in the queue.
    pub(crate) fn set_queued(&self, end: Offset) {
        advance(&self.queued, end);
    }

    /// Reactor: the push was refused, nothing behind `end` was handed over after all.
    pub(crate) fn take_back_queued(&self, end: Offset) {
        self.queued.store(end.0, Ordering::Release);
    }

    /// Forwarder: everything below `end` was taken out of the queue.
    pub fn set_read(&self, end: Offset) {
        advance(&self.read, end);
    }

    /// Forwarder: everything below `end` was sent at least once.
    pub fn set_published(&self, end: Offset) {
        advance(&self.published, end);
    }

    /// Forwarder: everything below `end` is confirmed or parked; `parked` more events of it were parked.
    pub fn set_settled(&self, end: Offset, parked: u64) {
        self.parked.fetch_add(parked, Ordering::Release);
        advance(&self.settled, end);
    }

    /// Asserts the chain. Called by either side; reads from left to right, so that concurrent progress of the
    /// other side cannot make a true chain look broken.
    pub fn check_invariants(&self) {
        let settled = self.settled();
        let published = self.published();
        let read = self.read();
        let queued = self.queued();
        assert!(
            settled <= published && published <= read && read <= queued,
            "the log's chain is broken: settled {settled} <= published {published} <= read {read} <= queued {queued}"
        );
    }
}

/// Moves a watermark that has a single writer.
fn advance(mark: &AtomicU64, end: Offset) {
    let before = mark.load(Ordering::Relaxed);
    assert!(before <= end.0, "a watermark never moves back: {before} to {end}");
    mark.store(end.0, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_holds_while_marks_move_in_order() {
        let log = CoreLog::default();
        log.set_queued(Offset(10));
        log.set_read(Offset(8));
        log.set_published(Offset(8));
        log.set_settled(Offset(5), 1);
        log.check_invariants();
        assert_eq!((log.pending(), log.parked()), (5, 1));
    }

    #[test]
    #[should_panic(expected = "chain is broken")]
    fn a_confirm_ahead_of_the_publish_is_caught() {
        let log = CoreLog::default();
        log.set_queued(Offset(10));
        log.set_settled(Offset(5), 0);
        log.check_invariants();
    }

    #[test]
    #[should_panic(expected = "never moves back")]
    fn a_mark_that_moves_back_is_caught() {
        let log = CoreLog::default();
        log.set_queued(Offset(10));
        log.set_queued(Offset(9));
    }
}
