//! The queue itself: a bounded crossbeam channel and a count of bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{Bell, Doorbell};
use crate::journal::{CoreLog, Offset};

/// Parked events that a reactor has not been told of.
const PARKED_MAX: usize = 1024;

/// All events that one reactor accepted in one turn.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Offset of the first event.
    pub first: Offset,
    /// Number of events, at least 1.
    pub events: u32,
    /// The records, back to back, as `event::record` frames them.
    pub records: Bytes,
}

impl Batch {
    /// Offset behind the last event.
    pub fn end(&self) -> Offset {
        self.first.plus(u64::from(self.events))
    }
}

/// The bounds of one core's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Records not yet settled, in bytes.
    pub bytes_max: usize,
    /// The same, for records that are in the journal too: there is no need to keep many of them in memory.
    pub told_bytes_max: usize,
    /// Batches in the channel.
    pub batches_max: usize,
}

#[derive(Debug)]
struct Shared {
    log: Arc<CoreLog>,
    bytes: AtomicUsize,
    /// The reactor wants a ring when `settled` moves.
    awaits_settled: AtomicBool,
    /// The reactor is gone.
    is_closed: AtomicBool,
}

/// The reactor's end.
#[derive(Debug)]
pub struct Inlet {
    limits: QueueLimits,
    batches: Sender<Batch>,
    parked: Receiver<Offset>,
    /// Parked events that a waiter may ask about, oldest first.
    parked_known: VecDeque<Offset>,
    bell: Bell,
    shared: Arc<Shared>,
}

/// The forwarder's end.
#[derive(Debug)]
pub struct Outlet {
    batches: Receiver<Batch>,
    parked: Sender<Offset>,
    doorbell: Doorbell,
    shared: Arc<Shared>,
}

/// Makes the queue of one core. The forwarder is woken through `bell`, the reactor through `doorbell`.
pub fn queue(limits: QueueLimits, log: Arc<CoreLog>, bell: Bell, doorbell: Doorbell) -> (Inlet, Outlet) {
    let (sender, receiver) = bounded(limits.batches_max);
    let (park, parked) = bounded(PARKED_MAX);
    let shared = Arc::new(Shared {
        log,
        bytes: AtomicUsize::new(0),
        awaits_settled: AtomicBool::new(false),
        is_closed: AtomicBool::new(false),
    });
    let parked_known = VecDeque::new();
    let inlet = Inlet { limits, batches: sender, parked, parked_known, bell, shared: shared.clone() };
    (inlet, Outlet { batches: receiver, parked: park, doorbell, shared })
}

impl Inlet {
    /// The watermarks.
    pub fn log(&self) -> &CoreLog {
        &self.shared.log
    }

    /// Bytes of records handed over and not yet settled.
    pub fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Batches in the channel.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// How many bytes of records the next push may hold. Only this side adds, so the room cannot shrink until then.
    pub fn room(&self) -> usize {
        if self.batches.is_full() { 0 } else { self.limits.bytes_max.saturating_sub(self.bytes()) }
    }

    /// Hands over one turn's events, of which there is no other copy; `false` if the queue is full (or the forwarder gone), and then nothing
    /// was handed over.
    #[must_use]
    pub fn push(&mut self, events: u32, records: Bytes) -> bool {
        assert!(events > 0, "an empty turn pushes nothing");
        let before = self.shared.log.appended();
        let batch = Batch { first: before, events, records };
        // Before the send: the forwarder may take the batch at once, and `read` must not pass `appended`.
        self.shared.log.set_appended(batch.end());
        let is_sent = self.send(batch, self.limits.bytes_max);
        if is_sent {
            self.shared.log.set_unkept(self.shared.log.appended());
        } else {
            self.shared.log.take_back_appended(before);
        }
        is_sent
    }

    /// Whether the forwarder has yet to read what the queue had no room for. What comes meanwhile had better be read back, too: a batch that
    /// found a little room now and then would hold the memory that it shares with others that found none.
    pub fn is_behind(&self) -> bool {
        self.shared.log.read() < self.shared.log.untold()
    }

    /// Tells of one turn's events that are in the journal, and appended to the log: along with a copy, if the queue has room for it and the
    /// forwarder is not behind.
    pub fn tell(&mut self, batch: Batch) {
        let end = batch.end();
        if self.is_behind() || !self.send(batch, self.limits.told_bytes_max) {
            self.shared.log.set_untold(end);
            self.bell.ring();
        }
    }

