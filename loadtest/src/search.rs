//! Looks for the highest rate that holds: doubling, then halving the bracket, then a long look at what was found.
//!
//! It knows neither clock nor socket: it says which rate to try next and is told what came of it.

/// A bracket this narrow is narrow enough: the rate that broke is at most so many times the one that held.
const BRACKET_MAX: f64 = 1.025;
/// Long runs look for the rate themselves if what was found does not hold in them; this narrow a bracket is enough for them.
const LONG_BRACKET_MAX: f64 = 1.05;
/// How much less is confirmed after a rate did not hold in the long run. Each time the step is twice as large: what a disk or a buffer takes
/// for a few seconds may be many times what it takes for long.
const STEP_DOWN: f64 = 0.025;
/// Most of that at once.
const STEP_DOWN_MAX: f64 = 0.5;
/// Below this rate, requests a second, nothing is looked for.
const RATE_MIN: f64 = 1.0;
/// Above this one, neither.
const RATE_MAX: f64 = 1e8;

/// What came of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Result {
    /// It held.
    Held,
    /// It did not.
    Broke,
    /// The generator did not get there: nothing is known about the server.
    Lagged,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Try a rate for a short time.
    Probe(f64),
    /// Try it for a long time.
    Confirm(f64),
    Done(End),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// This rate held for a long time; `is_generators` if what lies above it was too much for the generator, and not for the server.
    Found { rate: f64, is_generators: bool },
    /// No rate held.
    Nothing { is_generators: bool },
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Between what held and what did not, as far as they are known.
    Probing,
    /// Between what held for a long time and what did not; `step` is the share by which to go down while nothing held.
    Confirming {
        step: f64,
        held: Option<f64>,
    },
    Done(End),
}

/// The search. A rate that breaks is tried once more before that is believed: on a machine that does other things too, a probe may
/// fail by chance, but hardly twice.
#[derive(Debug)]
pub(crate) struct Search {
    phase: Phase,
    /// What is tried.
    rate: f64,
    held: Option<f64>,
    /// What did not hold, and whether that was the generator's doing.
    broke: Option<(f64, bool)>,
    /// The rate has broken once.
    is_second_try: bool,
}

impl Search {
    /// Begins at a rate.
    pub(crate) fn new(start: f64) -> Self {
        let rate = start.clamp(RATE_MIN, RATE_MAX);
        Self { phase: Phase::Probing, rate, held: None, broke: None, is_second_try: false }
    }

    pub(crate) fn step(&self) -> Step {
        match self.phase {
            Phase::Probing => Step::Probe(self.rate),
            Phase::Confirming { .. } => Step::Confirm(self.rate),
            Phase::Done(end) => Step::Done(end),
        }
    }

    /// What came of the rate of [`Self::step`].
    pub(crate) fn handle(&mut self, result: Result) {
        if result != Result::Held && !self.is_second_try {
            self.is_second_try = true;
            return;
        }
        self.is_second_try = false;
        if result != Result::Held {
            self.broke = Some((self.rate, result == Result::Lagged));
        }
        match self.phase {
            Phase::Probing => {
                if result == Result::Held {
                    self.held = Some(self.rate);
                }
                self.narrow();
            }
            Phase::Confirming { step, held } => {
                let held = if result == Result::Held { Some(self.rate) } else { held };
                self.confirm(step, held);
            }
            Phase::Done(_) => {}
        }
    }

    /// What to confirm next, if anything.
    fn confirm(&mut self, step: f64, held: Option<f64>) {
        let is_generators = self.broke.is_some_and(|(_, is_generators)| is_generators);
        (self.phase, self.rate) = match (held, self.broke) {
            (Some(held), Some((broke, _))) if broke > held * LONG_BRACKET_MAX => {
                (Phase::Confirming { step, held: Some(held) }, (held * broke).sqrt())
            }
            (Some(rate), _) => (Phase::Done(End::Found { rate, is_generators }), rate),
            (None, _) if self.rate <= RATE_MIN => (Phase::Done(End::Nothing { is_generators }), self.rate),
            (None, _) => {
                let next = Phase::Confirming { step: (step * 2.0).min(STEP_DOWN_MAX), held: None };
                (next, (self.rate * (1.0 - step)).max(RATE_MIN))
            }
        };
    }

