//! What nodes tell each other, and how it reads.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::seal::{EntryId, Head, Kind, SealError, Sealer};
use crate::auth::{App, KeyRing, Registry};

/// The signing keys, whole, with the count of their changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// Raised by each change.
    pub(super) revision: u64,
    /// The signing key file's text.
    pub(super) text: String,
}

/// All apps and keys.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    pub(super) registry: Registry,
    pub(super) keys: Keys,
}

/// A change of one thing, made from one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Of an app that had version `base`; none: it is new.
    App { app: App, base: Option<u64> },
    /// Of the keys that had revision `base`.
    Keys { keys: Keys, base: u64 },
}

/// One entry of the stream.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A change, which counts where its base is still the newest.
    Change(Change),
    /// All that held `through` an offset; whoever has all entries behind it needs none before.
    Snapshot { roster: Roster, through: u64 },
    /// What a node has that found no snapshot; nobody who follows takes less than it has.
    Founding(Roster),
    /// Nothing but its place.
    Mark,
}

/// Why an entry is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    /// It does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It opens, and what is in it cannot be used: a newer version has written it.
    #[error("its content cannot be used: {0}")]
    Content(String),
}

#[derive(Deserialize)]
struct Read {
    apps: Vec<App>,
    keys: Keys,
}

#[derive(Serialize)]
struct Written<'a> {
    apps: &'a [App],
    keys: &'a Keys,
}

impl Roster {
    /// As JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        json(&Written { apps: self.registry.apps(), keys: &self.keys })
    }

    /// What [`Self::to_json`] has written.
    pub(super) fn parse(text: &[u8]) -> Result<Self, EntryError> {
        let Read { apps, keys } = serde_json::from_slice(text).map_err(content)?;
        KeyRing::parse(keys.text.as_bytes()).map_err(content)?;
        let mut registry = Registry::default();
        for app in apps {
            registry.insert(app).map_err(content)?;
        }
        Ok(Self { registry, keys })
    }
}

impl Entry {
    /// The entry's bytes, and the name that it will be known by.
    pub(super) fn seal(&self, sealer: &Sealer) -> (EntryId, Vec<u8>) {
        let head = |kind, id, version, base| Head { kind, id, version, base };
        let (head, payload) = match self {
            Self::Change(Change::App { app, base }) => {
                (head(Kind::App, app.id.0, app.version, *base), json(app))
            }
            Self::Change(Change::Keys { keys, base }) => {
                (head(Kind::Keys, Uuid::nil(), keys.revision, Some(*base)), json(keys))
            }
            Self::Snapshot { roster, through } => {
                (head(Kind::Snapshot, Uuid::nil(), 0, Some(*through)), roster.to_json())
            }
            Self::Founding(roster) => (head(Kind::Founding, Uuid::nil(), 0, None), roster.to_json()),
            Self::Mark => (head(Kind::Mark, Uuid::nil(), 0, None), Vec::new()),
        };
        sealer.seal(&head, payload)
    }

    /// Opens and reads an entry.
    pub(super) fn open(sealed: &[u8], sealer: &Sealer) -> Result<(Self, EntryId), EntryError> {
        let (head, id, payload) = sealer.open(sealed)?;
        let entry = match head.kind {
            Kind::App => {
                let app: App = serde_json::from_slice(&payload).map_err(content)?;
                if (app.id.0, app.version) != (head.id, head.version) {
                    return Err(content("it is about another app or version than it says"));
                }
                Self::Change(Change::App { app, base: head.base })
            }
            Kind::Keys => {
                let keys: Keys = serde_json::from_slice(&payload).map_err(content)?;
                KeyRing::parse(keys.text.as_bytes()).map_err(content)?;
                if keys.revision != head.version {
                    return Err(content("it is about another revision than it says"));
                }
                let base = head.base.ok_or_else(|| content("it has no base"))?;
                Self::Change(Change::Keys { keys, base })
            }
            Kind::Snapshot => {
                let through = head.base.ok_or_else(|| content("it is of no offset"))?;
                Self::Snapshot { roster: Roster::parse(&payload)?, through }
            }
            Kind::Founding => Self::Founding(Roster::parse(&payload)?),
            Kind::Mark => Self::Mark,
        };
        Ok((entry, id))
    }
}

fn content(error: impl std::fmt::Display) -> EntryError {
    EntryError::Content(error.to_string())
}

/// One text for one value: texts are compared.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::super::key::FleetKey;
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&FleetKey::parse(&[b'A'; 43]).expect("32 bytes"), "s")
    }

    fn keys(revision: u64) -> Keys {
        Keys { revision, text: String::from_utf8(KeyRing::generate()).expect("JSON") }
    }

    #[test]
    fn entries_read_as_they_were_written() {
        let (sealer, app) = (sealer(), App::create("one").0);
        let mut registry = Registry::default();
        registry.insert(app.clone()).expect("new");
        let roster = Roster { registry, keys: keys(4) };
        let read = |entry: Entry| {
            let (id, sealed) = entry.seal(&sealer);
            let (read, same) = Entry::open(&sealed, &sealer).expect("our own");
            assert_eq!(id, same);
            read
        };
        for change in [
            Change::App { app: app.clone(), base: None },
            Change::App { app: app.clone(), base: Some(0) },
            Change::Keys { keys: keys(2), base: 1 },
        ] {
            assert!(matches!(read(Entry::Change(change.clone())), Entry::Change(read) if read == change));
        }
        let Entry::Snapshot { roster: same, through: 9 } =
            read(Entry::Snapshot { roster: roster.clone(), through: 9 })
        else {
            panic!("a snapshot of offset 9");
        };
        assert_eq!((same.registry.apps(), same.keys), (&[app][..], roster.keys.clone()));
        assert!(matches!(read(Entry::Founding(roster)), Entry::Founding(_)));
        assert!(matches!(read(Entry::Mark), Entry::Mark));
    }

    #[test]
    fn what_opens_and_makes_no_sense_is_refused() {
        let (sealer, app) = (sealer(), App::create("one").0);
        let head = |kind| Head { kind, id: app.id.0, version: app.version, base: Some(0) };
        let broken_keys = json(&Keys { revision: 1, text: "{}".into() });
        for (head, payload) in [
            (Head { version: 9, ..head(Kind::App) }, json(&app)),
            (Head { id: Uuid::nil(), ..head(Kind::App) }, json(&app)),
            (head(Kind::App), b"{}".to_vec()),
            (head(Kind::Keys), broken_keys),
            (Head { base: None, ..head(Kind::Keys) }, json(&keys(1))),
            (head(Kind::Keys), json(&keys(2))),
            (head(Kind::Snapshot), b"[]".to_vec()),
            (Head { base: None, ..head(Kind::Founding) }, b"{}".to_vec()),
        ] {
            let (_, sealed) = sealer.seal(&head, payload);
            assert!(matches!(Entry::open(&sealed, &sealer), Err(EntryError::Content(_))), "{head:?}");
        }
    }
}
