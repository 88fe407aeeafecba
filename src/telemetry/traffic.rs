//! Which apps send most, from the ledger of now and of a while before.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::AppBalance;
use super::sample::per_second;

/// Apps that are told of.
const APPS_MAX: usize = 10;

/// An app's events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AppTraffic {
    /// Which.
    pub app: Uuid,
    /// Taken over.
    pub accepted_per_second: f64,
    /// Refused.
    pub rejected_per_second: f64,
}

/// Compares ledgers. It looks at each app, so it is asked more rarely than the rest.
#[derive(Debug, Default)]
pub struct Traffic {
    at: Duration,
    /// Accepted and rejected, in the order of ids.
    counts: Vec<(Uuid, u64, u64)>,
    top: Vec<AppTraffic>,
}

impl Traffic {
    /// Takes the ledger's apps at a time of the monotonic clock. The first tells nothing yet.
    pub fn observe(&mut self, apps: &BTreeMap<Uuid, AppBalance>, at: Duration) {
        let elapsed = if self.at.is_zero() { Duration::ZERO } else { at.saturating_sub(self.at) };
        let mut before = self.counts.iter().peekable();
        let mut all = Vec::new();
        let mut counts = Vec::with_capacity(apps.len());
        for (app, balance) in apps {
            // No app is ever taken out of the ledger; both are in the order of ids.
            while before.next_if(|(id, ..)| id < app).is_some() {}
            let (accepted, rejected) = before
                .next_if(|(id, ..)| id == app)
                .map_or((0, 0), |(_, accepted, rejected)| (*accepted, *rejected));
            if (accepted, rejected) != (balance.accepted, balance.rejected) {
                all.push(AppTraffic {
                    app: *app,
                    accepted_per_second: per_second(accepted, balance.accepted, elapsed),
                    rejected_per_second: per_second(rejected, balance.rejected, elapsed),
                });
            }
            counts.push((*app, balance.accepted, balance.rejected));
        }
        all.retain(|of| of.accepted_per_second + of.rejected_per_second > 0.0);
        let events = |of: &AppTraffic| of.accepted_per_second + of.rejected_per_second;
        all.sort_by(|one, other| events(other).total_cmp(&events(one)));
        all.truncate(APPS_MAX);
        (self.at, self.counts, self.top) = (at, counts, all);
    }

    /// Those that sent most between the last two looks, most first.
    pub fn top(&self) -> &[AppTraffic] {
        &self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(counts: &[(u128, u64, u64)]) -> BTreeMap<Uuid, AppBalance> {
        let balance = |accepted, rejected| AppBalance { accepted, rejected, ..AppBalance::default() };
        counts.iter().map(|(app, a, r)| (Uuid::from_u128(*app), balance(*a, *r))).collect()
    }

    #[test]
    fn those_that_sent_most_between_two_looks_come_first() {
        let mut traffic = Traffic::default();
        traffic.observe(&ledger(&[(1, 1_000_000, 0), (3, 50, 0)]), Duration::from_secs(10));
        assert_eq!(traffic.top(), [], "what was before is no rate");
        let now = ledger(&[(1, 1_000_000, 0), (2, 10, 5), (3, 150, 0)]);
        traffic.observe(&now, Duration::from_secs(15));
        let told: Vec<_> = traffic
            .top()
            .iter()
            .map(|of| (of.app.as_u128(), of.accepted_per_second, of.rejected_per_second))
            .collect();
        assert_eq!(told, [(3, 20.0, 0.0), (2, 2.0, 1.0)], "who is silent is left out");
    }

    #[test]
    fn no_more_than_ten_are_told() {
        let mut traffic = Traffic::default();
        traffic.observe(&BTreeMap::new(), Duration::from_secs(1));
        let many: Vec<_> = (0..100).map(|app| (app, 1 + u64::try_from(app).expect("small"), 0)).collect();
        traffic.observe(&ledger(&many), Duration::from_secs(2));
        assert_eq!(traffic.top().len(), APPS_MAX);
        assert_eq!(traffic.top()[0].app.as_u128(), 99);
    }
}
