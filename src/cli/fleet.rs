//! `forebay fleet`: what the nodes of a fleet have in common.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use forebay::config::EXIT_CONFIG;
use forebay::fleet::{FleetKey, FleetKeyError};

use super::fail;

/// Arguments of `forebay fleet`.
#[derive(Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Subcommand)]
enum FleetCommand {
    /// Make the key of a new fleet, mode 0600; a file that exists is kept. Bring it to every node, over a way that nobody listens to.
    Key {
        /// The file to make.
        #[arg(env = "FOREBAY_FLEET_KEY_FILE", value_name = "PATH")]
        path: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn fleet(args: &FleetArgs) -> ExitCode {
    let FleetCommand::Key { path } = &args.command;
    match FleetKey::create(path) {
        Ok(()) => {
            eprintln!("made {}: whoever has it can change the apps and keys of the fleet", path.display());
            ExitCode::SUCCESS
        }
        Err(error @ FleetKeyError::Exists(_)) => fail(error, EXIT_CONFIG),
        Err(error) => fail(error, 1),
    }
}
