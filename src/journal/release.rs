//! Events that were exported and need not be forwarded: a request to the node that holds the journal, or carried out where there is none.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::checkpoint::{CheckpointError, read_sealed, seal};
use super::disk::Disk;
use super::ledger::{Account, Ledger, SettledEvents};
use super::log::{Log, LogId};
use super::watermarks::Offset;

/// The request's name in the journal's folder.
pub const RELEASE_FILE: &str = "release.json";
const VERSION: u32 = 1;

/// What was exported, log by log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    version: u32,
    logs: BTreeMap<String, ReleasedLog>,
}

/// What was exported of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedLog {
    /// Everything below was settled before.
    pub from: u64,
    /// Everything below is settled by the release.
    pub end: u64,
    /// Where the events were read.
    pub runs: Vec<ReleasedRun>,
    /// Whose they are.
    pub apps: BTreeMap<Uuid, u64>,
}

/// Events that were read in one use of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedRun {
    /// Which use.
    pub epoch: u64,
    /// Offset of the first.
    pub first: u64,
    /// Behind the last.
    pub end: u64,
}

/// What became of a log's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is settled.
    Settled,
    /// The log has not got that far.
    Early,
    /// What was exported is not what the log holds (any more): nothing was settled.
    Refused,
}

impl Default for Release {
    fn default() -> Self {
        Self { version: VERSION, logs: BTreeMap::new() }
    }
}

impl Release {
    /// Adds what was exported of a log.
    pub fn add(&mut self, log: LogId, released: ReleasedLog) {
        self.logs.insert(log.to_string(), released);
    }

    /// The logs, and what was exported of them.
    pub fn logs(&self) -> impl Iterator<Item = (LogId, &ReleasedLog)> {
        self.logs.iter().filter_map(|(id, released)| Some((id.parse().ok()?, released)))
    }

    /// How many events were exported.
    pub fn events(&self) -> u64 {
        self.logs.values().map(ReleasedLog::events).sum()
    }

    /// The account with these events as confirmed ones. Only for who has the lock of the journal.
    #[must_use]
    pub fn settle_in(&self, account: Account) -> Account {
        let ledger = Ledger::new(account);
        for (id, released) in self.logs() {
            released.settle(id, &ledger);
        }
        ledger.into_account()
    }

    /// Whether everything is settled according to an account that was read from `folder`.
    pub fn is_settled(&self, account: &Account, disk: &impl Disk, folder: &Path) -> io::Result<bool> {
        // A log that is gone was settled, and is not spoken of any more.
        let names = disk.names(folder)?;
        Ok(self.logs().all(|(id, released)| {
            let settled = account.logs.get(&id).copied().unwrap_or_default();
            settled.0 >= released.end || !names.contains(&id.to_string())
        }))
    }
}

impl ReleasedLog {
    /// How many events were exported.
    pub fn events(&self) -> u64 {
        self.apps.values().sum()
    }

    fn settle(&self, log: LogId, ledger: &Ledger) {
        let count = |(app, events): (&Uuid, &u64)| (*app, SettledEvents { confirmed: *events, parked: 0 });
        ledger.settle(log, Offset(self.end), self.apps.iter().map(count));
    }

    /// Settles these events in a log that nobody forwards.
    pub(super) fn settle_live(&self, log: &Log, ledger: &Ledger) -> Outcome {
        let marks = log.marks();
        let (settled, end) = (marks.settled(), Offset(self.end));
        if end <= settled {
            return Outcome::Settled;
        }
        if end > marks.written() {
            return Outcome::Early;
        }
        if self.from != settled.0 || !self.covers(log) {
            return Outcome::Refused;
        }
        marks.set_read(end);
        marks.set_published(end);
        marks.set_settled(end, self.events(), 0);
        self.settle(log.id(), ledger);
        Outcome::Settled
    }

    /// Whether what was read are the very segments in which the log now has these offsets: the disk may have failed one, and then its offsets
    /// were given to other events.
    fn covers(&self, log: &Log) -> bool {
        let (mut at, end) = (Offset(self.from), Offset(self.end));
        while at < end {
            let next = log.next_first(at).unwrap_or(end);
            let Some(segment) = log.find(at) else {
                at = next;
                continue;
            };
            let is_read = |run: &&ReleasedRun| run.epoch == segment.epoch && at.0 < run.end;
            let Some(run) = self.runs.iter().filter(is_read).min_by_key(|run| run.end) else { return false };
            // No event has the offsets ahead of the run, unless another segment holds them.
            at = next.min(Offset(if at.0 < run.first { run.first } else { run.end }));
        }
        true
    }
}

