//! The view on a run that goes on, where standard error is a terminal.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::{Glimpse, Progress};
use crate::tally::{Meaning, Meanings, coarse_histogram};
use crate::units::{shown_count, shown_rate, shown_us};

/// How far back rates and latencies look: long enough to be read, short enough to show what happens.
const WINDOW: Duration = Duration::from_secs(3);
/// Codes that are shown, the most frequent first.
const CODES_MAX: usize = 4;

/// All threads at one moment.
#[derive(Debug)]
struct Moment {
    at: Duration,
    sent: u64,
    meanings: Meanings,
    /// Since the moment before.
    response_us: Histogram<u64>,
}

/// The view.
pub(crate) struct Live {
    bar: ProgressBar,
    threads: Vec<(Arc<Progress>, Totals)>,
    window: VecDeque<Moment>,
    /// When the threads were last asked: what they tell is of then.
    asked_at: Duration,
    warm_up: Duration,
    duration: Duration,
}

/// What a thread last said.
#[derive(Debug, Default)]
struct Totals {
    sent: u64,
    meanings: Meanings,
    answers: BTreeMap<(u16, String), u64>,
}

impl Totals {
    fn see(&mut self, glimpse: &Glimpse) {
        self.sent = glimpse.sent;
        self.meanings = glimpse.meanings;
        self.answers.clone_from(&glimpse.answers);
    }
}

impl Live {
    /// Of a run that takes `duration`, the warm-up included.
    pub(crate) fn new(
        is_quiet: bool,
        warm_up: Duration,
        duration: Duration,
        threads: Vec<Arc<Progress>>,
    ) -> Self {
        // Its own drawing is hidden where there is no terminal.
        let bar = if is_quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
        };
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/blue}\n{msg}");
        bar.set_style(style.expect("a constant template"));
        Self {
            bar,
            threads: threads.into_iter().map(|thread| (thread, Totals::default())).collect(),
            window: VecDeque::new(),
            asked_at: warm_up,
            warm_up,
            duration,
        }
    }

    /// Shows how things stand so long after the start, and how many requests a second are asked for now.
    pub(crate) fn show(&mut self, at: Duration, asked: Option<f64>) {
        if self.bar.is_hidden() {
            return;
        }
        let left = self.duration.saturating_sub(at).as_secs_f64().ceil();
        self.bar.set_position(
            u64::try_from(at.as_millis()).unwrap_or(u64::MAX).min(self.bar.length().unwrap_or(0)),
        );
        self.bar.set_prefix(format!("{:>4.0} s, {left:.0} s left", at.as_secs_f64()));
        if at < self.warm_up {
            self.bar.set_message("warming up: nothing counts yet");
            return;
        }
        let mut response_us = coarse_histogram();
        for (thread, totals) in &mut self.threads {
            thread.look(|glimpse| {
                totals.see(glimpse);
                response_us.add(&glimpse.response_us).expect("the same bounds");
            });
        }
        let at = std::mem::replace(&mut self.asked_at, at);
        let mut moment = Moment { at, sent: 0, meanings: Meanings::default(), response_us };
        let mut answers: BTreeMap<&(u16, String), u64> = BTreeMap::new();
        for (_, totals) in &self.threads {
            moment.sent += totals.sent;
            moment.meanings.add(&totals.meanings);
            for (answer, count) in &totals.answers {
                *answers.entry(answer).or_default() += count;
            }
        }
        let codes = most_frequent(&answers);
        push(&mut self.window, moment);
        self.bar.set_message(lines(&self.window, asked, &codes));
    }

    /// Takes the view away.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// Keeps the moments of the window, and one before it to count from.
fn push(window: &mut VecDeque<Moment>, moment: Moment) {
    let begin = moment.at.saturating_sub(WINDOW);
    window.push_back(moment);
    while window.get(1).is_some_and(|second| second.at <= begin) {
        window.pop_front();
    }
}

fn most_frequent(answers: &BTreeMap<&(u16, String), u64>) -> Vec<String> {
    let mut answers: Vec<_> = answers.iter().collect();
    answers.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = answers.iter().take(CODES_MAX);
    shown.map(|((status, code), count)| format!("{status} {code}: {}", shown_count(**count))).collect()
}

/// What stands below the bar.
fn lines(window: &VecDeque<Moment>, asked: Option<f64>, codes: &[String]) -> String {
    let (Some(first), Some(last)) = (window.front(), window.back()) else { return String::new() };
    let seconds = last.at.saturating_sub(first.at).as_secs_f64().max(1e-3);
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let rate = |now: u64, then: u64| shown_rate((now - then) as f64 / seconds);
    let mut response_us = coarse_histogram();
    // What the first moment brought lies before the window.
    for moment in window.iter().skip(1) {
        response_us.add(&moment.response_us).expect("the same bounds");
    }
    let mut text = String::new();
    let asked = asked.map_or_else(|| "as fast as answers come".to_owned(), shown_rate);
    let _ = writeln!(
        text,
        "rate      asked {asked}   sent {}   answered {}",
        rate(last.sent, first.sent),
        rate(last.meanings.total(), first.meanings.total()),
    );
    if response_us.is_empty() {
        text.push_str("latency   nothing was accepted of late\n");
    } else {
        let at = |quantile| shown_us(response_us.value_at_quantile(quantile));
        let _ = writeln!(
            text,
            "latency   p50 {}   p99 {}   p99.9 {}   max {}",
            at(0.5),
            at(0.99),
            at(0.999),
            shown_us(response_us.max())
        );
    }
    let _ = write!(text, "answers  ");
    for meaning in Meaning::ALL {
        let _ = write!(text, " {} {}  ", meaning.as_str(), shown_count(last.meanings.of(meaning)));
    }
    if !codes.is_empty() {
        let _ = write!(text, "\ncodes     {}", codes.join("   "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_latencies_are_those_of_the_last_seconds_and_counts_those_of_the_run() {
        let mut window = VecDeque::new();
        // 100 requests a second that take 1 ms, then 500 a second that take 20 ms.
        let mut sent = 0;
        for second in 0..=10_u64 {
            let (count, us) = if second <= 5 { (100, 1_000) } else { (500, 20_000) };
            let mut response_us = coarse_histogram();
            if second > 0 {
                sent += count;
                response_us.record_n(us, count).expect("in bounds");
            }
            let mut meanings = Meanings::default();
            meanings.count(Meaning::Accepted, sent);
            push(&mut window, Moment { at: Duration::from_secs(second), sent, meanings, response_us });
            let text = lines(&window, Some(600.0), &[]);
            let expected = match second {
                1..=5 => "sent 100/s   answered 100/s\nlatency   p50 1.00 ms",
                8.. => "sent 500/s   answered 500/s\nlatency   p50 20.1 ms",
                _ => continue,
            };
            assert!(text.contains(expected) && text.starts_with("rate      asked 600/s"), "{second}: {text}");
        }
        assert_eq!(window.len(), 4, "the window, and the moment that it counts from");
        let text = lines(&window, None, &["503 overloaded: 7".to_owned()]);
        assert!(
            text.contains(" accepted 3\u{202f}000 ") && text.ends_with("codes     503 overloaded: 7"),
            "{text}"
        );
    }
}
