//! The flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use forebay::config::{AckLevel, CpuList, parse_cpus, parse_duration};

use crate::bodies::{BATCH_ITEMS_MAX, BatchForm, Form};
use crate::encoding::Encoding;
use crate::output_options::OutputOptions;
use crate::schedule::Arrivals;

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of requests a second, above 0".to_owned()),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a ratio is a number from 0 to 1".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a percentage is a number from 0 to 100".to_owned()),
    }
}

fn parse_exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("an exponent is a number from 0 to 10".to_owned()),
    }
}

fn parse_items(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(items) if (1..=BATCH_ITEMS_MAX).contains(&items) => Ok(items),
        _ => Err(format!("a batch has 1 to {BATCH_ITEMS_MAX} items")),
    }
}

/// What is sent, by whom and over what: flags of `run`, `limit` and `profile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Workload {
    /// A node, `http://HOST:PORT`; repeatable, connections go round.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) target: Vec<String>,
    /// The path that events are posted to. [default: /v1/events, with --batch /v1/events/batch]
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
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
    /// Many apps: a file with what `forebay app create --json` prints, a line each. It is read again when a secret is refused.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "api_key"])]
    pub(crate) apps: Option<PathBuf>,
    /// With --apps, the app of line K sends in proportion to 1/K^EXPONENT (Zipf's law); 0: all the same.
    #[arg(long, value_name = "EXPONENT", default_value = "1", value_parser = parse_exponent)]
    pub(crate) zipf: f64,
    /// Connections, all threads together.
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) connections: usize,
    /// Requests that a connection sends at once before it waits for their answers.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) pipeline: usize,
    /// Close each connection after this many requests and open it anew. [default: keep it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests_per_connection: Option<u64>,
    /// How requests at a given rate lie in time.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) arrivals: Arrivals,
    /// Bodies: a file, or all files of a folder. [default: made-up crash reports of 0.6 to 16 KiB]
    #[arg(long, value_name = "PATH")]
    pub(crate) payload: Option<PathBuf>,
    /// Seed of the made-up crash reports, of --arrivals poisson, --bad and --zipf.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    /// Send batches of this many events; rates then count batches.
    #[arg(long, value_name = "N", value_parser = parse_items)]
    pub(crate) batch: Option<usize>,
    /// How a batch is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) batch_form: BatchForm,
    /// Compress the bodies, once, before the start.
    #[arg(long, value_enum)]
    pub(crate) encoding: Option<Encoding>,
    /// Ask for this level with each event (`Forebay-Ack`).
    #[arg(long, value_name = "LEVEL")]
    pub(crate) ack: Option<AckLevel>,
    /// Share of requests that must be refused: broken JSON, invalid UTF-8, unknown paths, wrong signatures, and each --bad-token.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub(crate) bad: f64,
    /// A token that must be refused (expired, revoked), mixed in by --bad; repeatable.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) bad_token: Vec<String>,
    /// CPUs to run on, a thread each. [default: one thread, not pinned]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    pub(crate) cpus: Option<CpuList>,
    /// No view on the run while it goes on.
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Workload {
    /// The path that events are posted to.
    pub(crate) fn path(&self) -> &str {
        let default = if self.batch.is_some() { "/v1/events/batch" } else { "/v1/events" };
        self.path.as_deref().unwrap_or(default)
    }

    /// How events become bodies.
    pub(crate) fn form(&self) -> Form {
        Form { batch: self.batch, layout: self.batch_form, encoding: self.encoding }
    }
}

/// What becomes of the result: flags of `run` and `profile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ResultOptions {
    /// Append each accepted event's id and the hash of its body, for `verify`.
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Fail (exit code 99) if the 99th percentile is above this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) max_p99: Option<Duration>,
    /// Fail (exit code 99) if more than this share of the good requests is not accepted.
    #[arg(long, value_name = "RATIO", value_parser = parse_share)]
    pub(crate) max_error_ratio: Option<f64>,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) workload: Workload,
    #[command(flatten)]
    pub(crate) result: ResultOptions,
    /// Requests a second, all connections together (open loop); latency counts from the moment a request should have left.
    #[arg(long, value_name = "N", value_parser = parse_rate, conflicts_with = "closed")]
    pub(crate) rate: Option<f64>,
    /// As fast as answers come (closed loop); the default without --rate.
    #[arg(long)]
    pub(crate) closed: bool,
    /// How long to send.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Send for this long before anything is counted.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
    /// Stop after this many requests, if that is sooner.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
}

/// Flags of `profile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProfileOptions {
    /// A file of lines `SECONDS RATE`, or one of ramp, spike, business-day, soak.
    #[arg(value_name = "FILE|NAME")]
    pub(crate) curve: String,
    /// Requests a second at the highest point: the whole curve is scaled. [default: a file's own rates; 1000 for a named curve]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) peak: Option<f64>,
    /// Stretch or compress the curve to this length. [default: its own; business-day has a day, soak an hour]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) workload: Workload,
    #[command(flatten)]
    pub(crate) result: ResultOptions,
}

/// Flags of `limit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitOptions {
    #[command(flatten)]
    pub(crate) workload: Workload,
    /// A rate holds if the 99th percentile of its latencies is not above this, from the moment requests should have left.
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = parse_duration)]
    pub(crate) max_p99: Duration,
    /// And if no more than this share of the good requests is not accepted.
    #[arg(long, value_name = "RATIO", default_value = "0.001", value_parser = parse_share)]
    pub(crate) max_error_ratio: f64,
    /// The rate that is tried first.
    #[arg(long, value_name = "RATE", default_value = "1000", value_parser = parse_rate)]
    pub(crate) start: f64,
    /// How long a rate is tried.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) probe: Duration,
    /// How long the found one has to hold.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) confirm: Duration,
    /// Send for this long before each of them without counting.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
    /// Write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
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
