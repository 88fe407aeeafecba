//! Starting, asking and awaiting.

mod broker;
mod certificates;
mod chromium;
mod cutter;
pub(crate) mod dogstatsd;
mod http;
mod loadtest;
mod node;
mod prometheus;
mod queue;
mod statsd;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use broker::{Broker, Exclusive};
pub(crate) use certificates::trusted_pair;
pub(crate) use chromium::Chromium;
pub(crate) use cutter::Cutter;
pub(crate) use http::{Answer, Http, socket_to};
pub(crate) use loadtest::{Collector, Loadtest, Running};
pub(crate) use node::{App, Metrics, Node, forebay, home};
pub(crate) use prometheus::{Prometheus, promtool};
pub(crate) use queue::Queue;
pub(crate) use statsd::StatsdServer;

/// How long anything may take that is awaited.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Awaits a condition, and says which one did not come true.
pub(crate) fn await_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    await_some_within(DEADLINE, what, look)
}

/// As [`await_some`], with a deadline of its own.
pub(crate) fn await_some_within<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// As [`await_some`], for what is simply true.
pub(crate) fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    await_some(what, || is_so().then_some(()));
}

/// As [`await_true`], with a deadline of its own.
pub(crate) fn await_true_within(within: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    await_some_within(within, what, || is_so().then_some(()));
}
