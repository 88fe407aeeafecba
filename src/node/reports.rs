//! Keeps the service manager told of the node, from the verdicts that probes get.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tracing::warn;

use crate::clock;
use crate::supervisor::{News, Notifier, Reports};
use crate::telemetry::{Health, Unhealthy};

/// How often the node is looked at: what a manager is told is not older than this.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Tells, where there is somebody to be told. That it fails is logged, and is no reason to do anything else differently.
pub(super) fn tell(notifier: Option<&Notifier>, news: &[News]) {
    if let Some(notifier) = notifier.filter(|_| !news.is_empty())
        && let Err(error) = notifier.tell(news)
    {
        warn!(%error, "cannot tell the service manager");
    }
}

/// Tells for as long as it is not dropped: that the start is over, how the node does, and at half of `watchdog` that it lives.
pub(super) async fn keep_telling(notifier: Notifier, watchdog: Option<Duration>, health: Arc<Health>) {
    let mut reports = Reports::default();
    let mut look = interval(LOOK_INTERVAL);
    let mut sign = watchdog.map(|watchdog| interval(watchdog / 2));
    loop {
        tokio::select! {
            _ = look.tick() => {
                let now = clock::monotonic();
                let now_ms = clock::ms(now);
                let ready = health.ready(now_ms).map_err(Unhealthy::as_str);
                tell(Some(&notifier), &reports.look(now, health.live(now_ms).is_ok(), ready));
            }
            () = tick(&mut sign) => {
                // A node in which a reactor hangs says nothing, so that it is started anew: its connections are lost either way,
                // and what it has accepted is in the journal.
                if health.live(clock::ms(clock::monotonic())).is_ok() {
                    tell(Some(&notifier), &[News::Alive]);
                }
            }
        }
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
