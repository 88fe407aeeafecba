//! The events that go to the journal together, as records back to back: those of one turn of a reactor, or of more while the disk is busy.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::record::Record;

/// Memory is taken in pieces; each serves several turns. So much is taken at least.
const PIECE_BYTES: usize = 256 << 10;
/// And so much at most, unless one batch needs more.
const PIECE_BYTES_MAX: usize = 8 << 20;
/// Batches that a piece has room for: what is left over behind the last one is lost for as long as the piece is held.
const BATCHES_A_PIECE: usize = 4;
/// After so many turns without events in a row, each gives free pieces back: a node that idles after a burst does not keep its memory.
const QUIET_TURNS: u32 = 8;
/// Full pieces that are kept while there are events: how many are held goes up and down, and memory taken anew is dear.
const PIECES_KEPT: usize = 3;
/// A batch that was larger than this is remembered for one turn only: each small one after it would take so much memory, and hold it.
const REMEMBERED_BYTES_MAX: usize = PIECE_BYTES_MAX / BATCHES_A_PIECE;
/// Pieces that such a turn gives back; an idle reactor turns once a second.
const PIECES_GIVEN_BACK: usize = 64;

/// The batch in the making.
#[derive(Debug, Default)]
pub struct TurnBatch {
    records: BytesMut,
    events: u32,
    room_bytes: usize,
    /// The same for apps that have to make room for others.
    crowd_room_bytes: usize,
    /// About the most bytes of the batches before: this one may need as much, and one that outgrows its memory is copied.
    before_bytes: usize,
    /// Size of the piece that is being filled.
    piece_bytes: usize,
    /// Turns without events since then.
    quiet_turns: u32,
    /// Full pieces, oldest first. Their memory serves again once the forwarder has let go of it: taken anew each time, it would be
    /// allocated here and freed there without end, and the heap would grow by what falls between.
    full: VecDeque<Piece>,
}

/// Memory that was left for another piece.
#[derive(Debug)]
struct Piece {
    memory: BytesMut,
    /// All of it; `memory` alone tells of what lies behind the last batch.
    bytes: usize,
}

impl Piece {
    /// Whether nobody holds any of it any more; then it is empty.
    fn is_free(&mut self) -> bool {
        self.memory.try_reclaim(self.bytes)
    }
}

/// How full the batch was at some point.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    events: u32,
}

impl TurnBatch {
    /// Begins a turn, at whose end the batch may have `room_bytes` of records at most, and no more of a crowd's than `crowd_room_bytes`.
    pub fn begin(&mut self, room_bytes: usize, crowd_room_bytes: usize) {
        self.room_bytes = room_bytes;
        self.crowd_room_bytes = crowd_room_bytes.min(room_bytes);
        if self.quiet_turns >= QUIET_TURNS {
            self.give_back(PIECES_GIVEN_BACK);
        }
    }

