//! What lies in a journal's folder: every log, every segment, every batch, checked.
//!
//! A segment is read up to the first place that holds no batch of this use of it: zeros with nothing behind them are its end, anything else is
//! damage (a write that a crash tore, a hole that a power cut has left, or a flipped bit). Nothing behind that is taken for granted; but whole batches that lie there are counted, and kept for
//! `forebay journal repair`. Where two segments hold the same offset (a disk failed, and what was at stake was written anew), the later counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::format::{FramedBatch, HEADER_BYTES, HeaderError, NoBatch, SegmentHeader, find_batch, read_batch};
use super::log::{LogId, Segment};
use super::watermarks::Offset;

/// How the files of segments end.
pub const SEGMENT_SUFFIX: &str = ".segment";

/// A log that was found.
#[derive(Clone, Debug)]
pub struct FoundLog {
    /// Its name.
    pub id: LogId,
    /// Its folder.
    pub folder: PathBuf,
    /// Its segments, by number; those that are not in use come last.
    pub segments: Vec<FoundSegment>,
}

/// A file of a log.
#[derive(Clone, Debug)]
pub struct FoundSegment {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it is.
    pub content: Result<Content, HeaderError>,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What it says of itself.
    pub header: SegmentHeader,
    /// Offset behind the last event that counts.
    pub end: Offset,
    /// Batches that count.
    pub batches: u64,
    /// Events that count.
    pub events: u64,
    /// Behind the last batch that counts.
    pub position: u64,
    /// What is wrong there.
    pub damage: Option<Damage>,
}

impl Content {
    /// A segment without a batch.
    fn empty(header: SegmentHeader) -> Self {
        let position = HEADER_BYTES as u64;
        Self { header, end: header.first, batches: 0, events: 0, position, damage: None }
    }
}

/// A place that holds neither a batch nor the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub position: u64,
    /// Whole batches behind it.
    pub batches_behind: u64,
    /// Their events.
    pub events_behind: u64,
}

impl FoundLog {
    /// Offset behind its last event.
    pub fn end(&self) -> Offset {
        self.contents()
            .filter(|content| content.events > 0)
            .map(|content| content.end)
            .max()
            .unwrap_or_default()
    }

    /// What its segments hold, by number.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        self.segments.iter().filter_map(|segment| segment.content.as_ref().ok())
    }

    /// Whether the damage of a segment does no harm: a write that the disk has failed, behind which the log went on in a later segment.
    pub fn is_made_good(&self, content: &Content) -> bool {
        let goes_on = |later: &Content| {
            later.header.number > content.header.number
                && (later.header.first..later.end).contains(&content.end)
        };
        content.damage.is_some_and(|damage| damage.batches_behind == 0) && self.contents().any(goes_on)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Its segments as a [`Log`](super::Log) has them.
    pub fn in_use(&self) -> Vec<Segment> {
        let segment = |found: &FoundSegment| {
            let header = found.content.as_ref().ok()?.header;
            Some(Segment {
                path: found.path.clone(),
                bytes: found.bytes,
                number: header.number,
                epoch: header.epoch,
                first: header.first,
                end: Some(found.content.as_ref().ok()?.end),
                is_suspect: false,
            })
        };
        self.segments.iter().filter_map(segment).collect()
    }
}

/// Reads everything in `folder`; `visit` sees each batch that counts, log by log; the segments of a log from the last to the first.
pub fn survey(
    disk: &impl Disk,
    folder: &Path,
    mut visit: impl FnMut(LogId, &Path, &FramedBatch<'_>),
) -> io::Result<Vec<FoundLog>> {
    let mut logs = Vec::new();
    let mut buffer = Vec::new();
    for name in disk.names(folder)? {
        let Ok(id) = name.parse::<LogId>() else { continue };
        let folder = folder.join(name);
        let mut segments = headers(disk, id, &folder)?;
        let mut later = Held::default();
        for segment in segments.iter_mut().rev() {
            let Ok(Content { header, .. }) = segment.content else { continue };
            let is_there = found(disk.read(&segment.path, 0, usize::MAX, &mut buffer))?.is_some();
            // Beside a running node, a file may serve again, or be gone, by now.
            if !is_there || SegmentHeader::decode(&buffer) != Ok(header) {
                segment.content = Err(HeaderError::Unused);
                continue;
            }
            let content = read_segment(&buffer, header, &later, |batch| visit(id, &segment.path, batch));
            later.add(&content);
            segment.content = Ok(content);
        }
        logs.push(FoundLog { id, folder, segments });
    }
    Ok(logs)
}

/// The segments of a log, in order, as their headers describe them.
pub(super) fn headers(disk: &impl Disk, id: LogId, folder: &Path) -> io::Result<Vec<FoundSegment>> {
    let mut segments = Vec::new();
    let mut buffer = Vec::new();
    for name in disk.names(folder)?.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX)) {
        let path = folder.join(name);
        let Some(()) = found(disk.read(&path, 0, HEADER_BYTES, &mut buffer))? else { continue };
        let Some(bytes) = found(disk.bytes(&path))? else { continue };
        let header = SegmentHeader::decode(&buffer).and_then(|header| {
            if (header.core, header.log) == (id.core, id.epoch) {
                Ok(header)
            } else {
                Err(HeaderError::Damaged)
            }
        });
        segments.push(FoundSegment { bytes, path, content: header.map(Content::empty) });
    }
    segments
        .sort_by_key(|segment| segment.content.as_ref().map_or(u64::MAX, |content| content.header.number));
    Ok(segments)
}

