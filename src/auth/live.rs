//! The credentials of a running node: the snapshot, the files behind it, and changes of both.

use std::sync::Arc;

use parking_lot::Mutex;

use super::app::App;
use super::credentials::{Credentials, CredentialsFiles, SharedCredentials};
use super::file::FileError;
use super::key_set::KeySet;
use super::registry::PutError;

/// A change made here is in the snapshot when it returns; one made elsewhere, at the next look at the files.
#[derive(Debug)]
pub struct LiveCredentials {
    /// Locked while the snapshot follows the files: what was read earlier never replaces what was written later.
    files: Mutex<CredentialsFiles>,
    /// Met by [`Self::newest`], which has nobody to tell: told at the next [`Self::look`].
    untold: Mutex<Option<FileError>>,
    shared: Arc<SharedCredentials>,
}

impl LiveCredentials {
    /// `shared` holds what was read from `files`.
    pub fn new(files: CredentialsFiles, shared: Arc<SharedCredentials>) -> Self {
        Self { files: Mutex::new(files), untold: Mutex::default(), shared }
    }

    /// Takes a change of the files; none if there is none, or if one is being made here.
    pub fn look(&self) -> Option<Result<Arc<Credentials>, FileError>> {
        let mut files = self.files.try_lock()?;
        let loaded = files.load_changed();
        let untold = self.untold.lock().take();
        // What was read since counts for more.
        let loaded = loaded.or(untold.map(Err))?;
        Some(loaded.map(|credentials| self.take(credentials)))
    }

    /// The newest, changes of the files included. Waits for a change that is being made.
    pub fn newest(&self) -> Arc<Credentials> {
        let mut files = self.files.lock();
        match files.load_changed() {
            Some(Ok(credentials)) => self.take(credentials),
            Some(Err(error)) => {
                *self.untold.lock() = Some(error);
                self.shared.newest()
            }
            None => self.shared.newest(),
        }
    }

    /// Puts a new version of an app into file and snapshot.
    pub fn put_app(&self, app: App) -> Result<(), PutError> {
        let files = self.files.lock();
        let registry = files.put_app(app)?;
        self.take(Credentials { registry, keys: self.shared.newest().keys.clone() });
        Ok(())
    }

    /// Puts a new revision of the keys into file and snapshot.
    pub fn put_keys(&self, keys: KeySet) -> Result<(), PutError> {
        let files = self.files.lock();
        let keys = files.put_keys(keys)?;
        self.take(Credentials { registry: self.shared.newest().registry.clone(), keys });
        Ok(())
    }

    fn take(&self, credentials: Credentials) -> Arc<Credentials> {
        self.shared.replace(credentials);
        self.shared.newest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AppsFile, create_signing_keys};

    #[test]
    fn a_change_made_here_holds_at_once_and_one_made_elsewhere_at_the_next_look() {
        let folder = tempfile::tempdir().expect("a folder");
        let (apps, keys) = (folder.path().join("apps.json"), folder.path().join("keys.json"));
        create_signing_keys(&keys).expect("made");
        let mut files = CredentialsFiles::new(&apps, &keys);
        let shared = Arc::new(SharedCredentials::new(files.load().expect("readable")));
        let live = LiveCredentials::new(files, shared.clone());
        let (app, _) = App::create("one");
        live.put_app(app.clone()).expect("its first version");
        assert_eq!(shared.newest().registry.app(app.id), Some(&app));
        assert!(matches!(live.put_app(app.clone()), Err(PutError::Conflict(Some(1)))));
        AppsFile::new(&apps)
            .edit(|registry| {
                registry.app_mut(app.id).expect("known").enabled = false;
                Ok::<_, FileError>(())
            })
            .expect("an edit");
        assert!(shared.newest().registry.app(app.id).expect("known").enabled);
        assert!(!live.newest().registry.app(app.id).expect("known").enabled);
        let mut next = shared.newest().keys.set().next();
        let kid = next.add(std::time::Duration::from_secs(9)).expect("room");
        live.put_keys(next.clone()).expect("the next revision");
        assert_eq!(shared.newest().keys.keys()[1].kid(), kid);
        assert!(!shared.newest().registry.app(app.id).expect("known").enabled, "the apps stay");
        assert!(matches!(live.put_keys(next), Err(PutError::Conflict(Some(1)))));
    }

    #[test]
    fn a_broken_file_is_told_whoever_meets_it_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (apps, keys) = (folder.path().join("apps.json"), folder.path().join("keys.json"));
        create_signing_keys(&keys).expect("made");
        let mut files = CredentialsFiles::new(&apps, &keys);
        let shared = Arc::new(SharedCredentials::new(files.load().expect("readable")));
        let live = LiveCredentials::new(files, shared);
        let (app, _) = App::create("one");
        live.put_app(app.clone()).expect("its first version");
        std::fs::write(&apps, "{").expect("ours");
        assert!(live.newest().registry.app(app.id).is_some());
        assert!(matches!(live.look(), Some(Err(FileError::Registry { .. }))));
        assert!(live.look().is_none(), "once");
        assert!(live.newest().registry.app(app.id).is_some());
    }
}
