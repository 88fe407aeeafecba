//! `compare`: do the runs of one side differ from those of the other, or is it chance?

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::report::SCHEMA;
use crate::statistics::{CONFIDENCE, Estimate, difference, geometric_mean, mean, ratio};
use crate::units::{shown_percent, shown_rate, shown_us_exact};
use crate::{AnyError, Verdict};

/// Flags of `compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareOptions {
    /// One report a side: before and after.
    #[arg(value_name = "REPORT", num_args = 2, required_unless_present_all = ["a", "b"], conflicts_with_all = ["a", "b"])]
    pub(crate) reports: Vec<PathBuf>,
    /// Reports of one side, several runs of it.
    #[arg(long, value_name = "REPORT", num_args = 1.., requires = "b")]
    pub(crate) a: Vec<PathBuf>,
    /// Reports of the other side.
    #[arg(long, value_name = "REPORT", num_args = 1.., requires = "a")]
    pub(crate) b: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What matters here of a report.
#[derive(Clone, Debug, Deserialize)]
struct Run {
    schema: String,
    verdict: Judged,
    seconds: f64,
    meanings: Counts,
    /// Good requests that were due and never left: errors, too. When they were due is not known, so that intervals go without.
    unsent: f64,
    latency_us: Percentiles,
    options: Map<String, Value>,
    series: Course,
}

#[derive(Clone, Debug, Deserialize)]
struct Judged {
    result: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Counts {
    accepted: f64,
    limited: f64,
    overloaded: f64,
    refused: f64,
    failed: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
    p999: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Course {
    interval_seconds: f64,
    intervals: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Stretch {
    meanings: Counts,
    latency_us: Option<Percentiles>,
}

impl Counts {
    fn error_ratio(&self, unsent: f64) -> f64 {
        let Self { accepted, limited, overloaded, refused, failed } = self;
        let errors = limited + overloaded + refused + failed + unsent;
        errors / (accepted + errors).max(1.0)
    }
}

/// One measurement of each figure: a run, or an interval of one.
#[derive(Clone, Copy, Debug)]
struct Sample {
    accepted_rate: f64,
    /// None if nothing was accepted.
    latency_us: Option<Percentiles>,
    error_ratio: f64,
}

impl Run {
    fn read(path: &Path) -> Result<Self, AnyError> {
        let failed = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let run: Self = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("this is no report of `run --json`: {error}")))?;
        if run.schema != SCHEMA {
            return Err(failed(format!("its schema is {}, this program reads {SCHEMA}", run.schema)).into());
        }
        Ok(run)
    }

    fn sample(&self) -> Sample {
        let accepted = self.meanings.accepted;
        Sample {
            accepted_rate: accepted / self.seconds.max(1e-9),
            latency_us: (accepted > 0.0).then_some(self.latency_us),
            error_ratio: self.meanings.error_ratio(self.unsent),
        }
    }

    /// Its intervals, but for the last one, which the end of the run has cut short.
    fn intervals(&self) -> Vec<Sample> {
        let length = self.series.interval_seconds;
        let ends = std::iter::successors(Some(length), |end| Some(end + length));
        let whole = self.series.intervals.iter().zip(ends).take_while(|(_, end)| *end <= self.seconds);
        let sample = |stretch: &Stretch| Sample {
            accepted_rate: stretch.meanings.accepted / length,
            latency_us: stretch.latency_us,
            error_ratio: stretch.meanings.error_ratio(0.0),
        };
        whole.map(|(stretch, _)| sample(stretch)).collect()
    }
}

/// What one sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Basis {
    /// Runs: independent of each other.
    Runs,
    /// Intervals of a single run: neighbours are alike, so that intervals come out too narrow.
    Intervals,
}

/// How a figure differs between the sides.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    name: &'static str,
    /// What `change` is: `ratio` is b / a, `difference` b - a.
    kind: &'static str,
    a: Option<f64>,
    b: Option<f64>,
    change: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    /// None if there are too few samples to tell.
    differs: Option<bool>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    confidence: f64,
    basis: Basis,
    /// How many samples each side has.
    samples: [usize; 2],
    figures: Vec<Figure>,
    /// Flags that are not the same in all runs.
    different_options: Vec<String>,
    /// Reports whose generator fell behind.
    invalid: Vec<String>,
}

/// Compares and reports.
pub(crate) fn compare(options: &CompareOptions) -> Result<Verdict, AnyError> {
    let (a, b) = match options.reports.as_slice() {
        [a, b] => (std::slice::from_ref(a), std::slice::from_ref(b)),
        _ => (options.a.as_slice(), options.b.as_slice()),
    };
    let read = |paths: &[PathBuf]| paths.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>();
    let (runs_a, runs_b) = (read(a)?, read(b)?);
    let mut comparison = judge(&runs_a, &runs_b)?;
    let runs = a.iter().chain(b).zip(runs_a.iter().chain(&runs_b));
    let invalid = runs.filter(|(_, run)| run.verdict.result == Verdict::Invalid.as_str());
    comparison.invalid = invalid.map(|(path, _)| path.display().to_string()).collect();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print!("{}", text(&comparison));
    }
    Ok(if comparison.invalid.is_empty() { Verdict::Good } else { Verdict::Invalid })
}

