//! Whether a node lives and whether it should get traffic, judged from what its threads last said of themselves.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::{CoreMetrics, FleetMetrics, ForwarderMetrics};

/// A reactor that has not turned for this long is taken for stuck.
pub const TURN_OVERDUE_MS: u64 = 5_000;
/// How long new events must have been refused (or the broker away) before the node asks to be left alone, and how long they must have
/// been taken again before it asks for more.
pub const READINESS_HYSTERESIS_MS: u64 = 2_000;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not all threads run yet.
    Starting,
    /// Everything runs.
    Serving,
    /// Told to stop: still serving, but every answer ends its connection.
    Draining,
    /// Listeners are closed; what is in flight is finished.
    Closing,
    /// Time is up: connections are cut.
    Cutting,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Starting, Self::Serving, Self::Draining, Self::Closing, Self::Cutting];
}

/// Why a node is not ready, or not alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unhealthy {
    /// Threads are being started, or no broker has been reached yet.
    Starting,
    /// The node is stopping.
    Draining,
    /// The broker is away or blocks publishers, and every answer waits for its confirms.
    BrokerAway,
    /// There has been no room for new events.
    Overloaded,
    /// The journal's disk fails.
    JournalFailed,
    /// A reactor hangs.
    ReactorStuck,
}

impl Unhealthy {
    /// The reason as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::BrokerAway => "broker_away",
            Self::Overloaded => "overloaded",
            Self::JournalFailed => "journal_failed",
            Self::ReactorStuck => "reactor_stuck",
        }
    }
}

