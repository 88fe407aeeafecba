//! `limit`: the highest rate at which a target keeps its word.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::curve::Curve;
use crate::generator::Outcome;
use crate::measure::{Bench, Plan};
use crate::options::LimitOptions;
use crate::search::{End, Result as Came, Search, Step};
use crate::tally::Meaning;
use crate::units::{shown_percent, shown_rate, shown_us};
use crate::{AnyError, Verdict};

/// What a rate brought.
#[derive(Clone, Debug, Serialize)]
struct Probe {
    /// Requests a second that were asked for.
    rate: f64,
    /// How long it was counted, seconds.
    seconds: f64,
    /// Whether it was the long run.
    is_confirmation: bool,
    held: bool,
    /// Why the generator, and not the target, is to blame; none if it is not.
    invalid: Option<String>,
    /// Good requests a second that were accepted.
    accepted_rate: f64,
    /// Share of the good requests that were not accepted, those that never left included.
    error_ratio: f64,
    /// What most of them met: a meaning, or `unsent`; none if all were accepted.
    mostly: Option<&'static str>,
    /// Latencies from the moment requests should have left, microseconds.
    p50_us: u64,
    p99_us: u64,
    /// The same, from the moment they left: where this is far less, they waited for a connection.
    service_p99_us: u64,
    service_p50_us: u64,
    generator_busy: f64,
}

impl Probe {
    fn of(outcome: &Outcome, step: Step, plan: &Plan, options: &LimitOptions) -> Self {
        let Outcome { tally, effort, .. } = outcome;
        let (Step::Probe(rate) | Step::Confirm(rate)) = step else { unreachable!("nothing was tried") };
        let accepted = tally.meanings.of(Meaning::Accepted);
        let asked = tally.meanings.total() + effort.unsent;
        let seconds = plan.duration.saturating_sub(plan.warm_up).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let (accepted_rate, error_ratio) =
            (accepted as f64 / seconds, (asked - accepted) as f64 / asked.max(1) as f64);
        let errors = Meaning::ALL.into_iter().filter(|meaning| *meaning != Meaning::Accepted);
        let counts = errors.map(|meaning| (tally.meanings.of(meaning), meaning.as_str()));
        let most = counts.chain([(effort.unsent, "unsent")]).max_by_key(|(count, _)| *count);
        let mostly = most.filter(|(count, _)| *count > 0).map(|(_, name)| name);
        let p99_us = tally.response_us.value_at_quantile(0.99);
        let is_fast = u128::from(p99_us) <= options.max_p99.as_micros();
        Self {
            rate,
            seconds,
            is_confirmation: matches!(step, Step::Confirm(_)),
            held: accepted > 0 && is_fast && error_ratio <= options.max_error_ratio,
            invalid: effort.fault(tally).map(|fault| fault.to_string()),
            accepted_rate,
            error_ratio,
            mostly,
            p50_us: tally.response_us.value_at_quantile(0.5),
            p99_us,
            service_p99_us: tally.service_us.value_at_quantile(0.99),
            service_p50_us: tally.service_us.value_at_quantile(0.5),
            generator_busy: effort.busy,
        }
    }

    fn came(&self) -> Came {
        match (self.held, &self.invalid) {
            // Even with a generator that was late.
            (true, _) => Came::Held,
            (false, Some(_)) => Came::Lagged,
            (false, None) => Came::Broke,
        }
    }

    fn name(&self) -> &'static str {
        match self.came() {
            Came::Held => "held",
            Came::Broke => "broke",
            Came::Lagged => "INVALID",
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, service_p99] = [self.p50_us, self.p99_us, self.service_p99_us].map(shown_us);
        let [errors, busy] = [self.error_ratio, self.generator_busy].map(shown_percent);
        let mostly = self.mostly.map(|meaning| format!(" (mostly {meaning})")).unwrap_or_default();
        write!(
            f,
            "{} for {} s: p50 {p50}, p99 {p99} ({service_p99} once they left), errors {errors}{mostly}, generator busy {busy}",
            shown_rate(self.rate),
            self.seconds,
        )
    }
}

