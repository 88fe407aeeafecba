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
/// `checkpoint ≤ settled ≤ published ≤ read ≤ appended` and `synced ≤ written ≤ appended`.
///
/// The reactor alone moves `appended`, `written` and `synced`; the keeper alone `checkpoint`; the forwarder alone the others. An event is
/// *settled* when the broker confirmed it or when it was parked because no broker would take it.
///
/// `written` and `synced` speak of the events that were to be written: at level `queued`, what fits the queue is not.
#[derive(Debug, Default)]
pub struct CoreLog {
    appended: AtomicU64,
    written: AtomicU64,
    synced: AtomicU64,
    /// End of what is in the journal and was not told through the queue.
    untold: AtomicU64,
    /// End of what is in the queue alone.
    unkept: AtomicU64,
    read: AtomicU64,
    published: AtomicU64,
    settled: AtomicU64,
    checkpoint: AtomicU64,
    accepted_events: AtomicU64,
    settled_events: AtomicU64,
    parked_events: AtomicU64,
}

impl CoreLog {
    /// The watermarks of a log that an earlier life of the node left: `events` of `[settled, end)` are there, and all of it is to be read back.
    pub fn recovered(settled: Offset, end: Offset, events: u64) -> Self {
        let at = |offset: Offset| AtomicU64::new(offset.0);
        Self {
            appended: at(end),
            written: at(end),
            synced: at(end),
            untold: at(end),
            read: at(settled),
            published: at(settled),
            settled: at(settled),
            checkpoint: at(settled),
            accepted_events: AtomicU64::new(events),
            ..Self::default()
        }
    }

    /// End of what the node has taken over.
    pub fn appended(&self) -> Offset {
        load(&self.appended)
    }

    /// End of what was written to the journal.
    pub fn written(&self) -> Offset {
        load(&self.written)
    }

    /// End of what survives a power cut.
    pub fn synced(&self) -> Offset {
        load(&self.synced)
    }

    /// End of what is in the journal only, for the queue had no room.
    pub fn untold(&self) -> Offset {
        load(&self.untold)
    }

    /// End of what the forwarder took, out of the queue or out of the journal.
    pub fn read(&self) -> Offset {
        load(&self.read)
    }

    /// End of what was sent to the broker at least once.
    pub fn published(&self) -> Offset {
        load(&self.published)
    }

    /// End of what the broker confirmed (or what was parked).
    pub fn settled(&self) -> Offset {
        load(&self.settled)
    }

    /// End of what the next life of the node will know to be settled: below it, segments may go.
    pub fn checkpoint(&self) -> Offset {
        load(&self.checkpoint)
    }

    /// Events taken over by this log.
    pub fn accepted_events(&self) -> u64 {
        self.accepted_events.load(Ordering::Acquire)
    }

    /// Events that were confirmed.
    pub fn confirmed_events(&self) -> u64 {
        // `parked` first: it moves first.
        let parked = self.parked_events();
        self.settled_events.load(Ordering::Acquire).saturating_sub(parked)
    }

    /// Events that were parked instead of confirmed.
    pub fn parked_events(&self) -> u64 {
        self.parked_events.load(Ordering::Acquire)
    }

    /// Events taken over and not yet settled.
    pub fn pending(&self) -> u64 {
        // Settled ones first: they only grow, so the difference cannot be negative.
        let settled = self.settled_events.load(Ordering::Acquire);
        self.accepted_events() - settled
    }

    /// Events not yet settled that may be in memory alone (at level `queued`): at most so many are lost with the process.
    pub fn unkept(&self) -> u64 {
        load(&self.unkept).0.saturating_sub(self.settled().0)
    }

    /// Reactor: the node has taken over everything below `end`.
    pub fn set_appended(&self, end: Offset) {
        let events = end.since(self.appended());
        self.accepted_events.store(self.accepted_events.load(Ordering::Relaxed) + events, Ordering::Release);
        advance(&self.appended, end);
    }

    /// Reactor: the push was refused, nothing behind `end` was handed over after all.
    pub(crate) fn take_back_appended(&self, end: Offset) {
        let events = self.appended().since(end);
        self.appended.store(end.0, Ordering::Release);
        self.accepted_events.store(self.accepted_events.load(Ordering::Relaxed) - events, Ordering::Release);
    }

