//! The bytes of a segment: a header, then batches back to back.
//!
//! ```text
//!  header, 64 bytes, at 0
//!  0          8    10     12    16       24      32       40      48                60      64
//!  +----------+----+------+-----+--------+-------+--------+-------+-----------------+-------+
//!  | FOREBAYJ | v  | core |  0  | log    | epoch | number | first |        0        | crc   |
//!  +----------+----+------+-----+--------+-------+--------+-------+-----------------+-------+
//!
//!  batch, from 64 on, each at a multiple of 8
//!  0      4     8        12       16      24
//!  +------+-----+--------+--------+-------+=========+-----------+----------------------+
//!  | FBJ1 | crc | length | events | first | records | 0 to 7 x 0 | 0 0 0 0 0 0 0 0 (end) |
//!  +------+-----+--------+--------+-------+=========+-----------+----------------------+
//! ```
//!
//! All numbers are little-endian; checksums are CRC32C (Castagnoli, RFC 3720 appendix B.4). A batch's checksum also covers the epoch of this use
//! of the segment and the batch's position, which are not stored with it: what an earlier use left, or what was written to the wrong place, does
//! not verify. Every append writes eight zeros behind its batch, which the next one overwrites: so whatever is not zero at the end of a
//! segment was torn, even one byte of it.

use super::watermarks::{CoreId, Offset};

/// Version of the layout above.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a segment's header: the position of its first batch.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a batch besides its records and the padding.
pub const BATCH_HEAD_BYTES: usize = 24;
/// Zeros behind the last batch.
pub const END_BYTES: usize = 8;

const ALIGNMENT: usize = 8;
const SEGMENT_MAGIC: [u8; 8] = *b"FOREBAYJ";
const BATCH_MAGIC: [u8; 4] = *b"FBJ1";
const HEADER_CRC_AT: usize = HEADER_BYTES - 4;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose log it is a piece of.
    pub core: CoreId,
    /// Which log of that core: every start of a node begins a new one.
    pub log: u64,
    /// Which use of the file: drawn anew each time.
    pub epoch: u64,
    /// Its number in the log, counted from 0.
    pub number: u64,
    /// Offset of its first event. What segments of lower numbers say of the offsets that it holds does not count.
    pub first: Offset,
}

/// Why bytes are no header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Made, but not in use yet.
    #[error("not in use")]
    Unused,
    /// Cut short, or its checksum does not match.
    #[error("its header is damaged")]
    Damaged,
    /// Written by a newer version of Forebay.
    #[error("unknown format version {0}: written by a newer Forebay?")]
    UnknownVersion(u16),
}

impl SegmentHeader {
    /// The bytes at the start of the file.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.core.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What a damaged header says of the epoch. It may be believed where a batch verifies with it, and only there.
    pub fn epoch_of_damaged(file: &[u8]) -> Option<u64> {
        file.first_chunk::<HEADER_BYTES>().map(|bytes| u64_at(bytes, 24))
    }

    /// Reads the bytes at the start of a file.
    pub fn decode(file: &[u8]) -> Result<Self, HeaderError> {
        let bytes = file.first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Damaged)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Unused);
        }
        let is_whole = bytes[..8] == SEGMENT_MAGIC
            && crc32c::crc32c(&bytes[..HEADER_CRC_AT]) == u32_at(bytes, HEADER_CRC_AT);
        if !is_whole {
            return Err(HeaderError::Damaged);
        }
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        if u16_at(8) != FORMAT_VERSION {
            return Err(HeaderError::UnknownVersion(u16_at(8)));
        }
        Ok(Self {
            core: CoreId(u16_at(10)),
            log: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            number: u64_at(bytes, 32),
            first: Offset(u64_at(bytes, 40)),
        })
    }
}

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Offset of its first event.
    pub first: Offset,
    /// Number of its events.
    pub events: u32,
}

impl BatchHead {
    /// The bytes ahead of `records`, for a batch at `position` of a segment in its use `epoch`.
    pub fn encode(&self, epoch: u64, position: u64, records: &[u8]) -> [u8; BATCH_HEAD_BYTES] {
        let length = u32::try_from(records.len()).expect("a batch is smaller than a segment");
        let mut bytes = [0; BATCH_HEAD_BYTES];
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.events.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = checksum(epoch, position, &bytes[8..], records);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Offset behind its last event.
    pub fn end(&self) -> Offset {
        self.first.plus(u64::from(self.events))
    }
}

/// Bytes of a batch with `records` bytes of records, padding included.
pub fn batch_bytes(records: usize) -> usize {
    (BATCH_HEAD_BYTES + records).next_multiple_of(ALIGNMENT)
}

/// A batch that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramedBatch<'a> {
    /// Its events.
    pub head: BatchHead,
    /// Their records.
    pub records: &'a [u8],
}

impl FramedBatch<'_> {
    /// Bytes to the next batch.
    pub fn bytes(&self) -> usize {
        batch_bytes(self.records.len())
    }
}

/// What lies at a position instead of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBatch {
    /// The end: zeros, or the end of the file.
    End,
    /// The bytes at hand end inside of it: that many are needed from its start on.
    Needs(usize),
    /// Torn, flipped, or left by an earlier use of the segment.
    Bad,
}