/// What was found, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Finding {
    /// The highest rate that held, in the long run, requests a second; none if no rate did.
    rate: Option<f64>,
    /// Why the target's limit is not known; none if it is.
    invalid: Option<String>,
    max_p99_us: u64,
    max_error_ratio: f64,
    /// The knee: the last rate that held ...
    held: Option<Probe>,
    /// ... and the first above it that did not.
    broke: Option<Probe>,
    /// All that was tried, in order.
    probes: Vec<Probe>,
}

impl Finding {
    fn of(end: End, probes: Vec<Probe>, options: &LimitOptions) -> Self {
        let (rate, is_generators) = match end {
            End::Found { rate, is_generators } => (Some(rate), is_generators),
            End::Nothing { is_generators } => (None, is_generators),
        };
        let held =
            rate.and_then(|_| probes.iter().rfind(|probe| probe.is_confirmation && probe.held)).cloned();
        let above = |probe: &&Probe| !probe.held && rate.is_none_or(|rate| probe.rate > rate);
        // The last of those at that rate: it was tried again before it was believed.
        let broke = probes.iter().rev().filter(above).min_by(|a, b| a.rate.total_cmp(&b.rate)).cloned();
        let invalid = is_generators.then(|| {
            let reason = broke.as_ref().and_then(|probe| probe.invalid.clone()).unwrap_or_default();
            format!("this is the generator's limit, the target's is not known: {reason}")
        });
        let max_p99_us = u64::try_from(options.max_p99.as_micros()).unwrap_or(u64::MAX);
        Self { rate, invalid, max_p99_us, max_error_ratio: options.max_error_ratio, held, broke, probes }
    }

    /// Requests waited for a connection though answers came as fast as at the lowest rate: the target had more to give.
    fn wants_connections(&self) -> bool {
        let at_rest = self.probes.iter().min_by(|a, b| a.rate.total_cmp(&b.rate));
        self.broke.as_ref().zip(at_rest).is_some_and(|(broke, at_rest)| {
            broke.p99_us > self.max_p99_us
                && broke.service_p50_us <= at_rest.service_p50_us.saturating_mul(3) / 2
        })
    }

    /// The target had no room for what came: this is how fast it is emptied, not how fast it takes events.
    fn is_full(&self) -> bool {
        let mostly = self.broke.as_ref().and_then(|broke| broke.mostly);
        mostly == Some(Meaning::Overloaded.as_str())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            Some(rate) => writeln!(f, "limit        {}", shown_rate(rate))?,
            None => writeln!(f, "limit        no rate held")?,
        }
        if let Some(held) = &self.held {
            writeln!(f, "  held       {held}")?;
        }
        if let Some(broke) = &self.broke {
            writeln!(f, "  broke      {broke}")?;
        }
        if self.wants_connections() {
            writeln!(
                f,
                "  Answers came as fast as at the lowest rate, but requests waited for a connection: more --connections may hold more."
            )?;
        }
        if self.is_full() {
            writeln!(
                f,
                "  The target had no room (503): its broker takes less than this, or its journal is full; a node without a broker keeps everything."
            )?;
        }
        match &self.invalid {
            Some(invalid) => writeln!(f, "INVALID      {invalid}"),
            None => Ok(()),
        }
    }
}

