//! Which apps have numbers of their own on the page of metrics.
//!
//! A counter may not fall. If apps changed places by their size, `other` would fall whenever one left it; so who is on the list stays there for the
//! node's life, and who finds it full stays in `other`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use uuid::Uuid;

use super::AppBalance;

/// Apps with numbers of their own.
const LISTED_APPS_MAX: usize = 50;

/// The list.
#[derive(Debug, Default)]
pub struct ListedApps(Mutex<BTreeSet<Uuid>>);

impl ListedApps {
    /// The list, after those of `apps` have come to it that are new and find a place, the largest first.
    pub fn admit(&self, apps: &BTreeMap<Uuid, AppBalance>) -> BTreeSet<Uuid> {
        let mut listed = self.0.lock();
        let room = LISTED_APPS_MAX - listed.len();
        if room > 0 {
            let mut new: Vec<_> = apps.iter().filter(|(id, _)| !listed.contains(id)).collect();
            new.sort_by_key(|(_, app)| Reverse(app.accepted + app.rejected));
            listed.extend(new.into_iter().take(room).map(|(id, _)| *id));
        }
        listed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(sizes: impl IntoIterator<Item = (u128, u64)>) -> BTreeMap<Uuid, AppBalance> {
        let app = |(id, accepted)| (Uuid::from_u128(id), AppBalance { accepted, ..AppBalance::default() });
        sizes.into_iter().map(app).collect()
    }

    fn ids(ids: impl IntoIterator<Item = u128>) -> BTreeSet<Uuid> {
        ids.into_iter().map(Uuid::from_u128).collect()
    }

    #[test]
    fn the_largest_come_first_and_all_stay() {
        let list = ListedApps::default();
        assert_eq!(list.admit(&apps([(1, 5)])), ids([1]));
        // The rest of the places goes to the largest of those that are new: 11 to 59.
        assert_eq!(list.admit(&apps((1..60).map(|id| (id, 5 + u64::try_from(id).expect("small"))))), {
            ids(std::iter::once(1).chain(11..60))
        });
        assert_eq!(list.admit(&apps([(100, 1_000_000)])), ids(std::iter::once(1).chain(11..60)));
    }
}
