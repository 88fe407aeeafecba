//! What a run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::generator::Outcome;
use crate::options::ResultOptions;
use crate::tally::Meaning;

/// Latencies of good requests, microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
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

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, p50, p90, p99, p999, max } = self;
        write!(f, "mean {mean:.0}  p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")
    }
}

/// What became of requests that had to be refused.
#[derive(Clone, Copy, Debug, Serialize)]
struct Counts {
    accepted: u64,
    refused: u64,
}

/// The report, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Why the run must not be believed; none if it may be.
    pub(crate) invalid: Option<String>,
    seconds: f64,
    /// Answers a second.
    rate: f64,
    answers: u64,
    accepted: u64,
    /// Good requests that got another answer.
    refused: u64,
    /// Good requests by what became of them.
    meanings: BTreeMap<&'static str, u64>,
    pub(crate) bad_accepted: u64,
    bad_refused: u64,
    unanswered: u64,
    reconnects: u64,
    /// Answers other than 2xx, by status and code.
    refusals: BTreeMap<String, u64>,
    /// Of those that were accepted, from the moment they should have left.
    latency_us: Latency,
    /// The same, from the moment they left.
    service_us: Latency,
    /// Of those that were refused.
    refusal_latency_us: Latency,
    /// How late requests left.
    lag_us: Latency,
    /// Of that, by the generator's own fault: a connection was idle.
    late_us: Latency,
    /// Share of the time in which the generator's busiest thread worked or waited for its CPU.
    generator_busy: f64,
    /// Requests that were due and never left, because no connection became idle.
    unsent: u64,
    /// Events that were accepted, and items that were refused of batches that were accepted.
    events: u64,
    items_refused: u64,
    /// Bad requests by what was wrong with them.
    bad: BTreeMap<&'static str, Counts>,
    /// Connections that were closed after --requests-per-connection.
    retired: u64,
}

impl Report {
    /// `invalid`: why the run must not be believed.
    pub(crate) fn new(outcome: &Outcome, invalid: Option<String>) -> Self {
        let Outcome { tally, effort, taken, .. } = outcome;
        let accepted = tally.meanings.of(Meaning::Accepted);
        let answers = tally.answered();
        let refusals = tally.answers.iter().map(|((status, code), count)| {
            let name = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
            (name, *count)
        });
        let bad = tally.bad.iter().map(|(bad, (accepted, refused))| {
            (bad.as_str(), Counts { accepted: *accepted, refused: *refused })
        });
        Self {
            invalid,
            seconds: taken.as_secs_f64(),
            #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
            rate: answers as f64 / taken.as_secs_f64().max(1e-9),
            answers,
            accepted,
            refused: tally.meanings.total() - accepted - tally.unanswered_good,
            meanings: Meaning::ALL.map(|meaning| (meaning.as_str(), tally.meanings.of(meaning))).into(),
            bad_accepted: tally.bad_accepted,
            bad_refused: tally.bad_refused,
            unanswered: tally.unanswered,
            reconnects: tally.reconnects,
            refusals: refusals.collect(),
            latency_us: Latency::of(&tally.response_us),
            service_us: Latency::of(&tally.service_us),
            refusal_latency_us: Latency::of(&tally.refusal_us),
            lag_us: Latency::of(&tally.lag_us),
            late_us: Latency::of(&effort.late_us),
            generator_busy: effort.busy,
            unsent: effort.unsent,
            events: tally.events,
            items_refused: tally.items_refused,
            bad: bad.collect(),
            retired: tally.retired,
        }
    }

    /// Whether a threshold of the command line is broken.
    pub(crate) fn breaks(&self, options: &ResultOptions) -> bool {
        let good: u64 = self.meanings.values().sum();
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let error_ratio = (good - self.accepted) as f64 / good.max(1) as f64;
        let too_slow = options.max_p99.is_some_and(|max| u128::from(self.latency_us.p99) > max.as_micros());
        let too_many_errors = options.max_error_ratio.is_some_and(|max| error_ratio > max);
        too_slow || too_many_errors
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "answers      {} in {:.2} s, {:.0}/s", self.answers, self.seconds, self.rate)?;
        writeln!(f, "accepted     {}", self.accepted)?;
        if self.events != self.accepted {
            writeln!(f, "  events     {}, {} items refused", self.events, self.items_refused)?;
        }
        writeln!(f, "refused      {} good, {} bad as they should be", self.refused, self.bad_refused)?;
        if self.bad_accepted > 0 {
            writeln!(f, "WRONG        {} bad requests were accepted", self.bad_accepted)?;
        }
        writeln!(f, "unanswered   {}, {} connections opened again", self.unanswered, self.reconnects)?;
        for (name, count) in &self.refusals {
            writeln!(f, "  {name:40} {count}")?;
        }
        for (name, Counts { accepted, refused }) in &self.bad {
            writeln!(f, "  bad: {name:35} {refused} refused, {accepted} accepted")?;
        }
        if self.unsent > 0 {
            writeln!(f, "unsent       {}, no connection became idle in time", self.unsent)?;
        }
        writeln!(f, "latency, µs  {}", self.latency_us)?;
        if self.refused > 0 {
            writeln!(f, "  of refusals {}", self.refusal_latency_us)?;
        }
        writeln!(f, "generator    busy {:.0} %", self.generator_busy * 100.0)?;
        if let Some(invalid) = &self.invalid {
            writeln!(f, "INVALID      {invalid}")?;
        }
        Ok(())
    }
}
