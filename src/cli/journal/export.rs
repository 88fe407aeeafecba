//! `forebay journal export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use forebay::clock;
use forebay::forward::EventLines;
use forebay::journal::{
    Account, Disk, FileSystem, HeaderError, Holder, JournalLock, ListedLog, LockError, Offset, RELEASE_FILE,
    Release, ReleasedLog, ReleasedRun, write_checkpoint, write_release,
};

use super::events::records;
use super::{JournalError, account, logs, pause};

/// How long a node may take to take a release over; it looks at least once a second.
const TAKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether it did.
const TAKEN_LOOK: Duration = Duration::from_millis(50);

/// Writes the events that are not settled; with `is_released`, settles them.
pub(super) fn export(folder: &Path, to: Option<&Path>, is_released: bool) -> Result<ExitCode, JournalError> {
    let Some(to) = to else {
        let mut out = BufWriter::new(io::stdout().lock());
        write_events(folder, &account(folder)?, false, &mut out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    };
    let lock = if is_released { lock(folder)? } else { None };
    let account = account(folder)?;
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to);
    let mut out = BufWriter::new(file.map_err(JournalError::file(to))?);
    let release = write_events(folder, &account, is_released, &mut out)?;
    let file = out.into_inner().map_err(|error| JournalError::file(to)(error.into_error()))?;
    file.sync_all().and_then(|()| sync_folder(to)).map_err(JournalError::file(to))?;
    let events = release.events();
    if !is_released {
        eprintln!("wrote {events} events to {}", to.display());
        return Ok(ExitCode::SUCCESS);
    }
    if lock.is_some() {
        let disk = FileSystem;
        write_checkpoint(&disk, folder, &release.settle_in(account)).map_err(JournalError::file(folder))?;
        // What somebody else asked for, and no node took, does not fit any more.
        let _ = disk.remove_file(&folder.join(RELEASE_FILE));
    } else if events > 0 {
        ask(folder, to, &release)?;
    }
    eprintln!("wrote {events} events to {}, and released them", to.display());
    Ok(ExitCode::SUCCESS)
}

/// The lock, if no node runs; none, if one runs that takes releases.
fn lock(folder: &Path) -> Result<Option<JournalLock>, JournalError> {
    match JournalLock::take(folder, Holder::Command) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::InUse { kind: Some(Holder::Alone), .. }) => Ok(None),
        Err(LockError::InUse { kind: Some(Holder::Broker), holder, .. }) => {
            Err(JournalError::HasBroker(holder))
        }
        Err(LockError::InUse { holder, .. }) => Err(JournalError::UnknownHolder(holder)),
        Err(error) => Err(JournalError::Lock(error)),
    }
}

/// Writes the pending events of all logs. What is to be released ends ahead of whole events that cannot be read, for their segment could serve
/// again.
fn write_events(
    folder: &Path,
    account: &Account,
    is_released: bool,
    out: &mut impl Write,
) -> Result<Release, JournalError> {
    let mut release = Release::default();
    let mut lines = EventLines::default();
    for log in logs(folder, account)? {
        let limit = if is_released { limit(&log) } else { Offset(u64::MAX) };
        let mut released = ReleasedLog { from: log.settled.0, end: log.settled.0, ..ReleasedLog::default() };
        for run in log.runs(log.settled) {
            let mut end = None;
            run.read(&FileSystem, |batch| {
                if batch.head.first >= limit {
                    return Ok(());
                }
                for record in records(batch, run.first) {
                    let record =
                        record.map_err(|error| JournalError::Record { path: run.path.clone(), error })?;
                    out.write_all(lines.line(&record))?;
                    *released.apps.entry(record.app).or_default() += 1;
                }
                end = Some(batch.head.end().0);
                Ok::<_, JournalError>(())
            })?;
            if let Some(end) = end {
                released.runs.push(ReleasedRun { epoch: run.epoch, first: run.first.0, end });
                released.end = end;
            }
        }
        if released.events() > 0 {
            release.add(log.found.id, released);
        }
    }
    Ok(release)
}

/// Up to where a log may be released: not beyond whole events that lie behind a damaged place.
fn limit(log: &ListedLog) -> Offset {
    let mut limit = Offset(u64::MAX);
    for segment in &log.found.segments {
        let end = match &segment.content {
            Ok(content) if content.damage.is_some_and(|damage| damage.batches_behind > 0) => content.end,
            Ok(_) | Err(HeaderError::Unused) => continue,
            Err(_) => Offset(0),
        };
        eprintln!(
            "forebay: {}: is damaged, and nothing of its log is released from offset {end} on: run `forebay journal repair` first",
            segment.path.display()
        );
        limit = limit.min(end);
    }
    limit
}

/// Asks the node to take the release over, and waits until its checkpoint says so.
fn ask(folder: &Path, to: &Path, release: &Release) -> Result<(), JournalError> {
    let disk = FileSystem;
    let request = folder.join(RELEASE_FILE);
    write_release(&disk, folder, release).map_err(JournalError::file(&request))?;
    let deadline = clock::monotonic() + TAKEN_TIMEOUT;
    let is_settled =
        || release.is_settled(&account(folder)?, &disk, folder).map_err(JournalError::file(folder));
    let not_released = |problem| Err(JournalError::NotReleased { file: to.to_owned(), problem });
    loop {
        // Before the look into the checkpoint, which is written before the request goes.
        let is_done = !request.exists();
        if is_settled()? {
            return Ok(());
        }
        if is_done {
            return not_released("The journal has changed meanwhile: export again, to another file");
        }
        if clock::monotonic() >= deadline {
            let _ = disk.remove_file(&request);
            // It may have been taken at the last moment.
            return if is_settled()? {
                Ok(())
            } else {
                not_released("Does the node still run? Export again, to another file")
            };
        }
        pause(TAKEN_LOOK)?;
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
