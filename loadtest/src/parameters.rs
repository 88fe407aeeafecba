//! What a run was asked for, as reports tell it: all flags but credentials and where the output goes.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use forebay::config::{AckLevel, CpuList};
use serde::Serialize;

use crate::encoding::Encoding;
use crate::options::{ProfileOptions, ResultOptions, RunOptions, Workload};

/// The flags, under their own names; those with a unit end in it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Parameters {
    pub(crate) target: Vec<String>,
    path: String,
    /// What is sent a second; none: as fast as answers come, or by the curve.
    rate: Option<f64>,
    /// Of `profile`.
    curve: Option<String>,
    peak: Option<f64>,
    pub(crate) duration_seconds: f64,
    warm_up_seconds: f64,
    requests: Option<u64>,
    connections: usize,
    pipeline: usize,
    requests_per_connection: Option<u64>,
    arrivals: String,
    apps: Option<PathBuf>,
    zipf: f64,
    payload: Option<PathBuf>,
    seed: u64,
    batch: Option<usize>,
    batch_form: String,
    encoding: Option<&'static str>,
    ack: Option<&'static str>,
    bad_percent: f64,
    cpus: Option<Vec<usize>>,
    pub(crate) max_p99_us: Option<u64>,
    pub(crate) max_error_ratio: Option<f64>,
}

impl Parameters {
    fn of(workload: &Workload, result: &ResultOptions, duration: Duration) -> Self {
        Self {
            target: workload.target.clone(),
            path: workload.path().to_owned(),
            rate: None,
            curve: None,
            peak: None,
            duration_seconds: duration.as_secs_f64(),
            warm_up_seconds: 0.0,
            requests: None,
            connections: workload.connections,
            pipeline: workload.pipeline,
            requests_per_connection: workload.requests_per_connection,
            arrivals: name(&workload.arrivals),
            apps: workload.apps.clone(),
            zipf: workload.zipf,
            payload: workload.payload.clone(),
            seed: workload.seed,
            batch: workload.batch,
            batch_form: name(&workload.batch_form),
            encoding: workload.encoding.map(Encoding::as_str),
            ack: workload.ack.map(AckLevel::as_str),
            bad_percent: workload.bad,
            cpus: workload.cpus.as_ref().map(|CpuList(cpus)| cpus.clone()),
            max_p99_us: result.max_p99.map(|max| u64::try_from(max.as_micros()).unwrap_or(u64::MAX)),
            max_error_ratio: result.max_error_ratio,
        }
    }

    /// Of a profile, which lasts so long.
    pub(crate) fn of_profile(options: &ProfileOptions, duration: Duration) -> Self {
        Self {
            curve: Some(options.curve.clone()),
            peak: options.peak,
            ..Self::of(&options.workload, &options.result, duration)
        }
    }
}

impl From<&RunOptions> for Parameters {
    fn from(options: &RunOptions) -> Self {
        Self {
            rate: options.rate,
            warm_up_seconds: options.warm_up.as_secs_f64(),
            requests: options.requests,
            ..Self::of(&options.workload, &options.result, options.duration)
        }
    }
}

/// A choice as the command line has it.
fn name(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    /// Credentials, flags that change what is written and nothing else, and what is said by having no rate.
    const LEFT_OUT: &[&str] = &[
        "api_key",
        "secret",
        "token",
        "bad_token",
        "ids",
        "json",
        "hdr",
        "html",
        "admin_url",
        "quiet",
        "closed",
    ];

    #[test]
    fn every_flag_is_told_and_no_credential() {
        let command = RunOptions::augment_args(Command::new("run"));
        let arguments = ["run", "--token", "hush", "--bad-token", "hush-too"];
        let matches = command.clone().try_get_matches_from(arguments).expect("good flags");
        let options = RunOptions::from_arg_matches(&matches).expect("good flags");
        let told = serde_json::to_value(Parameters::from(&options)).expect("no maps with odd keys");
        let told = told.as_object().expect("a struct");
        let profile = ProfileOptions::augment_args(Command::new("profile"));
        let flags = command.get_arguments().chain(profile.get_arguments());
        for flag in flags.map(|argument| argument.get_id().as_str()) {
            let names = ["", "_seconds", "_us", "_percent"].map(|unit| format!("{flag}{unit}"));
            let is_told = names.iter().any(|name| told.contains_key(name));
            assert_ne!(
                is_told,
                LEFT_OUT.contains(&flag),
                "{flag}: tell it in Parameters or leave it out here"
            );
        }
        assert!(!format!("{told:?}").contains("hush"), "{told:?}");
    }
}
