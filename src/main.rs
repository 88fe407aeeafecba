//! The command line: parse, dispatch, exit code.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use forebay::config::{LogOptions, ServeOptions};

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
    /// Look into the journal, empty it, repair it.
    Journal(cli::JournalArgs),
    /// Check flags, apps file and signing keys without starting.
    Check(Box<ServeOptions>),
}

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    let log_level = match cli::start_log(&log) {
        Ok(log_level) => log_level,
        Err(error) => {
            eprintln!("forebay: {error}");
            return ExitCode::from(forebay::config::EXIT_CONFIG);
        }
    };
    match command {
        Command::Serve(options) => cli::serve(&options, log_level),
        Command::App(args) => cli::app(&args),
        Command::Key(args) => cli::key(&args),
        Command::Token(args) => cli::token(&args),
        Command::Journal(args) => cli::journal(&args),
        Command::Check(options) => cli::check(&options),
    }
}
