//! Segments for tests.

use std::path::{Path, PathBuf};

use super::disk::{Disk, FileSystem};
use super::format::{BatchHead, SegmentHeader, batch_bytes};
use super::log::{LogId, Segment};
use super::watermarks::{CoreId, Offset};

/// The log of the samples.
pub(super) const LOG: LogId = LogId { core: CoreId(2), epoch: 0xabc };

/// The header of a segment of [`LOG`].
pub(super) fn header(number: u64, first: u64) -> SegmentHeader {
    SegmentHeader { core: LOG.core, log: LOG.epoch, epoch: 500 + number, number, first: Offset(first) }
}

/// The records of a batch: no real ones, but no two batches have the same.
pub(super) fn records(first: u64) -> Vec<u8> {
    format!("the records of the batch at {first}").into_bytes()
}

/// A segment of `bytes` with batches of two events each, at these offsets; and where each batch begins, and the last ends.
pub(super) fn segment(header: SegmentHeader, firsts: &[u64], bytes: usize) -> (Vec<u8>, Vec<usize>) {
    let mut segment = header.encode().to_vec();
    let mut positions = vec![segment.len()];
    for first in firsts {
        let (at, records) = (segment.len(), records(*first));
        let head = BatchHead { first: Offset(*first), events: 2 };
        segment.extend(head.encode(header.epoch, at as u64, &records));
        segment.extend(&records);
        segment.resize(at + batch_bytes(records.len()), 0);
        positions.push(segment.len());
    }
    segment.resize(bytes, 0);
    (segment, positions)
}

/// Puts a segment of [`LOG`] into the journal in `folder`.
pub(super) fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let log = folder.join(LOG.to_string());
    FileSystem.make_folder(&log).expect("made");
    let path = log.join(name);
    FileSystem.replace(&path, bytes).expect("written");
    path
}

/// A segment as its log knows it.
pub(super) fn in_use(number: u64, first: u64, end: Option<u64>) -> Segment {
    Segment {
        path: format!("{number}").into(),
        bytes: 1 << 20,
        number,
        epoch: 100 + number,
        first: Offset(first),
        end: end.map(Offset),
        is_suspect: false,
    }
}
