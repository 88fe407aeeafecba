//! The flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use forebay::config::{AckLevel, CpuList, parse_cpus, parse_duration};

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of requests a second, above 0".to_owned()),
    }
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    /// A node, `http://HOST:PORT`; repeatable, connections go round.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) target: Vec<String>,
    /// The path that events are posted to.
    #[arg(long, value_name = "PATH", default_value = "/v1/events")]
    pub(crate) path: String,
    /// The app's API key; with --secret, tokens are fetched and refreshed.
    #[arg(
        long,
        value_name = "KEY",
        requires = "secret",
        allow_hyphen_values = true,
        conflicts_with = "token"
    )]
    pub(crate) api_key: Option<String>,
    /// The app's secret.
    #[arg(
        long,
        env = "FOREBAY_SECRET",
        value_name = "SECRET",
        requires = "api_key",
        allow_hyphen_values = true,
        hide_env_values = true
    )]
    pub(crate) secret: Option<String>,
    /// A token, instead of key and secret. With neither, requests carry none.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Connections, all threads together.
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) connections: usize,
    /// Requests that a connection sends at once before it waits for their answers.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) pipeline: usize,
    /// Requests a second, all connections together; latency counts from the moment a request should have left. [default: as fast as answers come]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// How long to send.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Stop after this many requests, if that is sooner.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Bodies: a file, or all files of a folder. [default: made-up crash reports of 0.6 to 16 KiB]
    #[arg(long, value_name = "PATH")]
    pub(crate) payload: Option<PathBuf>,
    /// Seed of the made-up crash reports.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    /// Ask for this level with each event (`Forebay-Ack`).
    #[arg(long, value_name = "LEVEL")]
    pub(crate) ack: Option<AckLevel>,
    /// Share of requests that must be refused: wrong signatures, broken JSON, invalid UTF-8, and each --bad-token.
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    pub(crate) bad: f64,
    /// A token that must be refused (expired, revoked), mixed in by --bad; repeatable.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) bad_token: Vec<String>,
    /// CPUs to run on, a thread each. [default: one thread, not pinned]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    pub(crate) cpus: Option<CpuList>,
    /// Append each accepted event's id and the hash of its body, for `verify`.
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress bar.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Fail (exit code 99) if the 99th percentile is above this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) max_p99: Option<Duration>,
    /// Fail (exit code 99) if more than this share of the good requests is not accepted.
    #[arg(long, value_name = "RATIO")]
    pub(crate) max_error_ratio: Option<f64>,
}

/// Flags of `collect`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CollectOptions {
    /// The broker.
    #[arg(long, env = "FOREBAY_AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) amqp_url: String,
    /// The queue to consume from.
    #[arg(long, value_name = "NAME", default_value = "forebay.events")]
    pub(crate) queue: String,
    /// Append each event's id and the hash of its data before its message is acknowledged.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Flags of `verify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyOptions {
    /// The broker.
    #[arg(long, env = "FOREBAY_AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) amqp_url: String,
    /// The queue to drain.
    #[arg(long, value_name = "NAME", default_value = "forebay.events")]
    pub(crate) queue: String,
    /// What `run --ids` wrote; repeatable.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) ids: Vec<PathBuf>,
    /// What `collect` wrote, taken as if it were in the queue; repeatable.
    #[arg(long, value_name = "FILE")]
    pub(crate) collected: Vec<PathBuf>,
    /// Give up after no message came for this long.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) patience: Duration,
    /// Events that are in the queue but not in --ids are no failure: their answers were lost, or other clients sent them.
    #[arg(long)]
    pub(crate) allow_unknown: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