/// Asks the node that holds the journal to take over a release.
pub fn write_release(disk: &impl Disk, folder: &Path, release: &Release) -> io::Result<()> {
    disk.replace(&folder.join(RELEASE_FILE), &seal(release))
}

/// The release that a node is asked for.
pub fn read_release(disk: &impl Disk, folder: &Path) -> Result<Option<Release>, CheckpointError> {
    match read_sealed::<Release>(disk, &folder.join(RELEASE_FILE))? {
        Some(release) if release.version != VERSION => Err(CheckpointError::UnknownVersion(release.version)),
        release => Ok(release),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::samples::in_use as segment;
    use crate::journal::{CoreId, CoreLog};

    const APP: Uuid = Uuid::from_u128(7);

    /// A log of which `[0, 30)` was written.
    fn log() -> Log {
        let marks = Arc::new(CoreLog::default());
        marks.set_appended(Offset(30));
        marks.set_written(Offset(30));
        let segments = vec![
            segment(0, 0, Some(10)),
            segment(1, 10, Some(20)),
            segment(2, 15, Some(20)),
            segment(3, 20, None),
        ];
        Log::new(LogId { core: CoreId(1), epoch: 0xabc }, "log".into(), marks, segments)
    }

    fn released(from: u64, end: u64, runs: &[(u64, u64, u64)]) -> ReleasedLog {
        let run = |(number, first, end): &(u64, u64, u64)| ReleasedRun {
            epoch: 100 + number,
            first: *first,
            end: *end,
        };
        ReleasedLog { from, end, runs: runs.iter().map(run).collect(), apps: [(APP, end - from)].into() }
    }

    #[test]
    fn what_was_exported_is_settled_once_and_counted() {
        let (log, ledger) = (log(), Ledger::default());
        let first = released(0, 17, &[(0, 0, 10), (1, 10, 15), (2, 15, 17)]);
        assert_eq!(first.settle_live(&log, &ledger), Outcome::Settled);
        assert_eq!(first.settle_live(&log, &ledger), Outcome::Settled, "again: nothing more");
        log.marks().check_invariants();
        assert_eq!((log.marks().settled(), ledger.total().confirmed), (Offset(17), 17));
        let rest = released(17, 30, &[(2, 17, 20), (3, 20, 30)]);
        assert_eq!(rest.settle_live(&log, &ledger), Outcome::Settled);
        let account = ledger.account();
        assert_eq!((account.apps[&APP].confirmed, account.logs[&log.id()]), (30, Offset(30)));
    }

    #[test]
    fn what_is_not_in_the_log_that_way_is_not_settled() {
        let refused = [
            released(1, 10, &[(0, 1, 10)]),
            released(0, 20, &[(0, 0, 10), (1, 10, 20)]),
            released(0, 30, &[(0, 0, 10), (1, 10, 15), (2, 15, 20)]),
            released(0, 30, &[(0, 0, 10), (3, 20, 30)]),
        ];
        for release in refused {
            let (log, ledger) = (log(), Ledger::default());
            assert_eq!(release.settle_live(&log, &ledger), Outcome::Refused, "{release:?}");
            assert_eq!((log.marks().settled(), ledger.total().confirmed), (Offset(0), 0));
        }
        let early = released(0, 31, &[(0, 0, 10), (1, 10, 15), (2, 15, 20), (3, 20, 31)]);
        assert_eq!(early.settle_live(&log(), &Ledger::default()), Outcome::Early);
    }

    #[test]
    fn offsets_that_no_event_has_are_passed() {
        let (log, ledger) = (log(), Ledger::default());
        let release = released(0, 30, &[(0, 4, 10), (1, 10, 12), (1, 14, 15), (2, 15, 20), (3, 25, 30)]);
        assert_eq!(release.settle_live(&log, &ledger), Outcome::Settled);
    }

    #[test]
    fn a_request_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = crate::journal::FileSystem;
        assert_eq!(read_release(&disk, folder.path()).expect("none"), None);
        let mut release = Release::default();
        release.add(LogId { core: CoreId(1), epoch: 0xabc }, released(0, 10, &[(0, 0, 10)]));
        write_release(&disk, folder.path(), &release).expect("written");
        assert_eq!(read_release(&disk, folder.path()).expect("there"), Some(release.clone()));
        assert_eq!(release.settle_in(Account::default()).total.confirmed, 10);
    }
}
