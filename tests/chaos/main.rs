//! Chaos on the real thing: a real node, a real RabbitMQ and the real load tester, while everything around the node breaks.
//!
//! `cargo test` runs a short form of each; `make chaos` (`scripts/chaos`) the long one, whose sizes come through the environment:
//! `CHAOS_MINUTES` and `CHAOS_SEED` (`schedule.rs`), `KILLS` (`kills.rs`), `BACKLOG_SECONDS` and `BACKLOG_RATE` (`backlog.rs`), `RESTART_MIB`
//! (`restart.rs`), `OVERLOAD_SECONDS` (`overload.rs`),
//! `SLOW_CONNECTIONS` and `SLOW_ROUNDS` (`slow.rs`). Times and rates are judged in the long one alone: it has a machine for itself and the binaries that people run.

mod backlog;
mod dice;
mod disk;
mod faults;
mod kills;
mod overload;
mod restart;
mod schedule;
mod slow;
mod stage;
mod stall;
#[path = "../end_to_end/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, which need other parts of it")]
mod support;
mod throttle;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Whether what is seen of time and speed counts: the binaries are those that people run, on a machine that does nothing else.
fn is_speed_judged() -> bool {
    std::env::var_os("CHAOS_SPEED").is_some()
}
