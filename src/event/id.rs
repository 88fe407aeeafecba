//! Identities of events: UUID version 7 of our own, or what the client named.

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

/// Random bytes fetched at once, so that a system call serves hundreds of ids.
const POOL_BYTES: usize = 4096;

/// Makes UUIDs of version 7 (RFC 9562 section 5.7) that grow strictly on this core, even when the clock steps back.
///
/// Milliseconds, then a 12-bit counter that starts at a random value in each millisecond (section 6.2, method 1), then 62 random bits.
pub struct EventIds {
    random: SystemRandom,
    pool: Box<[u8; POOL_BYTES]>,
    used: usize,
    ms: u64,
    counter: u16,
}

impl std::fmt::Debug for EventIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventIds").field("ms", &self.ms).finish_non_exhaustive()
    }
}

impl Default for EventIds {
    fn default() -> Self {
        Self {
            random: SystemRandom::new(),
            pool: Box::new([0; POOL_BYTES]),
            used: POOL_BYTES,
            ms: 0,
            counter: 0,
        }
    }
}

impl EventIds {
    /// The next id, for an event received at `ms` since the Unix epoch.
    pub fn next(&mut self, ms: u64) -> Uuid {
        if ms > self.ms {
            self.ms = ms;
            // Half of the range, so that the counter has room to grow.
            self.counter = u16::from_be_bytes(self.draw()) & 0x7ff;
        } else if self.counter < 0xfff {
            self.counter += 1;
        } else {
            self.ms += 1;
            self.counter = 0;
        }
        let high = self.ms << 16 | 0x7000 | u64::from(self.counter);
        let low = u64::from_be_bytes(self.draw()) & (u64::MAX >> 2) | 1 << 63;
        Uuid::from_u64_pair(high, low)
    }

    fn draw<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        if self.used + BYTES > POOL_BYTES {
            self.random.fill(&mut self.pool[..]).expect("the system's random numbers never run out");
            self.used = 0;
        }
        let drawn = self.pool[self.used..self.used + BYTES].try_into().expect("as many");
        self.used += BYTES;
        drawn
    }
}

/// The id of item `index` of a batch that the client named `batch`: UUID version 5 with the batch as name space and the index, in decimal, as name.
pub fn item_id(batch: Uuid, index: usize) -> Uuid {
    Uuid::new_v5(&batch, index.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_strictly_even_when_the_clock_stands_or_steps_back() {
        let mut ids = EventIds::default();
        let mut last = Uuid::nil();
        for ms in [1_000, 1_000, 1_001, 900, 5_000].into_iter().flat_map(|ms| std::iter::repeat_n(ms, 10_000))
        {
            let id = ids.next(ms);
            assert!(id > last, "{id} after {last}");
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            last = id;
        }
    }

    #[test]
    fn an_id_carries_its_millisecond() {
        let id = EventIds::default().next(0x0123_4567_89ab);
        assert!(id.to_string().starts_with("01234567-89ab-7"), "{id}");
    }

    #[test]
    fn items_of_a_named_batch_have_stable_ids_of_their_own() {
        let batch = Uuid::from_u128(42);
        assert_eq!(item_id(batch, 3), item_id(batch, 3));
        assert_ne!(item_id(batch, 3), item_id(batch, 4));
        assert_eq!(item_id(batch, 3).get_version_num(), 5);
    }
}
