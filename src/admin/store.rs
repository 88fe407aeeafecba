//! Where apps and signing keys are kept, and the one way to change them: compare-and-set.

use std::sync::Arc;

use crate::auth::{self, App, Credentials, KeySet, LiveCredentials};

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
}

impl Store {
    /// What holds now, with all changes that this node can know of.
    pub async fn newest(&self) -> Arc<Credentials> {
        match self {
            Self::Files(live) => {
                let live = live.clone();
                blocking(move || live.newest()).await
            }
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
        }
    }

    /// The same for the signing keys and their revision.
    pub async fn put_keys(&self, keys: KeySet) -> Result<KeySet, PutError> {
        match self {
            Self::Files(live) => {
                let live = live.clone();
                blocking(move || live.put_keys(keys.clone()).map(|()| keys)).await.map_err(PutError::from)
            }
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