fn judge(a: &[Run], b: &[Run]) -> Result<Comparison, AnyError> {
    let (basis, samples) = match (a, b) {
        ([one], [other]) => (Basis::Intervals, [one, other].map(Run::intervals)),
        ([_], _) | (_, [_]) => {
            return Err(
                "one run on one side and several on the other: give several on both, or one on both".into()
            );
        }
        _ => (Basis::Runs, [a, b].map(|runs| runs.iter().map(Run::sample).collect())),
    };
    let latency = |of: fn(&Percentiles) -> f64| {
        // A percentile of nothing is left out, not zero.
        samples.each_ref().map(|side| side.iter().filter_map(|s| s.latency_us.as_ref().map(of)).collect())
    };
    let figures = vec![
        by_ratio(
            "accepted_rate",
            &samples.each_ref().map(|side| side.iter().map(|s| s.accepted_rate).collect()),
        ),
        by_ratio("p50_us", &latency(|latency| latency.p50)),
        by_ratio("p99_us", &latency(|latency| latency.p99)),
        by_ratio("p999_us", &latency(|latency| latency.p999)),
        by_difference(
            "error_ratio",
            &samples.each_ref().map(|side| side.iter().map(|s| s.error_ratio).collect()),
        ),
    ];
    Ok(Comparison {
        confidence: CONFIDENCE,
        basis,
        samples: samples.each_ref().map(Vec::len),
        figures,
        different_options: different_options(a.iter().chain(b)),
        invalid: Vec::new(),
    })
}

fn by_ratio(name: &'static str, [a, b]: &[Vec<f64>; 2]) -> Figure {
    figure(name, "ratio", [a, b].map(|side| geometric_mean(side)), ratio(a, b), 1.0)
}

/// For what is zero as a rule: there is no ratio to it.
fn by_difference(name: &'static str, [a, b]: &[Vec<f64>; 2]) -> Figure {
    figure(name, "difference", [a, b].map(|side| mean(side)), difference(a, b), 0.0)
}

fn figure(
    name: &'static str,
    kind: &'static str,
    [a, b]: [Option<f64>; 2],
    change: Option<Estimate>,
    none: f64,
) -> Figure {
    Figure {
        name,
        kind,
        a,
        b,
        change: change.map(|change| change.value),
        low: change.map(|change| change.low),
        high: change.map(|change| change.high),
        differs: change.map(|change| !change.covers(none)),
    }
}

/// Where the runs were to go, and with which made-up data, is what may differ.
fn different_options<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<String> {
    let runs: Vec<_> = runs.collect();
    let names: BTreeSet<_> = runs.iter().flat_map(|run| run.options.keys()).collect();
    let is_same = |name: &str| runs.iter().all(|run| run.options.get(name) == runs[0].options.get(name));
    names
        .into_iter()
        .filter(|name| !["target", "seed"].contains(&name.as_str()) && !is_same(name))
        .cloned()
        .collect()
}

fn text(comparison: &Comparison) -> String {
    let Comparison { basis, samples: [a, b], .. } = comparison;
    let what = match basis {
        Basis::Runs => "runs",
        Basis::Intervals => "intervals of a run",
    };
    let mut text = format!(
        "{a} {what} against {b}: means, and how they differ with {:.0} % confidence\n\n",
        CONFIDENCE * 100.0
    );
    let _ = writeln!(text, "{:15} {:>12} {:>12} {:>10}   {:20}", "", "A", "B", "B / A", "interval");
    for figure in &comparison.figures {
        let _ = writeln!(text, "{}", line(figure));
    }
    if *basis == Basis::Intervals {
        text.push_str(
            "\nIntervals of one run are not independent of each other, and nothing is known of other runs: the intervals are too narrow.\n\
             To be sure, do several runs a side, in turns, and give them to --a and --b.\n",
        );
    }
    if !comparison.different_options.is_empty() {
        let _ = writeln!(
            text,
            "\nThe runs were not asked for the same: {}.",
            comparison.different_options.join(", ")
        );
    }
    for path in &comparison.invalid {
        let _ = writeln!(
            text,
            "\nINVALID: in {path} the generator itself fell behind; this comparison says nothing about the servers."
        );
    }
    text
}

