//! `run`: one measurement at one rate, or as fast as answers come, and its verdict.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::curve::Curve;
use crate::generator::Outcome;
use crate::measure::{Bench, Plan};
use crate::options::{ResultOptions, RunOptions};
use crate::report::Report;
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
    let outcome = bench.measure(&plan)?;
    conclude(&bench, &plan, &outcome, &options.result)
}

/// Writes down what a measurement brought, and judges it: what was accepted and must not be comes first; then whether the rest may be
/// believed at all; then the thresholds.
pub(crate) fn conclude(
    bench: &Bench,
    plan: &Plan,
    outcome: &Outcome,
    options: &ResultOptions,
) -> Result<Verdict, AnyError> {
    if let Some(path) = &options.ids {
        write_ids(path, &outcome.ids, bench.hashes())?;
    }
    let fault = plan.curve.as_ref().and_then(|_| outcome.effort.fault(&outcome.tally));
    let report = Report::new(outcome, fault.map(|fault| fault.to_string()));
    print!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(if report.bad_accepted > 0 {
        Verdict::Bad
    } else if fault.is_some() {
        Verdict::Invalid
    } else if report.breaks(options) {
        Verdict::Breach
    } else {
        Verdict::Good
    })
}

fn write_ids(path: &Path, ids: &[(String, u32)], hashes: &[String]) -> Result<(), AnyError> {
    let mut file = BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?);
    for (id, payload) in ids {
        writeln!(file, "{id} {}", hashes[*payload as usize])?;
    }
    Ok(file.flush()?)
}
