//! What lies in a journal's folder: every log, every segment, every batch, checked.
//!
//! A segment is read up to the first place that holds no batch of this use of it: zeros are its end, anything else is damage (a write that a crash
//! tore, or a flipped bit). Nothing behind that is taken for granted; but whole batches that lie there are counted, and kept for
//! `forebay journal repair`. Where two segments hold the same offset (a disk failed, and what was at stake was written anew), the later counts.

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
            let Ok(content) = &mut segment.content else { continue };
            disk.read(&segment.path, 0, usize::MAX, &mut buffer)?;
            *content = read_segment(&buffer, content.header, &later, |batch| visit(id, &segment.path, batch));
            later.add(content);
        }
        logs.push(FoundLog { id, folder, segments });
    }
    Ok(logs)
}

/// The segments of a log, in order, as their headers describe them.
fn headers(disk: &impl Disk, id: LogId, folder: &Path) -> io::Result<Vec<FoundSegment>> {
    let mut segments = Vec::new();
    let mut buffer = Vec::new();
    for name in disk.names(folder)?.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX)) {
        let path = folder.join(name);
        disk.read(&path, 0, HEADER_BYTES, &mut buffer)?;
        let header = SegmentHeader::decode(&buffer).and_then(|header| {
            if (header.core, header.log) == (id.core, id.epoch) {
                Ok(header)
            } else {
                Err(HeaderError::Damaged)
            }
        });
        let empty = |header: SegmentHeader| Content {
            header,
            end: header.first,
            batches: 0,
            events: 0,
            position: HEADER_BYTES as u64,
            damage: None,
        };
        segments.push(FoundSegment { bytes: disk.bytes(&path)?, path, content: header.map(empty) });
    }
    segments
        .sort_by_key(|segment| segment.content.as_ref().map_or(u64::MAX, |content| content.header.number));
    Ok(segments)
}

/// The offsets that some segments hold.
#[derive(Clone, Debug, Default)]
pub struct Held(Vec<(Offset, Offset)>);

impl Held {
    /// Adds those of a segment.
    pub fn add(&mut self, content: &Content) {
        if content.events > 0 {
            self.0.push((content.header.first, content.end));
        }
    }

    fn has(&self, offset: Offset) -> bool {
        self.0.iter().any(|(first, end)| (*first..*end).contains(&offset))
    }
}

/// Reads a segment, of which `bytes` is all, up to its end or the first damage. What `later` segments hold does not count.
pub fn read_segment(
    bytes: &[u8],
    header: SegmentHeader,
    later: &Held,
    mut visit: impl FnMut(&FramedBatch<'_>),
) -> Content {
    let mut content = Content {
        header,
        end: header.first,
        batches: 0,
        events: 0,
        position: HEADER_BYTES as u64,
        damage: None,
    };
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
            Err(NoBatch::End) => return content,
            Err(NoBatch::Bad | NoBatch::Needs(_)) => {
                let mut damage = Damage { position: content.position, batches_behind: 0, events_behind: 0 };
                for_each_behind(bytes, header, content.position, content.end, later, |batch| {
                    damage.batches_behind += 1;
                    damage.events_behind += u64::from(batch.head.events);
                });
                content.damage = Some(damage);
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
