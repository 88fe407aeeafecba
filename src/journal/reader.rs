//! The reading side of a log: finds and checks batches, and says which bytes it needs next. It does no I/O itself.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::format::{BATCH_HEAD_BYTES, HEADER_BYTES, NoBatch, read_batch};
use super::log::{Log, Segment};
use super::watermarks::Offset;

/// How much is read at a time, unless a batch is larger.
const READ_BYTES: usize = 256 << 10;

/// Bytes that are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Of which file.
    pub path: PathBuf,
    /// From where.
    pub at: u64,
    /// How many; fewer are fine if the file ends.
    pub bytes: usize,
}

/// A batch that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatch {
    /// Offset of its first event.
    pub first: Offset,
    /// Number of its events.
    pub events: u32,
    /// Their records.
    pub records: Bytes,
}

/// What a reader has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Read this, and give it to [`Reader::handle_read`].
    Read(ReadRequest),
    /// The batch that holds the event that was asked for. It may begin before that.
    Batch(ReadBatch),
    /// There is no event below this offset.
    Nothing(Offset),
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    segment: Segment,
    /// Where in the segment `bytes` begin.
    position: u64,
    /// What was read and not looked at yet.
    bytes: BytesMut,
    /// The file has no more bytes than these.
    is_at_end: bool,
    /// Behind the last batch that was passed.
    passed: Offset,
    /// Where the bytes were read a second time: what was there the first time may have been from before the write.
    reread: Option<u64>,
}

impl Place {
    fn start(segment: Segment) -> Self {
        let passed = segment.first;
        Self {
            segment,
            position: HEADER_BYTES as u64,
            bytes: BytesMut::new(),
            is_at_end: false,
            passed,
            reread: None,
        }
    }

    fn read(&self, bytes: usize) -> ReadStep {
        let at = self.position + self.bytes.len() as u64;
        let bytes = bytes.max(READ_BYTES).saturating_sub(self.bytes.len()).max(1);
        ReadStep::Read(ReadRequest { path: self.segment.path.clone(), at, bytes })
    }
}

impl Reader {
    /// Reads `log`.
    pub fn new(log: Arc<Log>) -> Self {
        Self { log, place: None }
    }

    /// What to do for the next event of `[from, to)`, which must have been written.
    pub fn step(&mut self, from: Offset, to: Offset) -> ReadStep {
        assert!(from < to, "there is something to read");
        let nothing = ReadStep::Nothing(self.log.next_first(from).unwrap_or(to).min(to));
        let Some(segment) = self.log.find(from) else { return nothing };
        let is_there = |place: &Place| {
            (place.segment.number, place.segment.epoch) == (segment.number, segment.epoch)
                && place.passed <= from
        };
        if !self.place.as_ref().is_some_and(is_there) {
            self.place = Some(Place::start(segment));
        }
        let place = self.place.as_mut().expect("just taken");
        loop {
            let read = read_batch(&place.bytes, place.segment.epoch, place.position, place.segment.bytes);
            match read {
                // No event has the offsets in between; another segment may hold some of them.
                Ok(batch) if batch.head.first > from => {
                    return ReadStep::Nothing(
                        self.log.next_first(from).unwrap_or(to).min(batch.head.first).min(to),
                    );
                }
                Ok(batch) => {
                    let (head, bytes, records) = (batch.head, batch.bytes(), batch.records.len());
                    let mut framed = place.bytes.split_to(bytes.min(place.bytes.len())).freeze();
                    place.position += bytes as u64;
                    place.passed = head.end();
                    // The padding may not have been read.
                    if framed.len() < bytes {
                        place.bytes.clear();
                    }
                    if head.end() > from {
                        let records = framed.split_off(BATCH_HEAD_BYTES).slice(..records);
                        return ReadStep::Batch(ReadBatch {
                            first: head.first,
                            events: head.events,
                            records,
                        });
                    }
                }
                Err(NoBatch::Needs(bytes)) if !place.is_at_end => return place.read(bytes),
                Err(_) if place.reread != Some(place.position) => {
                    place.reread = Some(place.position);
                    place.bytes.clear();
                    place.is_at_end = false;
                    return place.read(READ_BYTES);
                }
                Err(_) => return nothing,
            }
        }
    }

    /// Takes bytes that were asked for.
    pub fn handle_read(&mut self, request: &ReadRequest, bytes: &[u8]) {
        let Some(place) = &mut self.place else { return };
        place.is_at_end = bytes.len() < request.bytes;
        place.bytes.extend_from_slice(bytes);
    }
}
