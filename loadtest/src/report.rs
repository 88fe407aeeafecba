//! What a run found, as `--json` writes it; `docs/loadtest.schema.json` describes the members.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Verdict;
use crate::admin::NodeCourse;
use crate::generator::Outcome;
use crate::parameters::Parameters;
use crate::tally::{Answers, Meaning, Meanings, Series};
use crate::units::{ratio, shown_percent, shown_us};

/// Changes with every change that a reader of reports would trip over.
pub(crate) const SCHEMA: &str = "forebay-loadtest/1";

/// What a run brought.
pub(crate) struct Measured<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) started: SystemTime,
    /// Why it says nothing about the server, if the generator itself was at fault.
    pub(crate) invalid: Option<String>,
    /// What the node said of itself, if it was asked.
    pub(crate) node: Option<NodeCourse>,
}

/// Latencies of good requests, microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

/// The verdict, and what speaks for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judgement {
    pub(crate) result: Verdict,
    /// One sentence each; none if all is good.
    pub(crate) reasons: Vec<String>,
}

/// What became of requests that had to be refused.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct BadCounts {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
}

/// Counts by meaning, under the names of [`Meaning`].
pub(crate) type Named = BTreeMap<&'static str, u64>;

/// One stretch of the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stretch {
    pub(crate) sent: u64,
    pub(crate) meanings: Named,
    /// Answers other than 2xx, by status and code.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// None if nothing was accepted in it.
    pub(crate) latency_us: Option<Latency>,
}

/// The run over time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Course {
    /// How long each stretch is; the last one is cut short by the end.
    pub(crate) interval_seconds: f64,
    pub(crate) intervals: Vec<Stretch>,
}

impl Course {
    fn of(series: &Series) -> Self {
        let stretches = series.intervals.iter().map(|interval| Stretch {
            sent: interval.sent,
            meanings: named(&interval.meanings),
            refusals: shown(&interval.answers),
            latency_us: (!interval.response_us.is_empty()).then(|| Latency::of(&interval.response_us)),
        });
        Self { interval_seconds: series.interval.as_secs_f64(), intervals: stretches.collect() }
    }
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    /// Of the load tester.
    pub(crate) version: &'static str,
    /// When, RFC 3339.
    pub(crate) started: String,
    pub(crate) verdict: Judgement,
    pub(crate) seconds: f64,
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) answers: u64,
    pub(crate) accepted: u64,
    /// Good requests that got another answer.
    pub(crate) refused: u64,
    /// Good requests by what became of them.
    pub(crate) meanings: Named,
    /// Events that were accepted, and items that were refused of batches that were accepted.
    pub(crate) events: u64,
    pub(crate) items_refused: u64,
    pub(crate) bad_accepted: u64,
    pub(crate) bad_refused: u64,
    /// Bad requests by what was wrong with them.
    pub(crate) bad: BTreeMap<&'static str, BadCounts>,
    pub(crate) unanswered: u64,
    pub(crate) reconnects: u64,
    /// Connections that were closed after --requests-per-connection.
    pub(crate) retired: u64,
    /// Good requests that were due and never left, because no connection became idle.
    pub(crate) unsent: u64,
    /// Answers other than 2xx, by status and code.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Of those that were accepted, from the moment they should have left.
    pub(crate) latency_us: Latency,
    /// The same, from the moment they left.
    pub(crate) service_us: Latency,
    /// Of those that were refused.
    pub(crate) refusal_latency_us: Latency,
    /// How late requests left.
    pub(crate) lag_us: Latency,
    /// Of that, by the generator's own fault: a connection was idle.
    pub(crate) late_us: Latency,
    /// Share of the time in which the generator's busiest thread worked or waited for its CPU.
    pub(crate) generator_busy: f64,
    pub(crate) options: Parameters,
    pub(crate) series: Course,
    pub(crate) node: Option<NodeCourse>,
}