    /// The next rate between what is known.
    fn narrow(&mut self) {
        let confirm = Phase::Confirming { step: STEP_DOWN, held: None };
        (self.phase, self.rate) = match (self.held, self.broke) {
            (Some(held), None) if held >= RATE_MAX => (confirm, held),
            (Some(held), None) => (Phase::Probing, (held * 2.0).min(RATE_MAX)),
            (None, Some((broke, is_generators))) if broke <= RATE_MIN => {
                (Phase::Done(End::Nothing { is_generators }), broke)
            }
            (None, Some((broke, _))) => (Phase::Probing, (broke / 2.0).max(RATE_MIN)),
            (Some(held), Some((broke, _))) if broke <= held * BRACKET_MAX => (confirm, held),
            // The geometric middle: what counts is the ratio.
            (Some(held), Some((broke, _))) => (Phase::Probing, (held * broke).sqrt()),
            (None, None) => (Phase::Probing, self.rate),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// Runs a search to its end; how it ended and how many runs it took.
    fn run(start: f64, mut server: impl FnMut(Step) -> Result) -> (End, u32) {
        let mut search = Search::new(start);
        let mut runs = 0;
        loop {
            match search.step() {
                Step::Done(end) => return (end, runs),
                step => search.handle(server(step)),
            }
            runs += 1;
            assert!(runs < 200, "it comes to an end");
        }
    }

    fn rate_of(step: Step) -> f64 {
        match step {
            Step::Probe(rate) | Step::Confirm(rate) => rate,
            Step::Done(_) => unreachable!("nothing is tried any more"),
        }
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above_within_the_bracket() {
        for limit in [3.0, 900.0, 23_456.0, 400_000.0] {
            for start in [1.0, 1000.0, 1e6] {
                let (end, runs) =
                    run(start, |step| if rate_of(step) <= limit { Result::Held } else { Result::Broke });
                let End::Found { rate, is_generators: false } = end else { panic!("{limit}: {end:?}") };
                assert!(rate <= limit && rate * BRACKET_MAX >= limit, "{limit} from {start}: {rate}");
                assert!(runs <= 50, "{limit} from {start}: {runs} runs");
            }
        }
    }

    #[test]
    fn noise_moves_what_is_found_by_less_than_five_percent() {
        const SEEDS: u64 = 400;
        let limit = 50_000.0;
        let far = (0..SEEDS).filter(|seed| {
            let mut dice = Dice(*seed);
            // Each run has another limit, up to 1 % away, and one in fifty fails for no reason.
            let (end, _) = run(1000.0, |step| {
                let here = limit * (0.99 + 0.02 * dice.unit());
                if rate_of(step) > here || dice.below(50) == 0 { Result::Broke } else { Result::Held }
            });
            let End::Found { rate, .. } = end else { panic!("seed {seed}: {end:?}") };
            assert!(rate <= limit * 1.01, "seed {seed}: {rate}");
            rate < limit * 0.95
        });
        // Two failures for no reason in a row, at one of a dozen rates.
        let far = far.count();
        assert!(far <= 8, "{far} of {SEEDS}");
    }

    #[test]
    fn what_holds_for_a_short_time_alone_is_stepped_down_from() {
        let (end, _) = run(1000.0, |step| match step {
            Step::Probe(rate) if rate <= 10_000.0 => Result::Held,
            Step::Confirm(rate) if rate <= 9_000.0 => Result::Held,
            _ => Result::Broke,
        });
        let End::Found { rate, .. } = end else { panic!("{end:?}") };
        assert!((9_000.0 / LONG_BRACKET_MAX..=9_000.0).contains(&rate), "{rate}");
        // A disk that takes a tenth for long of what it takes for a while.
        let (end, runs) = run(1000.0, |step| match step {
            Step::Probe(rate) if rate <= 10_000.0 => Result::Held,
            Step::Confirm(rate) if rate <= 1_000.0 => Result::Held,
            _ => Result::Broke,
        });
        let End::Found { rate, .. } = end else { panic!("{end:?}") };
        assert!((1_000.0 / LONG_BRACKET_MAX..=1_000.0).contains(&rate) && runs < 50, "{rate}, {runs} runs");
        let (end, _) = run(1000.0, |step| match step {
            Step::Probe(rate) if rate <= 10_000.0 => Result::Held,
            _ => Result::Broke,
        });
        assert_eq!(end, End::Nothing { is_generators: false }, "nothing is confirmed for ever");
    }

    #[test]
    fn a_probe_is_believed_to_have_failed_the_second_time() {
        let mut search = Search::new(1000.0);
        search.handle(Result::Broke);
        assert_eq!(search.step(), Step::Probe(1000.0));
        search.handle(Result::Held);
        assert_eq!(search.step(), Step::Probe(2000.0));
        search.handle(Result::Broke);
        search.handle(Result::Broke);
        assert!(matches!(search.step(), Step::Probe(rate) if rate < 2000.0 && rate > 1000.0));
    }

    #[test]
    fn the_generators_limit_is_not_taken_for_the_servers() {
        let (end, _) =
            run(1000.0, |step| if rate_of(step) <= 7_000.0 { Result::Held } else { Result::Lagged });
        assert!(matches!(end, End::Found { is_generators: true, .. }), "{end:?}");
        let (end, _) = run(1000.0, |_| Result::Lagged);
        assert_eq!(end, End::Nothing { is_generators: true });
        // The generator's limit was met first, then the server's below it.
        let (end, _) = run(1000.0, |step| match rate_of(step) {
            rate if rate <= 5_000.0 => Result::Held,
            rate if rate <= 7_000.0 => Result::Broke,
            _ => Result::Lagged,
        });
        assert!(matches!(end, End::Found { is_generators: false, .. }), "{end:?}");
    }

    #[test]
    fn a_server_that_holds_nothing_is_told() {
        assert_eq!(run(1000.0, |_| Result::Broke).0, End::Nothing { is_generators: false });
    }
}
