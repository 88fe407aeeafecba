//! The command line: parse, dispatch, exit code.

mod cli;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use forebay::config::{LogOptions, ServeOptions, given_flags};
use forebay::crash::Flags;

/// The front door for telemetry: authenticates, checks, answers 202 and forwards batches to `RabbitMQ`.
#[derive(Parser)]
#[command(name = "forebay", version, about)]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Serve(Box<ServeOptions>),
    /// Make, list and change applications.
    App(cli::AppArgs),
    /// List, add and rotate the fleet's signing keys.
    Key(cli::KeyArgs),
    /// Get a token, for scripts and debugging: ask a node for it, or mint it.
    Token(cli::TokenArgs),
    /// Make the key that the nodes of a fleet share.
    Fleet(cli::FleetArgs),
    /// Look into the journal, empty it, repair it.
    Journal(cli::JournalArgs),
    /// Check flags, apps file and signing keys without starting.
    Check(Box<ServeOptions>),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let Cli { log, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let log_level = match cli::start_log(&log) {
        Ok(log_level) => log_level,
        Err(error) => {
            eprintln!("forebay: {error}");
            return ExitCode::from(forebay::config::EXIT_CONFIG);
        }
    };
    match command {
        Command::Serve(options) => cli::serve(&options, log_level, given(&matches)),
        Command::App(args) => cli::app(&args),
        Command::Key(args) => cli::key(&args),
        Command::Token(args) => cli::token(&args),
        Command::Fleet(args) => cli::fleet(&args),
        Command::Journal(args) => cli::journal(&args),
        Command::Check(options) => cli::check(&options),
    }
}

/// The flags of the command that were given.
fn given(matches: &ArgMatches) -> Flags {
    let Some((name, matches)) = matches.subcommand() else { return Flags::default() };
    Cli::command().find_subcommand(name).map_or_else(Flags::default, |command| given_flags(command, matches))
}