/// Reads the batch at `position` of a segment of `segment_bytes`, of which `bytes` are those from `position` on.
pub fn read_batch(
    bytes: &[u8],
    epoch: u64,
    position: u64,
    segment_bytes: u64,
) -> Result<FramedBatch<'_>, NoBatch> {
    let left = usize::try_from(segment_bytes.saturating_sub(position)).unwrap_or(usize::MAX);
    if left < BATCH_HEAD_BYTES {
        return Err(NoBatch::End);
    }
    let Some(head) = bytes.first_chunk::<BATCH_HEAD_BYTES>() else {
        return Err(NoBatch::Needs(BATCH_HEAD_BYTES));
    };
    if head[..END_BYTES].iter().all(|byte| *byte == 0) {
        return Err(NoBatch::End);
    }
    let length = u32_at(head, 8) as usize;
    if head[..4] != BATCH_MAGIC || batch_bytes(length) > left {
        return Err(NoBatch::Bad);
    }
    let whole = BATCH_HEAD_BYTES + length;
    let Some(records) = bytes.get(BATCH_HEAD_BYTES..whole) else { return Err(NoBatch::Needs(whole)) };
    let head_fields = BatchHead { events: u32_at(head, 12), first: Offset(u64_at(head, 16)) };
    if checksum(epoch, position, &head[8..], records) != u32_at(head, 4) || head_fields.events == 0 {
        return Err(NoBatch::Bad);
    }
    Ok(FramedBatch { head: head_fields, records })
}

/// The position of the next batch that verifies, behind `position`; `bytes` is the whole segment.
pub fn find_batch(bytes: &[u8], epoch: u64, position: u64) -> Option<u64> {
    let start = usize::try_from(position).ok()?.next_multiple_of(ALIGNMENT);
    (start..bytes.len())
        .step_by(ALIGNMENT)
        .filter(|at| bytes[*at..].starts_with(&BATCH_MAGIC))
        .map(|at| at as u64)
        .find(|at| {
            read_batch(&bytes[usize::try_from(*at).expect("an index")..], epoch, *at, bytes.len() as u64)
                .is_ok()
        })
}

fn checksum(epoch: u64, position: u64, fields: &[u8], records: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&epoch.to_le_bytes());
    place[8..].copy_from_slice(&position.to_le_bytes());
    let crc = crc32c::crc32c(&place);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, fields), records)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader =
        SegmentHeader { core: CoreId(3), log: 0x1234, epoch: 0xabcd, number: 7, first: Offset(1000) };

    #[test]
    fn a_header_comes_back_and_any_flipped_bit_is_seen() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        assert_eq!(SegmentHeader::decode(&[0; HEADER_BYTES]), Err(HeaderError::Unused));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Err(HeaderError::Damaged), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..HEADER_CRC_AT]);
        newer[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::UnknownVersion(2)));
    }

    fn framed(epoch: u64, position: u64, records: &[u8]) -> Vec<u8> {
        let head = BatchHead { first: Offset(5), events: 2 };
        let mut bytes = head.encode(epoch, position, records).to_vec();
        bytes.extend_from_slice(records);
        bytes.resize(batch_bytes(records.len()), 0);
        bytes
    }

    #[test]
    fn a_batch_verifies_only_in_its_own_use_and_place() {
        let bytes = framed(9, 64, b"some records");
        let batch = read_batch(&bytes, 9, 64, 1000).expect("it is whole");
        assert_eq!(
            (batch.head.first, batch.head.end(), batch.records),
            (Offset(5), Offset(7), &b"some records"[..])
        );
        assert_eq!(batch.bytes(), bytes.len());
        assert_eq!(read_batch(&bytes, 8, 64, 1000), Err(NoBatch::Bad), "another epoch");
        assert_eq!(read_batch(&bytes, 9, 72, 1000), Err(NoBatch::Bad), "another place");
        assert_eq!(read_batch(&bytes, 9, 64, 70), Err(NoBatch::End), "no room for a head");
        assert_eq!(read_batch(&bytes, 9, 64, 90), Err(NoBatch::Bad), "longer than the segment");
    }

    #[test]
    fn any_flipped_bit_of_a_batch_is_seen() {
        let bytes = framed(9, 64, b"some records");
        for bit in 0..(BATCH_HEAD_BYTES + 12) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_batch(&flipped, 9, 64, 100), Err(NoBatch::Bad), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_that_is_not_all_there_says_how_much_it_needs() {
        let bytes = framed(9, 64, b"some records");
        for end in 0..BATCH_HEAD_BYTES + 12 {
            let needs = if end < BATCH_HEAD_BYTES { BATCH_HEAD_BYTES } else { BATCH_HEAD_BYTES + 12 };
            assert_eq!(read_batch(&bytes[..end], 9, 64, 1000), Err(NoBatch::Needs(needs)), "{end} bytes");
        }
        assert_eq!(read_batch(&[0; 24], 9, 64, 1000), Err(NoBatch::End));
    }

    #[test]
    fn a_whole_batch_is_found_behind_rubbish() {
        let mut segment = vec![0xff; 64];
        segment.extend(b"FBJ1 and then nothing..."); // looks like one
        let position = segment.len() as u64;
        segment.extend(framed(9, position, b"records"));
        assert_eq!(find_batch(&segment, 9, 0), Some(position));
        assert_eq!(find_batch(&segment, 9, position + 1), None);
        assert_eq!(find_batch(&segment, 8, 0), None, "of another use");
    }
}
