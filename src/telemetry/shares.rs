//! What each app may take of a journal that is nearly full: those that hold more than an equal part make room for the others.
//!
//! The forwarder empties the journal in the order in which it was filled, so an app's part of what waits there is its part of what the broker takes. When
//! apps offer more than that, one that has waiting no more than an equal part goes on being accepted, and what is left of the room is for those that have
//! more. That is max-min fairness as buffers of switches do it: what counts is who holds the queue, not who asks how often.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::AppBalance;

/// How many more events each app may have waiting before it holds more than an equal part, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    left: HashMap<Uuid, u64>,
    /// For an app that has nothing waiting.
    part: u64,
}

impl Shares {
    /// Equal parts of what waits, for apps that have something waiting.
    pub fn of(apps: &BTreeMap<Uuid, AppBalance>) -> Self {
        let waiting: Vec<(Uuid, u64)> =
            apps.iter().map(|(app, of)| (*app, of.pending())).filter(|(_, events)| *events > 0).collect();
        let Some(count) = u64::try_from(waiting.len()).ok().filter(|count| *count > 1) else {
            // Who is alone takes it all.
            return Self { left: HashMap::new(), part: u64::MAX };
        };
        let part = waiting.iter().map(|(_, events)| events).sum::<u64>().div_ceil(count);
        let left = waiting.into_iter().map(|(app, events)| (app, part.saturating_sub(events))).collect();
        Self { left, part }
    }

    /// How many events `app` may still add.
    pub fn left(&self, app: Uuid) -> u64 {
        self.left.get(&app).copied().unwrap_or(self.part)
    }
}

/// The newest shares, while room is scarce; the lock is taken only when the version has moved.
#[derive(Debug, Default)]
pub struct SharedShares {
    version: AtomicU64,
    newest: Mutex<Option<Arc<Shares>>>,
}

impl SharedShares {
    /// The version of the newest shares.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The newest shares; none while there is room for all.
    pub fn newest(&self) -> Option<Arc<Shares>> {
        self.newest.lock().clone()
    }

    /// Replaces them.
    pub fn replace(&self, shares: Option<Shares>) {
        let mut newest = self.newest.lock();
        if newest.is_some() || shares.is_some() {
            *newest = shares.map(Arc::new);
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SettledEvents;

    fn left(pending: &[u64]) -> Vec<u64> {
        let balance = |pending| AppBalance {
            accepted: pending + 5,
            settled: SettledEvents { confirmed: 5, parked: 0 },
            ..AppBalance::default()
        };
        let apps = (0..).map(Uuid::from_u128).zip(pending.iter().map(|pending| balance(*pending))).collect();
        let shares = Shares::of(&apps);
        // One more app than there are: it has nothing waiting.
        (0..=pending.len()).map(|app| shares.left(Uuid::from_u128(app as u128))).collect()
    }

    #[test]
    fn who_holds_an_equal_part_or_more_makes_room() {
        assert_eq!(left(&[]), [u64::MAX]);
        assert_eq!(left(&[1_000_000]), [u64::MAX, u64::MAX], "who is alone takes it all");
        assert_eq!(left(&[10, 10, 10]), [0, 0, 0, 10]);
        assert_eq!(left(&[1000, 10, 10]), [0, 330, 330, 340]);
        assert_eq!(left(&[1000, 0, 500]), [0, 750, 250, 750], "those that have nothing waiting do not count");
    }

    #[test]
    fn that_there_is_room_is_said_once() {
        let shared = SharedShares::default();
        shared.replace(None);
        assert_eq!(shared.version(), 0);
        shared.replace(Some(Shares::of(&BTreeMap::new())));
        shared.replace(None);
        shared.replace(None);
        assert_eq!((shared.version(), shared.newest()), (2, None));
    }
}
