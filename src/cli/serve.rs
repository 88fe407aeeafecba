//! `forebay serve` and `forebay check`.

use std::process::ExitCode;

use forebay::admin::LogLevel;
use forebay::config::ServeOptions;
use forebay::crash::{Flags, Reporter};
use forebay::node::{self, NodeError, Stopped};
use forebay::supervisor::Supervisor;
use tracing::error;

use super::fail;

/// Runs a node until it is told to stop.
pub(crate) fn serve(options: &ServeOptions, log_level: LogLevel, flags: Flags) -> ExitCode {
    let reporter = Reporter::new(&options.data_dir, flags);
    reporter.clone().install();
    // First of all: nothing has opened a descriptor yet.
    let supervisor = Supervisor::of(std::env::var_os, std::process::id());
    let run = |supervisor| node::run(options, supervisor, log_level, &reporter);
    match supervisor.map_err(NodeError::from).and_then(run) {
        Ok(Stopped { at_risk: 0, failed: false }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            error!(%error, "cannot start");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Says whether a node would start.
pub(crate) fn check(options: &ServeOptions) -> ExitCode {
    match node::check(options) {
        Ok(()) => {
            println!("the configuration is sound");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, error.exit_code()),
    }
}