impl Report {
    pub(crate) fn new(options: Parameters, measured: Measured<'_>) -> Self {
        let Measured { outcome, started, invalid, node } = measured;
        let Outcome { tally, effort, taken, .. } = outcome;
        let accepted = tally.meanings.of(Meaning::Accepted);
        let answers = tally.answered();
        let bad = tally.bad.iter().map(|(bad, (accepted, refused))| {
            (bad.as_str(), BadCounts { accepted: *accepted, refused: *refused })
        });
        let seconds = taken.as_secs_f64();
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            started: humantime::format_rfc3339_seconds(started).to_string(),
            verdict: judge(&options, outcome, invalid),
            seconds,
            #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
            rate: answers as f64 / seconds.max(1e-9),
            answers,
            accepted,
            refused: tally.meanings.total() - accepted - tally.unanswered_good,
            meanings: named(&tally.meanings),
            events: tally.events,
            items_refused: tally.items_refused,
            bad_accepted: tally.bad_accepted,
            bad_refused: tally.bad_refused,
            bad: bad.collect(),
            unanswered: tally.unanswered,
            reconnects: tally.reconnects,
            retired: tally.retired,
            unsent: effort.unsent,
            refusals: shown(&tally.answers),
            latency_us: Latency::of(&tally.response_us),
            service_us: Latency::of(&tally.service_us),
            refusal_latency_us: Latency::of(&tally.refusal_us),
            lag_us: Latency::of(&tally.lag_us),
            late_us: Latency::of(&effort.late_us),
            generator_busy: effort.busy,
            options,
            series: Course::of(&tally.series),
            node,
        }
    }

    /// Good requests whose fate is known.
    pub(crate) fn good(&self) -> u64 {
        self.meanings.values().sum()
    }

    /// Accepted requests a second.
    pub(crate) fn accepted_rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let accepted = self.accepted as f64;
        accepted / self.seconds.max(1e-9)
    }
}

/// `503 overloaded`, or the status alone where no problem came with it.
fn shown(answers: &Answers) -> BTreeMap<String, u64> {
    let name = |(status, code): &(u16, String)| {
        if code.is_empty() { status.to_string() } else { format!("{status} {code}") }
    };
    answers.iter().map(|(answer, count)| (name(answer), *count)).collect()
}

fn named(meanings: &Meanings) -> Named {
    Meaning::ALL.map(|meaning| (meaning.as_str(), meanings.of(meaning))).into()
}

/// What was accepted wrongly is so whatever the generator did. Thresholds are about the server: a run that says nothing of it breaks none.
fn judge(options: &Parameters, outcome: &Outcome, invalid: Option<String>) -> Judgement {
    let mut reasons = Vec::new();
    let mut result = Verdict::Good;
    if let Some(reason) = invalid {
        result = Verdict::Invalid;
        reasons.push(reason);
    } else {
        reasons.extend(breaches(options, outcome));
        if !reasons.is_empty() {
            result = Verdict::Breach;
        }
    }
    let bad_accepted = outcome.tally.bad_accepted;
    if bad_accepted > 0 {
        result = Verdict::Bad;
        reasons.insert(0, format!("{bad_accepted} requests were accepted that had to be refused"));
    }
    Judgement { result, reasons }
}

