//! The load tester of Forebay: sends what SDKs send, measures, and checks that nothing accepted is missing.
//!
//! It shares the ring layer with the server and nothing else, so that it does not share the server's mistakes.

mod collect;
mod connection;
mod credentials;
mod delivery;
mod generator;
mod options;
mod payload;
mod report;
mod request;
mod response;
mod run;
mod tally;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A threshold was broken.
const EXIT_BREACH: u8 = 99;

#[derive(Parser)]
#[command(name = "forebay-loadtest", version, about = "Sends load to Forebay and checks what becomes of it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send events over a fixed number of connections, as fast as answers come or at a given rate.
    Run(Box<options::RunOptions>),
    /// Consume from the queue until SIGINT or SIGTERM and write down what came, for `verify`; a broker or queue that is away is waited for.
    Collect(Box<options::CollectOptions>),
    /// Drain the queue and say which accepted events are missing, changed or repeated.
    Verify(Box<options::VerifyOptions>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Collect(options) => collect::collect(&options),
        Command::Verify(options) => verify::verify(&options),
    };
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Breach) => ExitCode::from(EXIT_BREACH),
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("forebay-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command could not do its work; all that is done with it is to show it.
pub(crate) type AnyError = Box<dyn std::error::Error>;

/// What a command found.
enum Verdict {
    /// All is as it should be.
    Good,
    /// A threshold of the command line was broken.
    Breach,
    /// Something accepted is not where it should be, or something was accepted that must not be.
    Bad,
}
