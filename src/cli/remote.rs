//! The node that a command speaks to, from its flags.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use forebay::remote::{self, Bounds, Remote};

/// What is waited for and read: a list of very many apps, at most.
pub(super) const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(10), bytes_max: 256 << 20 };

/// The node to speak to instead of editing a file.
#[derive(Args)]
pub(crate) struct RemoteArgs {
    /// The operators' listener of a node, `https://HOST:PORT`: it makes the change instead of this command, which then needs no file. The
    /// certificate has to be trusted by this machine (`SSL_CERT_FILE` names other authorities).
    #[arg(long, env = "FOREBAY_ADMIN_URL", value_name = "URL", global = true)]
    admin_url: Option<String>,
    /// The file with the operators' token of that node.
    #[arg(long, env = "FOREBAY_ADMIN_TOKEN_FILE", value_name = "PATH", global = true)]
    admin_token_file: Option<PathBuf>,
}

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteArgsError {
    #[error("--admin-token-file {}: {error}", path.display())]
    Token { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Remote(#[from] remote::RemoteError),
}

impl RemoteArgs {
    /// The node that is to be spoken to, if there is one.
    pub(super) fn remote(&self) -> Result<Option<Remote>, RemoteArgsError> {
        let Some(url) = &self.admin_url else { return Ok(None) };
        let token = self.admin_token_file.as_deref().map(read_token).transpose()?;
        let node = Remote::new(url, BOUNDS)?;
        Ok(Some(node.with_authorization(token.map(|token| format!("Bearer {token}")))))
    }
}

fn read_token(path: &Path) -> Result<String, RemoteArgsError> {
    let read = std::fs::read_to_string(path);
    let token = read.map_err(|error| RemoteArgsError::Token { path: path.to_owned(), error })?;
    Ok(token.trim().to_owned())
}
