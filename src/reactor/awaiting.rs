//! The 202s whose events are not taken over yet.

use crate::api::AppId;
use crate::config::AckLevel;

/// A 202 whose events are in a batch that is in the making, or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaiting {
    pub(super) app: AppId,
    /// Its connection, by slot and generation: one that is gone has forgotten its 202s, never its events.
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// Its answer's number on that connection.
    pub(super) number: u32,
    pub(super) events: u32,
    /// Of their records.
    pub(super) bytes: u32,
    pub(super) level: AckLevel,
    /// Monotonic clock, of the turn that had the whole request.
    pub(super) since_us: u64,
}

/// Those of one batch, in the order of their events, which is the order in which they came.
#[derive(Debug, Default)]
pub(super) struct AwaitingBatch {
    list: Vec<Awaiting>,
    /// So many, from the front, were told that their time is up.
    told: usize,
}

impl AwaitingBatch {
    pub(super) fn push(&mut self, awaiting: Awaiting) {
        self.list.push(awaiting);
    }

    /// Whether none asks for more than that its events are in the queue.
    pub(super) fn is_queued_enough(&self) -> bool {
        self.list.iter().all(|awaiting| awaiting.level == AckLevel::Queued)
    }

    /// Since when the next one waits that was not told; `u64::MAX` if there is none.
    pub(super) fn since_us(&self) -> u64 {
        self.list.get(self.told).map_or(u64::MAX, |awaiting| awaiting.since_us)
    }

    /// The next one that has waited since `until_us` or longer: it is to be told.
    pub(super) fn pop_expired(&mut self, until_us: u64) -> Option<Awaiting> {
        let awaiting = *self.list.get(self.told).filter(|awaiting| awaiting.since_us <= until_us)?;
        self.told += 1;
        Some(awaiting)
    }

    /// Takes them all out, and whether each was told.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Awaiting, bool)> {
        let told = std::mem::take(&mut self.told);
        self.list.drain(..).enumerate().map(move |(index, awaiting)| (awaiting, index < told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaiting(number: u32, since_us: u64, level: AckLevel) -> Awaiting {
        Awaiting {
            app: AppId(uuid::Uuid::nil()),
            slot: 0,
            generation: 0,
            number,
            events: 1,
            bytes: 100,
            level,
            since_us,
        }
    }

    #[test]
    fn time_takes_those_that_came_first_and_leaves_their_events() {
        let mut batch = AwaitingBatch::default();
        assert_eq!((batch.since_us(), batch.pop_expired(99)), (u64::MAX, None));
        for (number, since_us) in [(0, 10), (1, 10), (2, 20)] {
            batch.push(awaiting(number, since_us, AckLevel::Queued));
        }
        assert_eq!(batch.pop_expired(9), None);
        assert_eq!(batch.pop_expired(10).map(|awaiting| awaiting.number), Some(0));
        assert_eq!(batch.pop_expired(19).map(|awaiting| awaiting.number), Some(1));
        assert_eq!((batch.since_us(), batch.pop_expired(19)), (20, None));
        let drained: Vec<_> = batch.drain().map(|(awaiting, is_told)| (awaiting.number, is_told)).collect();
        assert_eq!(drained, [(0, true), (1, true), (2, false)]);
        batch.push(awaiting(3, 30, AckLevel::Queued));
        assert_eq!((batch.since_us(), batch.is_queued_enough()), (30, true));
        batch.push(awaiting(4, 30, AckLevel::Synced));
        assert!(!batch.is_queued_enough());
    }
}
