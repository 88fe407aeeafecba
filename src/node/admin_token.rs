//! The operators' token: read at the start, and again when its file changes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tracing::{error, info};

use crate::admin::{Guard, Token, TokenTextError};
use crate::config::ServeOptions;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// The file cannot be read.
    #[error("--admin-token-file {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Everybody on the machine may read it.
    #[error("--admin-token-file {}: others can read it (mode {mode:03o}): set it to 600 (chmod 600), and write a new token if it may have leaked", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no token.
    #[error("--admin-token-file {}: {error}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: TokenTextError,
    },
}

/// The token's file, and what it held last.
#[derive(Debug)]
pub(super) struct AdminToken {
    path: PathBuf,
    held: Option<Token>,
}

impl AdminToken {
    /// The file that the flag names, if it does.
    pub(super) fn of(options: &ServeOptions) -> Option<Self> {
        options.admin.admin_token_file.clone().map(|path| Self { path, held: None })
    }

    /// Reads it.
    pub(super) fn load(&mut self) -> Result<Token, AdminTokenError> {
        let io_error = |error| AdminTokenError::Io { path: self.path.clone(), error };
        let text = fs::read(&self.path).map_err(io_error)?;
        let mode = fs::metadata(&self.path).map_err(io_error)?.permissions().mode() & 0o777;
        // A group may be how a service manager hands it over; everybody is nobody's intention.
        if mode & 0o007 != 0 {
            return Err(AdminTokenError::Exposed { path: self.path.clone(), mode });
        }
        let token =
            Token::parse(&text).map_err(|error| AdminTokenError::Text { path: self.path.clone(), error })?;
        self.held = Some(token.clone());
        Ok(token)
    }

    /// Takes each change; the token of before holds until the new one can be used.
    pub(super) async fn watch(mut self, guard: Arc<Guard>) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        let mut told = String::new();
        loop {
            interval.tick().await;
            let before = self.held.clone();
            match self.load() {
                Ok(token) if before.as_ref() == Some(&token) => told.clear(),
                Ok(token) => {
                    guard.replace_token(token);
                    info!(file = %self.path.display(), "took a changed token of the operators");
                    told.clear();
                }
                Err(error) => {
                    // Met at every look, and told once.
                    let text = error.to_string();
                    if text != told {
                        error!(error = text, "kept the operators' token of before");
                    }
                    told = text;
                }
            }
        }
    }
}
