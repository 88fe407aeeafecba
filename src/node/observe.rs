//! What is done once a second for those who watch: look at what nobody counts, and push the metrics.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::statsd::Statsd;
use super::usage::Meter;
use crate::admin::Operator;
use crate::clock;
use crate::journal::Backlog;
use crate::telemetry::Observed;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// What looks, and whom it tells.
#[derive(Debug)]
pub(super) struct Observer {
    operator: Arc<Operator>,
    meter: Meter,
    backlog: Backlog,
    statsd: Option<Statsd>,
}

impl Observer {
    /// Has looked once. What was counted by now (by earlier lives of the node) is not pushed.
    pub(super) fn new(operator: Arc<Operator>, backlog: Backlog, statsd: Option<Statsd>) -> Self {
        let mut observer = Self { operator, meter: Meter::default(), backlog, statsd };
        observer.look();
        if let Some(statsd) = &mut observer.statsd {
            statsd.pass_over(&observer.operator.families());
        }
        observer
    }

    /// Looks, and pushes.
    pub(super) fn observe(&mut self) {
        self.look();
        if let Some(statsd) = &mut self.statsd {
            statsd.push(&self.operator.families());
        }
    }

    fn look(&mut self) {
        let usage = self.meter.look();
        // A clock that goes on from the start of the node, whatever becomes of the wall clock.
        let now = self.operator.started_wall + clock::monotonic().saturating_sub(self.operator.started);
        let oldest_pending = self.backlog.look(now);
        self.operator.observed.replace(Observed { usage, oldest_pending });
    }
}

/// Observes for as long as it is not dropped.
pub(super) async fn keep_observing(observer: Arc<Mutex<Observer>>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        observer.lock().observe();
    }
}
