//! `forebay journal repair`.

use std::path::Path;
use std::process::ExitCode;

use forebay::journal::{self, FileSystem, Holder, JournalLock, draw_epoch};

use super::JournalError;

/// Repairs a journal that no node uses, and says what was done.
pub(super) fn repair(folder: &Path) -> Result<ExitCode, JournalError> {
    let _lock = JournalLock::take(folder, Holder::Command).map_err(JournalError::Lock)?;
    let done = journal::repair(&FileSystem, folder, draw_epoch)?;
    for file in &done.files {
        println!(
            "{}: cut {} bytes from byte {} on (kept in {}), saved {} events behind them",
            file.path.display(),
            file.cut_bytes,
            file.position,
            file.kept.display(),
            file.saved_events
        );
    }
    match done.log {
        Some(log) => println!(
            "the events that were saved are in the log {log}: the next start of the node forwards them"
        ),
        None if done.files.is_empty() => println!("there is nothing to repair"),
        None => println!("there was nothing to save behind the damage"),
    }
    Ok(ExitCode::SUCCESS)
}
