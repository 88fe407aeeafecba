//! What the entries of a stream come to: apps and keys that are the same wherever the same entries were read in the same order.
//!
//! - A **change** counts where its base is the newest version; elsewhere it changes nothing. So of two changes made from one version the first
//!   in the stream counts, on every node, and an entry that is repeated or comes late changes nothing.
//! - A **snapshot** is merged: of each app, and of the keys, the higher version is kept. Whoever has followed has all of it already. Whoever starts with
//!   nothing starts with it, followed by the changes behind the offset that it is of; if some of those are gone it cannot tell, and the
//!   next snapshot is waited for.
//! - A **founding** is merged the same way, and is what a node starts with where no snapshot is. Two versions with one number (of registries that
//!   had never met) are told apart by their text: any rule would do, if all nodes have the same.
//!
//! No clock, no stream, no file: offsets and entries come in, verdicts come out.

use super::entry::{Change, Entry, Keys, Roster, json};
use crate::auth::App;

/// Changes that are kept while a snapshot is waited for. Past it they are forgotten, as if the stream began behind them.
const EARLY_MAX: usize = 100_000;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something has changed.
    Applied,
    /// What it says was known.
    Known,
    /// It was made from a version that was not the newest any more, or would give an app another one's API key.
    Conflict,
    /// It was made from a version that was never seen here: something is missing.
    Gap,
    /// Nothing is known that it could be applied to; it is kept for the snapshot.
    Early,
}

/// The state that the entries read so far have come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    roster: Option<Roster>,
    /// The offset of the first entry, if reading began at the stream's first one.
    first: Option<u64>,
    /// Changes that came before there was a roster, with their offsets.
    early: Vec<(u64, Change)>,
}

impl Replica {
    /// Goes on from where an earlier life came to.
    pub(super) fn resumed(roster: Roster) -> Self {
        Self { roster: Some(roster), ..Self::default() }
    }

    /// What all entries came to; none before the first snapshot.
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// Gives the roster up: the stream is to be read anew, from its first entry on.
    pub(super) fn reset(&mut self) -> Option<Roster> {
        std::mem::take(self).roster
    }

    /// Takes what stands at an offset, of which nothing need be an entry of the fleet's.
    pub(super) fn handle(&mut self, offset: u64, entry: Option<Entry>) -> Option<Verdict> {
        let first = *self.first.get_or_insert(offset);
        let verdict = match (entry?, &mut self.roster) {
            (Entry::Mark, _) => return None,
            (Entry::Change(change), Some(roster)) => apply(roster, change),
            (Entry::Change(change), None) => {
                if self.early.len() == EARLY_MAX {
                    self.early.clear();
                    self.first = Some(offset);
                }
                self.early.push((offset, change));
                Verdict::Early
            }
            (Entry::Snapshot { roster: other, .. } | Entry::Founding(other), Some(roster)) => {
                merge(roster, &other)
            }
            // What lies between its offset and the first entry here is gone: it is not all. One of an offset that is still to come is of
            // another stream of that name.
            (Entry::Snapshot { through, .. }, None) if through >= offset || through + 1 < first => {
                Verdict::Early
            }
            (Entry::Snapshot { roster, through }, None) => self.begin(roster, Some(through)),
            (Entry::Founding(roster), None) => self.begin(roster, None),
        };
        Some(verdict)
    }

    /// Whether there is something that the other roster has not, or has in another version.
    pub(super) fn has_more_than(&self, other: &Roster) -> bool {
        let Some(roster) = &self.roster else { return false };
        roster.keys != other.keys
            || roster.registry.apps().iter().any(|app| other.registry.app(app.id) != Some(app))
    }

    fn begin(&mut self, roster: Roster, through: Option<u64>) -> Verdict {
        let roster = self.roster.insert(roster);
        for (_, change) in
            self.early.drain(..).filter(|(offset, _)| through.is_none_or(|through| *offset > through))
        {
            apply(roster, change);
        }
        Verdict::Applied
    }
}