fn line(figure: &Figure) -> String {
    let (title, show): (_, fn(f64) -> String) = match figure.name {
        "accepted_rate" => ("accepted", shown_rate),
        "p50_us" => ("p50", shown_us_exact),
        "p99_us" => ("p99", shown_us_exact),
        "p999_us" => ("p99.9", shown_us_exact),
        _ => ("not accepted", shown_percent),
    };
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), show);
    let (a, b) = (shown(figure.a), shown(figure.b));
    let (Some(change), Some(low), Some(high)) = (figure.change, figure.low, figure.high) else {
        return format!("{title:15} {a:>12} {b:>12} {:>10}   {:20} too few samples to tell", "–", "");
    };
    let (change, interval) = if figure.kind == "ratio" {
        (format!("{change:.3}"), format!("{low:.3} to {high:.3}"))
    } else {
        let points = |value: f64| format!("{:+.2}", value * 100.0);
        (format!("{} pp", points(change)), format!("{} to {}", points(low), points(high)))
    };
    let verdict = match figure.differs {
        Some(true) if figure.b > figure.a => "B has more",
        Some(true) => "B has less",
        _ => "no difference can be told",
    };
    format!("{title:15} {a:>12} {b:>12} {change:>10}   {interval:20} {verdict}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::tests::report_with;

    /// A run of ten seconds whose latencies are so many times those of the usual one.
    fn run(factor: f64, rate: f64) -> Run {
        let latency = |jitter: f64| {
            let us = 1000.0 * factor * jitter;
            json!({ "p50": us, "p99": us * 10.0, "p999": us * 20.0 })
        };
        let meanings = |seconds: f64, jitter: f64| json!({ "accepted": rate * seconds * jitter, "limited": 0, "overloaded": 0, "refused": 0, "failed": 0 });
        let jitters = [1.01, 0.99, 1.02, 1.0, 0.98, 1.01, 1.0, 0.99, 1.01, 0.99, 1.0];
        let intervals =
            jitters.map(|jitter| json!({ "meanings": meanings(1.0, jitter), "latency_us": latency(jitter) }));
        serde_json::from_value(json!({
            "schema": SCHEMA,
            "verdict": { "result": "good" },
            "seconds": 10.01,
            "meanings": meanings(10.01, 1.0),
            "unsent": 0,
            "latency_us": latency(1.0),
            "options": { "rate": rate, "target": [factor] },
            "series": { "interval_seconds": 1.0, "intervals": intervals },
        }))
        .expect("a run")
    }

    fn of<'a>(comparison: &'a Comparison, name: &str) -> &'a Figure {
        comparison.figures.iter().find(|figure| figure.name == name).expect("a figure")
    }

    #[test]
    fn several_runs_a_side_are_told_apart_where_they_differ() {
        let a = [run(1.0, 500.0), run(1.02, 500.0), run(0.99, 500.0)];
        let b = [run(1.31, 500.0), run(1.28, 500.0), run(1.3, 500.0)];
        let comparison = judge(&a, &b).expect("runs enough");
        assert_eq!((comparison.basis, comparison.samples), (Basis::Runs, [3, 3]));
        let p99 = of(&comparison, "p99_us");
        assert!(p99.change.is_some_and(|change| (1.27..1.32).contains(&change)), "{p99:?}");
        assert_eq!((p99.differs, of(&comparison, "accepted_rate").differs), (Some(true), Some(false)));
        assert_eq!(of(&comparison, "error_ratio").differs, Some(false));
        let text = text(&comparison);
        for (figure, verdict) in [("p99 ", "B has more"), ("accepted ", "no difference can be told")] {
            let line = text.lines().find(|line| line.starts_with(figure)).expect("a line");
            assert!(line.ends_with(verdict), "{line}");
        }
        assert!(!text.contains("not independent") && !text.contains("not asked for the same"), "{text}");
    }

    #[test]
    fn of_single_runs_the_whole_intervals_count_and_a_caution_is_given() {
        let comparison = judge(&[run(1.0, 500.0)], &[run(1.0, 600.0)]).expect("intervals enough");
        assert_eq!((comparison.basis, comparison.samples), (Basis::Intervals, [10, 10]));
        assert_eq!(
            (of(&comparison, "p50_us").differs, of(&comparison, "accepted_rate").differs),
            (Some(false), Some(true))
        );
        let text = text(&comparison);
        assert!(text.contains("not independent") && text.contains("not asked for the same: rate."), "{text}");
        assert!(judge(&[run(1.0, 1.0)], &[run(1.0, 1.0), run(1.0, 1.0)]).is_err(), "one against two");
    }

    #[test]
    fn reports_are_read_as_they_are_written() {
        let report = serde_json::to_value(report_with(&[])).expect("JSON");
        let run: Run = serde_json::from_value(report).expect("a run");
        assert!((run.sample().error_ratio - 0.05).abs() < 1e-9);
        assert_eq!(run.intervals().len(), 10);
        let unsent = Run { unsent: 1000.0, ..run.clone() };
        assert!((unsent.sample().error_ratio - 0.525).abs() < 1e-9, "what never left was not accepted");
        assert!(run.options.contains_key("pipeline"));
    }
}
