//! What earlier lives of the node left: found at the start, forwarded, and removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::format::{FramedBatch, HeaderError};
use super::ledger::Account;
use super::log::{Log, LogId};
use super::survey::{FoundLog, FoundSegment, survey};
use super::watermarks::{CoreLog, Offset};

/// A log of an earlier life.
#[derive(Debug)]
pub struct LeftLog {
    /// The log, with everything that is settled behind it.
    pub log: Arc<Log>,
    /// Events that are not settled.
    pub events: u64,
    /// What was found on the disk.
    pub found: FoundLog,
}

impl LeftLog {
    /// Segments that may hold more than could be read.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let is_damaged = |segment: &&FoundSegment| match &segment.content {
            Ok(content) => content.damage.is_some_and(|damage| damage.batches_behind > 0),
            Err(error) => *error != HeaderError::Unused,
        };
        self.found.segments.iter().filter(is_damaged).map(|segment| segment.path.clone()).collect()
    }
}

/// Finds the logs in `folder`; `visit` sees each batch with events that are not settled, and the offset from which on they are not.
pub fn find_left(
    disk: &impl Disk,
    folder: &Path,
    account: &Account,
    mut visit: impl FnMut(LogId, &Path, &FramedBatch<'_>, Offset),
) -> io::Result<Vec<LeftLog>> {
    let settled_of = |id| account.logs.get(&id).copied().unwrap_or_default();
    let mut unsettled = std::collections::BTreeMap::<LogId, u64>::new();
    let found = survey(disk, folder, |id, path, batch| {
        let settled = settled_of(id);
        if batch.head.end() > settled {
            *unsettled.entry(id).or_default() += batch.head.end().since(batch.head.first.max(settled));
            visit(id, path, batch, settled);
        }
    })?;
    let left = found.into_iter().map(|found| {
        let events = unsettled.get(&found.id).copied().unwrap_or(0);
        let end = found.end();
        let settled = if events == 0 { end } else { settled_of(found.id) };
        let marks = Arc::new(CoreLog::recovered(settled, end, events));
        let log = Arc::new(Log::new(found.id, found.folder.clone(), marks, found.in_use()));
        LeftLog { log, events, found }
    });
    Ok(left.collect())
}