    /// Whether records of `bytes` still have room; less of it if they are a crowd's.
    pub fn fits(&self, bytes: usize, is_crowding: bool) -> bool {
        let room_bytes = if is_crowding { self.crowd_room_bytes } else { self.room_bytes };
        self.records.len() + bytes <= room_bytes
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Number of events so far.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// How full the batch is, for [`Self::truncate`].
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.records.len(), events: self.events }
    }

    /// Takes back everything since `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.records.truncate(mark.bytes);
        self.events = mark.events;
    }

    /// Appends an event: its payload is copied here, once on its way through the reactor.
    pub fn append(&mut self, record: &Record<'_>) {
        let bytes = record.encoded_bytes();
        let left = self.records.capacity() - self.records.len();
        // Half of a piece has to be used before it is left: whoever holds a batch holds its piece, and small batches behind a large one would hold many times their size.
        let is_used = left < self.piece_bytes / 2;
        let wanted = if self.records.is_empty() && is_used { bytes.max(self.before_bytes) } else { bytes };
        if left < wanted {
            self.begin_piece(wanted);
        }
        record.encode(&mut self.records);
        self.events += 1;
    }

    /// Goes on in another piece, which takes over the records so far and has room for `bytes` more.
    fn begin_piece(&mut self, bytes: usize) {
        let length = self.records.len();
        // Twice what there is, so that a batch that goes on growing is not copied again and again; and of few sizes, so that pieces fit the batches to come.
        let usual =
            (BATCHES_A_PIECE * self.before_bytes).next_power_of_two().clamp(PIECE_BYTES, PIECE_BYTES_MAX);
        let wanted = (length + bytes).max(2 * length).next_multiple_of(PIECE_BYTES).max(usual);
        let mut piece = self.take_free(wanted).unwrap_or_else(|| BytesMut::with_capacity(wanted));
        // After a burst there are more than it takes: they go one by one.
        if self.full.len() >= PIECES_KEPT {
            self.give_back(1);
        }
        let left_bytes = std::mem::replace(&mut self.piece_bytes, piece.capacity());
        piece.extend_from_slice(&self.records);
        let mut memory = std::mem::replace(&mut self.records, piece);
        if left_bytes > 0 {
            memory.clear();
            self.full.push_back(Piece { memory, bytes: left_bytes });
        }
    }

    /// Gives up to `pieces` back that nobody needs.
    fn give_back(&mut self, pieces: usize) {
        for _ in 0..pieces {
            if self.take_free(0).is_none() {
                return;
            }
        }
    }

    /// The oldest piece of `bytes` or more that nobody holds any more. Not always the oldest of all: what waits in the queue for a broker that is
    /// away is held for hours, while what went to the journal alone is free at once. There are never many that are held: the queue is bounded.
    fn take_free(&mut self, bytes: usize) -> Option<BytesMut> {
        let free = self.full.iter_mut().position(|piece| piece.bytes >= bytes && piece.is_free())?;
        self.full.remove(free).map(|piece| piece.memory)
    }

    /// Ends the batch: its events and their number.
    pub fn take(&mut self) -> (u32, Bytes) {
        if self.events == 0 {
            self.quiet_turns = self.quiet_turns.saturating_add(1);
            return (0, Bytes::new());
        }
        self.quiet_turns = 0;
        // Forgotten by and by.
        let remembered = (self.before_bytes - self.before_bytes / 64).min(REMEMBERED_BYTES_MAX);
        self.before_bytes = self.records.len().max(remembered);
        (std::mem::take(&mut self.events), self.records.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, Records};
    use uuid::Uuid;

    fn record(payload: &[u8]) -> Record<'_> {
        Record {
            kind: EventKind::Event,
            lenient: false,
            received_us: 1,
            app: Uuid::nil(),
            id: Uuid::nil(),
            traceparent: None,
            payload,
        }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut batch = TurnBatch::default();
        batch.begin(1000, 1000);
        batch.append(&record(b"{\"a\":1}"));
        let mark = batch.mark();
        batch.append(&record(b"broken"));
        batch.truncate(mark);
        batch.append(&Record { lenient: true, ..record(b"{}") });
        let (events, bytes) = batch.take();
        let read: Vec<_> = Records::new(&bytes).map(|r| r.expect("own records")).collect();
        assert_eq!((events, read.len()), (2, 2));
        assert_eq!((read[0].payload, read[0].lenient), (&b"{\"a\":1}"[..], false));
        assert_eq!((read[1].payload, read[1].lenient), (&b"{}"[..], true));
        assert_eq!(batch.events(), 0);
    }

    #[test]
    fn room_is_what_the_turn_began_with_less_what_was_taken() {
        let mut batch = TurnBatch::default();
        batch.begin(100, 40);
        let bytes = record(b"{}").encoded_bytes();
        assert!(batch.fits(100, false) && !batch.fits(101, false));
        assert!(batch.fits(40, true) && !batch.fits(41, true));
        batch.append(&record(b"{}"));
        assert!(batch.fits(100 - bytes, false) && !batch.fits(101 - bytes, false));
    }

    #[test]
    fn a_piece_of_memory_serves_many_turns() {
        let mut batch = TurnBatch::default();
        let mut taken = Vec::new();
        for _ in 0..100 {
            batch.begin(usize::MAX, usize::MAX);
            batch.append(&record(b"{}"));
            taken.push(batch.take().1);
        }
        let pieces: std::collections::HashSet<_> = taken
            .windows(2)
            .filter(|pair| pair[0].as_ptr_range().end != pair[1].as_ptr())
            .map(|p| p[1].as_ptr())
            .collect();
        assert!(pieces.is_empty(), "one hundred small turns fit one piece");
    }

    #[test]
    fn full_pieces_serve_again_and_a_burst_leaves_few_behind() {
        let mut batch = TurnBatch::default();
        let payload = vec![b' '; PIECE_BYTES_MAX / 3];
        let mut turn = || {
            batch.begin(usize::MAX, usize::MAX);
            batch.append(&record(&payload));
            (batch.take().1, batch.full.len())
        };
        let burst: Vec<_> = (0..30).map(|_| turn().0).collect();
        assert_eq!(turn().1, 15, "two batches each, and all are held");
        assert!(burst.iter().all(|records| records.len() > payload.len()));
        drop(burst);
        let kept: Vec<usize> = (0..60).map(|_| turn().1).collect();
        assert!(kept.is_sorted_by(|before, after| before >= after), "{kept:?}");
        assert_eq!(kept.last(), Some(&PIECES_KEPT));
        let burst: Vec<_> = (0..30).map(|_| turn().0).collect();
        drop(burst);
        assert!(batch.full.len() > 10);
        for _ in 0..=QUIET_TURNS {
            batch.begin(usize::MAX, usize::MAX);
            assert_eq!(batch.take().0, 0);
        }
        assert!(batch.full.is_empty(), "turns without events give all back");
    }

    #[test]
    fn a_piece_that_is_held_keeps_no_other_from_serving_again() {
        let mut batch = TurnBatch::default();
        let payload = vec![b' '; PIECE_BYTES / 3];
        let mut turn = || {
            batch.begin(usize::MAX, usize::MAX);
            batch.append(&record(&payload));
            (batch.take().1, batch.full.len())
        };
        let held = turn().0;
        let most = (0..100).map(|_| turn().1).max();
        assert!(most <= Some(PIECES_KEPT), "{most:?} pieces for one that is held");
        assert!(held.len() > payload.len());
    }

    /// What batches of these many records of 64 KiB hold while all of them wait, in percent of what they are.
    fn held_percent(batches: impl Iterator<Item = usize>) -> usize {
        let mut batch = TurnBatch::default();
        let payload = vec![b' '; (64 << 10) - record(b"").encoded_bytes()];
        let held: Vec<_> = batches
            .map(|records| {
                batch.begin(usize::MAX, usize::MAX);
                (0..records).for_each(|_| batch.append(&record(&payload)));
                batch.take().1
            })
            .collect();
        let memory = batch.piece_bytes + batch.full.iter().map(|piece| piece.bytes).sum::<usize>();
        100 * memory / held.iter().map(Bytes::len).sum::<usize>()
    }

    #[test]
    fn what_waits_holds_little_more_memory_than_it_is() {
        let small_among_large = held_percent((0..400).map(|turn| if turn % 8 == 0 { 15 } else { 1 }));
        // A disk that is slow now and then: batches outgrow what the ones before took.
        let of_all_sizes = held_percent((0..100).map(|turn| 1 + turn * 29 % 90));
        let all_large = held_percent((0..16).map(|_| 90));
        for percent in [small_among_large, of_all_sizes, all_large] {
            assert!(percent < 160, "{small_among_large}, {of_all_sizes}, {all_large}");
        }
    }

    #[test]
    fn small_turns_after_a_large_one_do_not_take_as_much_memory_each() {
        let mut batch = TurnBatch::default();
        let mut turn = |payload: &[u8]| {
            batch.begin(usize::MAX, usize::MAX);
            batch.append(&record(payload));
            (batch.take().1, batch.full.len())
        };
        let large = turn(&vec![b' '; 64 * PIECE_BYTES]);
        let small = vec![b' '; 2 * PIECE_BYTES];
        let held: Vec<_> = (0..25).map(|_| turn(&small)).collect();
        let pieces = held.iter().map(|(_, pieces)| *pieces).max();
        assert!(pieces <= Some(1), "{pieces:?} besides the one that serves them all");
        assert!(large.0.len() > 64 * PIECE_BYTES);
    }

    #[test]
    fn a_turn_that_outgrows_its_piece_takes_its_records_along() {
        let mut batch = TurnBatch::default();
        batch.begin(usize::MAX, usize::MAX);
        let (small, large) = (vec![b'1'; PIECE_BYTES / 2], vec![b'2'; 2 * PIECE_BYTES]);
        for payload in [&small, &small, &large] {
            batch.append(&record(payload));
        }
        let (events, bytes) = batch.take();
        let read: Vec<_> = Records::new(&bytes).map(|r| r.expect("own records").payload.to_vec()).collect();
        assert_eq!((events, read), (3, vec![small.clone(), small, large]));
    }
}
