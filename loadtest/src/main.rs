//! The load tester of Forebay: sends what SDKs send, measures, and checks that nothing accepted is missing.
//!
//! It shares the ring layer with the server and nothing else, so that it does not share the server's mistakes.

mod answers;
mod apps;
mod bodies;
mod collect;
mod connection;
mod credentials;
mod curve;
mod delivery;
mod dice;
mod encoding;
mod generator;
mod limit;
mod measure;
mod options;
mod payload;
mod profile;
mod refresh;
mod report;
mod request;
mod response;
mod run;
mod schedule;
mod search;
mod tally;
mod validity;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The generator fell behind: nothing is known about the server.
const EXIT_INVALID: u8 = 3;
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
    /// Find the highest rate that holds, then confirm it.
    Limit(Box<options::LimitOptions>),
    /// Send at a rate that changes over time: ramps, spikes, a business day.
    Profile(Box<options::ProfileOptions>),
    /// Consume from the queue until SIGINT or SIGTERM and write down what came, for `verify`; a broker or queue that is away is waited for.
    Collect(Box<options::CollectOptions>),
    /// Drain the queue and say which accepted events are missing, changed or repeated.
    Verify(Box<options::VerifyOptions>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Limit(options) => limit::limit(&options),
        Command::Profile(options) => profile::profile(&options),
        Command::Collect(options) => collect::collect(&options),
        Command::Verify(options) => verify::verify(&options),
    };
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Invalid) => ExitCode::from(EXIT_INVALID),
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
    /// The generator fell behind: what was measured must not be believed.
    Invalid,
    /// A threshold of the command line was broken.
    Breach,
    /// Something accepted is not where it should be, or something was accepted that must not be.
    Bad,
}
