//! Goes on with what a running node appends, behind what was listed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::disk::Disk;
use super::format::{FramedBatch, HEADER_BYTES, NoBatch, read_batch};
use super::listing::ListedLog;
use super::log::LogId;
use super::survey::{Content, FoundSegment, found, headers};
use super::watermarks::Offset;

/// How much is read at a time, unless a batch is larger.
const READ_BYTES: usize = 256 << 10;

/// Where reading stands in a log.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Number and epoch of the segment.
    segment: Option<(u64, u64)>,
    position: u64,
    /// Everything below was seen.
    next: Offset,
}

/// See the module.
#[derive(Debug)]
pub struct Follower(BTreeMap<LogId, Place>);

impl Follower {
    /// Follows behind these logs, and all that are begun later.
    pub fn new(logs: &[ListedLog]) -> Self {
        let place = |log: &ListedLog| {
            let last = log.found.contents().max_by_key(|content| content.header.number);
            let place = last.map(|Content { header, position, .. }| Place {
                segment: Some((header.number, header.epoch)),
                position: *position,
                next: log.found.end(),
            });
            (log.found.id, place.unwrap_or_default())
        };
        Self(logs.iter().map(place).collect())
    }

    /// Looks for more; `visit` sees each new batch, and the offset from which on its events are new. A batch that is half written is looked at
    /// again the next time.
    pub fn poll<E: From<io::Error>>(
        &mut self,
        disk: &impl Disk,
        folder: &Path,
        mut visit: impl FnMut(&FramedBatch<'_>, Offset) -> Result<(), E>,
    ) -> Result<(), E> {
        let names = disk.names(folder)?;
        let ids: Vec<LogId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        self.0.retain(|id, _| ids.contains(id));
        for id in ids {
            let place = self.0.entry(id).or_default();
            for segment in headers(disk, id, &folder.join(id.to_string()))? {
                let Ok(Content { header, .. }) = segment.content else { continue };
                let here = (header.number, header.epoch);
                if place.segment.is_none_or(|(number, _)| header.number > number) {
                    *place = Place { segment: Some(here), position: HEADER_BYTES as u64, ..*place };
                }
                if place.segment == Some(here) {
                    place.read(disk, &segment, header.epoch, &mut visit)?;
                }
            }
        }
        Ok(())
    }
}

impl Place {
    fn read<E: From<io::Error>>(
        &mut self,
        disk: &impl Disk,
        segment: &FoundSegment,
        epoch: u64,
        visit: &mut impl FnMut(&FramedBatch<'_>, Offset) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = Vec::new();
        let mut wanted = READ_BYTES;
        loop {
            let Some(()) = found(disk.read(&segment.path, self.position, wanted, &mut buffer))? else {
                return Ok(());
            };
            let mut at = 0;
            let no_batch = loop {
                let rest = buffer.get(at..).unwrap_or_default();
                match read_batch(rest, epoch, self.position, segment.bytes) {
                    Ok(batch) => {
                        at += batch.bytes();
                        self.position += batch.bytes() as u64;
                        if batch.head.end() > self.next {
                            visit(&batch, self.next)?;
                            self.next = batch.head.end();
                        }
                    }
                    Err(no_batch) => break no_batch,
                }
            };
            match no_batch {
                NoBatch::Needs(bytes) if at > 0 || bytes > wanted => wanted = bytes.max(READ_BYTES),
                NoBatch::Needs(_) | NoBatch::End | NoBatch::Bad => return Ok(()),
            }
        }
    }
}
