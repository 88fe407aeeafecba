//! `forebay journal check`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use forebay::journal::{HeaderError, ListedLog};

use super::{JournalError, account, logs, pause};

/// A batch that a running node is writing is whole after that time.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// A place that is not sound.
struct Finding {
    /// Which place: the file, which use of it, and where.
    place: (PathBuf, u64, u64),
    /// What is to be said of it.
    text: String,
    is_harmless: bool,
}

/// Verifies everything, and prints what is damaged.
pub(super) fn check(folder: &Path) -> Result<ExitCode, JournalError> {
    let account = account(folder)?;
    let mut logs_found = logs(folder, &account)?;
    let mut findings = find(&logs_found);
    if !findings.is_empty() {
        pause(SECOND_LOOK)?;
        let before = findings;
        logs_found = logs(folder, &account)?;
        findings = find(&logs_found);
        findings.retain(|finding| before.iter().any(|earlier| earlier.place == finding.place));
    }
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{}", finding.text)?;
    }
    let segments: usize = logs_found.iter().map(|log| log.found.segments.len()).sum();
    let events: u64 = logs_found.iter().map(|log| log.events).sum();
    let damaged = findings.iter().filter(|finding| !finding.is_harmless).count();
    if damaged == 0 {
        writeln!(out, "sound: {} logs, {segments} segments, {events} events", logs_found.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "damaged: {damaged} of {segments} segments: stop the node and run `forebay journal repair`"
    )?;
    Ok(ExitCode::FAILURE)
}

fn find(logs: &[ListedLog]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (log, segment) in
        logs.iter().flat_map(|log| log.found.segments.iter().map(move |segment| (log, segment)))
    {
        let file = segment.path.display();
        let (epoch, position, text, is_harmless) = match &segment.content {
            Err(HeaderError::Unused) => continue,
            Err(error) => (0, 0, format!("{file}: {error}"), false),
            Ok(content) => {
                let Some(damage) = content.damage else { continue };
                let is_harmless = log.found.is_made_good(content);
                let what =
                    if is_harmless { "a write that failed, made good elsewhere" } else { "torn or damaged" };
                let text = format!(
                    "{file}: at byte {}: {what}; {} batches with {} events before it, {} batches with {} events behind it are whole",
                    damage.position,
                    content.batches,
                    content.events,
                    damage.batches_behind,
                    damage.events_behind
                );
                (content.header.epoch, damage.position, text, is_harmless)
            }
        };
        findings.push(Finding { place: (segment.path.clone(), epoch, position), text, is_harmless });
    }
    findings
}
