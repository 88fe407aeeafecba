//! How many connections each address has, over all reactors of a node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::source;

/// Connections of an address beyond its cap that are told so; past these they are closed without a word.
const REFUSED_AT_ONCE_MAX: usize = 16;

/// The seats that are taken. Locked when a connection comes or goes, and only if there is a cap.
#[derive(Debug)]
pub struct Sources {
    connections_max: Option<usize>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The seat of one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    sources: Arc<Sources>,
    source: IpAddr,
}

/// What becomes of a connection.
#[derive(Debug)]
pub(super) enum Entered {
    /// It is served.
    Welcome(Option<Seat>),
    /// It is told that its address has as many connections as one may have.
    Refused(Seat),
    /// Too many are being told so.
    TurnedAway,
}

impl Sources {
    /// Seats without end, or `connections_max` for each address.
    pub fn new(connections_max: Option<usize>) -> Self {
        Self { connections_max, taken: Mutex::default() }
    }

    /// A connection comes from `address`, if it has one.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Entered {
        let Some(connections_max) = self.connections_max else { return Entered::Welcome(None) };
        let Some(source) = address.map(source) else { return Entered::Welcome(None) };
        let mut taken = self.taken.lock();
        let count = taken.entry(source).or_default();
        if *count >= connections_max + REFUSED_AT_ONCE_MAX {
            return Entered::TurnedAway;
        }
        *count += 1;
        let is_welcome = *count <= connections_max;
        drop(taken);
        let seat = Seat { sources: self.clone(), source };
        if is_welcome { Entered::Welcome(Some(seat)) } else { Entered::Refused(seat) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.sources.taken.lock();
        let count = taken.get_mut(&self.source).expect("a seat was counted");
        *count -= 1;
        if *count == 0 {
            taken.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(sources: &Arc<Sources>, address: &str) -> Entered {
        sources.enter(Some(address.parse().expect("an address")))
    }

    #[test]
    fn each_address_has_its_seats_and_gets_them_back() {
        let sources = Arc::new(Sources::new(Some(2)));
        let first = enter(&sources, "192.0.2.1");
        let second = enter(&sources, "::ffff:192.0.2.1");
        assert!(matches!((&first, &second), (Entered::Welcome(Some(_)), Entered::Welcome(Some(_)))));
        let refused: Vec<Entered> = (0..REFUSED_AT_ONCE_MAX).map(|_| enter(&sources, "192.0.2.1")).collect();
        assert!(refused.iter().all(|entered| matches!(entered, Entered::Refused(_))));
        assert!(matches!(enter(&sources, "192.0.2.1"), Entered::TurnedAway));
        assert!(matches!(enter(&sources, "192.0.2.2"), Entered::Welcome(Some(_))));
        drop((refused, first));
        assert!(matches!(enter(&sources, "192.0.2.1"), Entered::Welcome(Some(_))));
        drop(second);
        assert!(sources.taken.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let sources = Arc::new(Sources::new(Some(1)));
        let _first = enter(&sources, "2001:db8:1:2::1");
        assert!(matches!(enter(&sources, "2001:db8:1:2:ffff::2"), Entered::Refused(_)));
        assert!(matches!(enter(&sources, "2001:db8:1:3::1"), Entered::Welcome(Some(_))));
    }

    #[test]
    fn without_a_cap_nobody_is_counted() {
        let sources = Arc::new(Sources::new(None));
        assert!(matches!(enter(&sources, "192.0.2.1"), Entered::Welcome(None)));
    }
}
