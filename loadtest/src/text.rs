//! A report as the terminal shows it.

use std::fmt;

use crate::Verdict;
use crate::report::{BadCounts, Latency, Report};
use crate::tally::Meaning;
use crate::units::{ratio, shown_count, shown_percent, shown_rate, shown_us, shown_us_exact};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = [self.rate, self.accepted_rate()].map(shown_rate);
        writeln!(
            f,
            "{:12} {} in {:.2} s: {}, {} accepted",
            "answers",
            shown_count(self.answers),
            self.seconds,
            rates[0],
            rates[1]
        )?;
        for meaning in Meaning::ALL {
            let count = self.meanings[meaning.as_str()];
            let share = shown_percent(ratio(count, self.good()));
            writeln!(
                f,
                "{:12} {:>14}  {share:>8}  {}",
                meaning.as_str(),
                shown_count(count),
                meaning.means()
            )?;
        }
        writeln!(
            f,
            "{:12} {:>14}  {:>8}  what was accepted and is nowhere: only `verify` can tell",
            "lost", "?", ""
        )?;
        if self.bad_refused + self.bad_accepted > 0 {
            writeln!(
                f,
                "{:12} {:>14}  refused as they had to be, {} accepted",
                "bad",
                shown_count(self.bad_refused),
                shown_count(self.bad_accepted)
            )?;
        }
        for (name, BadCounts { accepted, refused }) in &self.bad {
            let (refused, accepted) = (shown_count(*refused), shown_count(*accepted));
            writeln!(f, "  {name:30} {refused:>14}  refused, {accepted} accepted")?;
        }
        if self.events != self.accepted {
            let (events, refused) = (shown_count(self.events), shown_count(self.items_refused));
            writeln!(f, "{events} events were accepted, {refused} items of accepted batches refused")?;
        }
        if self.unsent > 0 {
            let unsent = shown_count(self.unsent);
            writeln!(f, "{unsent} requests were due and never left: no connection became idle in time")?;
        }
        if self.unanswered + self.reconnects > 0 {
            let (unanswered, reconnects) = (shown_count(self.unanswered), shown_count(self.reconnects));
            writeln!(
                f,
                "{unanswered} requests got no answer, {reconnects} connections ended before their time"
            )?;
        }
        if self.retired > 0 {
            let retired = shown_count(self.retired);
            writeln!(f, "{retired} connections were closed after --requests-per-connection")?;
        }
        if !self.refusals.is_empty() {
            writeln!(f, "\nanswers other than 2xx")?;
        }
        for (name, count) in &self.refusals {
            writeln!(f, "  {name:30} {:>14}", shown_count(*count))?;
        }
        self.write_latencies(f)?;
        let busy = shown_percent(self.generator_busy);
        writeln!(
            f,
            "\ngenerator    {busy} busy, its own part of the lag: p99 {}",
            shown_us(self.late_us.p99)
        )?;
        write!(f, "verdict      {}", self.verdict.result.as_str().to_uppercase())?;
        for reason in &self.verdict.reasons {
            write!(f, "\n  {reason}")?;
        }
        if self.verdict.result == Verdict::Invalid {
            write!(f, "\n  the figures are the generator's, not the server's")?;
        }
        writeln!(f)
    }
}

impl Report {
    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:12}", "latency")?;
        for name in ["mean", "p50", "p90", "p99", "p99.9", "max"] {
            write!(f, " {name:>9}")?;
        }
        writeln!(f)?;
        for (name, latency, is_shown) in [
            ("response", &self.latency_us, self.accepted > 0),
            ("service", &self.service_us, self.accepted > 0),
            ("refusals", &self.refusal_latency_us, self.refused > 0),
            ("lag", &self.lag_us, self.accepted > 0),
        ] {
            if is_shown {
                let Latency { mean, p50, p90, p99, p999, max } = latency;
                write!(f, "{name:12} {:>9}", shown_us_exact(*mean))?;
                for us in [p50, p90, p99, p999, max] {
                    write!(f, " {:>9}", shown_us(*us))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use crate::report::tests::{options, outcome, tally};
    use crate::report::{Measured, Report};
    use crate::request::Bad;

    #[test]
    fn people_read_every_meaning_and_the_verdict() {
        let mut outcome = outcome(tally());
        outcome.tally.answer_bad(Bad::UnknownPath, false);
        outcome.tally.events = 9_500;
        outcome.tally.items_refused = 3;
        outcome.tally.retired = 5;
        (outcome.effort.unsent, outcome.effort.busy) = (17, 0.95);
        outcome.effort.send(Duration::from_millis(3));
        let measured = Measured {
            outcome: &outcome,
            started: SystemTime::UNIX_EPOCH,
            invalid: Some("it was late".to_owned()),
            node: None,
        };
        let text = Report::new(options(&[]), measured).to_string();
        for part in [
            "1\u{202f}001 in 10.00 s: 100/s, 95/s accepted",
            "accepted                950   95.00 %",
            "overloaded               50    5.00 %",
            "lost                      ?",
            "503 overloaded",
            "unknown_path                                1  refused, 0 accepted",
            "9\u{202f}500 events were accepted, 3 items of accepted batches refused",
            "17 requests were due and never left",
            "5 connections were closed after --requests-per-connection",
            "generator    95.00 % busy, its own part of the lag: p99 3.00 ms",
            "verdict      INVALID\n  it was late",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }
}
