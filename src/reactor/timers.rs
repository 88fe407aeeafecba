//! A timer wheel: one entry a connection in the usual case, none touched by a request.
//!
//! A deadline that moves away leaves its entry where it is; when the entry comes due, it is put where the deadline is now. Only a
//! deadline that comes nearer needs a new entry, and the old one is stale then: whoever set it knows by its time.

/// Width of a bucket, and so how late a deadline may be noticed.
const TICK_MS: u64 = 64;
/// Buckets; entries beyond the horizon (about a minute) go around again.
const BUCKETS: usize = 1024;

/// Who is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) due_ms: u64,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<Entry>>,
    /// The first tick that has not been looked at.
    tick: u64,
    entries: usize,
    /// No entry is due before.
    earliest_ms: u64,
}

impl Wheel {
    /// A wheel that starts turning at `now_ms`.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], tick: now_ms / TICK_MS, entries: 0, earliest_ms: u64::MAX }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries += 1;
        self.earliest_ms = self.earliest_ms.min(entry.due_ms);
        // An entry in a bucket that was looked at already would wait for a whole round.
        let tick = (entry.due_ms / TICK_MS).max(self.tick).min(self.tick + BUCKETS as u64 - 1);
        self.bucket(tick).push(entry);
    }

    /// When [`Self::expire`] may have something to tell; not before.
    pub(super) fn next_ms(&self) -> u64 {
        self.earliest_ms
    }

    /// Tells all entries that are due.
    pub(super) fn expire(&mut self, now_ms: u64, mut due: impl FnMut(&mut Self, Entry)) {
        if now_ms < self.earliest_ms {
            return;
        }
        // After a long sleep every bucket is looked at once, not more.
        let last = now_ms / TICK_MS;
        self.tick = self.tick.max((last + 1).saturating_sub(BUCKETS as u64));
        while self.tick <= last && self.entries > 0 {
            let tick = self.tick;
            let mut entries = std::mem::take(self.bucket(tick));
            self.entries -= entries.len();
            let is_last = tick == last;
            if !is_last {
                self.tick += 1;
            }
            let mut kept = Vec::new();
            for entry in entries.drain(..) {
                if entry.due_ms <= now_ms {
                    due(self, entry);
                } else {
                    kept.push(entry);
                }
            }
            for entry in kept {
                self.insert(entry);
            }
            // The bucket's memory is kept, unless something was inserted meanwhile.
            let bucket = self.bucket(tick);
            if bucket.is_empty() {
                *bucket = entries;
            }
            if is_last {
                break;
            }
        }
        self.tick = self.tick.max(last);
        self.earliest_ms = self.find_earliest(now_ms);
    }

    /// When the first bucket that holds something must be looked at: when its first entry is due, but no later than its end, where
    /// those from beyond the horizon go around again.
    fn find_earliest(&mut self, now_ms: u64) -> u64 {
        if self.entries == 0 {
            return u64::MAX;
        }
        let first = (self.tick..self.tick + BUCKETS as u64)
            .find(|tick| !self.buckets[Self::index(*tick)].is_empty())
            .expect("entries lie in buckets");
        let end_ms = (first + 1) * TICK_MS;
        let due_ms = self.bucket(first).iter().map(|entry| entry.due_ms).fold(end_ms, u64::min);
        due_ms.max(now_ms + 1)
    }

    fn bucket(&mut self, tick: u64) -> &mut Vec<Entry> {
        &mut self.buckets[Self::index(tick)]
    }

    fn index(tick: u64) -> usize {
        usize::try_from(tick % BUCKETS as u64).expect("below BUCKETS")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(due_ms: u64, slot: u32) -> Entry {
        Entry { due_ms, slot, generation: 0 }
    }

    fn expire(wheel: &mut Wheel, now_ms: u64) -> Vec<Entry> {
        let mut told = Vec::new();
        wheel.expire(now_ms, |_, entry| told.push(entry));
        told
    }

    #[test]
    fn an_entry_put_back_while_it_is_told_is_told_again_when_due() {
        let mut wheel = Wheel::new(0);
        wheel.insert(entry(100, 1));
        wheel.expire(150, |wheel, told| wheel.insert(Entry { due_ms: 200, ..told }));
        assert!(expire(&mut wheel, 199).is_empty());
        assert_eq!(expire(&mut wheel, 200), [entry(200, 1)]);
        assert_eq!(wheel.next_ms(), u64::MAX);
    }

    proptest! {
        #[test]
        fn every_entry_is_told_once_when_due_and_never_before(
            start in 0..200_000u64,
            inserts in prop::collection::vec((0..200_000u64, 0..5_000u64), 1..40),
        ) {
            let mut wheel = Wheel::new(start);
            let (mut now, mut open) = (start, Vec::new());
            for (slot, (delay, step)) in (0..).zip(inserts) {
                wheel.insert(entry(now + delay, slot));
                open.push(entry(now + delay, slot));
                now += step;
                let mut expected: Vec<u32> = open.iter().filter(|e| e.due_ms <= now).map(|e| e.slot).collect();
                open.retain(|e| e.due_ms > now);
                let next = open.iter().map(|e| e.due_ms).min().unwrap_or(u64::MAX);
                let mut told: Vec<u32> = expire(&mut wheel, now).iter().map(|e| e.slot).collect();
                told.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(told, expected);
                prop_assert!(wheel.next_ms() <= next && wheel.next_ms() > now);
            }
            let told = expire(&mut wheel, now + 500_000);
            prop_assert_eq!(told.len(), open.len());
        }
    }
}
