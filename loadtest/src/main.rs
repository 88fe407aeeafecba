//! The load tester of Forebay: sends what SDKs send, measures, and checks that nothing accepted is missing.
//!
//! It shares the ring layer with the server and nothing else, so that it does not share the server's mistakes.

mod admin;
mod answers;
mod apps;
mod bodies;
mod collect;
mod compare;
mod connection;
mod credentials;
mod curve;
mod delivery;
mod dice;
mod encoding;
mod exchange;
mod generator;
mod hgrm;
mod html;
mod limit;
mod live;
mod measure;
mod options;
mod output_options;
mod parameters;
mod payload;
mod profile;
mod progress;
mod refresh;
mod report;
mod request;
mod response;
mod run;
mod schedule;
#[cfg(test)]
mod schema;
mod search;
mod statistics;
mod tally;
mod text;
mod units;
mod validity;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// A threshold was broken.
const EXIT_BREACH: u8 = 99;
/// The generator itself fell behind.
const EXIT_INVALID: u8 = 3;

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
    /// Compare the reports of runs, A and B, with confidence intervals.
    Compare(Box<compare::CompareOptions>),
    /// Drain the queue and say which accepted events are missing, changed or repeated.
    Verify(Box<options::VerifyOptions>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Limit(options) => limit::limit(&options),
        Command::Profile(options) => profile::profile(&options),
        Command::Collect(options) => collect::collect(&options),
        Command::Compare(options) => compare::compare(&options),
        Command::Verify(options) => verify::verify(&options),
    };
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Breach) => ExitCode::from(EXIT_BREACH),
        Ok(Verdict::Invalid) => ExitCode::from(EXIT_INVALID),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// All is as it should be.
    Good,
    /// A threshold of the command line was broken.
    Breach,
    /// Something accepted is not where it should be, or something was accepted that must not be.
    Bad,
    /// The generator itself fell behind: the figures say nothing about the server.
    Invalid,
}

impl Verdict {
    /// Its name, as in the JSON.
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Breach => "breach",
            Self::Bad => "bad",
            Self::Invalid => "invalid",
        }
    }
}
