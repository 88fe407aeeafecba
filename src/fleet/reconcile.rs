//! The files of a node beside what the fleet says: what is taken from the fleet, and what the fleet is to be told.
//!
//! A file is changed by its operator (`forebay app`) while the fleet goes on. What the node saw last of the fleet, the *base*, tells who has moved:
//!
//! | the file has | the fleet has | then |
//! |---|---|---|
//! | the same | the same | nothing |
//! | its base | a higher version | the file gets the fleet's |
//! | a higher version than its base | still the base | the fleet is told |
//! | a higher version than its base | another one, too | the fleet was faster: the file gets the fleet's, and the change is lost |
//! | its base or more | less than the base | somebody has put an old stream in place of the fleet's: the fleet is told |
//! | something, but no base: the node is new | less than that, or nothing | the fleet is told |
//! | something, but no base: the node is new | as much or more | the file gets the fleet's |
//!
//! So no version ever goes back in a file. No file, no clock, no stream is touched here.

use std::collections::HashMap;

use super::entry::{Change, Keys};
use crate::auth::{App, AppId, KeySet, Registry};

/// What is to be done about one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// Nothing.
    Same,
    /// The file gets what the fleet has; `lost` if somebody's change goes with it.
    Take { lost: bool },
    /// The fleet is told what the file has.
    Tell,
}

fn settle(local: u64, is_same: bool, base: Option<u64>, fleet: u64) -> Settled {
    if is_same {
        Settled::Same
    } else if local <= fleet {
        // Also a file that was edited without raising the version: nobody could tell which of both is newer.
        Settled::Take { lost: base != Some(local) || local == fleet }
    } else if base.is_some_and(|base| base < fleet) {
        Settled::Take { lost: true }
    } else {
        Settled::Tell
    }
}

/// What the files and the fleet come to together.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// How many apps the file gets from the fleet, new ones included.
    pub(super) taken: usize,
    /// What the file gets in place of its keys.
    pub(super) keys: Option<String>,
    /// Apps whose change in the file is lost.
    pub(super) lost: Vec<AppId>,
    /// Whether a change of the keys is lost.
    pub(super) are_keys_lost: bool,
    /// Changes that the fleet is to be told.
    pub(super) pending: Vec<Change>,
}

/// What was last seen of the fleet, and the files come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases {
    apps: HashMap<AppId, u64>,
    keys: Option<Keys>,
}

impl Bases {
    /// All that the fleet has had when the node last followed it.
    pub(super) fn of(registry: &Registry, keys: &Keys) -> Self {
        let apps = registry.apps().iter().map(|app| (app.id, app.version)).collect();
        Self { apps, keys: Some(keys.clone()) }
    }

    /// The fleet has taken a change of ours: what the file has comes from it.
    pub(super) fn advance(&mut self, change: &Change) {
        match change {
            Change::App { app, .. } => {
                self.apps.insert(app.id, app.version);
            }
            Change::Keys { keys, .. } => self.keys = Some(keys.clone()),
        }
    }

    /// Settles every app: changes the registry of the file to what it is to be.
    pub(super) fn reconcile_apps(&mut self, file: &mut Registry, fleet: &Registry, findings: &mut Findings) {
        for app in fleet.apps() {
            let local = file.app(app.id);
            let base = self.apps.get(&app.id).copied();
            let settled = local.map_or(Settled::Take { lost: false }, |local| {
                settle(local.version, local == app, base, app.version)
            });
            match (settled, local) {
                (Settled::Tell, Some(local)) => {
                    let change = Change::App { app: local.clone(), base: Some(app.version) };
                    findings.pending.push(change);
                    continue;
                }
                (Settled::Take { lost }, _) => {
                    if file.replace(app.clone()).is_err() {
                        // An app that only the file has holds its API key: the fleet will not take that one, and its operator is told of it.
                        continue;
                    }
                    findings.taken += 1;
                    findings.lost.extend(lost.then_some(app.id));
                }
                (Settled::Same | Settled::Tell, _) => {}
            }
            self.apps.insert(app.id, app.version);
        }
        let unknown = file.apps().iter().filter(|app| fleet.app(app.id).is_none());
        findings.pending.extend(unknown.map(|app: &App| Change::App { app: app.clone(), base: None }));
    }

    /// Settles the keys. The revision that the file has in it is raised by edits of it alone, and is none of the fleet's; but one that is below the base's says
    /// that an old file was put back, which is no edit: keys that were replaced would be good again, everywhere.
    pub(super) fn reconcile_keys(&mut self, file: &str, fleet: &Keys, findings: &mut Findings) {
        let base = self.keys.as_ref();
        let is_edited = |base: &Keys| base.text != file && edits(file) >= edits(&base.text);
        let local = base.map_or(0, |base| base.revision + u64::from(is_edited(base)));
        match settle(local, file == fleet.text, base.map(|base| base.revision), fleet.revision) {
            Settled::Tell => {
                let keys = Keys { revision: local, text: file.to_owned() };
                findings.pending.push(Change::Keys { keys, base: fleet.revision });
                return;
            }
            Settled::Take { lost } => {
                findings.keys = Some(fleet.text.clone());
                findings.are_keys_lost = lost;
            }
            Settled::Same => {}
        }
        self.keys = Some(fleet.clone());
    }
}

