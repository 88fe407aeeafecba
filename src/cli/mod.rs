//! What each command does, and the exit code it ends with.

mod app;
mod fleet;
mod journal;
mod key;
mod log;
mod remote;
mod serve;
mod token;

use std::fmt::Display;
use std::process::ExitCode;

pub(crate) use app::{AppArgs, app};
pub(crate) use fleet::{FleetArgs, fleet};
pub(crate) use journal::{JournalArgs, journal};
pub(crate) use key::{KeyArgs, key};
pub(crate) use log::start_log;
pub(crate) use serve::{check, serve};
pub(crate) use token::{TokenArgs, token};

/// Exit code for wrong usage, as clap has it.
const EXIT_USAGE: u8 = 2;

/// Says what went wrong and ends with `code`.
fn fail(error: impl Display, code: u8) -> ExitCode {
    eprintln!("forebay: {error}");
    ExitCode::from(code)
}
