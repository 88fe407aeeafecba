//! One word for how a node does, and why.

use serde::Serialize;

use super::Unhealthy;

/// Answers of 5xx beyond this share, in percent, are more than bad luck.
const UNAVAILABLE_PERCENT: f64 = 1.0;
/// Busy share of a reactor beyond which there is no room for a burst, in thousandths.
const BUSY_PERMILLE: u64 = 950;
/// A journal fuller than this is an operator's business, in percent of its cap.
const JOURNAL_PERCENT: u64 = 80;

/// How a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    /// Nothing to do.
    Ok,
    /// It works, and somebody should look.
    Degraded,
    /// It was told to stop.
    Draining,
    /// It does not do its work.
    Failed,
}

/// A word and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The word.
    pub word: Word,
    /// Why, for people.
    pub reason: String,
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// What `/livez` would say.
    pub live: Result<(), Unhealthy>,
    /// What `/readyz` would say.
    pub ready: Result<(), Unhealthy>,
    /// Whether the journal's disk fails somewhere.
    pub is_journal_failing: bool,
    /// Whether a broker is configured and away.
    pub is_broker_away: bool,
    /// Answers of 5xx in a hundred, lately.
    pub unavailable_percent: f64,
    /// The busiest reactor, and its busy share in thousandths.
    pub busiest: Option<(usize, u64)>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// The most it may have.
    pub journal_bytes_max: u64,
}

impl Verdict {
    /// The gravest of what is wrong.
    pub fn on(signs: &Signs) -> Self {
        let (word, reason) = judge(signs);
        Self { word, reason }
    }
}

fn judge(signs: &Signs) -> (Word, String) {
    let text = str::to_owned;
    if signs.live.is_err() {
        return (Word::Failed, text("A reactor hangs."));
    }
    if signs.is_journal_failing || signs.ready == Err(Unhealthy::JournalFailed) {
        return (Word::Failed, text("The journal's disk fails: new events are refused."));
    }
    match signs.ready {
        Err(Unhealthy::Draining) => {
            return (Word::Draining, text("Told to stop: finishing what is in flight."));
        }
        Err(Unhealthy::Starting) => return (Word::Degraded, text("Starting: not ready yet.")),
        Err(Unhealthy::BrokerAway) => {
            return (
                Word::Degraded,
                text("The broker is away, and every answer waits for it: readiness says no."),
            );
        }
        Err(Unhealthy::Overloaded) => {
            return (Word::Degraded, text("There is no room for new events: readiness says no."));
        }
        Err(Unhealthy::ReactorStuck | Unhealthy::JournalFailed) | Ok(()) => {}
    }
    if signs.unavailable_percent > UNAVAILABLE_PERCENT {
        let reason = format!("{:.1} % of the answers are 5xx.", signs.unavailable_percent);
        return (Word::Degraded, reason);
    }
    let journal_percent = signs.journal_bytes.saturating_mul(100) / signs.journal_bytes_max.max(1);
    if journal_percent > JOURNAL_PERCENT {
        let why = if signs.is_broker_away { ", and the broker is away" } else { "" };
        return (Word::Degraded, format!("The journal is {journal_percent} % full{why}."));
    }
    if signs.is_broker_away {
        return (Word::Degraded, text("The broker is away: events wait in the journal."));
    }
    if let Some((core, permille)) = signs.busiest.filter(|(_, permille)| *permille > BUSY_PERMILLE) {
        return (Word::Degraded, format!("Reactor {core} is {} % busy.", permille / 10));
    }
    (Word::Ok, text("Taking events and passing them on."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs {
        live: Ok(()),
        ready: Ok(()),
        is_journal_failing: false,
        is_broker_away: false,
        unavailable_percent: 1.0,
        busiest: Some((0, 950)),
        journal_bytes: 80,
        journal_bytes_max: 100,
    };

    #[test]
    fn the_gravest_is_told() {
        let stuck = Err(Unhealthy::ReactorStuck);
        let cases = [
            (WELL, Word::Ok, "Taking"),
            (
                Signs { live: stuck, ready: stuck, is_broker_away: true, ..WELL },
                Word::Failed,
                "A reactor hangs",
            ),
            (Signs { is_journal_failing: true, ..WELL }, Word::Failed, "The journal's disk"),
            (Signs { ready: Err(Unhealthy::JournalFailed), ..WELL }, Word::Failed, "The journal's disk"),
            (
                Signs { ready: Err(Unhealthy::Draining), is_broker_away: true, ..WELL },
                Word::Draining,
                "Told to stop",
            ),
            (Signs { ready: Err(Unhealthy::Starting), ..WELL }, Word::Degraded, "Starting"),
            (Signs { ready: Err(Unhealthy::BrokerAway), ..WELL }, Word::Degraded, "The broker is away, and"),
            (Signs { ready: Err(Unhealthy::Overloaded), ..WELL }, Word::Degraded, "There is no room"),
            (Signs { unavailable_percent: 1.1, ..WELL }, Word::Degraded, "1.1 % of the answers"),
            (Signs { is_broker_away: true, ..WELL }, Word::Degraded, "The broker is away: events"),
            (Signs { journal_bytes: 81, ..WELL }, Word::Degraded, "The journal is 81 % full."),
            (
                Signs { journal_bytes: 81, is_broker_away: true, ..WELL },
                Word::Degraded,
                "The journal is 81 % full, and",
            ),
            (Signs { busiest: Some((3, 951)), ..WELL }, Word::Degraded, "Reactor 3 is 95 % busy"),
        ];
        for (signs, word, reason) in cases {
            let verdict = Verdict::on(&signs);
            assert_eq!(verdict.word, word, "{signs:?}");
            assert!(verdict.reason.starts_with(reason), "{verdict:?}");
        }
    }
}
