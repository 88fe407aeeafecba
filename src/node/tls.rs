//! Certificate and key: read at the start, and again when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tracing::{error, info};

use crate::config::ServeOptions;
use crate::telemetry::HandshakeMetrics;
use crate::wire::{Tls, TlsFilesError};

/// How often the files are looked at. They are small, so they are read: nothing else tells every change.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("--{flag} {}: {error}", path.display())]
    Io {
        /// Which flag names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What they hold cannot be used.
    #[error("{flags}: {error}")]
    Files {
        /// The flags that name them, with what they name.
        flags: String,
        /// What is wrong.
        error: TlsFilesError,
    },
}

/// The two files, and what they held last.
#[derive(Debug)]
pub(super) struct TlsFiles {
    flags: [&'static str; 2],
    certificate: PathBuf,
    key: PathBuf,
    held: Option<[Vec<u8>; 2]>,
}

impl TlsFiles {
    /// The files of the public listener, if there are any.
    pub(super) fn of(options: &ServeOptions) -> Option<Self> {
        Self::named(["tls-cert", "tls-key"], options.wire.tls_cert.as_ref(), options.wire.tls_key.as_ref())
    }

    /// Those of the operators' listener.
    pub(super) fn of_operators(options: &ServeOptions) -> Option<Self> {
        let admin = &options.admin;
        Self::named(
            ["admin-tls-cert", "admin-tls-key"],
            admin.admin_tls_cert.as_ref(),
            admin.admin_tls_key.as_ref(),
        )
    }

    fn named(flags: [&'static str; 2], certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<Self> {
        let (certificate, key) = certificate.cloned().zip(key.cloned())?;
        Some(Self { flags, certificate, key, held: None })
    }

    /// Reads them for the first time.
    pub(super) fn load(&mut self, metrics: Arc<HandshakeMetrics>) -> Result<Tls, TlsError> {
        let held = self.read()?;
        let tls = Tls::new(&held[0], &held[1], metrics).map_err(|error| self.error(error))?;
        self.held = Some(held);
        Ok(tls)
    }

    fn read(&self) -> Result<[Vec<u8>; 2], TlsError> {
        let read = |flag, path: &PathBuf| {
            fs::read(path).map_err(|error| TlsError::Io { flag, path: path.clone(), error })
        };
        Ok([read(self.flags[0], &self.certificate)?, read(self.flags[1], &self.key)?])
    }

    fn error(&self, error: TlsFilesError) -> TlsError {
        let [certificate, key] = self.flags;
        let flags = format!("--{certificate} {}, --{key} {}", self.certificate.display(), self.key.display());
        TlsError::Files { flags, error }
    }

    /// Takes each change. Between the change of one file and that of the other they do not belong together: the pair of before is kept.
    pub(super) async fn watch(mut self, tls: Arc<Tls>) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        let mut told = String::new();
        loop {
            interval.tick().await;
            let changed = match self.read() {
                Ok(held) if self.held.as_ref() == Some(&held) => continue,
                Ok(held) => {
                    let replaced = tls.replace(&held[0], &held[1]).map_err(|error| self.error(error));
                    self.held = Some(held);
                    replaced
                }
                Err(error) => Err(error),
            };
            match changed {
                Ok(()) => {
                    info!(file = %self.certificate.display(), "took a changed certificate");
                    told.clear();
                }
                Err(error) => {
                    // What cannot be read is met at every look, and told once.
                    let text = error.to_string();
                    if text != told {
                        error!(error = text, "kept the certificate of before");
                    }
                    told = text;
                }
            }
        }
    }
}
