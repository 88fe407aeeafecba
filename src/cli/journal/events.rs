//! `forebay journal cat`, and how events are printed.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use forebay::event::{Record, RecordError, Records};
use forebay::forward::EventLines;
use forebay::journal::format::FramedBatch;
use forebay::journal::{FileSystem, Follower, Offset};

use super::{JournalError, account, logs, pause_while_read};

/// How often a journal is looked at for more.
const FOLLOW: Duration = Duration::from_millis(200);

/// Prints events, log by log.
pub(super) fn cat(folder: &Path, pending: bool, follow: bool) -> Result<ExitCode, JournalError> {
    let listed = logs(folder, &account(folder)?)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut lines = EventLines::default();
    let mut is_whole = true;
    let mut print = |path: &Path, batch: &FramedBatch<'_>, from: Offset| -> Result<(), JournalError> {
        for record in records(batch, from) {
            match record {
                Ok(record) => out.write_all(lines.line(&record))?,
                Err(error) => {
                    is_whole = false;
                    eprintln!("forebay: {}: {error}", path.display());
                }
            }
        }
        if follow { Ok(out.flush()?) } else { Ok(()) }
    };
    for log in &listed {
        let from = if pending { log.settled } else { Offset(0) };
        for run in log.runs(from) {
            run.read(&FileSystem, |batch| print(&run.path, batch, run.first))?;
        }
    }
    if follow {
        let mut follower = Follower::new(&listed);
        loop {
            follower.poll(&FileSystem, folder, |batch, from| print(folder, batch, from))?;
            pause_while_read(FOLLOW)?;
        }
    }
    out.flush()?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The records of a batch at `from` and behind it.
pub(super) fn records<'a>(
    batch: &FramedBatch<'a>,
    from: Offset,
) -> impl Iterator<Item = Result<Record<'a>, RecordError>> {
    let numbered = (batch.head.first.0..).zip(Records::new(batch.records));
    numbered.filter(move |(offset, record)| *offset >= from.0 || record.is_err()).map(|(_, record)| record)
}
