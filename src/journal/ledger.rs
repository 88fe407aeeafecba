//! What became of the events that left the journal: counted once each, over all lives of the node.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::log::LogId;
use super::watermarks::Offset;

/// Events that left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledEvents {
    /// Confirmed by the broker, or exported and released.
    pub confirmed: u64,
    /// Parked, because no broker would take them.
    pub parked: u64,
}

impl SettledEvents {
    /// Both together.
    pub fn events(self) -> u64 {
        self.confirmed + self.parked
    }

    /// Adds others.
    pub fn add(&mut self, more: Self) {
        self.confirmed += more.confirmed;
        self.parked += more.parked;
    }
}

/// The counts, and up to where they count: so that what is settled again after a crash is not counted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// All events of this node.
    pub total: SettledEvents,
    /// By app.
    pub apps: BTreeMap<Uuid, SettledEvents>,
    /// Where each log stands.
    pub logs: BTreeMap<LogId, Offset>,
    /// Requests and events refused so far, by code: those of earlier lives.
    pub rejected: BTreeMap<String, u64>,
}

/// The account, shared by the forwarder (which settles), the keeper (which writes it down) and those who show it.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Account>);

impl Ledger {
    /// Goes on with an account of an earlier life.
    pub fn new(account: Account) -> Self {
        Self(Mutex::new(account))
    }

    /// Everything of `log` below `end` is settled; `by_app` says what of it is new, and whose it was.
    pub fn settle(&self, log: LogId, end: Offset, by_app: impl IntoIterator<Item = (Uuid, SettledEvents)>) {
        let mut account = self.0.lock();
        account.logs.insert(log, end);
        for (app, more) in by_app {
            account.total.add(more);
            account.apps.entry(app).or_default().add(more);
        }
    }

    /// Its counts, when nobody else shares it any more.
    pub fn into_account(self) -> Account {
        self.0.into_inner()
    }

    /// A log is gone.
    pub fn forget(&self, log: LogId) {
        self.0.lock().logs.remove(&log);
    }

    /// All counts at one moment.
    pub fn account(&self) -> Account {
        self.0.lock().clone()
    }

    /// The counts of one app, if anything of it was settled.
    pub fn settled(&self, app: Uuid) -> Option<SettledEvents> {
        self.0.lock().apps.get(&app).copied()
    }

    /// The counts of the node, unless somebody is writing them.
    pub fn try_total(&self) -> Option<SettledEvents> {
        self.0.try_lock().map(|account| account.total)
    }

    /// The counts of the node at one moment.
    pub fn total(&self) -> SettledEvents {
        self.0.lock().total
    }
}
