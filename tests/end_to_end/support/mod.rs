//! Starting, asking and awaiting.

mod broker;
mod http;
mod loadtest;
mod node;
mod queue;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use broker::Broker;
pub(crate) use http::{Answer, Http};
pub(crate) use loadtest::Loadtest;
pub(crate) use node::{App, Node, forebay};
pub(crate) use queue::Queue;

/// How long anything may take that is awaited.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Awaits a condition, and says which one did not come true.
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// As [`await_some`], for what is simply true.
pub(crate) fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    await_some(what, || is_so().then_some(()));
}
