//! `forebay journal`: looks into a journal, empties it, repairs it. All but `repair` also work beside a running node.

mod check;
mod events;
mod export;
mod list;
mod repair;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use forebay::config::{EXIT_CONFIG, JournalFolder};
use forebay::event::RecordError;
use forebay::journal::{
    Account, CheckpointError, FileSystem, HeaderError, ListedLog, LockError, RepairError, list_logs,
    read_checkpoint,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::fail;

/// Arguments of `forebay journal`.
#[derive(Args)]
pub(crate) struct JournalArgs {
    #[command(flatten)]
    folder: JournalFolder,
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// List logs and segments, and what is in them.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verify every checksum; exit code 1 if something is damaged.
    Check,
    /// Print the events as CloudEvents, one JSON object a line.
    Cat {
        /// Only those that are not confirmed.
        #[arg(long)]
        pending: bool,
        /// Go on with what a running node appends.
        #[arg(long)]
        follow: bool,
    },
    /// Write the events that are not confirmed, as CloudEvents, one JSON object a line.
    Export {
        /// The file to write, which must not exist yet. [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Once they are on the disk, confirm them: they will not be forwarded. A running node may have no broker then.
        #[arg(long, requires = "to")]
        release: bool,
    },
    /// Cut torn and damaged places, and save the whole events behind them; no node may run.
    Repair,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum JournalError {
    #[error("{}: there is no journal: name its folder with --journal-dir", .0.display())]
    NoJournal(PathBuf),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: the checkpoint {error}", folder.display())]
    Checkpoint { folder: PathBuf, error: CheckpointError },
    #[error("{}: {error}", path.display())]
    Record { path: PathBuf, error: RecordError },
    #[error(transparent)]
    Lock(LockError),
    #[error(
        "the node with this journal (process {0}) has a broker, which gets these events: export without --release, or stop the node first"
    )]
    HasBroker(String),
    #[error(
        "the journal is in use by process {0}, which does not say that it is a node without a broker: try again in a moment"
    )]
    UnknownHolder(String),
    #[error("{}: the node has not taken the release over: the events are in the file and still in the journal. {problem}", file.display())]
    NotReleased { file: PathBuf, problem: &'static str },
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl JournalError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}

/// Runs the command.
pub(crate) fn journal(args: &JournalArgs) -> ExitCode {
    let folder = &args.folder.journal_dir;
    let outcome = if folder.is_dir() {
        match &args.command {
            JournalCommand::Ls { json } => list::list(folder, *json),
            JournalCommand::Check => check::check(folder),
            JournalCommand::Cat { pending, follow } => events::cat(folder, *pending, *follow),
            JournalCommand::Export { to, release } => export::export(folder, to.as_deref(), *release),
            JournalCommand::Repair => repair::repair(folder),
        }
    } else {
        Err(JournalError::NoJournal(folder.clone()))
    };
    match outcome {
        Ok(code) => code,
        // The reader has seen enough.
        Err(JournalError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error @ (JournalError::NoJournal(_) | JournalError::Lock(_))) => fail(error, EXIT_CONFIG),
        Err(error) => fail(error, 1),
    }
}

/// What is settled. A damaged checkpoint is told and counts as none, as it does for a node.
fn account(folder: &Path) -> Result<Account, JournalError> {
    match read_checkpoint(&FileSystem, folder) {
        Err(error @ CheckpointError::Damaged(_)) => {
            eprintln!("forebay: {}: the checkpoint {error}: nothing counts as confirmed", folder.display());
            Ok(Account::default())
        }
        read => read.map_err(|error| JournalError::Checkpoint { folder: folder.to_owned(), error }),
    }
}

/// All logs. Segments that a newer version wrote are told of.
fn logs(folder: &Path, account: &Account) -> Result<Vec<ListedLog>, JournalError> {
    let logs = list_logs(&FileSystem, folder, account).map_err(JournalError::file(folder))?;
    for segment in logs.iter().flat_map(|log| &log.found.segments) {
        if let Err(error @ HeaderError::UnknownVersion(_)) = segment.content {
            eprintln!("forebay: {}: {error}", segment.path.display());
        }
    }
    Ok(logs)
}

/// Waits.
fn pause(duration: Duration) -> io::Result<()> {
    wait(&mut [], duration).map(drop)
}

/// Waits; an error, as for a write, once standard output is closed at the other end.
fn pause_while_read(duration: Duration) -> io::Result<()> {
    let stdout = io::stdout();
    // Nothing is asked for: errors and the end of the other side are told anyway.
    let is_told = wait(&mut [PollFd::new(&stdout, PollFlags::empty())], duration)?;
    if is_told { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

/// Waits until something is told of `files`.
fn wait(files: &mut [PollFd<'_>], duration: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(duration).map_err(io::Error::other)?;
    match poll(files, Some(&timeout)) {
        Err(Errno::INTR) => Ok(false),
        told => Ok(told? > 0),
    }
}
