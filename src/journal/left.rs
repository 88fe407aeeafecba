//! What earlier lives of the node left: found at the start, forwarded, and removed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::format::{END_BYTES, FramedBatch, HeaderError};
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

/// Gives back the space that logs of earlier lives do not need: segments that were not used, and what lies behind the end of others.
///
/// # Errors
/// Then some of it was given back; what counts is all there.
pub fn trim_left(disk: &impl Disk, left: &mut [LeftLog]) -> io::Result<()> {
    for LeftLog { log, found, .. } in left {
        for segment in &mut found.segments {
            let Ok(content) = segment.content else { continue };
            let bytes = content.position + END_BYTES as u64;
            // Behind damage there may be something to be saved.
            if content.damage.is_none() && bytes < segment.bytes {
                disk.truncate(&segment.path, bytes)?;
                segment.bytes = bytes;
                log.shrink(content.header.number, bytes);
            }
        }
        let is_unused = |segment: &mut FoundSegment| segment.content == Err(HeaderError::Unused);
        for segment in found.segments.extract_if(.., is_unused) {
            disk.remove_file(&segment.path)?;
        }
    }
    Ok(())
}

/// Finds the logs in `folder`; `visit` sees each batch with events that are not settled, and the offset from which on they are not.
pub fn find_left(
    disk: &impl Disk,
    folder: &Path,
    account: &Account,
    mut visit: impl FnMut(LogId, &Path, &FramedBatch<'_>, Offset),
) -> io::Result<Vec<LeftLog>> {
    let settled_of = |id| account.logs.get(&id).copied().unwrap_or_default();
    let mut unsettled = BTreeMap::<LogId, u64>::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::FileSystem;
    use crate::journal::format::HEADER_BYTES;
    use crate::journal::samples::{header, put, segment};

    #[test]
    fn what_a_left_log_does_not_need_is_given_back_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let (clean, positions) = segment(header(0, 0), &[0, 2], 4096);
        let (mut torn, at) = segment(header(1, 4), &[4, 6], 4096);
        torn[at[2]] = b'F';
        let unused = vec![0; 4096];
        let paths: Vec<_> = [("0.segment", &clean), ("1.segment", &torn), ("2.segment", &unused)]
            .into_iter()
            .map(|(name, bytes)| put(folder.path(), name, bytes))
            .collect();
        let find =
            || find_left(&FileSystem, folder.path(), &Account::default(), |_, _, _, _| {}).expect("readable");
        let mut left = find();
        let events = left[0].events;
        trim_left(&FileSystem, &mut left).expect("trimmed");
        let bytes = |path: &PathBuf| std::fs::metadata(path).map(|file| file.len()).ok();
        let end = (positions[2] + END_BYTES) as u64;
        assert!(end < 4096 && end > HEADER_BYTES as u64);
        assert_eq!([bytes(&paths[0]), bytes(&paths[1]), bytes(&paths[2])], [Some(end), Some(4096), None]);
        assert_eq!(left[0].found.bytes(), end + 4096);
        let again = find();
        assert_eq!((again[0].events, again[0].found.end()), (events, left[0].found.end()));
    }
}
