//! The two files on disk: read whole, written whole (temporary file, fsync, rename, fsync of the folder).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::app::App;
use super::key_set::KeySet;
use super::keys::{KeyRing, KeyRingError};
use super::registry::{PutError, Registry, RegistryError};

/// Only the owner may read or write.
const MODE_PRIVATE: u32 = 0o600;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The apps file has a wrong content.
    #[error("{}: {error}", path.display())]
    Registry {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: RegistryError,
    },
    /// The signing key file has a wrong content.
    #[error("{}: {error}", path.display())]
    KeyRing {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: KeyRingError,
    },
    /// Others than the owner may read the signing keys.
    #[error("{}: others can read it (mode {mode:03o}): set it to 600 (chmod 600), and replace the keys if they may have leaked", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |error| FileError::Io { path: path.to_owned(), error }
}

/// The registry of apps on disk.
#[derive(Clone, Debug)]
pub struct AppsFile {
    path: PathBuf,
}

impl AppsFile {
    /// Names the file; nothing is touched yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads it; a file that does not exist holds no apps.
    pub fn load(&self) -> Result<Registry, FileError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Registry::default()),
            Err(error) => return Err(io_error(&self.path)(error)),
        };
        Registry::parse(&text).map_err(|error| FileError::Registry { path: self.path.clone(), error })
    }

    /// Changes it under a lock, so that two edits at a time both count. Nothing is written if `change` fails.
    pub fn edit<T, E: From<FileError>>(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = lock(&self.path)?;
        let mut registry = self.load()?;
        let changed = change(&mut registry)?;
        replace_private(&self.path, &registry.to_json())?;
        Ok(changed)
    }

    /// Compare-and-set under the same lock, see [`Registry::put`]; the registry as it is then.
    pub fn put(&self, app: App) -> Result<Registry, PutError> {
        self.edit(|registry| {
            registry.put(app)?;
            Ok(registry.clone())
        })
    }
}

/// The signing keys on disk.
#[derive(Clone, Debug)]
pub struct KeysFile {
    path: PathBuf,
}

impl KeysFile {
    /// Names the file; nothing is touched yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads it.
    pub fn load(&self) -> Result<KeyRing, FileError> {
        load_signing_keys(&self.path)
    }

    /// Puts what `change` makes of the text in its place, under the same lock as every edit; none leaves it as it is.
    pub fn replace(&self, change: impl FnOnce(&str) -> Option<String>) -> Result<(), FileError> {
        let _lock = lock(&self.path)?;
        let text = self.text()?;
        change(&text).map_or(Ok(()), |text| replace_private(&self.path, text.as_bytes()))
    }

    /// The text of a file that can be used.
    pub fn text(&self) -> Result<String, FileError> {
        let text = read_private(&self.path)?;
        KeyRing::parse(&text).map_err(|error| FileError::KeyRing { path: self.path.clone(), error })?;
        // JSON that was parsed.
        String::from_utf8(text).map_err(|error| io_error(&self.path)(io::Error::other(error)))
    }

    /// Compare-and-set under a lock: takes `keys` if the file has the revision before.
    pub fn put(&self, keys: KeySet) -> Result<KeyRing, PutError> {
        let _lock = lock(&self.path)?;
        let known = self.load()?.set().revision;
        if known.checked_add(1) != Some(keys.revision) {
            return Err(PutError::Conflict(Some(known)));
        }
        let text = keys.to_json();
        // Before it is written: no node would take a file that cannot be used.
        let unsound = |error| FileError::KeyRing { path: self.path.clone(), error };
        let ring = KeyRing::new(keys).map_err(unsound)?;
        replace_private(&self.path, &text)?;
        Ok(ring)
    }
}

/// Reads the signing keys.
pub fn load_signing_keys(path: &Path) -> Result<KeyRing, FileError> {
    let text = read_private(path)?;
    KeyRing::parse(&text).map_err(|error| FileError::KeyRing { path: path.to_owned(), error })
}

/// Reads a file of keys, which others than its owner may not read.
pub fn read_private(path: &Path) -> Result<Vec<u8>, FileError> {
    let text = fs::read(path).map_err(io_error(path))?;
    let mode = fs::metadata(path).map_err(io_error(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    Ok(text)
}

/// Makes the signing key file if it does not exist; tells whether it did. Two nodes that start at once agree on one file.
pub fn create_signing_keys(path: &Path) -> Result<bool, FileError> {
    create_private(path, &KeyRing::generate())
}

/// Makes a file that only its owner may read, if it does not exist; tells whether it did.
pub fn create_private(path: &Path, text: &[u8]) -> Result<bool, FileError> {
    if path.exists() {
        return Ok(false);
    }
    create_parent(path)?;
    let temporary = with_suffix(path, &format!(".{}.tmp", std::process::id()));
    write_synced(&temporary, text)?;
    // Unlike a rename, a link fails if another one was faster.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(io_error(&temporary))?;
    match linked {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error(path)(error)),
    }
}

/// Waits for the right to change what is at `path`; it ends with the descriptor. A file of its own, because an edit replaces the other.
fn lock(path: &Path) -> Result<File, FileError> {
    create_parent(path)?;
    let lock_path = with_suffix(path, ".lock");
    let lock = private().create(true).open(&lock_path).map_err(io_error(&lock_path))?;
    give_to_owner_of(path, &lock)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| io_error(&lock_path)(errno.into()))?;
    Ok(lock)
}

/// Replaces a file as a whole, or makes it: only its owner may read it, and a power cut leaves the one of before or this one.
pub fn replace_private(path: &Path, text: &[u8]) -> Result<(), FileError> {
    let temporary = with_suffix(path, ".tmp");
    let file = write_synced(&temporary, text)?;
    give_to_owner_of(path, &file)?;
    fs::rename(&temporary, path).map_err(io_error(path))?;
    sync_parent(path)
}

