//! What counts in a journal, in the order of its offsets: for those who read it beside the node, or without one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::format::{BatchHead, FramedBatch, HEADER_BYTES, SegmentHeader, read_batch};
use super::ledger::Account;
use super::log::LogId;
use super::survey::{FoundLog, found, survey};
use super::watermarks::Offset;

/// A log, and where its events are.
#[derive(Clone, Debug)]
pub struct ListedLog {
    /// What was found on the disk.
    pub found: FoundLog,
    /// End of what is settled.
    pub settled: Offset,
    /// Events that count.
    pub events: u64,
    /// Those of them that are not settled.
    pub pending: u64,
    runs: Vec<Run>,
}

/// Events of one segment that follow each other, and nothing of another segment comes in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The segment's file.
    pub path: PathBuf,
    /// Which use of the file.
    pub epoch: u64,
    /// Offset of the first event.
    pub first: Offset,
    /// Offset behind the last one.
    pub end: Offset,
}

/// Reads everything in `folder` once, and says where it is.
pub fn list_logs(disk: &impl Disk, folder: &Path, account: &Account) -> io::Result<Vec<ListedLog>> {
    let settled_of = |id: LogId| account.logs.get(&id).copied().unwrap_or_default();
    let mut seen = BTreeMap::<LogId, Seen>::new();
    let logs = survey(disk, folder, |id, path, batch| {
        let seen = seen.entry(id).or_default();
        seen.add(path, batch.head, settled_of(id));
    })?;
    let listed = logs.into_iter().map(|found| {
        let Seen { events, pending, mut runs } = seen.remove(&found.id).unwrap_or_default();
        for run in &mut runs {
            let segment = found.segments.iter().find(|segment| segment.path == run.path);
            let header =
                segment.and_then(|segment| segment.content.as_ref().ok()).map(|content| content.header);
            run.epoch = header.expect("its batches were read").epoch;
        }
        runs.sort_by_key(|run| run.first);
        ListedLog { settled: settled_of(found.id), found, events, pending, runs }
    });
    Ok(listed.collect())
}

impl ListedLog {
    /// Where the events at `from` and behind it are, in order.
    pub fn runs(&self, from: Offset) -> impl Iterator<Item = Run> {
        let behind = self.runs.iter().filter(move |run| run.end > from);
        behind.map(move |run| Run { first: run.first.max(from), ..run.clone() })
    }
}

/// What was seen of a log; its segments come from the last to the first.
#[derive(Debug, Default)]
struct Seen {
    events: u64,
    pending: u64,
    runs: Vec<Run>,
}

impl Seen {
    fn add(&mut self, path: &Path, head: BatchHead, settled: Offset) {
        self.events += u64::from(head.events);
        if head.end() > settled {
            self.pending += head.end().since(head.first.max(settled));
        }
        let goes_on = self.runs.last().is_some_and(|last| {
            let is_between = |run: &Run| run.path != path && run.first < head.first && run.end > last.end;
            last.path == path && (last.end == head.first || !self.runs.iter().any(is_between))
        });
        match self.runs.last_mut() {
            Some(last) if goes_on => last.end = head.end(),
            _ => self.runs.push(Run { path: path.to_owned(), epoch: 0, first: head.first, end: head.end() }),
        }
    }
}

impl Run {
    /// Reads it again; `visit` sees its batches. A batch may begin before the run does. Stops early where the file serves again, or is gone:
    /// what it held was settled meanwhile.
    pub fn read<E: From<io::Error>>(
        &self,
        disk: &impl Disk,
        mut visit: impl FnMut(&FramedBatch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = Vec::new();
        let Some(()) = found(disk.read(&self.path, 0, usize::MAX, &mut bytes))? else { return Ok(()) };
        if !SegmentHeader::decode(&bytes).is_ok_and(|header| header.epoch == self.epoch) {
            return Ok(());
        }
        let mut at = HEADER_BYTES;
        while let Some(rest) = bytes.get(at..) {
            let Ok(batch) = read_batch(rest, self.epoch, at as u64, bytes.len() as u64) else { break };
            if batch.head.first >= self.end {
                break;
            }
            if batch.head.end() > self.first {
                visit(&batch)?;
            }
            at += batch.bytes();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::samples::{LOG, header, put, segment};
    use crate::journal::{FileSystem, Follower};

    /// The offsets that are read in the order of the runs.
    fn order(logs: &[ListedLog], from: u64) -> Vec<u64> {
        let mut firsts = Vec::new();
        for run in logs.iter().flat_map(|log| log.runs(Offset(from))) {
            run.read(&FileSystem, |batch| {
                firsts.push(batch.head.first.0);
                Ok::<_, io::Error>(())
            })
            .expect("read");
        }
        firsts
    }

    #[test]
    fn events_come_in_the_order_of_their_offsets_whichever_segment_has_them() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, number, firsts) in
            [("0.segment", 0, &[0, 2, 4, 6, 8][..]), ("1.segment", 1, &[10, 14]), ("2.segment", 2, &[4, 6])]
        {
            put(folder.path(), name, &segment(header(number, firsts[0]), firsts, 512).0);
        }
        let account = Account { logs: [(LOG, Offset(5))].into(), ..Account::default() };
        let logs = list_logs(&FileSystem, folder.path(), &account).expect("read");
        assert_eq!((logs[0].events, logs[0].pending, logs[0].settled), (14, 9, Offset(5)));
        assert_eq!(order(&logs, 0), [0, 2, 4, 6, 8, 10, 14]);
        assert_eq!(order(&logs, 5), [4, 6, 8, 10, 14]);
        let runs: Vec<_> = logs[0].runs(Offset(5)).map(|run| (run.epoch, run.first.0, run.end.0)).collect();
        assert_eq!(runs, [(502, 5, 8), (500, 8, 10), (501, 10, 16)]);
        // A file that serves again has none of it.
        put(folder.path(), "0.segment", &segment(header(7, 20), &[20], 512).0);
        assert_eq!(order(&logs, 0), [4, 6, 10, 14]);
    }

    #[test]
    fn a_follower_sees_what_is_appended_once_and_nothing_half_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let (whole, positions) = segment(header(0, 0), &[0, 2, 4], 512);
        let until = |end: usize| [&whole[..end], &vec![0; 512 - end]].concat();
        put(folder.path(), "0.segment", &until(positions[1]));
        let logs = list_logs(&FileSystem, folder.path(), &Account::default()).expect("read");
        let mut follower = Follower::new(&logs);
        let mut poll = || {
            let mut seen = Vec::new();
            follower
                .poll(&FileSystem, folder.path(), |batch, from| {
                    seen.push((batch.head.first.0, from.0));
                    Ok::<_, io::Error>(())
                })
                .expect("read");
            seen
        };
        assert_eq!(poll(), []);
        put(folder.path(), "0.segment", &until(positions[1] + 30));
        assert_eq!(poll(), [], "half written");
        put(folder.path(), "0.segment", &until(positions[2]));
        assert_eq!(poll(), [(2, 2)]);
        // The next is torn, and written anew into another segment together with what was not synced.
        put(folder.path(), "0.segment", &until(positions[2] + 30));
        put(folder.path(), "1.segment", &segment(header(1, 2), &[2, 4, 6], 512).0);
        assert_eq!(poll(), [(4, 4), (6, 6)]);
        assert_eq!(poll(), []);
    }
}
