//! The node's own copy: the files of apps and keys that it serves by and starts from, and `fleet-state.json`, which says how far it has followed.
//!
//! The files are written first, then the state, and the state only if the files were: what they have is never behind it, so what the fleet has replaced is
//! never taken for a change of theirs. After a crash between the two, or where a file cannot be written, the next life reads the same entries once more;
//! until then what the fleet says holds in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::entry::{Change, Keys, Roster, json};
use super::key::FleetKey;
use super::reconcile::{Bases, Findings};
use crate::auth::{
    App, AppsFile, Credentials, CredentialsFiles, FileError, KeyRing, KeysFile, SharedCredentials,
    read_private, replace_private,
};

/// The state's name, beside the apps file.
const STATE_FILE: &str = "fleet-state.json";
/// Version of the state file.
const VERSION: u32 = 1;

/// Why there is no copy to start from.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The state cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content is not what is expected.
    #[error(
        "{}: it is not the state of a node in a fleet ({problem}): restore it, or remove it, and the node joins its fleet anew",
        path.display()
    )]
    State {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A place in the stream, and what stands there: another stream of the same name has something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) offset: u64,
    /// SHA-256 of the entry, base64url.
    pub(super) fingerprint: String,
}

/// What has come since the last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    pub(super) changes: u64,
    pub(super) bytes: u64,
}

/// How far a node has followed, and what that came to.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Where to go on; none: at the stream's beginning.
    pub(super) position: Option<Position>,
    pub(super) tail: Tail,
    pub(super) roster: Roster,
}

#[derive(Serialize)]
struct Storing<'a> {
    version: u32,
    stream: &'a str,
    position: &'a Option<Position>,
    tail: Tail,
    apps: &'a [App],
    keys: &'a Keys,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    stream: String,
    position: Option<Position>,
    tail: Tail,
    apps: serde_json::Value,
    keys: serde_json::Value,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    apps: PathBuf,
    keys: PathBuf,
    state: PathBuf,
}

impl Paths {
    pub(super) fn new(apps: &Path, keys: &Path) -> Self {
        Self { apps: apps.to_owned(), keys: keys.to_owned(), state: state_path(apps) }
    }
}

fn state_path(apps: &Path) -> PathBuf {
    apps.with_file_name(STATE_FILE)
}

/// What a look at the files came to.
#[derive(Debug, Default)]
pub(super) struct Synced {
    /// Changes that the fleet is to be told.
    pub(super) pending: Vec<Change>,
    /// Whether a file could not be read or written: try again.
    pub(super) has_failed: bool,
}

/// The files, and what is served by.
#[derive(Debug)]
pub(super) struct LocalCopy {
    paths: Paths,
    stream: String,
    files: CredentialsFiles,
    credentials: Arc<SharedCredentials>,
    bases: Bases,
    /// The last error, which is told once.
    told: String,
}

/// Why the apps file was not written.
enum Unwritten {
    Unchanged,
    File(FileError),
}

impl From<FileError> for Unwritten {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl LocalCopy {
    /// Opens the state of an earlier life, if there is one; `files` have been read into `credentials`.
    pub(super) fn open(
        paths: Paths,
        stream: &str,
        files: CredentialsFiles,
        credentials: Arc<SharedCredentials>,
    ) -> Result<(Self, Option<Progress>), CopyError> {
        let progress = read_progress(&paths.state, stream)?;
        let bases =
            progress.as_ref().map(|progress| Bases::of(&progress.roster.registry, &progress.roster.keys));
        let bases = bases.unwrap_or_default();
        let copy = Self { paths, stream: stream.to_owned(), files, credentials, bases, told: String::new() };
        Ok((copy, progress))
    }

    /// Looks whether somebody has changed a file; if so, it holds on this node from now on.
    pub(super) fn look(&mut self) -> bool {
        let Some(loaded) = self.files.load_changed() else { return false };
        match loaded {
            Ok(credentials) => {
                info!(apps = credentials.registry.apps().len(), "took changed credentials");
                self.credentials.replace(credentials);
                self.told.clear();
                true
            }
            Err(error) => {
                self.tell(&error);
                false
            }
        }
    }

    /// The fleet has taken a change that came from the files.
    pub(super) fn advance(&mut self, change: &Change) {
        self.bases.advance(change);
    }

    /// What the files hold, for a fleet that knows nothing yet.
    pub(super) fn roster(&self) -> Result<Roster, FileError> {
        let registry = AppsFile::new(&self.paths.apps).load()?;
        Ok(Roster { registry, keys: Keys { revision: 1, text: KeysFile::new(&self.paths.keys).text()? } })
    }

