//! Wrong keys and secrets, by the address that they come from: past a rate, an address is told to wait.
//!
//! Right ones pass all the same: many clients may share an address, and one of them may be set up wrongly.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::rate::{Exhausted, Limit};

/// Wrong ones of an address that are answered as such, a second and at once.
const WRONG_PER_SECOND: u32 = 5;
const WRONG_BURST: u32 = 100;
/// Addresses that are remembered; beyond, those with few wrong ones are forgotten first.
const ADDRESSES_MAX: usize = 1 << 16;

/// What was wrong lately. Locked for each wrong one, never for a right one.
#[derive(Debug, Default)]
pub struct Strangers {
    limits: Mutex<HashMap<IpAddr, Limit>>,
    /// Addresses that were told to wait, since somebody asked.
    news: Mutex<HashSet<IpAddr>>,
}

impl Strangers {
    /// Something wrong came from `address`; an error if it has to wait.
    pub fn note(&self, address: Option<IpAddr>, now: Duration) -> Result<(), Exhausted> {
        let Some(source) = address.map(source) else { return Ok(()) };
        let mut limits = self.limits.lock();
        if limits.len() >= ADDRESSES_MAX && !limits.contains_key(&source) {
            limits.retain(|_, limit| limit.look(WRONG_BURST / 2, now).is_err());
            if limits.len() >= ADDRESSES_MAX {
                limits.clear();
            }
        }
        let limit =
            limits.entry(source).or_insert_with(|| Limit::new(Arc::default(), WRONG_PER_SECOND, WRONG_BURST));
        limit.take(1, now).inspect_err(|_| {
            let mut news = self.news.lock();
            if news.len() < ADDRESSES_MAX {
                news.insert(source);
            }
        })
    }

    /// The addresses that were told to wait since the last call.
    pub fn take_news(&self) -> HashSet<IpAddr> {
        std::mem::take(&mut self.news.lock())
    }
}

/// What counts as one: an IPv4 address, or the 64 bits of an IPv6 address that name its network, for a host can take any of the others.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_is_news_once() {
        let strangers = Strangers::default();
        let now = Duration::from_secs(9);
        let wrong = |address: &str, now| strangers.note(Some(address.parse().expect("an address")), now);
        let passed = (0..150).filter(|_| wrong("192.0.2.1", now).is_ok()).count();
        assert_eq!(passed, WRONG_BURST as usize);
        assert!(wrong("192.0.2.2", now).is_ok());
        assert_eq!(strangers.take_news(), HashSet::from(["192.0.2.1".parse().expect("an address")]));
        assert!(strangers.take_news().is_empty());
        assert!(wrong("::ffff:192.0.2.1", now).is_err(), "the same, however it is written");
        assert!(wrong("192.0.2.1", now + Duration::from_secs(1)).is_ok());
        assert!(strangers.note(None, now).is_ok());
    }

    #[test]
    fn more_addresses_than_are_remembered_do_not_take_more_memory() {
        let strangers = Strangers::default();
        let now = Duration::from_secs(9);
        for address in 0..=ADDRESSES_MAX {
            let address = IpAddr::from(u32::try_from(address).expect("few").to_be_bytes());
            strangers.note(Some(address), now).expect("the first of each");
        }
        assert!(strangers.limits.lock().len() <= ADDRESSES_MAX);
    }
}