    /// Reactor: what was to be written of everything below `end` is.
    pub fn set_written(&self, end: Offset) {
        advance(&self.written, end);
    }

    /// Reactor: what was written of everything below `end` is on the disk.
    pub fn set_synced(&self, end: Offset) {
        advance(&self.synced, end);
    }

    /// Reactor: everything below `end` that did not come through the queue is in the journal.
    pub fn set_untold(&self, end: Offset) {
        advance(&self.untold, end);
    }

    /// Reactor: the events that end at `end` are in the queue alone.
    pub fn set_unkept(&self, end: Offset) {
        advance(&self.unkept, end);
    }

    /// Forwarder: everything below `end` was taken.
    pub fn set_read(&self, end: Offset) {
        advance(&self.read, end);
    }

    /// Forwarder: everything below `end` was sent at least once.
    pub fn set_published(&self, end: Offset) {
        advance(&self.published, end);
    }

    /// Forwarder: everything below `end` is settled, which are `events` more, `parked` of them not confirmed but parked.
    pub fn set_settled(&self, end: Offset, events: u64, parked: u64) {
        self.parked_events.fetch_add(parked, Ordering::Release);
        self.settled_events.fetch_add(events, Ordering::Release);
        advance(&self.settled, end);
    }

    /// Keeper: that everything below `end` is settled is kept on the disk.
    pub fn set_checkpoint(&self, end: Offset) {
        advance(&self.checkpoint, end);
    }

    /// Asserts the chain. Called by any side; reads from left to right, so that concurrent progress of another side cannot make a true chain
    /// look broken.
    pub fn check_invariants(&self) {
        let checkpoint = self.checkpoint();
        let settled = self.settled();
        let published = self.published();
        let read = self.read();
        let synced = self.synced();
        let written = self.written();
        let appended = self.appended();
        assert!(
            checkpoint <= settled && settled <= published && published <= read && read <= appended,
            "the log's chain is broken: checkpoint {checkpoint} <= settled {settled} <= published {published} <= read {read} <= appended \
             {appended}"
        );
        assert!(
            synced <= written && written <= appended,
            "the log's chain is broken: synced {synced} <= written {written} <= appended {appended}"
        );
    }
}

fn load(mark: &AtomicU64) -> Offset {
    Offset(mark.load(Ordering::Acquire))
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
        log.set_appended(Offset(10));
        log.set_written(Offset(10));
        log.set_synced(Offset(4));
        log.set_read(Offset(8));
        log.set_published(Offset(8));
        log.set_settled(Offset(5), 5, 1);
        log.set_checkpoint(Offset(5));
        log.check_invariants();
        assert_eq!((log.pending(), log.confirmed_events(), log.parked_events()), (5, 4, 1));
    }

    #[test]
    fn a_recovered_log_counts_the_events_that_are_there() {
        let log = CoreLog::recovered(Offset(100), Offset(200), 40);
        log.check_invariants();
        assert_eq!((log.pending(), log.accepted_events()), (40, 40));
        log.set_read(Offset(200));
        log.set_published(Offset(200));
        log.set_settled(Offset(200), 40, 0);
        assert_eq!((log.pending(), log.confirmed_events()), (0, 40));
    }

    #[test]
    #[should_panic(expected = "chain is broken")]
    fn a_confirm_ahead_of_the_publish_is_caught() {
        let log = CoreLog::default();
        log.set_appended(Offset(10));
        log.set_settled(Offset(5), 5, 0);
        log.check_invariants();
    }

    #[test]
    #[should_panic(expected = "chain is broken")]
    fn a_sync_ahead_of_the_write_is_caught() {
        let log = CoreLog::default();
        log.set_appended(Offset(10));
        log.set_synced(Offset(5));
        log.check_invariants();
    }

    #[test]
    #[should_panic(expected = "never moves back")]
    fn a_mark_that_moves_back_is_caught() {
        let log = CoreLog::default();
        log.set_appended(Offset(10));
        log.set_written(Offset(10));
        log.set_written(Offset(9));
    }
}
