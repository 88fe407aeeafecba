//! How others of the process change apps and keys of the fleet.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::auth::App;

/// Longest time until a change is seen to hold.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Changes that wait to be written.
const PUTS_MAX: usize = 64;

/// Why a change does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Another change was faster: read again, and change that.
    #[error("it has been changed meanwhile: read it again")]
    Conflict,
    /// The broker is not reached, so nobody would know of it. On this node alone `forebay app` changes it, and the fleet is told later.
    #[error("the fleet is not reached: try again later, or change it on each node with `forebay app`")]
    Away,
    /// It was written, and then the broker was lost: it holds, or it will, or it does not.
    #[error("the broker was lost before the change was seen: read it again to know whether it holds")]
    Unsure,
}

/// What is to be changed.
#[derive(Debug)]
pub(super) enum Wish {
    /// An app, of which the version before was seen.
    App(Box<App>),
    /// The signing key file's text, of which the one before was seen.
    Keys { before: String, after: String },
}

/// A wish, and who waits for it.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) wish: Wish,
    pub(super) answer: oneshot::Sender<Result<(), PutError>>,
}

/// Changes apps and keys for the whole fleet.
#[derive(Clone, Debug)]
pub struct Fleet(mpsc::Sender<Put>);

impl Fleet {
    pub(super) fn new() -> (Self, mpsc::Receiver<Put>) {
        let (sender, receiver) = mpsc::channel(PUTS_MAX);
        (Self(sender), receiver)
    }

    /// Changes or adds an app. Its version has to be one above that which was changed ([`Registry::app_mut`](crate::auth::Registry::app_mut) does so). When this
    /// returns the app, the change holds on this node; the others follow.
    pub async fn put_app(&self, app: App) -> Result<App, PutError> {
        self.put(Wish::App(Box::new(app.clone()))).await.map(|()| app)
    }

    /// Replaces the signing keys (the text of their file), if they are still those of `before`.
    pub async fn put_keys(&self, before: String, after: String) -> Result<(), PutError> {
        self.put(Wish::Keys { before, after }).await
    }

    async fn put(&self, wish: Wish) -> Result<(), PutError> {
        let (answer, answered) = oneshot::channel();
        let put = async {
            self.0.send(Put { wish, answer }).await.map_err(|_| PutError::Away)?;
            // Dropped with the connection that it was written to.
            answered.await.unwrap_or(Err(PutError::Unsure))
        };
        tokio::time::timeout(PUT_TIMEOUT, put).await.unwrap_or(Err(PutError::Unsure))
    }
}