/// Searches, confirms and reports.
pub(crate) fn limit(options: &LimitOptions) -> Result<Verdict, AnyError> {
    if options.probe.is_zero() || options.confirm.is_zero() {
        return Err("--probe and --confirm need some time".into());
    }
    let mut bench = Bench::prepare(&options.workload)?;
    let mut search = Search::new(options.start);
    let mut probes: Vec<Probe> = Vec::new();
    let mut bad_accepted = 0;
    let end = loop {
        let step = search.step();
        let (rate, counted) = match step {
            Step::Probe(rate) => (rate, options.probe),
            Step::Confirm(rate) => (rate, options.confirm),
            Step::Done(end) => break end,
        };
        let plan = plan(rate, options.warm_up, counted);
        let outcome = bench.measure(&plan)?;
        if bench.is_stopped() {
            return Err("stopped before a limit was found".into());
        }
        let probe = Probe::of(&outcome, step, &plan, options);
        println!("{:8}     {probe}", probe.name());
        search.handle(probe.came());
        probes.push(probe);
        bad_accepted += outcome.tally.bad_accepted;
    };
    let finding = Finding::of(end, probes, options);
    print!("{finding}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&finding)?)?;
    }
    Ok(if bad_accepted > 0 {
        println!("WRONG        {bad_accepted} bad requests were accepted");
        Verdict::Bad
    } else if finding.invalid.is_some() {
        Verdict::Invalid
    } else if finding.rate.is_none() {
        Verdict::Breach
    } else {
        Verdict::Good
    })
}

fn plan(rate: f64, warm_up: Duration, counted: Duration) -> Plan {
    let duration = warm_up + counted;
    let curve = Some(Arc::new(Curve::constant(rate, duration)));
    Plan { curve, warm_up, duration, requests: None, keeps_ids: false }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;
    use crate::report::tests::{outcome, tally};

    fn probe(max_p99: &str, max_error_ratio: &str, late: Duration, unsent: u64) -> Probe {
        let command = LimitOptions::augment_args(Command::new("limit"));
        let flags = ["limit", "--max-p99", max_p99, "--max-error-ratio", max_error_ratio];
        let matches = command.try_get_matches_from(flags).expect("good flags");
        let options = LimitOptions::from_arg_matches(&matches).expect("good flags");
        let mut outcome = outcome(tally());
        outcome.effort.send(late);
        outcome.effort.unsent = unsent;
        let plan = plan(100.0, Duration::from_secs(1), Duration::from_secs(10));
        Probe::of(&outcome, Step::Probe(100.0), &plan, &options)
    }

    #[test]
    fn a_rate_holds_within_both_bounds_and_else_the_generator_may_be_to_blame() {
        let (in_time, late) = (Duration::from_micros(10), Duration::from_millis(20));
        for (max_p99, max_error_ratio, left, came) in [
            ("100ms", "0.05", in_time, Came::Held),
            ("100ms", "0.05", late, Came::Held),
            ("98ms", "0.05", in_time, Came::Broke),
            ("100ms", "0.049", in_time, Came::Broke),
            ("98ms", "0.05", late, Came::Lagged),
        ] {
            let probe = probe(max_p99, max_error_ratio, left, 0);
            assert_eq!(probe.came(), came, "{max_p99}, {max_error_ratio}, {left:?}: {probe}");
        }
    }

    #[test]
    fn who_finds_the_target_full_is_told_so() {
        for (unsent, is_told) in [(0, true), (1000, false)] {
            let broke = probe("100ms", "0.01", Duration::ZERO, unsent);
            let finding = Finding {
                rate: None,
                invalid: None,
                max_p99_us: 1,
                max_error_ratio: 0.01,
                held: None,
                broke: Some(broke),
                probes: Vec::new(),
            };
            assert_eq!(finding.to_string().contains("its journal is full"), is_told, "{finding}");
        }
    }

    #[test]
    fn a_probe_says_what_most_of_its_errors_were() {
        for (unsent, part) in
            [(0, "errors 5.00 % (mostly overloaded), "), (1000, "errors 52.50 % (mostly unsent), ")]
        {
            let text = probe("100ms", "0.05", Duration::ZERO, unsent).to_string();
            assert!(text.starts_with("100/s for 10 s: ") && text.contains(part), "{text}");
        }
    }
}