fn apply(roster: &mut Roster, change: Change) -> Verdict {
    match change {
        Change::App { app, base } => {
            let current = roster.registry.app(app.id);
            let version = current.map(|current| current.version);
            if current == Some(&app) {
                Verdict::Known
            } else if base > version {
                Verdict::Gap
            } else if base < version || Some(app.version) <= base || roster.registry.replace(app).is_err() {
                Verdict::Conflict
            } else {
                Verdict::Applied
            }
        }
        Change::Keys { keys, .. } if keys == roster.keys => Verdict::Known,
        Change::Keys { base, .. } if base > roster.keys.revision => Verdict::Gap,
        Change::Keys { keys, base } if base < roster.keys.revision || keys.revision <= base => {
            drop(keys);
            Verdict::Conflict
        }
        Change::Keys { keys, .. } => {
            roster.keys = keys;
            Verdict::Applied
        }
    }
}

/// Of each thing the greater of both: the order in which rosters are merged does not matter, nor how often.
fn merge(roster: &mut Roster, other: &Roster) -> Verdict {
    let rank = |app: &App| (app.version, json(app));
    let mut has_changed = false;
    for app in other.registry.apps() {
        let is_greater = match roster.registry.app(app.id) {
            Some(current) => current.version <= app.version && rank(app) > rank(current),
            None => true,
        };
        // One whose API key is another app's is left out.
        has_changed |= is_greater && roster.registry.replace(app.clone()).is_ok();
    }
    let rank = |keys: &Keys| (keys.revision, keys.text.clone());
    if rank(&other.keys) > rank(&roster.keys) {
        roster.keys = other.keys.clone();
        has_changed = true;
    }
    if has_changed { Verdict::Applied } else { Verdict::Known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AppId, Registry};
    use proptest::prelude::*;
    use uuid::Uuid;

    /// An app whose text says who has written it.
    fn app(id: u128, version: u64, writer: &str) -> App {
        let key = crate::auth::ApiKey(format!("{id:022}"));
        let mut app = App {
            id: AppId(Uuid::from_u128(id)),
            name: writer.into(),
            version,
            api_key: key,
            ..App::create("").0
        };
        // The same app for the same arguments.
        app.secret_sha256 =
            String::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").try_into().expect("a hash");
        app
    }

    fn keys(revision: u64, writer: &str) -> Keys {
        Keys { revision, text: writer.into() }
    }

    fn roster(apps: &[App], keys: Keys) -> Roster {
        let mut registry = Registry::default();
        for app in apps {
            registry.insert(app.clone()).expect("no twins");
        }
        Roster { registry, keys }
    }

    fn change(id: u128, version: u64, writer: &str, base: Option<u64>) -> Entry {
        Entry::Change(Change::App { app: app(id, version, writer), base })
    }

    /// Everything, in an order of its own.
    fn text(replica: &Replica) -> Vec<String> {
        let roster = replica.roster().expect("a roster");
        let mut lines: Vec<_> = roster.registry.apps().iter().map(|app| format!("{app:?}")).collect();
        lines.sort();
        lines.push(format!("{:?}", roster.keys));
        lines
    }

    fn founded() -> Replica {
        let mut replica = Replica::default();
        let founding = roster(&[app(1, 3, "a")], keys(1, "k"));
        assert_eq!(replica.handle(0, Some(Entry::Founding(founding))), Some(Verdict::Applied));
        replica
    }

    #[test]
    fn of_two_changes_of_one_version_the_first_counts() {
        let mut replica = founded();
        assert_eq!(replica.handle(1, Some(change(1, 4, "b", Some(3)))), Some(Verdict::Applied));
        assert_eq!(replica.handle(2, Some(change(1, 4, "c", Some(3)))), Some(Verdict::Conflict));
        assert_eq!(
            replica.handle(3, Some(change(1, 6, "d", Some(4)))),
            Some(Verdict::Applied),
            "two edits at once"
        );
        assert_eq!(replica.handle(4, Some(change(2, 1, "e", None))), Some(Verdict::Applied));
        assert_eq!(replica.handle(5, Some(change(2, 1, "f", None))), Some(Verdict::Conflict));
        let key_change =
            |revision, base| Some(Entry::Change(Change::Keys { keys: keys(revision, "l"), base }));
        assert_eq!(replica.handle(6, key_change(2, 1)), Some(Verdict::Applied));
        assert_eq!(
            replica.handle(7, Some(Entry::Change(Change::Keys { keys: keys(2, "m"), base: 1 }))),
            Some(Verdict::Conflict)
        );
        assert_eq!(replica.handle(8, key_change(2, 2)), Some(Verdict::Known));
        assert_eq!(replica.roster().expect("founded").keys, keys(2, "l"));
    }

    #[test]
    fn repeats_and_steps_back_change_nothing() {
        let mut replica = founded();
        replica.handle(1, Some(change(1, 4, "b", Some(3))));
        let before = text(&replica);
        assert_eq!(replica.handle(2, Some(change(1, 4, "b", Some(3)))), Some(Verdict::Known));
        assert_eq!(replica.handle(3, Some(change(1, 3, "a", None))), Some(Verdict::Conflict));
        assert_eq!(
            replica.handle(4, Some(change(1, 4, "x", Some(4)))),
            Some(Verdict::Conflict),
            "no version may go back"
        );
        assert_eq!(replica.handle(5, Some(change(1, 9, "x", Some(8)))), Some(Verdict::Gap));
        assert_eq!(replica.handle(6, Some(change(3, 9, "x", Some(8)))), Some(Verdict::Gap));
        let old = roster(&[app(1, 3, "a")], keys(1, "k"));
        assert_eq!(
            replica.handle(7, Some(Entry::Snapshot { roster: old.clone(), through: 0 })),
            Some(Verdict::Known)
        );
        assert!(replica.has_more_than(&old), "whoever began with it is to be told");
        assert_eq!(replica.handle(8, Some(Entry::Founding(old))), Some(Verdict::Known));
        assert_eq!((replica.handle(9, None), replica.handle(10, Some(Entry::Mark))), (None, None));
        assert_eq!(text(&replica), before);
    }

    #[test]
    fn an_api_key_that_is_anothers_is_taken_by_nobody() {
        let mut replica = founded();
        let thief = App { api_key: app(1, 1, "").api_key, ..app(2, 1, "b") };
        let entry = Some(Entry::Change(Change::App { app: thief, base: None }));
        assert_eq!(replica.handle(1, entry), Some(Verdict::Conflict));
    }

    #[test]
    fn a_start_needs_a_snapshot_and_all_that_came_after_what_it_is_of() {
        let snapshot = |through, version| {
            Some(Entry::Snapshot { roster: roster(&[app(1, version, "a")], keys(1, "k")), through })
        };
        // The stream begins at 10. What the snapshot of 8 does not have stood at 9, and is gone.
        let mut replica = Replica::default();
        assert_eq!(replica.handle(10, Some(change(1, 4, "b", Some(3)))), Some(Verdict::Early));
        assert_eq!(replica.handle(11, snapshot(8, 2)), Some(Verdict::Early));
        assert_eq!(replica.handle(11, snapshot(11, 2)), Some(Verdict::Early), "of a stream that was before");
        assert!(replica.roster().is_none());
        // The snapshot of 9 is complete, but was overtaken by what stands at 10.
        assert_eq!(replica.handle(12, snapshot(9, 3)), Some(Verdict::Applied));
        assert_eq!(replica.roster().expect("begun").registry.apps(), [app(1, 4, "b")]);
        let known = replica.reset().expect("a roster");
        assert_eq!((known.registry.apps().len(), replica.roster().is_none()), (1, true));
    }

    /// A fleet of two who write what they like from what they have read, however far that is.
    #[derive(Clone, Debug)]
    enum Step {
        /// Somebody changes an app.
        Edit { writer: usize, app: u128, skip: u64 },
        /// Somebody changes the keys.
        Rotate { writer: usize },
        /// Somebody reads so many entries.
        Read { reader: usize, count: usize },
        /// Somebody writes down all that it has read.
        Snapshot { writer: usize },
        /// Somebody who holds no key writes an old entry again.
        Replay { which: prop::sample::Index },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..2usize, 1..4u128, 1..3u64).prop_map(|(writer, app, skip)| Step::Edit { writer, app, skip }),
            1 => (0..2usize).prop_map(|writer| Step::Rotate { writer }),
            3 => (0..2usize, 1..6usize).prop_map(|(reader, count)| Step::Read { reader, count }),
            1 => (0..2usize).prop_map(|writer| Step::Snapshot { writer }),
            1 => any::<prop::sample::Index>().prop_map(|which| Step::Replay { which }),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn any_interleaving_of_two_writers_comes_to_the_same_on_all_nodes(steps in steps(), cut in any::<prop::sample::Index>()) {
            let mut stream = vec![Entry::Founding(roster(&[app(1, 3, "a")], keys(1, "k")))];
            let mut nodes = [(Replica::default(), 0), (Replica::default(), 0)];
            let read = |(replica, at): &mut (Replica, usize), stream: &[Entry], count: usize| {
                for entry in stream.iter().skip(*at).take(count) {
                    replica.handle(*at as u64, Some(entry.clone()));
                    *at += 1;
                }
            };
            for node in &mut nodes {
                read(node, &stream, 1);
            }
            let mut written = 0;
            for step in steps {
                match step {
                    Step::Edit { writer, app: id, skip } => {
                        let seen = nodes[writer].0.roster().expect("founded").registry.app(AppId(Uuid::from_u128(id)));
                        let base = seen.map(|app| app.version);
                        written += 1;
                        let changed = app(id, base.unwrap_or(0) + skip, &format!("{writer} {written}"));
                        stream.push(Entry::Change(Change::App { app: changed, base }));
                    }
                    Step::Rotate { writer } => {
                        let base = nodes[writer].0.roster().expect("founded").keys.revision;
                        written += 1;
                        let keys = keys(base + 1, &format!("{writer} {written}"));
                        stream.push(Entry::Change(Change::Keys { keys, base }));
                    }
                    Step::Read { reader, count } => read(&mut nodes[reader], &stream, count),
                    Step::Snapshot { writer } => {
                        let (replica, at) = &nodes[writer];
                        let roster = replica.roster().expect("founded").clone();
                        stream.push(Entry::Snapshot { roster, through: *at as u64 - 1 });
                    }
                    Step::Replay { which } => {
                        // Of a founding the rank decides, so that it may be taken where versions are equal; of all else nothing.
                        let old = stream[which.index(stream.len())].clone();
                        stream.push(old);
                    }
                }
            }
            for node in &mut nodes {
                read(node, &stream, usize::MAX);
            }
            prop_assert_eq!(text(&nodes[0].0), text(&nodes[1].0));
            // Versions never go back, and each is reached once: a second reading of it all changes nothing.
            let mut again = nodes[0].0.clone();
            for entry in &stream {
                let verdict = again.handle(stream.len() as u64, Some(entry.clone()));
                prop_assert_ne!(verdict, Some(Verdict::Applied));
                prop_assert_ne!(verdict, Some(Verdict::Gap));
            }
            prop_assert_eq!(text(&again), text(&nodes[0].0));
            // Whoever comes to a stream whose beginning is gone has the same, once there is a snapshot that is complete.
            let first = cut.index(stream.len());
            let mut late = Replica::default();
            for (offset, entry) in stream.iter().enumerate().skip(first) {
                late.handle(offset as u64, Some(entry.clone()));
            }
            let is_replayed = |offset: usize| matches!(&stream[offset], Entry::Founding(_)) && offset > 0;
            if late.roster().is_some() && !(first..stream.len()).any(is_replayed) {
                prop_assert_eq!(text(&late), text(&nodes[0].0));
            }
        }

        #[test]
        fn rosters_merge_to_the_same_in_any_order(versions in prop::collection::vec((1..4u128, 0..4u64, 0..3u8, 0..3u64), 1..12)) {
            let rosters: Vec<_> = versions.iter().map(|(id, version, writer, revision)| {
                roster(&[app(*id, *version, &writer.to_string())], keys(*revision, &writer.to_string()))
            }).collect();
            let merged = |order: &mut dyn Iterator<Item = &Roster>| {
                let mut replica = Replica::default();
                for roster in order {
                    replica.handle(0, Some(Entry::Founding(roster.clone())));
                }
                text(&replica)
            };
            let forth = merged(&mut rosters.iter());
            prop_assert_eq!(&forth, &merged(&mut rosters.iter().rev()));
            prop_assert_eq!(&forth, &merged(&mut rosters.iter().chain(&rosters)));
        }
    }
}