/// Status and JSON body of a probe's answer.
pub fn verdict_json(verdict: Result<(), Unhealthy>) -> (u16, String) {
    match verdict {
        Ok(()) => (200, r#"{"status":"ok"}"#.to_owned()),
        Err(reason) => (503, format!(r#"{{"status":"unavailable","reason":"{}"}}"#, reason.as_str())),
    }
}

/// Seconds after which to ask again, between 1 and 4 by the `random` bits of an id, so that not all come back at once.
pub fn retry_after(random: Uuid) -> u16 {
    1 + u16::from(random.as_bytes()[15] % 4)
}

/// What probes are answered from.
#[derive(Debug)]
pub struct Health {
    phase: AtomicU8,
    was_overloaded: AtomicBool,
    cores: Vec<Arc<CoreMetrics>>,
    forwarder: Arc<ForwarderMetrics>,
    needs_broker: bool,
    fleet: OnceLock<Arc<FleetMetrics>>,
}

impl Health {
    /// Of a node that is starting; `needs_broker` if no answer is given without one.
    pub fn new(cores: Vec<Arc<CoreMetrics>>, forwarder: Arc<ForwarderMetrics>, needs_broker: bool) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            was_overloaded: AtomicBool::new(false),
            cores,
            forwarder,
            needs_broker,
            fleet: OnceLock::new(),
        }
    }

    /// From now on a ready node also says whether its apps and keys may be stale.
    pub fn watch_fleet(&self, fleet: Arc<FleetMetrics>) {
        assert!(self.fleet.set(fleet).is_ok(), "a node is in one fleet");
    }

    /// Status and JSON body of the readiness probe. Stale credentials are better than none: they are told, and no reason to be left alone.
    pub fn ready_json(&self, now_ms: u64) -> (u16, String) {
        let (status, mut body) = verdict_json(self.ready(now_ms));
        let stale_seconds = self.fleet.get().map_or(0, |fleet| fleet.stale_seconds(now_ms));
        if stale_seconds > 0 {
            body.insert_str(body.len() - 1, &format!(r#","registry_stale_seconds":{stale_seconds}"#));
        }
        (status, body)
    }

    /// Where the node is in its life.
    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Moves on; a phase never comes back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Whether the process does its work at all; `now_ms` is the monotonic clock.
    pub fn live(&self, now_ms: u64) -> Result<(), Unhealthy> {
        let is_stuck = |core: &Arc<CoreMetrics>| {
            let turned_ms = core.turned_ms.value();
            turned_ms > 0 && now_ms.saturating_sub(turned_ms) > TURN_OVERDUE_MS
        };
        // Reactors end while the node closes; they are not stuck then.
        if self.phase() < Phase::Closing && self.cores.iter().any(is_stuck) {
            return Err(Unhealthy::ReactorStuck);
        }
        Ok(())
    }

    /// Whether a balancer should send traffic here.
    pub fn ready(&self, now_ms: u64) -> Result<(), Unhealthy> {
        match self.phase() {
            Phase::Starting => return Err(Unhealthy::Starting),
            Phase::Serving => {}
            Phase::Draining | Phase::Closing | Phase::Cutting => return Err(Unhealthy::Draining),
        }
        self.live(now_ms)?;
        if self.needs_broker && self.forwarder.broker_up.value() == 0 {
            if self.forwarder.connects.value() == 0 {
                return Err(Unhealthy::Starting);
            }
            if now_ms.saturating_sub(self.forwarder.broker_changed_ms.value()) > READINESS_HYSTERESIS_MS {
                return Err(Unhealthy::BrokerAway);
            }
        }
        let is_failing = self.cores.iter().any(|core| core.journal_failing.value() > 0);
        match self.is_overloaded(now_ms) {
            true if is_failing => Err(Unhealthy::JournalFailed),
            true => Err(Unhealthy::Overloaded),
            false => Ok(()),
        }
    }

    fn is_overloaded(&self, now_ms: u64) -> bool {
        let since = |past_ms: u64| now_ms.saturating_sub(past_ms);
        let is_refusing = self.cores.iter().any(|core| {
            let since_ms = core.refusing_since_ms.value();
            since_ms > 0 && since(since_ms) > READINESS_HYSTERESIS_MS
        });
        let has_refused = self.cores.iter().any(|core| {
            let last_ms = core.refused_last_ms.value();
            last_ms > 0 && since(last_ms) <= READINESS_HYSTERESIS_MS
        });
        let overloaded = is_refusing || has_refused && self.was_overloaded.load(Ordering::Relaxed);
        self.was_overloaded.store(overloaded, Ordering::Relaxed);
        overloaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> (Health, Arc<CoreMetrics>, Arc<ForwarderMetrics>) {
        let (core, forwarder) = (Arc::<CoreMetrics>::default(), Arc::<ForwarderMetrics>::default());
        let health = Health::new(vec![core.clone()], forwarder.clone(), true);
        forwarder.broker_up.set(1);
        forwarder.connects.add(1);
        health.enter(Phase::Serving);
        (health, core, forwarder)
    }

    #[test]
    fn readiness_follows_the_phases_and_none_comes_back() {
        let (health, ..) = node();
        assert_eq!(health.ready(0), Ok(()));
        health.enter(Phase::Draining);
        assert_eq!(health.ready(0), Err(Unhealthy::Draining));
        health.enter(Phase::Serving);
        assert_eq!((health.ready(0), health.phase()), (Err(Unhealthy::Draining), Phase::Draining));
        assert_eq!(health.live(0), Ok(()), "a draining node lives");
        let starting = Health::new(vec![], Arc::default(), true);
        assert_eq!(starting.ready(0), Err(Unhealthy::Starting));
        starting.enter(Phase::Serving);
        assert_eq!(starting.ready(0), Err(Unhealthy::Starting), "no broker was reached yet");
    }

    #[test]
    fn a_stale_registry_is_told_and_no_reason_to_get_no_traffic() {
        let (health, ..) = node();
        let fleet = Arc::<FleetMetrics>::default();
        health.watch_fleet(fleet.clone());
        assert_eq!(health.ready_json(9_000), (200, r#"{"status":"ok"}"#.to_owned()));
        fleet.stale_since_ms.set(2_000);
        assert_eq!(
            health.ready_json(9_000),
            (200, r#"{"status":"ok","registry_stale_seconds":7}"#.to_owned())
        );
        health.enter(Phase::Draining);
        let body = r#"{"status":"unavailable","reason":"draining","registry_stale_seconds":7}"#;
        assert_eq!(health.ready_json(9_000), (503, body.to_owned()));
    }

    #[test]
    fn only_a_node_that_waits_for_confirms_needs_its_broker() {
        let (health, _, forwarder) = node();
        forwarder.broker_up.set(0);
        forwarder.broker_changed_ms.set(10_000);
        assert_eq!(health.ready(12_000), Ok(()));
        assert_eq!(health.ready(12_001), Err(Unhealthy::BrokerAway));
        let buffered = Health::new(vec![], forwarder, false);
        buffered.enter(Phase::Serving);
        assert_eq!(buffered.ready(12_001), Ok(()));
    }

    #[test]
    fn overload_counts_after_two_seconds_and_ends_two_seconds_after_the_last_refusal() {
        let (health, core, _) = node();
        core.refusing_since_ms.set(1_000);
        core.refused_last_ms.set(3_000);
        assert_eq!(health.ready(3_000), Ok(()));
        core.refused_last_ms.set(3_001);
        assert_eq!(health.ready(3_001), Err(Unhealthy::Overloaded));
        core.journal_failing.set(1);
        assert_eq!(health.ready(3_001), Err(Unhealthy::JournalFailed));
        core.journal_failing.set(0);
        core.refusing_since_ms.set(0);
        assert_eq!(health.ready(5_001), Err(Unhealthy::Overloaded));
        assert_eq!(health.ready(5_002), Ok(()));
        core.refused_last_ms.set(5_003);
        assert_eq!(health.ready(5_004), Ok(()), "a single full turn is no overload");
    }

    #[test]
    fn a_reactor_that_does_not_turn_is_stuck() {
        let (health, core, _) = node();
        assert_eq!(health.live(99_999), Ok(()), "it has not started");
        core.turned_ms.set(1_000);
        assert_eq!(health.live(6_000), Ok(()));
        assert_eq!(health.live(6_001), Err(Unhealthy::ReactorStuck));
        assert_eq!(health.ready(6_001), Err(Unhealthy::ReactorStuck));
    }
}