    /// Brings the files to what the fleet has, and finds out what the fleet is to be told. Writes to the disk and waits for it.
    pub(super) fn sync(&mut self, progress: &Progress, saves_progress: bool) -> Synced {
        let pending = match self.settle(&progress.roster) {
            Ok(pending) => pending,
            Err(error) => {
                self.tell(&error);
                self.hold_in_memory(&progress.roster);
                return Synced { pending: Vec::new(), has_failed: true };
            }
        };
        let saved = if saves_progress { self.save(progress) } else { Ok(()) };
        match &saved {
            Ok(()) => self.told.clear(),
            Err(error) => self.tell(error),
        }
        Synced { pending, has_failed: saved.is_err() }
    }

    /// Until there is nothing to take: what is served is read without the files' locks, so an edit may come with it, which no look would find any more.
    fn settle(&mut self, roster: &Roster) -> Result<Vec<Change>, FileError> {
        loop {
            let findings = self.reconcile(roster)?;
            tell_findings(&findings);
            if findings.taken == 0 && findings.keys.is_none() {
                return Ok(findings.pending);
            }
            self.credentials.replace(self.files.load()?);
        }
    }

    /// Writes to the files what they are to take. Under the locks that every edit takes, and from the files as they are now: no edit is lost between a look and a write.
    fn reconcile(&mut self, roster: &Roster) -> Result<Findings, FileError> {
        let (mut findings, mut bases) = (Findings::default(), self.bases.clone());
        let edited = AppsFile::new(&self.paths.apps).edit(|registry| {
            bases.reconcile_apps(registry, &roster.registry, &mut findings);
            KeysFile::new(&self.paths.keys).replace(|text| {
                bases.reconcile_keys(text, &roster.keys, &mut findings);
                findings.keys.clone()
            })?;
            if findings.taken > 0 { Ok(()) } else { Err(Unwritten::Unchanged) }
        });
        match edited {
            Ok(()) | Err(Unwritten::Unchanged) => {
                self.bases = bases;
                Ok(findings)
            }
            Err(Unwritten::File(error)) => Err(error),
        }
    }

    /// The next best thing: what the fleet says holds here, though a restart without the broker would not know it.
    fn hold_in_memory(&self, roster: &Roster) {
        let newest = self.credentials.newest();
        let (mut registry, mut findings) = (newest.registry.clone(), Findings::default());
        let mut bases = self.bases.clone();
        bases.reconcile_apps(&mut registry, &roster.registry, &mut findings);
        let text = match KeysFile::new(&self.paths.keys).text() {
            Ok(text) => {
                bases.reconcile_keys(&text, &roster.keys, &mut findings);
                findings.keys.unwrap_or(text)
            }
            Err(_) => roster.keys.text.clone(),
        };
        let keys = KeyRing::parse(text.as_bytes()).unwrap_or_else(|_| newest.keys.clone());
        self.credentials.replace(Credentials { registry, keys });
    }

    fn save(&self, progress: &Progress) -> Result<(), FileError> {
        let Progress { position, tail, roster } = progress;
        let stored = Storing {
            version: VERSION,
            stream: &self.stream,
            position,
            tail: *tail,
            apps: roster.registry.apps(),
            keys: &roster.keys,
        };
        replace_private(&self.paths.state, &json(&stored))
    }

