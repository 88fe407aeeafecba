//! Where apps and signing keys are kept, and the one way to change them: compare-and-set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::{
    self, App, Credentials, FileError, KeyRing, KeySet, LiveCredentials, SharedCredentials, read_private,
};
use crate::fleet::{self, Fleet};

/// Why a change was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It does not follow on what is there: another change was faster.
    #[error("another change was faster: look again, and change what is there now")]
    Conflict,
    /// It is sound, and could not be written down now.
    #[error("{0}")]
    Unavailable(String),
}

/// Where apps and signing keys are kept.
#[derive(Debug)]
pub enum Store {
    /// In the two files of this machine.
    Files(Arc<LiveCredentials>),
    /// In the stream that all nodes of a fleet follow.
    Fleet {
        /// The way into it.
        fleet: Fleet,
        /// What this node has taken from it.
        credentials: Arc<SharedCredentials>,
        /// Where the node keeps the fleet's signing keys as they came.
        keys_file: PathBuf,
    },
}

impl Store {
    /// What holds now, with all changes that this node can know of.
    pub async fn newest(&self) -> Arc<Credentials> {
        match self {
            Self::Files(live) => {
                let live = live.clone();
                blocking(move || live.newest()).await
            }
            Self::Fleet { credentials, .. } => credentials.newest(),
        }
    }

    /// Compare-and-set: takes `app` if the version before it is the newest, or if it is new and this is its first. This node judges by it
    /// when it is returned.
    pub async fn put_app(&self, app: App) -> Result<App, PutError> {
        match self {
            Self::Files(live) => {
                let live = live.clone();
                blocking(move || live.put_app(app.clone()).map(|()| app)).await.map_err(PutError::from)
            }
            Self::Fleet { fleet, .. } => Ok(fleet.put_app(app).await?),
        }
    }

    /// The same for the signing keys and their revision.
    pub async fn put_keys(&self, keys: KeySet) -> Result<KeySet, PutError> {
        match self {
            Self::Files(live) => {
                let live = live.clone();
                blocking(move || live.put_keys(keys.clone()).map(|()| keys)).await.map_err(PutError::from)
            }
            Self::Fleet { fleet, keys_file, .. } => {
                let path = keys_file.clone();
                let (before, after, keys) = blocking(move || follow_on(&path, keys)).await?;
                fleet.put_keys(before, after).await?;
                Ok(keys)
            }
        }
    }
}

/// The text of the keys as they are and as they are to be; the fleet compares the first with its own.
fn follow_on(path: &Path, keys: KeySet) -> Result<(String, String, KeySet), PutError> {
    let unusable = |error: String| PutError::Unavailable(error);
    let before = read_private(path).map_err(|error: FileError| unusable(error.to_string()))?;
    let known = KeyRing::parse(&before).map_err(|error| unusable(error.to_string()))?;
    if known.set().revision.checked_add(1) != Some(keys.revision) {
        return Err(PutError::Conflict);
    }
    // Before it is told: no node would take what cannot be used.
    KeyRing::new(keys.clone()).map_err(|error| unusable(error.to_string()))?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| unusable(error.to_string()));
    Ok((text(before)?, text(keys.to_json())?, keys))
}

impl From<fleet::PutError> for PutError {
    fn from(error: fleet::PutError) -> Self {
        match error {
            fleet::PutError::Conflict => Self::Conflict,
            fleet::PutError::Away | fleet::PutError::Unsure => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<auth::PutError> for PutError {
    fn from(error: auth::PutError) -> Self {
        match error {
            auth::PutError::Conflict(_) => Self::Conflict,
            auth::PutError::Registry(error) => Self::Unavailable(error.to_string()),
            auth::PutError::File(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Files may wait for a disk, and for whoever holds their lock; probes do not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("a panic ends the process")
}
