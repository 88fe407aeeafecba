//! The ledger of a node, over all its lives: `received = accepted + Σ rejected` and `accepted = confirmed + pending + parked`.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::CoreMetrics;
use crate::journal::{Ledger, SettledEvents};

/// What became of an app's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppBalance {
    /// Taken over.
    pub accepted: u64,
    /// Refused; requests whose events were not known count as one.
    pub rejected: u64,
    /// Confirmed or parked.
    pub settled: SettledEvents,
}

impl AppBalance {
    /// Taken over, and neither confirmed nor parked.
    pub fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.settled.events())
    }
}

/// All figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Events whose verdict is known.
    pub received: u64,
    /// Events taken over.
    pub accepted: u64,
    /// Events refused, by the index of their code.
    pub rejected: Vec<u64>,
    /// Confirmed or parked.
    pub settled: SettledEvents,
    /// Taken over, and neither confirmed nor parked.
    pub pending: u64,
    /// The same for each app.
    pub apps: BTreeMap<Uuid, AppBalance>,
}

/// What earlier lives of the node have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Events that were taken over and are known to be: settled, or in the journal.
    pub accepted: u64,
    /// The same, by app.
    pub accepted_by_app: BTreeMap<Uuid, u64>,
    /// Events refused, by code.
    pub rejected: BTreeMap<String, u64>,
}

/// Everything that is counted, and where.
#[derive(Debug)]
pub struct Books {
    /// Each core's counters.
    pub cores: Vec<Arc<CoreMetrics>>,
    /// What became of what left.
    pub ledger: Arc<Ledger>,
    /// Counts of earlier lives.
    pub earlier: Earlier,
    /// The names of the refusal codes, by index.
    pub rejection_codes: Vec<&'static str>,
}

impl Books {
    /// All figures. Exact at any moment: what left is read first, and nothing leaves before it was counted as taken over.
    pub fn balance(&self) -> Balance {
        let account = self.ledger.account();
        let sum = |of: &dyn Fn(&CoreMetrics) -> u64| self.cores.iter().map(|core| of(core)).sum::<u64>();
        let accepted = self.earlier.accepted + sum(&|core| core.accepted.value());
        let rejected: Vec<u64> = self
            .rejection_codes
            .iter()
            .enumerate()
            .map(|(index, code)| {
                self.earlier.rejected.get(*code).copied().unwrap_or(0) + sum(&|core| core.rejected(index))
            })
            .collect();
        let mut apps: BTreeMap<Uuid, AppBalance> = BTreeMap::new();
        for (app, settled) in account.apps {
            apps.entry(app).or_default().settled = settled;
        }
        for (app, accepted) in &self.earlier.accepted_by_app {
            apps.entry(*app).or_default().accepted += accepted;
        }
        for (app, counts) in self.cores.iter().flat_map(|core| core.apps.all()) {
            let balance = apps.entry(app).or_default();
            balance.accepted += counts.accepted.value();
            balance.rejected += counts.rejected.value();
        }
        Balance {
            received: accepted + rejected.iter().sum::<u64>(),
            accepted,
            rejected,
            settled: account.total,
            pending: accepted.saturating_sub(account.total.events()),
            apps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{CoreId, LogId, Offset};

    #[test]
    fn the_ledger_balances_over_lives_and_by_app() {
        let app = Uuid::from_u128(7);
        let ledger = Arc::<Ledger>::default();
        let log = LogId { core: CoreId(0), epoch: 1 };
        ledger.settle(log, Offset(6), [(app, SettledEvents { confirmed: 5, parked: 1 })]);
        let earlier = Earlier {
            accepted: 8,
            accepted_by_app: [(app, 8)].into(),
            rejected: [("invalid_json".to_owned(), 2)].into(),
        };
        let core = Arc::<CoreMetrics>::default();
        core.accepted.add(10);
        core.apps.of(app).accepted.add(10);
        core.count_rejected(1, 3);
        core.apps.of(app).rejected.add(3);
        let books =
            Books { cores: vec![core], ledger, earlier, rejection_codes: vec!["empty_body", "invalid_json"] };
        let balance = books.balance();
        assert_eq!((balance.received, balance.accepted, balance.pending), (23, 18, 12));
        assert_eq!((balance.rejected, balance.settled.confirmed, balance.settled.parked), (vec![0, 5], 5, 1));
        assert_eq!((balance.apps[&app].pending(), balance.apps[&app].rejected), (12, 3));
    }
}
