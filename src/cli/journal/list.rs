//! `forebay journal ls`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use forebay::journal::{DAMAGED_FOLDER, Disk, FileSystem, FoundSegment, HeaderError, ListedLog};
use serde_json::{Value, json};

use super::{JournalError, account, logs};

/// Prints a table, or JSON.
pub(super) fn list(folder: &Path, is_json: bool) -> Result<ExitCode, JournalError> {
    let logs = logs(folder, &account(folder)?)?;
    let aside = FileSystem.names(&folder.join(DAMAGED_FOLDER)).unwrap_or_default();
    let rows: Vec<Value> =
        logs.iter().flat_map(|log| log.found.segments.iter().map(|segment| row(log, segment))).collect();
    let sum = |of: fn(&ListedLog) -> u64| logs.iter().map(of).sum::<u64>();
    let (events, pending, bytes) =
        (sum(|log| log.events), sum(|log| log.pending), sum(|log| log.found.bytes()));
    let mut out = io::stdout().lock();
    if is_json {
        let listed = json!({
            "segments": rows, "logs": logs.len(), "events": events, "pending": pending, "bytes": bytes,
            "set_aside": aside,
        });
        writeln!(out, "{listed}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["log", "core", "file", "number", "first", "end", "events", "used", "bytes", "state"];
    let mut table = vec![columns.map(str::to_owned)];
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    table.extend(rows.iter().map(|row| columns.map(|column| text(&row[column]))));
    let widths = std::array::from_fn::<_, 10, _>(|column| {
        table.iter().map(|row| row[column].len()).max().unwrap_or(0)
    });
    for row in &table {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    writeln!(
        out,
        "{} logs, {} segments, {events} events, {pending} of them not confirmed, {bytes} bytes",
        logs.len(),
        rows.len()
    )?;
    if !aside.is_empty() {
        writeln!(out, "{} files in {}", aside.len(), folder.join(DAMAGED_FOLDER).display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(log: &ListedLog, segment: &FoundSegment) -> Value {
    let file = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let id = log.found.id;
    match &segment.content {
        Ok(content) => {
            let state = match content.damage {
                None => "in use",
                Some(_) if log.found.is_made_good(content) => "torn, made good elsewhere",
                Some(_) => "damaged",
            };
            json!({
                "log": id.to_string(), "core": id.core.0, "file": file, "number": content.header.number,
                "first": content.header.first.0, "end": content.end.0, "events": content.events,
                "used": content.position, "bytes": segment.bytes, "state": state,
            })
        }
        Err(error) => {
            let state = match error {
                HeaderError::Unused => "unused",
                HeaderError::Damaged => "damaged",
                HeaderError::UnknownVersion(_) => "of a newer version",
            };
            json!({
                "log": id.to_string(), "core": id.core.0, "file": file, "number": null, "first": null, "end": null,
                "events": 0, "used": 0, "bytes": segment.bytes, "state": state,
            })
        }
    }
}
