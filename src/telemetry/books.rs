//! The ledger of a node, over all its lives: `received = accepted + Σ rejected` and `accepted = confirmed + pending + parked`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::CoreMetrics;
use super::apps::AppCounters;
use crate::journal::{Ledger, SettledEvents};

/// The name of the code of what comes faster than an app may send.
const LIMITED: &str = "rate_limited";

/// What became of an app's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppBalance {
    /// Taken over.
    pub accepted: u64,
    /// Refused; requests whose events were not known count as one.
    pub rejected: u64,
    /// Those of the refused that came faster than the app may send.
    pub limited: u64,
    /// Confirmed or parked.
    pub settled: SettledEvents,
}

impl AppBalance {
    /// Taken over, and neither confirmed nor parked.
    pub fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.settled.events())
    }

    /// Adds what a reactor has counted.
    fn add(&mut self, counts: &AppCounters, limited: Option<usize>) {
        self.accepted += counts.accepted.value();
        for (code, events) in counts.rejected() {
            self.rejected += events;
            if Some(code) == limited {
                self.limited += events;
            }
        }
    }
}

/// What became of the events of one app, in detail. Refusals, bytes and the time are those of this life of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppOutcomes {
    /// The sums.
    pub balance: AppBalance,
    /// Refused, by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Bytes of the records of what was taken over.
    pub bytes: u64,
    /// When something of it was last taken over or refused, since the Unix epoch.
    pub seen: Option<Duration>,
    /// Refusals that nothing was kept of, because there were many.
    pub unkept: u64,
}

/// The sums of a node that can be had without a lock, so that even who holds one can ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events taken over.
    pub accepted: u64,
    /// Events refused.
    pub rejected: u64,
    /// What became of what left, unless that is being written at this moment.
    pub settled: Option<SettledEvents>,
    /// Open connections.
    pub connections: u64,
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
        let limited = self.limited_code();
        let mut apps: BTreeMap<Uuid, AppBalance> = BTreeMap::new();
        for (app, settled) in account.apps {
            apps.entry(app).or_default().settled = settled;
        }
        for (app, accepted) in &self.earlier.accepted_by_app {
            apps.entry(*app).or_default().accepted += accepted;
        }
        for (app, counts) in self.cores.iter().flat_map(|core| core.apps.all()) {
            let balance = apps.entry(app).or_default();
            balance.add(&counts, limited);
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

    /// What became of the events of `app`; none if it was never met.
    pub fn outcomes(&self, app: Uuid) -> Option<AppOutcomes> {
        let settled = self.ledger.settled(app);
        let earlier = self.earlier.accepted_by_app.get(&app);
        let counters: Vec<_> = self.cores.iter().filter_map(|core| core.apps.find(app)).collect();
        if settled.is_none() && earlier.is_none() && counters.is_empty() {
            return None;
        }
        let (limited, mut seen_s) = (self.limited_code(), 0);
        let mut outcomes = AppOutcomes::default();
        outcomes.balance.settled = settled.unwrap_or_default();
        outcomes.balance.accepted = earlier.copied().unwrap_or_default();
        for counts in counters {
            outcomes.balance.add(&counts, limited);
            for (code, events) in counts.rejected() {
                *outcomes.rejected.entry(self.rejection_codes[code]).or_default() += events;
            }
            outcomes.bytes += counts.bytes.value();
            outcomes.unkept += counts.unkept.value();
            seen_s = seen_s.max(counts.seen_s.value());
        }
        outcomes.seen = (seen_s > 0).then(|| Duration::from_secs(seen_s));
        Some(outcomes)
    }

    /// The sums, without waiting for anybody.
    pub fn totals(&self) -> Totals {
        let sum = |of: &dyn Fn(&CoreMetrics) -> u64| self.cores.iter().map(|core| of(core)).sum::<u64>();
        let rejected_now = sum(&|core| (0..self.rejection_codes.len()).map(|code| core.rejected(code)).sum());
        Totals {
            accepted: self.earlier.accepted + sum(&|core| core.accepted.value()),
            rejected: self.earlier.rejected.values().sum::<u64>() + rejected_now,
            settled: self.ledger.try_total(),
            connections: sum(&|core| core.connections.value()),
        }
    }

    /// The index of the code of what comes faster than an app may send.
    fn limited_code(&self) -> Option<usize> {
        self.rejection_codes.iter().position(|code| *code == LIMITED)
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
        core.apps.of(app).reject(1, 1);
        core.apps.of(app).reject(2, 2);
        core.apps.of(app).bytes.add(900);
        let books = Books {
            cores: vec![core],
            ledger,
            earlier,
            rejection_codes: vec!["empty_body", "invalid_json", "rate_limited"],
        };
        let balance = books.balance();
        assert_eq!((balance.received, balance.accepted, balance.pending), (23, 18, 12));
        assert_eq!(
            (balance.rejected, balance.settled.confirmed, balance.settled.parked),
            (vec![0, 5, 0], 5, 1)
        );
        let of_app = balance.apps[&app];
        assert_eq!((of_app.pending(), of_app.rejected, of_app.limited), (12, 3, 2));
        let outcomes = books.outcomes(app).expect("met");
        assert_eq!((outcomes.balance, outcomes.bytes, outcomes.seen), (of_app, 900, None));
        assert_eq!(outcomes.rejected, [("invalid_json", 1), ("rate_limited", 2)].into());
        assert_eq!(books.outcomes(Uuid::from_u128(8)), None, "never met");
        let totals = books.totals();
        assert_eq!((totals.accepted, totals.rejected), (balance.accepted, 5));
        assert_eq!(totals.settled, Some(balance.settled));
    }
}