/// Which thresholds of the command line are broken.
fn breaches(options: &Parameters, outcome: &Outcome) -> Vec<String> {
    let mut reasons = Vec::new();
    let Outcome { tally, effort, .. } = outcome;
    // What was due and could not leave was not accepted either.
    let (accepted, good) = (tally.meanings.of(Meaning::Accepted), tally.meanings.total() + effort.unsent);
    if let Some(max) = options.max_p99_us {
        let p99 = tally.response_us.value_at_quantile(0.99);
        if accepted == 0 {
            reasons.push("no request was accepted, so that --max-p99 cannot be judged".to_owned());
        } else if p99 > max {
            reasons.push(format!("the p99 of {} is above --max-p99 {}", shown_us(p99), shown_us(max)));
        }
    }
    if let Some(max) = options.max_error_ratio {
        let errors = ratio(good - accepted, good);
        if errors > max {
            let (errors, max) = (shown_percent(errors), shown_percent(max));
            reasons.push(format!(
                "{errors} of the good requests were not accepted, --max-error-ratio allows {max}"
            ));
        }
    }
    reasons
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use clap::{Args, Command, FromArgMatches};
    use serde_json::Value;

    use super::*;
    use crate::admin::Sample;
    use crate::options::RunOptions;
    use crate::schema;
    use crate::tally::{Answered, Tally};

    pub(crate) fn options(flags: &[&str]) -> Parameters {
        let command = RunOptions::augment_args(Command::new("run"));
        let matches = command.try_get_matches_from([&["run"], flags].concat()).expect("good flags");
        Parameters::from(&RunOptions::from_arg_matches(&matches).expect("good flags"))
    }

    /// What a run of ten seconds brings that has this tally.
    pub(crate) fn outcome(tally: Tally) -> Outcome {
        let seconds = Duration::from_secs(10);
        Outcome { tally, taken: seconds, ..Outcome::new(seconds) }
    }

    /// Ten seconds with 100 answers each of 1 to 100 ms; in the sixth, half of them are refusals.
    pub(crate) fn tally() -> Tally {
        let mut tally = Tally::new(Duration::from_secs(10));
        for second in 0..10 {
            for number in 1..=100 {
                let at = Duration::from_millis(second * 1000 + number * 9);
                let is_refused = second == 5 && number % 2 == 0;
                tally.send(at, Duration::from_micros(50));
                let response = Duration::from_millis(number);
                let service = response / 2;
                let meaning = if is_refused { Meaning::Overloaded } else { Meaning::Accepted };
                tally.answer(Answered { at, meaning, response, service });
                if is_refused {
                    tally.count(at, 503, "overloaded");
                }
            }
        }
        tally
    }

    fn report(flags: &[&str], tally: Tally, invalid: Option<&str>) -> Report {
        let measured = Measured {
            outcome: &outcome(tally),
            started: SystemTime::UNIX_EPOCH,
            invalid: invalid.map(str::to_owned),
            node: Some(NodeCourse {
                url: "http://127.0.0.1:9090".to_owned(),
                samples: vec![Sample {
                    seconds: 0.5,
                    busy_ratio: vec![0.5],
                    events_pending: Some(7.0),
                    queue_batches: None,
                    connections: Some(64.0),
                }],
                failed: 1,
            })
            .filter(|_| invalid.is_some()),
        };
        Report::new(options(flags), measured)
    }

    /// A report of [`tally`].
    pub(crate) fn report_with(flags: &[&str]) -> Report {
        report(flags, tally(), None)
    }

    #[test]
    fn the_verdict_names_the_worst_and_what_speaks_for_it() {
        let good: fn() -> Tally = tally;
        let wrong: fn() -> Tally = || Tally { bad_accepted: 2, ..tally() };
        let nothing: fn() -> Tally = || Tally::new(Duration::from_secs(1));
        let slow = ["--max-p99", "50ms"];
        let both = ["--max-p99", "50ms", "--max-error-ratio", "0.04"];
        for (flags, tally, invalid, result, reasons) in [
            (&[][..], good, None, Verdict::Good, &[][..]),
            (&["--max-p99", "100ms", "--max-error-ratio", "0.05"], good, None, Verdict::Good, &[]),
            (&slow, good, None, Verdict::Breach, &["above --max-p99 50.0 ms"]),
            (&both, good, None, Verdict::Breach, &["--max-p99", "5.00 % of the good"]),
            (&slow, good, Some("too late"), Verdict::Invalid, &["too late"]),
            (&[], wrong, Some("too late"), Verdict::Bad, &["had to be refused", "too late"]),
            (&slow, nothing, None, Verdict::Breach, &["no request was accepted"]),
        ] {
            let verdict = report(flags, tally(), invalid).verdict;
            assert_eq!((verdict.result, verdict.reasons.len()), (result, reasons.len()), "{verdict:?}");
            for (told, part) in verdict.reasons.iter().zip(reasons) {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn what_never_left_is_an_error_too() {
        let mut outcome = outcome(tally());
        outcome.effort.unsent = 1000;
        let reasons = breaches(&options(&["--max-error-ratio", "0.5"]), &outcome);
        assert!(reasons.len() == 1 && reasons[0].contains("52.50 % of the good"), "{reasons:?}");
    }

    #[test]
    fn a_report_is_what_its_schema_says() {
        let full = ["--rate", "100", "--max-p99", "1s", "--cpus", "0", "--ack", "synced", "--requests", "9"];
        for report in
            [report(&full, tally(), Some("too late")), report(&[], Tally::new(Duration::from_secs(1)), None)]
        {
            schema::check(&serde_json::to_value(&report).expect("JSON"));
        }
    }

    #[test]
    fn the_numbers_of_a_report_are_those_of_the_run() {
        let report = serde_json::to_value(report(&[], tally(), None)).expect("JSON");
        assert_eq!(report["schema"], SCHEMA);
        for (member, count) in
            [("answers", 1000), ("accepted", 950), ("refused", 50), ("unanswered", 0), ("bad_accepted", 0)]
        {
            assert_eq!(report[member], count, "{member}");
        }
        assert_eq!(report["rate"], 100.0);
        assert_eq!(report["meanings"]["overloaded"], 50);
        assert_eq!(report["refusals"]["503 overloaded"], 50);
        let stretch = |index: usize| &report["series"]["intervals"][index]["refusals"];
        assert_eq!((stretch(4), &stretch(5)["503 overloaded"]), (&serde_json::json!({}), &50.into()));
        assert_eq!(report["series"]["intervals"].as_array().map(Vec::len), Some(10));
        assert_eq!(report["series"]["intervals"][5]["meanings"]["accepted"], 50);
        let close = |value: &Value, us: u64| {
            let value = value.as_u64().expect("a latency");
            assert!(value.abs_diff(us) <= us / 90, "{value} is not {us}");
        };
        close(&report["latency_us"]["p99"], 99_000);
        close(&report["service_us"]["max"], 50_000);
        close(&report["refusal_latency_us"]["p50"], 50_000);
        close(&report["lag_us"]["p50"], 50);
        close(&report["series"]["intervals"][0]["latency_us"]["p50"], 50_000);
    }
}
