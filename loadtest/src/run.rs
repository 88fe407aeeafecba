//! `run`: one measurement at one rate, or as fast as answers come, and its verdict.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::admin::Sampler;
use crate::curve::Curve;
use crate::hgrm::hgrm;
use crate::html;
use crate::measure::{Bench, Plan};
use crate::options::{ResultOptions, RunOptions};
use crate::parameters::Parameters;
use crate::report::{Measured, Report};
use crate::{AnyError, Verdict};

/// Runs the load and reports.
pub(crate) fn run(options: &RunOptions) -> Result<Verdict, AnyError> {
    let mut bench = Bench::prepare(&options.workload)?;
    let duration = options.warm_up + options.duration;
    let plan = Plan {
        curve: options.rate.map(|rate| Arc::new(Curve::constant(rate, duration))),
        warm_up: options.warm_up,
        duration,
        requests: options.requests,
        keeps_ids: options.result.ids.is_some(),
    };
    carry_out(&mut bench, &plan, options.into(), &options.result)
}

/// Measures, looks at the node meanwhile if that is asked for, writes down what it brought and judges it.
pub(crate) fn carry_out(
    bench: &mut Bench,
    plan: &Plan,
    parameters: Parameters,
    options: &ResultOptions,
) -> Result<Verdict, AnyError> {
    let sampler = options.output.admin_url.as_deref().map(Sampler::start).transpose()?;
    let started = wall_clock();
    let outcome = bench.measure(plan)?;
    let node = sampler.map(Sampler::finish).transpose()?;
    if let Some(path) = &options.ids {
        write_ids(path, &outcome.ids, bench.hashes())?;
    }
    let fault = plan.curve.as_ref().and_then(|_| outcome.effort.fault(&outcome.tally));
    let measured = Measured {
        outcome: &outcome,
        started,
        invalid: fault.map(|fault| fault.to_string()),
        node: node.map(|node| node.since(plan.warm_up)),
    };
    let report = Report::new(parameters, measured);
    print!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(path) = &options.output.hdr {
        std::fs::write(path, hgrm(&outcome.tally.response_us))?;
    }
    if let Some(path) = &options.output.html {
        std::fs::write(path, html::page(&report, &outcome.tally))?;
    }
    Ok(report.verdict.result)
}

/// When the run began, for people who look at its report later.
#[allow(clippy::disallowed_methods, reason = "told once; nothing is measured by it")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn write_ids(path: &Path, ids: &[(String, u32)], hashes: &[String]) -> Result<(), AnyError> {
    let mut file = BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?);
    for (id, payload) in ids {
        writeln!(file, "{id} {}", hashes[*payload as usize])?;
    }
    Ok(file.flush()?)
}