    /// Once for each error, however often it is met.
    fn tell(&mut self, error: &FileError) {
        let text = error.to_string();
        if text != self.told {
            error!(error = text, "kept the credentials of before, but for what the fleet says");
            self.told = text;
        }
    }
}

fn tell_findings(findings: &Findings) {
    if findings.taken > 0 || findings.keys.is_some() {
        info!(apps = findings.taken, keys = findings.keys.is_some(), "took credentials from the fleet");
    }
    for app in &findings.lost {
        warn!(%app, "a change of the apps file was lost: the fleet has another one of this version, or a later one; look at the app, and make the change again");
    }
    if findings.are_keys_lost {
        warn!("the signing keys of this node have given way to the fleet's");
    }
}

/// The signing keys to make a file of, if there is none: those that the node had last, or the fleet's first.
pub fn signing_keys_to_begin_with(apps: &Path, stream: &str, key: &FleetKey) -> Result<Vec<u8>, CopyError> {
    let progress = read_progress(&state_path(apps), stream)?;
    Ok(progress.map_or_else(|| key.first_signing_keys(), |progress| progress.roster.keys.text.into_bytes()))
}

fn read_progress(path: &Path, stream: &str) -> Result<Option<Progress>, CopyError> {
    let text = match read_private(path) {
        Ok(text) => text,
        Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let problem = |problem: String| CopyError::State { path: path.to_owned(), problem };
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| problem(error.to_string()))?;
    if stored.version != VERSION {
        return Err(problem(format!("format version {}", stored.version)));
    }
    let roster = serde_json::json!({ "apps": stored.apps, "keys": stored.keys });
    let roster = Roster::parse(&json(&roster)).map_err(|error| problem(error.to_string()))?;
    // A place in another stream is none in this one.
    let is_same = stored.stream == stream;
    let position = stored.position.filter(|_| is_same);
    let tail = if is_same { stored.tail } else { Tail::default() };
    Ok(Some(Progress { position, tail, roster }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AppId, Registry, create_signing_keys};

    struct Place {
        folder: tempfile::TempDir,
        credentials: Option<Arc<SharedCredentials>>,
    }

    impl Place {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder"), credentials: None }
        }

        fn paths(&self) -> Paths {
            let at = |name| self.folder.path().join(name);
            Paths::new(&at("apps.json"), &at("keys.json"))
        }

        fn open(&mut self) -> (LocalCopy, Option<Progress>) {
            let paths = self.paths();
            create_signing_keys(&paths.keys).expect("made");
            let mut files = CredentialsFiles::new(&paths.apps, &paths.keys);
            let credentials = Arc::new(SharedCredentials::new(files.load().expect("readable")));
            self.credentials = Some(credentials.clone());
            LocalCopy::open(paths, "s", files, credentials).expect("a copy")
        }

        fn edit(&self, app: AppId) {
            let edited: Result<(), FileError> = AppsFile::new(&self.paths().apps).edit(|registry| {
                registry.app_mut(app).expect("known").enabled = false;
                Ok(())
            });
            edited.expect("an edit");
        }

        fn is_enabled(&self, app: AppId) -> bool {
            let served = self.credentials.as_ref().expect("opened").newest();
            served.registry.app(app).expect("known").enabled
        }
    }

    fn progress(apps: &[&App], keys: Keys) -> Progress {
        let mut registry = Registry::default();
        for app in apps {
            registry.insert((*app).clone()).expect("no twins");
        }
        let position = Some(Position { offset: 7, fingerprint: "f".into() });
        Progress { position, tail: Tail { changes: 1, bytes: 2 }, roster: Roster { registry, keys } }
    }

    #[test]
    fn what_the_fleet_says_is_in_the_files_and_served_and_known_to_the_next_life() {
        let mut place = Place::new();
        let (mut copy, none) = place.open();
        assert!(none.is_none());
        let app = App::create("one").0;
        let keys = Keys { revision: 3, text: String::from_utf8(KeyRing::generate()).expect("JSON") };
        let synced = copy.sync(&progress(&[&app], keys.clone()), true);
        assert_eq!((synced.pending.len(), synced.has_failed), (0, false));
        assert!(place.is_enabled(app.id));
        let (copy, again) = place.open();
        let again = again.expect("a state");
        assert_eq!((again.position, again.tail.bytes), (progress(&[], keys.clone()).position, 2));
        assert_eq!((again.roster.registry.apps(), &again.roster.keys), (&[app.clone()][..], &keys));
        assert_eq!(copy.roster().expect("readable").keys.text, keys.text);
        // Only its owner may read it: it holds keys. And it is no other stream's.
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(place.paths().state).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let elsewhere = read_progress(&place.paths().state, "t").expect("readable").expect("a state");
        assert_eq!((elsewhere.position, elsewhere.tail), (None, Tail::default()));
    }

    #[test]
    fn an_edit_is_pending_until_the_fleet_has_it_also_over_a_restart() {
        let mut place = Place::new();
        let (mut copy, _) = place.open();
        let (app, keys) = (App::create("one").0, copy.roster().expect("readable").keys);
        let fleet = progress(&[&app], keys.clone());
        copy.sync(&fleet, true);
        assert!(!copy.look(), "what was written here is no news");
        place.edit(app.id);
        assert!(copy.look() && !place.is_enabled(app.id), "an edit holds here at once");
        let pending = copy.sync(&fleet, false).pending;
        let expected = App { enabled: false, version: 2, ..app.clone() };
        assert_eq!(pending, [Change::App { app: expected.clone(), base: Some(1) }]);
        let (mut copy, _) = place.open();
        assert_eq!(copy.sync(&fleet, false).pending, pending);
        // Another node was faster.
        let other = App { name: "other".into(), version: 2, ..app.clone() };
        assert_eq!(copy.sync(&progress(&[&other], keys), true).pending, []);
        assert!(place.is_enabled(app.id));
        assert_eq!(AppsFile::new(&place.paths().apps).load().expect("readable").app(app.id), Some(&other));
    }

    #[test]
    fn an_edit_that_waits_for_the_lock_while_the_files_are_written_is_told_to_the_fleet() {
        let mut place = Place::new();
        let (mut copy, _) = place.open();
        let (mut of_fleet, mut of_node) = (App::create("fleet").0, App::create("node").0);
        let keys = copy.roster().expect("readable").keys;
        copy.sync(&progress(&[&of_fleet, &of_node], keys.clone()), true);
        for _ in 0..20 {
            of_fleet.version += 1;
            let fleet = progress(&[&of_fleet, &of_node], keys.clone());
            let synced = std::thread::scope(|scope| {
                let edit = scope.spawn(|| place.edit(of_node.id));
                let synced = copy.sync(&fleet, true);
                edit.join().expect("an edit");
                synced
            });
            (of_node.version, of_node.enabled) = (of_node.version + 1, false);
            let pending = [Change::App { app: of_node.clone(), base: Some(of_node.version - 1) }];
            assert!(synced.pending == pending || copy.look() && copy.sync(&fleet, true).pending == pending);
            copy.advance(&pending[0]);
        }
    }

    #[test]
    fn what_cannot_be_written_holds_in_memory() {
        let mut place = Place::new();
        let (mut copy, _) = place.open();
        let (app, keys) = (App::create("one").0, copy.roster().expect("readable").keys);
        copy.sync(&progress(&[&app], keys.clone()), true);
        std::fs::write(place.paths().apps, "{").expect("ours");
        let disabled = App { enabled: false, version: 2, ..app.clone() };
        let synced = copy.sync(&progress(&[&disabled], keys.clone()), true);
        assert!(synced.has_failed && !place.is_enabled(app.id));
        std::fs::remove_file(place.paths().apps).expect("ours");
        assert!(!copy.sync(&progress(&[&disabled], keys), true).has_failed);
        assert!(!place.is_enabled(app.id));
    }

    #[test]
    fn files_are_never_behind_the_state_so_replaced_keys_are_no_change_of_ours() {
        let mut place = Place::new();
        let (mut copy, _) = place.open();
        let app = App::create("one").0;
        let leaked = copy.roster().expect("readable").keys;
        copy.sync(&progress(&[&app], leaked.clone()), true);
        let text = String::from_utf8(KeyRing::generate()).expect("JSON");
        let replaced = Keys { revision: leaked.revision + 1, text };
        // The files cannot be written, and the node ends.
        std::fs::write(place.paths().apps, "{").expect("ours");
        assert!(copy.sync(&progress(&[&app], replaced.clone()), true).has_failed);
        std::fs::remove_file(place.paths().apps).expect("ours");
        let (mut copy, again) = place.open();
        let again = again.expect("a state");
        assert_eq!(again.roster.keys, leaked, "it reads on from where its files are");
        assert_eq!(copy.sync(&again, false).pending, []);
        let synced = copy.sync(&progress(&[&app], replaced.clone()), true);
        assert_eq!((synced.pending.len(), synced.has_failed), (0, false));
        // Or it ends between files and state.
        let behind = json(&serde_json::json!({
            "version": VERSION, "stream": "s", "position": null, "tail": Tail::default(),
            "apps": [&app], "keys": &leaked,
        }));
        replace_private(&place.paths().state, &behind).expect("ours");
        let (mut copy, _) = place.open();
        let synced = copy.sync(&progress(&[&app], replaced.clone()), true);
        assert_eq!(synced.pending, [], "what it reads once more is what the files have");
        // A file that is lost comes back as it was.
        let key = FleetKey::parse(&[b'A'; 43]).expect("32 bytes");
        let kept = signing_keys_to_begin_with(&place.paths().apps, "s", &key).expect("a state");
        assert_eq!(String::from_utf8(kept).expect("JSON"), replaced.text);
        std::fs::remove_file(place.paths().state).expect("ours");
        let first = signing_keys_to_begin_with(&place.paths().apps, "s", &key).expect("no state");
        assert_eq!(first, key.first_signing_keys());
    }

    #[test]
    fn a_state_that_is_none_says_what_to_do() {
        let mut place = Place::new();
        place.open();
        for text in [
            "",
            "{}",
            r#"{"version":9,"stream":"s","position":null,"tail":{"changes":0,"bytes":0},"apps":[],"keys":{}}"#,
        ] {
            replace_private(&place.paths().state, text.as_bytes()).expect("ours");
            let error = read_progress(&place.paths().state, "s").expect_err("no state").to_string();
            assert!(error.contains("fleet-state.json") && error.contains("remove it"), "{error}");
        }
    }
}