/// An edit by root must not lock the node's own user out: `file` gets the owner of what is at `path`, or of its folder.
fn give_to_owner_of(path: &Path, file: &File) -> Result<(), FileError> {
    let before = fs::metadata(path).or_else(|_| fs::metadata(parent(path))).map_err(io_error(path))?;
    let now = file.metadata().map_err(io_error(path))?;
    // Another name for it would give away more than what was opened here.
    if (before.uid(), before.gid()) == (now.uid(), now.gid()) || !now.is_file() || now.nlink() != 1 {
        return Ok(());
    }
    match fchown(file, Some(before.uid()), Some(before.gid())) {
        // Only root may give a file away.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given.map_err(io_error(path)),
    }
}

/// Options for a file that is the owner's alone, and no link to another one: root follows nobody's links.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE_PRIVATE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn write_synced(path: &Path, text: &[u8]) -> Result<File, FileError> {
    let written = || {
        // One that a crash left behind.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private().create_new(true).open(path)?;
        file.write_all(text)?;
        file.sync_all()?;
        Ok(file)
    };
    written().map_err(io_error(path))
}

/// The folder holds the name: without this, a power cut could bring the old file back.
fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = parent(path);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error(parent))
}

fn create_parent(path: &Path) -> Result<(), FileError> {
    let parent = parent(path);
    fs::create_dir_all(parent).map_err(io_error(parent))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::App;

    #[test]
    fn edits_at_the_same_time_all_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = AppsFile::new(&folder.path().join("deeper/apps.json"));
        assert!(file.load().expect("not there yet").apps().is_empty());
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
                let file = file.clone();
                scope.spawn(move || {
                    file.edit(|registry| {
                        registry.insert(App::create(name).0).expect("a new app");
                        Ok::<_, FileError>(())
                    })
                    .expect("an edit");
                });
            }
        });
        assert_eq!(file.load().expect("written").apps().len(), 8);
    }

    #[test]
    fn an_edit_by_another_user_leaves_the_file_to_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("apps.json");
        let add = |name| {
            AppsFile::new(&path).edit(|registry| {
                registry.insert(App::create(name).0).expect("a new app");
                Ok::<_, FileError>(())
            })
        };
        add("a").expect("an edit");
        // Only root may give a file away; anybody else keeps it.
        let own = fs::metadata(&path).expect("there").uid();
        let owner = if own == 0 { 65_534 } else { own };
        std::os::unix::fs::chown(&path, Some(owner), None).expect("allowed");
        add("b").expect("an edit");
        for file in [path.clone(), with_suffix(&path, ".lock")] {
            assert_eq!(fs::metadata(&file).expect("there").uid(), owner, "{}", file.display());
        }
        // Links that its owner may have laid there lead nowhere.
        let other = folder.path().join("other");
        fs::write(&other, "precious").expect("ours");
        let (lock, temporary) = (with_suffix(&path, ".lock"), with_suffix(&path, ".tmp"));
        std::os::unix::fs::symlink(&other, &temporary).expect("ours");
        add("c").expect("an edit");
        fs::remove_file(&lock).expect("ours");
        std::os::unix::fs::symlink(&other, &lock).expect("ours");
        assert!(add("d").is_err());
        assert_eq!(fs::read_to_string(&other).expect("there"), "precious");
        assert_eq!(fs::metadata(&other).expect("there").uid(), own);
    }

    #[test]
    fn an_edit_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("apps.json");
        let failed: Result<(), FileError> = AppsFile::new(&path).edit(|registry| {
            registry.insert(App::create("a").0).expect("a new app");
            Err(io_error(&path)(io::Error::other("changed my mind")))
        });
        assert!(failed.is_err());
        assert!(!path.exists());
    }

    #[test]
    fn signing_keys_are_made_once_private_and_refused_when_exposed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        assert!(load_signing_keys(&path).is_err_and(|e| e.to_string().contains("keys.json")));
        assert!(create_signing_keys(&path).expect("made"));
        assert!(!create_signing_keys(&path).expect("kept"));
        let kid = load_signing_keys(&path).expect("readable").signer().kid().to_owned();
        assert_eq!(load_signing_keys(&path).expect("readable").signer().kid(), kid);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, MODE_PRIVATE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(matches!(load_signing_keys(&path), Err(FileError::Exposed { mode: 0o644, .. })));
        let names: Vec<_> = fs::read_dir(folder.path()).expect("ours").collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
    }

    #[test]
    fn of_two_changes_of_the_keys_at_one_revision_the_second_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeysFile::new(&folder.path().join("keys.json"));
        create_signing_keys(&file.path).expect("made");
        let (mut one, mut other) =
            (file.load().expect("readable").set().next(), file.load().expect("readable").set().next());
        let now = std::time::Duration::from_secs(1_790_000_000);
        let kid = one.add(now).expect("room");
        other.add(now).expect("room");
        file.put(one).expect("the next revision");
        assert!(matches!(file.put(other), Err(PutError::Conflict(Some(1)))));
        let ring = file.load().expect("readable");
        assert_eq!((ring.keys().len(), ring.keys()[1].kid(), ring.set().revision), (2, kid.as_str(), 1));
        assert_eq!(fs::metadata(&file.path).expect("there").permissions().mode() & 0o777, MODE_PRIVATE);
    }

    #[test]
    fn a_broken_file_is_named_with_its_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("apps.json");
        fs::write(&path, "{").expect("ours");
        let error = AppsFile::new(&path).load().expect_err("broken").to_string();
        assert!(error.contains("apps.json") && error.contains("not a registry"), "{error}");
    }
}
