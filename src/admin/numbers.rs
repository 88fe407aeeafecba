//! The numbers of a node at this moment, for whoever writes them.

use std::sync::atomic::Ordering;

use super::{Operator, now_ms};
use crate::clock;
use crate::telemetry::{Families, Scrape};

impl Operator {
    /// All numbers. Takes tens of microseconds and waits for nobody.
    pub fn families(&self) -> Families {
        let cores: Vec<_> = self.books.cores.iter().map(|core| &**core).collect();
        let balance = self.books.balance();
        Scrape {
            cores: &cores,
            listed: &self.listed.admit(&balance.apps),
            balance: &balance,
            journal_bytes: self.journal.bytes.load(Ordering::Relaxed),
            journal_bytes_max: self.journal_bytes_max,
            has_broker: self.pulse.has_broker(),
            forwarder: &self.forwarder,
            handshakes: &self.handshakes,
            rejection_codes: &self.books.rejection_codes,
            observed: &self.observed.last(),
            fleet: self.fleet.as_deref(),
            now_ms: now_ms(),
            headroom: self.pulse.headroom().as_ref(),
            is_ready: self.health.ready(now_ms()).is_ok(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: clock::monotonic().saturating_sub(self.started),
            started: self.started_wall,
        }
        .families()
    }
}
