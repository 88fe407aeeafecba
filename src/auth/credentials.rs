//! The snapshot that requests are judged by, and how a new one reaches the reactors.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::app::App;
use super::file::{AppsFile, FileError, KeysFile, load_signing_keys};
use super::key_set::KeySet;
use super::keys::KeyRing;
use super::registry::{PutError, Registry};

/// Everything that judging a request needs; never changed, only replaced.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The apps.
    pub registry: Registry,
    /// The keys that tokens are signed with.
    pub keys: KeyRing,
}

/// Where reactors find the newest snapshot.
///
/// The lock is taken only when the version has moved, so that a turn costs one load.
#[derive(Debug)]
pub struct SharedCredentials {
    version: AtomicU64,
    newest: Mutex<Arc<Credentials>>,
}

impl SharedCredentials {
    /// Starts with a snapshot, as version 0.
    pub fn new(credentials: Credentials) -> Self {
        Self { version: AtomicU64::new(0), newest: Mutex::new(Arc::new(credentials)) }
    }

    /// The version of the newest snapshot.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Arc<Credentials> {
        self.newest.lock().clone()
    }

    /// Replaces the snapshot.
    pub fn replace(&self, mut credentials: Credentials) {
        let mut newest = self.newest.lock();
        credentials.registry.inherit(&newest.registry);
        *newest = Arc::new(credentials);
        drop(newest);
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

/// What tells one state of a file from another without reading it. An edit renames a new file into place, so the inode changes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The two files behind a snapshot, and when they were last read.
#[derive(Debug)]
pub struct CredentialsFiles {
    apps: PathBuf,
    keys: PathBuf,
    seen: [Option<Stamp>; 2],
    /// Reading failed at the last look, where the content may be fine.
    is_unread: bool,
}

impl CredentialsFiles {
    /// Names the files; nothing is read yet.
    pub fn new(apps: &Path, keys: &Path) -> Self {
        Self { apps: apps.to_owned(), keys: keys.to_owned(), seen: [None; 2], is_unread: false }
    }

    /// Reads both files.
    pub fn load(&mut self) -> Result<Credentials, FileError> {
        // Stamped before they are read: a change in between is seen as one at the next look.
        self.seen = self.stamps();
        let read = || {
            Ok(Credentials {
                registry: AppsFile::new(&self.apps).load()?,
                keys: load_signing_keys(&self.keys)?,
            })
        };
        let loaded = read();
        self.is_unread = matches!(loaded, Err(FileError::Io { .. }));
        loaded
    }

    /// Reads both files if one has changed since the last look. After an error in their content the next change is waited for.
    pub fn load_changed(&mut self) -> Option<Result<Credentials, FileError>> {
        // A file that is gone is no news: edits rename, so it is a mistake that leaves the snapshot as it is.
        let stamps = self.stamps();
        let is_gone = stamps.iter().zip(&self.seen).any(|(now, seen)| now.is_none() && seen.is_some());
        (!is_gone && (stamps != self.seen || self.is_unread)).then(|| self.load())
    }

    /// Puts a new version of an app into its file; the registry as it is then.
    pub fn put_app(&self, app: App) -> Result<Registry, PutError> {
        AppsFile::new(&self.apps).put(app)
    }

    /// Puts a new revision of the keys into their file.
    pub fn put_keys(&self, keys: KeySet) -> Result<KeyRing, PutError> {
        KeysFile::new(&self.keys).put(keys)
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.apps, &self.keys].map(|path| {
            let of = std::fs::metadata(path).ok()?;
            Some(Stamp {
                inode: of.ino(),
                bytes: of.size(),
                modified: (of.mtime(), of.mtime_nsec()),
                changed: (of.ctime(), of.ctime_nsec()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{App, create_signing_keys};

    #[test]
    fn a_changed_file_is_seen_once_and_a_broken_one_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let (apps, keys) = (folder.path().join("apps.json"), folder.path().join("keys.json"));
        create_signing_keys(&keys).expect("made");
        let mut files = CredentialsFiles::new(&apps, &keys);
        assert!(files.load().expect("no apps yet").registry.apps().is_empty());
        assert!(files.load_changed().is_none());
        let add = |name| {
            AppsFile::new(&apps).edit(|registry| {
                registry.insert(App::create(name).0).expect("a new app");
                Ok::<_, FileError>(())
            })
        };
        add("one").expect("an edit");
        let changed = files.load_changed().expect("changed").expect("readable");
        assert_eq!(changed.registry.apps().len(), 1);
        assert!(files.load_changed().is_none());
        std::fs::write(&apps, "{").expect("ours");
        assert!(files.load_changed().expect("changed").is_err());
        assert!(files.load_changed().is_none(), "told once");
        std::fs::remove_file(&apps).expect("ours");
        assert!(files.load_changed().is_none(), "a missing file changes nothing");
        // What cannot be read is tried again, for it may be fine.
        std::fs::create_dir(&apps).expect("ours");
        assert!(files.load_changed().expect("changed").is_err());
        assert!(files.load_changed().expect("tried again").is_err());
    }

    #[test]
    fn changed_keys_are_seen_before_there_is_an_app() {
        let folder = tempfile::tempdir().expect("a folder");
        let (apps, keys) = (folder.path().join("apps.json"), folder.path().join("keys.json"));
        create_signing_keys(&keys).expect("made");
        let mut files = CredentialsFiles::new(&apps, &keys);
        let mut next = files.load().expect("readable").keys.set().next();
        next.add(std::time::Duration::from_secs(9)).expect("room");
        KeysFile::new(&keys).put(next).expect("the next revision");
        let changed = files.load_changed().expect("changed").expect("readable");
        assert_eq!(changed.keys.keys().len(), 2);
        assert!(files.load_changed().is_none());
    }

    #[test]
    fn a_replaced_snapshot_has_a_new_version() {
        let keys = KeyRing::parse(&KeyRing::generate()).expect("own text");
        let credentials = Credentials { registry: Registry::default(), keys };
        let shared = SharedCredentials::new(credentials.clone());
        let before = shared.version();
        let mut other = credentials;
        other.registry.insert(App::create("one").0).expect("a new app");
        shared.replace(other);
        assert_ne!(shared.version(), before);
        assert_eq!(shared.newest().registry.apps().len(), 1);
    }
}