/// How often keys were edited, as far as they say so.
fn edits(text: &str) -> u64 {
    KeySet::parse(text.as_bytes()).map_or(0, |keys| keys.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(apps: &[&App]) -> Registry {
        let mut registry = Registry::default();
        for app in apps {
            registry.insert((*app).clone()).expect("no twins");
        }
        registry
    }

    fn edited(app: &App, version: u64) -> App {
        App { version, name: format!("{version}"), ..app.clone() }
    }

    fn settle_apps(bases: &mut Bases, file: &mut Registry, fleet: &Registry) -> Findings {
        let mut findings = Findings::default();
        bases.reconcile_apps(file, fleet, &mut findings);
        findings
    }

    #[test]
    fn who_has_moved_decides_and_no_version_goes_back() {
        use Settled::{Same, Take, Tell};
        for (local, is_same, base, fleet, expected) in [
            (3, true, Some(3), 3, Same),
            (4, true, Some(3), 4, Same),
            (3, false, Some(3), 5, Take { lost: false }),
            (4, false, Some(3), 3, Tell),
            (4, false, Some(3), 4, Take { lost: true }),
            (6, false, Some(3), 4, Take { lost: true }),
            // An old stream in the place of the fleet's.
            (5, false, Some(5), 2, Tell),
            (6, false, Some(5), 2, Tell),
            // Edited without a new version; or an old file was put back.
            (3, false, Some(3), 3, Take { lost: true }),
            (2, false, Some(3), 3, Take { lost: true }),
            // New to the fleet.
            (4, false, None, 3, Tell),
            (3, false, None, 3, Take { lost: true }),
            (1, false, None, 3, Take { lost: true }),
        ] {
            assert_eq!(settle(local, is_same, base, fleet), expected, "{local} {is_same} {base:?} {fleet}");
        }
    }

    #[test]
    fn a_file_gets_what_is_new_in_the_fleet_and_the_fleet_what_is_new_in_the_file() {
        let (one, two, three) = (App::create("one").0, App::create("two").0, App::create("three").0);
        let fleet = registry(&[&one, &two]);
        let keys = Keys { revision: 1, text: "k".into() };
        let mut bases = Bases::of(&fleet, &keys);
        let mut file = registry(&[&edited(&one, 2), &three]);
        let findings = settle_apps(&mut bases, &mut file, &fleet);
        assert_eq!(
            findings.taken, 1,
            "an app that is gone from the file comes back: apps are disabled, not deleted"
        );
        assert_eq!(file.app(two.id), Some(&two));
        let told = [
            Change::App { app: edited(&one, 2), base: Some(1) },
            Change::App { app: three.clone(), base: None },
        ];
        assert_eq!(findings.pending, told);
        // Another node was faster with the first.
        let fleet = registry(&[&App { name: "other".into(), ..edited(&one, 2) }, &two, &three]);
        let findings = settle_apps(&mut bases, &mut file, &fleet);
        assert_eq!((findings.lost, findings.taken, findings.pending.len()), (vec![one.id], 1, 0));
        assert_eq!(file.app(one.id), fleet.app(one.id));
    }

    #[test]
    fn an_edit_on_top_of_our_own_change_is_told_next() {
        let one = App::create("one").0;
        let mut bases = Bases::of(&registry(&[&one]), &Keys { revision: 1, text: "k".into() });
        let fleet = registry(&[&edited(&one, 2)]);
        bases.advance(&Change::App { app: edited(&one, 2), base: Some(1) });
        let mut file = registry(&[&edited(&one, 3)]);
        let findings = settle_apps(&mut bases, &mut file, &fleet);
        assert_eq!(findings.pending, [Change::App { app: edited(&one, 3), base: Some(2) }]);
    }

    #[test]
    fn keys_of_a_new_node_give_way_and_a_rotation_is_told() {
        let keys = |revision, text: &str| Keys { revision, text: text.into() };
        let settled = |bases: &mut Bases, file: &str, fleet: &Keys| {
            let mut findings = Findings::default();
            bases.reconcile_keys(file, fleet, &mut findings);
            findings
        };
        let mut bases = Bases::default();
        let findings = settled(&mut bases, "mine", &keys(4, "fleet's"));
        assert_eq!((findings.keys.as_deref(), findings.are_keys_lost), (Some("fleet's"), true));
        let findings = settled(&mut bases, "rotated", &keys(4, "fleet's"));
        assert_eq!(findings.pending, [Change::Keys { keys: keys(5, "rotated"), base: 4 }]);
        // Somebody else was faster.
        let findings = settled(&mut bases, "rotated", &keys(5, "other"));
        assert_eq!((findings.keys.as_deref(), findings.are_keys_lost), (Some("other"), true));
        let findings = settled(&mut bases, "other", &keys(6, "next"));
        assert_eq!((findings.keys.as_deref(), findings.are_keys_lost), (Some("next"), false));
        // An old file.
        let revised = |revision| {
            let edited = (0..revision).fold(KeySet::generate(), |keys, _| keys.next());
            String::from_utf8(edited.to_json()).expect("JSON")
        };
        let (old, current) = (revised(2), revised(3));
        let mut followed = Bases { keys: Some(keys(6, &current)), ..Bases::default() };
        let findings = settled(&mut followed, &old, &keys(6, &current));
        assert_eq!((findings.keys, findings.are_keys_lost), (Some(current), true));
        // An old stream.
        let findings = settled(&mut bases, "next", &keys(2, "old"));
        assert_eq!(findings.pending, [Change::Keys { keys: keys(6, "next"), base: 2 }]);
    }
}