/// What was found; nothing, where a file has gone since its name was read.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The offsets that some segments hold: ranges that neither overlap nor touch, by their first offset.
#[derive(Clone, Debug, Default)]
pub struct Held(BTreeMap<Offset, Offset>);

impl Held {
    /// Adds those of a segment.
    pub fn add(&mut self, content: &Content) {
        if content.events == 0 {
            return;
        }
        let (mut first, mut end) = (content.header.first, content.end);
        // Segments follow each other, so that all of a log is one range most of the time.
        while let Some((near_first, near_end)) = self.0.range(..=end).next_back().map(|(a, b)| (*a, *b))
            && near_end >= first
        {
            self.0.remove(&near_first);
            first = first.min(near_first);
            end = end.max(near_end);
        }
        self.0.insert(first, end);
    }

    fn has(&self, offset: Offset) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }
}

/// Reads a segment, of which `bytes` is all, up to its end or the first damage. What `later` segments hold does not count.
pub fn read_segment(
    bytes: &[u8],
    header: SegmentHeader,
    later: &Held,
    mut visit: impl FnMut(&FramedBatch<'_>),
) -> Content {
    let mut content = Content::empty(header);
    let whole = bytes.len() as u64;
    loop {
        let at = usize::try_from(content.position).unwrap_or(usize::MAX);
        match read_batch(bytes.get(at..).unwrap_or_default(), header.epoch, content.position, whole) {
            Ok(batch) => {
                content.position += batch.bytes() as u64;
                if later.has(batch.head.first) {
                    continue;
                }
                visit(&batch);
                content.end = batch.head.end();
                content.batches += 1;
                content.events += u64::from(batch.head.events);
            }
            Err(no_batch) => {
                let mut damage = Damage { position: content.position, batches_behind: 0, events_behind: 0 };
                for_each_behind(bytes, header, content.position, content.end, later, |batch| {
                    damage.batches_behind += 1;
                    damage.events_behind += u64::from(batch.head.events);
                });
                // Zeros are the end, unless something of this use lies behind them: a hole that a power cut has left.
                let is_end = no_batch == NoBatch::End && damage.batches_behind == 0;
                content.damage = (!is_end).then_some(damage);
                return content;
            }
        }
    }
}

/// The whole batches behind a damaged place that would count if it were whole: not below `from`, and in no `later` segment.
pub fn for_each_behind(
    bytes: &[u8],
    header: SegmentHeader,
    position: u64,
    from: Offset,
    later: &Held,
    mut visit: impl FnMut(&FramedBatch<'_>),
) {
    let mut at = position;
    while let Some(found) = find_batch(bytes, header.epoch, at) {
        let start = usize::try_from(found).expect("an index");
        let batch =
            read_batch(&bytes[start..], header.epoch, found, bytes.len() as u64).expect("it was just found");
        if batch.head.first >= from && !later.has(batch.head.first) {
            visit(&batch);
        }
        at = found + batch.bytes() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FileSystem;
    use crate::journal::samples::{header, put, segment};

    fn read(bytes: &[u8], later: &Held) -> (Content, Vec<u64>) {
        let mut firsts = Vec::new();
        let content = read_segment(bytes, header(0, 0), later, |batch| firsts.push(batch.head.first.0));
        (content, firsts)
    }

    #[test]
    fn a_torn_write_at_every_byte_of_the_last_batch_costs_that_batch_alone() {
        let (whole, positions) = segment(header(0, 0), &[0, 2, 4], 512);
        let (start, end) = (positions[2], positions[3]);
        let records_end = start + whole[start..end].iter().rposition(|byte| *byte != 0).expect("records") + 1;
        for torn_at in start..end {
            // What lay there before was zeros.
            let mut torn = whole.clone();
            torn[torn_at..].fill(0);
            let (content, firsts) = read(&torn, &Held::default());
            if torn_at >= records_end {
                assert_eq!(
                    (content.damage, firsts),
                    (None, vec![0, 2, 4]),
                    "{torn_at}: only padding is gone"
                );
                continue;
            }
            assert_eq!((content.end, firsts), (Offset(4), vec![0, 2]), "torn at {torn_at}");
            assert_eq!(content.position, start as u64);
            // Before its first byte, there was no write.
            let damage = Damage { position: start as u64, batches_behind: 0, events_behind: 0 };
            assert_eq!(content.damage, (torn_at > start).then_some(damage), "torn at {torn_at}");
        }
    }

    #[test]
    fn a_flipped_bit_in_the_middle_costs_its_batch_and_the_others_are_found_behind_it() {
        let (whole, positions) = segment(header(0, 0), &[0, 2, 4, 6], 512);
        let padding = whole[..positions[2]].iter().rposition(|byte| *byte != 0).expect("records") + 1;
        for bit in positions[1] * 8..padding * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (content, firsts) = read(&flipped, &Held::default());
            assert_eq!(firsts, [0], "bit {bit}");
            let damage = Damage { position: positions[1] as u64, batches_behind: 2, events_behind: 4 };
            assert_eq!(content.damage, Some(damage), "bit {bit}");
        }
    }

    #[test]
    fn what_an_earlier_use_of_the_segment_left_does_not_count() {
        let (before, _) = segment(SegmentHeader { epoch: 400, ..header(9, 50) }, &[50, 52, 54, 56], 512);
        let (now, positions) = segment(header(0, 0), &[0], 512);
        let mut recycled = before;
        // A write ends with zeros, behind which the old records are.
        let end = positions[1] + 8;
        recycled[..end].copy_from_slice(&now[..end]);
        let (content, firsts) = read(&recycled, &Held::default());
        assert_eq!((content.damage, firsts), (None, vec![0]));
        assert!(recycled[end..].iter().any(|byte| *byte != 0), "there are old records");
        // Torn over old records, it is seen as well, and nothing old comes back.
        recycled[positions[0] + 30..].copy_from_slice(
            &segment(SegmentHeader { epoch: 400, ..header(9, 50) }, &[50, 52, 54, 56], 512).0
                [positions[0] + 30..],
        );
        let (content, firsts) = read(&recycled, &Held::default());
        let damage = Damage { position: positions[0] as u64, batches_behind: 0, events_behind: 0 };
        assert_eq!((content.damage, firsts), (Some(damage), vec![]));
    }

    #[test]
    fn zeros_are_the_end_only_if_nothing_of_this_use_lies_behind_them() {
        let (mut bytes, positions) = segment(header(0, 0), &[0, 2, 4], 512);
        let whole = read_segment(&bytes, header(0, 0), &Held::default(), |_| {});
        assert_eq!((whole.end, whole.damage), (Offset(6), None));
        // A power cut has lost the sectors in the middle.
        bytes[positions[1]..positions[2]].fill(0);
        let content = read_segment(&bytes, header(0, 0), &Held::default(), |_| {});
        let damage = Damage { position: positions[1] as u64, batches_behind: 1, events_behind: 2 };
        assert_eq!((content.end, content.damage), (Offset(2), Some(damage)));
    }

    #[test]
    fn ranges_that_meet_become_one() {
        let mut held = Held::default();
        let content =
            |first, end| Content { end: Offset(end), events: 1, ..Content::empty(header(0, first)) };
        for (first, end) in [(10, 20), (40, 50), (20, 30), (5, 12), (29, 41)] {
            held.add(&content(first, end));
        }
        assert_eq!(held.0.into_iter().collect::<Vec<_>>(), [(Offset(5), Offset(50))]);
        let mut apart = Held::default();
        for (first, end) in [(10, 20), (30, 40)] {
            apart.add(&content(first, end));
        }
        let has = [9, 10, 19, 20, 29, 30, 39, 40].map(|offset| apart.has(Offset(offset)));
        assert_eq!(has, [false, true, true, false, false, true, true, false]);
    }

    #[test]
    fn what_was_written_anew_counts_once_and_the_torn_write_before_it_is_made_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut first, positions) = segment(header(0, 0), &[0, 2, 4, 6], 512);
        // The disk failed the write at 6; 4 was not synced, and came into the next segment again.
        first[positions[3] + 20..].fill(0);
        put(folder.path(), "0.segment", &first);
        let (second, _) = segment(header(1, 4), &[4, 6, 8], 512);
        put(folder.path(), "1.segment", &second);
        let mut seen = Vec::new();
        let logs = survey(&FileSystem, folder.path(), |_, path, batch| {
            seen.push((path.file_name().expect("a file").to_owned(), batch.head.first.0));
        });
        let log = &logs.expect("read")[0];
        let seen: Vec<_> = seen.iter().map(|(name, first)| (name.to_str().expect("text"), *first)).collect();
        let (zero, one) = ("0.segment", "1.segment");
        assert_eq!(seen, [(one, 4), (one, 6), (one, 8), (zero, 0), (zero, 2)]);
        let contents: Vec<_> = log.contents().collect();
        assert!(contents[0].damage.is_some() && log.is_made_good(contents[0]));
        assert!(contents[1].damage.is_none() && !log.is_made_good(contents[1]));
        // Had the log gone on elsewhere, the batch would be missed.
        let (second, _) = segment(header(1, 8), &[8], 512);
        put(folder.path(), "1.segment", &second);
        let logs = survey(&FileSystem, folder.path(), |_, _, _| {}).expect("read");
        assert!(!logs[0].is_made_good(logs[0].contents().next().expect("a segment")));
    }
}
