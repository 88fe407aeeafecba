//! How much an app may cost by sending what only the slower check can tell from garbage.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::auth::AppId;
use crate::event::SecondLook;

/// Refill of an app's budget on one reactor. A second look costs about 5 ns a byte, so this is half a percent of a core.
const BYTES_PER_SECOND: u64 = 1 << 20;
/// What an idle app has saved up.
const BYTES_MAX: u64 = 4 << 20;

/// The budgets of all apps that ever needed one; bounded by the number of apps.
///
/// Locked by whoever needs a second look, which is rare.
#[derive(Clone, Debug, Default)]
pub(super) struct SecondLooks(Arc<Mutex<HashMap<AppId, Budget>>>);

#[derive(Clone, Copy, Debug)]
struct Budget {
    bytes: u64,
    at: Duration,
}

/// One app's budget at one moment.
#[derive(Debug)]
pub(super) struct AppLooks<'a> {
    pub(super) looks: &'a SecondLooks,
    pub(super) app: AppId,
    /// Monotonic clock.
    pub(super) now: Duration,
}

impl SecondLook for AppLooks<'_> {
    fn spend(&mut self, bytes: usize) -> bool {
        let full = Budget { bytes: BYTES_MAX, at: self.now };
        let mut budgets = self.looks.0.lock();
        let budget = budgets.entry(self.app).or_insert(full);
        let elapsed_us = crate::clock::us(self.now.saturating_sub(budget.at));
        let refill = elapsed_us.saturating_mul(BYTES_PER_SECOND) / 1_000_000;
        if refill > 0 {
            *budget = Budget { bytes: BYTES_MAX.min(budget.bytes.saturating_add(refill)), at: self.now };
        }
        // A body larger than the whole budget is still looked at when the budget is full.
        if budget.bytes < (bytes as u64).min(BYTES_MAX) {
            return false;
        }
        budget.bytes = budget.bytes.saturating_sub(bytes as u64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_budget_runs_dry_refills_with_time_and_is_the_apps_own() {
        let looks = SecondLooks::default();
        let spend = |app: u128, seconds: u64, bytes: usize| {
            let (app, now) = (AppId(Uuid::from_u128(app)), Duration::from_secs(seconds));
            AppLooks { looks: &looks, app, now }.spend(bytes)
        };
        for _ in 0..4 {
            assert!(spend(1, 100, 1 << 20));
        }
        assert!(!spend(1, 100, 1));
        assert!(spend(2, 100, 1), "another app is not touched");
        assert!(spend(1, 101, 1 << 20) && !spend(1, 101, 1));
        assert!(spend(1, 1_000, 64 << 20), "one huge body passes when the budget is full");
        assert!(!spend(1, 1_001, 64 << 20));
    }
}
