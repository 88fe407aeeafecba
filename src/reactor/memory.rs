//! What clients make a node hold: bodies that are not complete, what waits to be read or sent, and TLS. All reactors share one cap.
//!
//! A reactor counts what is its own in a plain number, tells it once a turn, and adds what the others have told: no request writes what another core
//! reads. So the cap may be passed by what all of them receive in one turn.

use std::sync::Arc;

use crate::telemetry::CoreMetrics;

/// The cap, and where each core tells what it holds.
#[derive(Clone, Debug)]
pub struct MemoryCap {
    /// Bytes of all cores together.
    pub bytes_max: usize,
    /// The cores.
    pub cores: Arc<[Arc<CoreMetrics>]>,
}

/// One reactor's part.
#[derive(Debug)]
pub(super) struct Memory {
    cap: MemoryCap,
    own: Arc<CoreMetrics>,
    used: usize,
    /// What the others had at the beginning of the turn.
    others: usize,
}

impl Memory {
    pub(super) fn new(cap: MemoryCap, own: Arc<CoreMetrics>) -> Self {
        Self { cap, own, used: 0, others: 0 }
    }

    /// A turn begins: tells what is held here, and takes what the others have told.
    pub(super) fn begin_turn(&mut self) {
        self.own.held_bytes.set(self.used as u64);
        let all: u64 = self.cap.cores.iter().map(|core| core.held_bytes.value()).sum();
        self.others = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(self.used);
    }

    /// Whether so many bytes more may be held.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.used.saturating_add(self.others).saturating_add(bytes) <= self.cap.bytes_max
    }

    /// What held `before` bytes holds `after` now.
    pub(super) fn change(&mut self, before: usize, after: usize) {
        self.used = self.used + after - before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_share_the_cap() {
        let cores: Arc<[Arc<CoreMetrics>]> = (0..2).map(|_| Arc::default()).collect();
        let cap = MemoryCap { bytes_max: 100, cores: cores.clone() };
        let [mut one, mut other] = [0, 1].map(|core| Memory::new(cap.clone(), cores[core].clone()));
        one.change(0, 60);
        assert!(one.has_room(40) && !one.has_room(41));
        one.begin_turn();
        other.begin_turn();
        assert!(other.has_room(40) && !other.has_room(41));
        one.change(60, 0);
        one.begin_turn();
        assert!(one.has_room(100));
        assert!(!other.has_room(41), "the others are looked at once a turn");
        other.begin_turn();
        assert!(other.has_room(100));
    }
}