    fn send(&mut self, batch: Batch, bytes_max: usize) -> bool {
        let length = batch.records.len();
        if self.bytes() + length > bytes_max {
            return false;
        }
        self.shared.bytes.fetch_add(length, Ordering::Relaxed);
        match self.batches.try_send(batch) {
            Ok(()) => self.bell.ring(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.bytes.fetch_sub(length, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// Asks for a ring of the doorbell when `settled` moves.
    pub fn await_settled(&self, wanted: bool) {
        self.shared.awaits_settled.store(wanted, Ordering::SeqCst);
        // Pairs with the fence in `Outlet::settle`: either it sees the wish, or we see the mark that it moved.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// How far the log is settled. If someone `is_waiting` for a confirm, the doorbell rings when that moves, and [`Self::is_parked`] knows of
    /// every parked event below.
    pub fn look(&mut self, is_waiting: bool) -> Offset {
        // The wish first, the look afterwards: what settles in between rings the doorbell.
        self.await_settled(is_waiting);
        let settled = self.shared.log.settled();
        // Behind the look: the forwarder tells of a parked event before it settles it.
        self.parked_known.extend(self.parked.try_iter());
        if !is_waiting {
            self.parked_known.clear();
        }
        settled
    }

    /// Instead of [`Self::look`], while nobody waits for anything: makes room for what the forwarder has to tell.
    pub fn forget_parked(&mut self) {
        self.parked.try_iter().for_each(drop);
        self.parked_known.clear();
    }

    /// Whether one of the `events` that end at `end` was parked: its waiter must not be told that it was confirmed. Ask in the order of offsets.
    pub fn is_parked(&mut self, end: Offset, events: u32) -> bool {
        let mut is_parked = false;
        while let Some(offset) = self.parked_known.pop_front_if(|offset| *offset < end) {
            is_parked |= end.since(offset) <= u64::from(events);
        }
        is_parked
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl Outlet {
    /// The watermarks.
    pub fn log(&self) -> &CoreLog {
        &self.shared.log
    }

    /// Takes the oldest batch. There may be others between it and the one before, which are in the journal alone.
    pub fn pop(&mut self) -> Option<Batch> {
        self.batches.try_recv().ok()
    }

    /// Gives back the bytes of a batch that was read out of the journal before it came.
    pub fn skip(&self, batch: &Batch) {
        self.shared.bytes.fetch_sub(batch.records.len(), Ordering::Relaxed);
    }

    /// Whether a batch waits.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether the reactor is gone: what is in the queue is the last.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Whether somebody waits for a confirm.
    pub fn is_awaited(&self) -> bool {
        self.shared.awaits_settled.load(Ordering::Relaxed)
    }

    /// Tells the reactor that the event at `offset` was parked; `false` if it has not read earlier tellings yet, and then try again
    /// later. [`Self::settle`] may pass the event only afterwards. Events are parked in the order of their offsets.
    #[must_use]
    pub fn park(&self, offset: Offset) -> bool {
        // A reactor that is gone has no waiters.
        let is_told = !matches!(self.parked.try_send(offset), Err(TrySendError::Full(_)));
        if !is_told {
            self.doorbell.ring();
        }
        is_told
    }

    /// Everything below `end` is confirmed, or parked: `events` more, `parked` of them not confirmed. `bytes` of records that came through the
    /// queue are given back.
    pub fn settle(&self, end: Offset, events: u64, parked: u64, bytes: usize) {
        self.shared.log.set_settled(end, events, parked);
        let before = self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "more bytes given back than were handed over");
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.shared.awaits_settled.load(Ordering::SeqCst) {
            self.doorbell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(bytes_max: usize, batches_max: usize) -> (Inlet, Outlet) {
        let doorbell = Doorbell::new().expect("an eventfd");
        let limits = QueueLimits { bytes_max, told_bytes_max: bytes_max / 2, batches_max };
        queue(limits, Arc::default(), Bell::default(), doorbell)
    }

    #[test]
    fn the_bound_in_batches_refuses_and_keeps_the_offsets_gapless() {
        let (mut inlet, mut outlet) = pair(1000, 2);
        assert!(inlet.push(3, Bytes::from_static(b"abc")));
        assert!(inlet.push(1, Bytes::from_static(b"d")));
        assert!(!inlet.push(1, Bytes::from_static(b"e")), "the third batch does not fit");
        assert_eq!((inlet.log().appended(), inlet.log().unkept()), (Offset(4), 4));
        assert_eq!(outlet.pop().map(|batch| (batch.first, batch.events)), Some((Offset(0), 3)));
        assert!(inlet.push(1, Bytes::from_static(b"e")));
        assert_eq!(outlet.pop().map(|batch| batch.first), Some(Offset(3)));
        assert_eq!(outlet.pop().map(|batch| batch.first), Some(Offset(4)));
        assert!(outlet.pop().is_none());
    }

    #[test]
    fn bytes_are_held_until_they_are_settled() {
        let (mut inlet, mut outlet) = pair(10, 8);
        assert!(inlet.push(1, Bytes::from_static(b"12345678")));
        let batch = outlet.pop().expect("one batch");
        assert!(!inlet.push(1, Bytes::from_static(b"123")), "taken out is not yet settled");
        outlet.log().set_read(batch.end());
        outlet.log().set_published(batch.end());
        outlet.settle(batch.end(), 1, 0, batch.records.len());
        assert!(inlet.push(1, Bytes::from_static(b"123")));
        inlet.log().check_invariants();
    }

    #[test]
    fn what_is_in_the_journal_is_told_by_its_offset_when_there_is_no_room_for_a_copy() {
        let (mut inlet, mut outlet) = pair(20, 8);
        let tell = |inlet: &mut Inlet, text: &'static [u8]| {
            let batch = Batch { first: inlet.log().appended(), events: 1, records: Bytes::from_static(text) };
            inlet.log().set_appended(batch.end());
            inlet.tell(batch);
        };
        tell(&mut inlet, b"12345678");
        assert!(!inlet.is_behind());
        tell(&mut inlet, b"123");
        assert_eq!((inlet.log().untold(), inlet.log().unkept()), (Offset(2), 0));
        assert!(inlet.is_behind());
        tell(&mut inlet, b"12");
        assert_eq!(
            inlet.log().untold(),
            Offset(3),
            "there would be room, but the forwarder has to read first"
        );
        assert_eq!(outlet.pop().map(|batch| batch.first), Some(Offset(0)));
        outlet.log().set_read(Offset(3));
        tell(&mut inlet, b"12");
        let late = outlet.pop().expect("told again");
        assert_eq!(late.first, Offset(3), "between them, there is the journal");
        outlet.skip(&late);
        assert_eq!(inlet.bytes(), 8);
    }

    #[test]
    fn a_parked_event_is_known_to_its_own_waiter_alone() {
        let (mut inlet, outlet) = pair(1000, 8);
        assert!([3, 4, 9].into_iter().all(|offset| outlet.park(Offset(offset))));
        inlet.look(true);
        assert!(!inlet.is_parked(Offset(3), 3), "0 to 2");
        assert!(inlet.is_parked(Offset(5), 2), "3 and 4");
        assert!(!inlet.is_parked(Offset(9), 4), "5 to 8");
        assert!(inlet.is_parked(Offset(10), 1), "9");
        assert!(outlet.park(Offset(11)));
        inlet.look(false);
        assert!(!inlet.is_parked(Offset(12), 1), "nobody was waiting");
        assert!((0..2000).map(|n| outlet.park(Offset(n))).any(|told| !told), "the telling is bounded");
    }

    #[test]
    fn a_settled_event_that_was_parked_is_known_whatever_the_threads_do() {
        const EVENTS: u64 = 20_000;
        let (inlet, mut outlet) = pair(1 << 20, 64);
        let forward = move || {
            let mut settled = 0;
            // An assertion that fails on the other side drops its end.
            while settled < EVENTS && !outlet.is_closed() {
                let Some(batch) = outlet.pop() else {
                    std::thread::yield_now();
                    continue;
                };
                let is_odd = batch.first.0 % 2 == 1;
                while is_odd && !outlet.park(batch.first) {
                    std::thread::yield_now();
                }
                outlet.log().set_read(batch.end());
                outlet.log().set_published(batch.end());
                outlet.settle(batch.end(), 1, is_odd.into(), batch.records.len());
                settled = batch.end().0;
            }
        };
        std::thread::scope(move |scope| {
            scope.spawn(forward);
            let mut inlet = inlet;
            let mut seen = 0;
            while seen < EVENTS {
                let _ = inlet.log().appended().0 < EVENTS && inlet.push(1, Bytes::from_static(b"x"));
                let settled = inlet.look(true);
                for offset in seen..settled.0 {
                    assert_eq!(inlet.is_parked(Offset(offset + 1), 1), offset % 2 == 1, "event {offset}");
                }
                seen = settled.0;
            }
        });
    }

    #[test]
    fn a_forwarder_that_is_gone_refuses_instead_of_losing() {
        let (mut inlet, outlet) = pair(10, 8);
        drop(outlet);
        assert!(!inlet.push(1, Bytes::from_static(b"x")));
        assert_eq!(inlet.log().pending(), 0);
    }
}
