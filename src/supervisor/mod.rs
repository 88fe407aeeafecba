//! The service manager that started this process, if one did: what it says to us, and what it is told.
//!
//! systemd's three protocols, which others speak too, and which systemd promises to keep as they are:
//!
//! | variable | means | man page |
//! |---|---|---|
//! | `NOTIFY_SOCKET` | where to send one datagram for each piece of news | `sd_notify(3)` |
//! | `WATCHDOG_USEC`, `WATCHDOG_PID` | a sign of life is wanted this often | `sd_watchdog_enabled(3)` |
//! | `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES` | listening sockets, from descriptor 3 on | `sd_listen_fds(3)` |
//!
//! This is an implementation of our own, for it is no more than a few lines of text in a datagram and three descriptors to look at. The crates
//! for it take the variables out of the environment, which no program with threads can do safely, or bring the C library along.
//!
//! It knows nothing of nodes: it says neither when one is ready nor whether one lives.

mod notify;
mod passed;
mod reports;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

pub use notify::{News, Notifier};
pub use passed::{Passed, Purpose};
pub use reports::Reports;

/// The environment says what no service manager would say.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A variable makes no sense.
    #[error("{variable}={value}: {problem}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// As it was found.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A descriptor is none that could be listened on.
    #[error("descriptor {descriptor} (`{name}`), passed by the service manager: {problem}")]
    Descriptor {
        /// Its number.
        descriptor: i32,
        /// The name that it came with.
        name: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

/// What the service manager has said.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// Where it wants to be told.
    pub notifier: Option<Notifier>,
    /// How long it waits for a sign of life before it takes the process for hung.
    pub watchdog: Option<Duration>,
    /// The sockets that it listens on for us.
    pub passed: Vec<Passed>,
}

impl Supervisor {
    /// Reads the environment of the process `pid`, ours, and takes the descriptors.
    ///
    /// Call it before anything else opens a descriptor: a manager that promises more than it passes would give us one of our own.
    pub fn of(
        environment: impl Fn(&'static str) -> Option<OsString>,
        pid: u32,
    ) -> Result<Self, SupervisorError> {
        let is_ours = |variable| environment(variable).is_none_or(|of| of == *pid.to_string());
        let mut supervisor = Self::default();
        if let Some(address) = environment("NOTIFY_SOCKET") {
            supervisor.notifier = Some(Notifier::to(&address)?);
        }
        // Without WATCHDOG_PID it is for whoever reads it; LISTEN_PID has to be there.
        if let Some(value) = environment("WATCHDOG_USEC").filter(|_| is_ours("WATCHDOG_PID")) {
            supervisor.watchdog = Some(watchdog(&value)?);
        }
        if environment("LISTEN_PID").is_some()
            && is_ours("LISTEN_PID")
            && let Some(count) = environment("LISTEN_FDS")
        {
            supervisor.passed = passed::take(&count, environment("LISTEN_FDNAMES").as_deref())?;
        }
        Ok(supervisor)
    }
}

fn watchdog(value: &OsStr) -> Result<Duration, SupervisorError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(us @ 1..) => Ok(Duration::from_micros(us)),
        _ => Err(SupervisorError::Variable {
            variable: "WATCHDOG_USEC",
            value: value.to_string_lossy().into_owned(),
            problem: "is no number of microseconds",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Supervisor, SupervisorError> {
        let find = |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Supervisor::of(find, 42)
    }

    #[test]
    fn without_a_service_manager_there_is_nothing_to_do() {
        let supervisor = read(&[]).expect("nothing");
        assert!(
            supervisor.notifier.is_none() && supervisor.watchdog.is_none() && supervisor.passed.is_empty()
        );
    }

    #[test]
    fn what_is_for_another_process_is_left_alone() {
        let other =
            [("WATCHDOG_PID", "43"), ("WATCHDOG_USEC", "1000"), ("LISTEN_PID", "43"), ("LISTEN_FDS", "5")];
        let supervisor = read(&other).expect("not ours");
        assert!(supervisor.watchdog.is_none() && supervisor.passed.is_empty());
        // Descriptors that are for nobody by name are not ours either.
        assert!(read(&[("LISTEN_FDS", "5")]).expect("not ours").passed.is_empty());
    }

    #[test]
    fn the_watchdog_is_in_microseconds_and_may_be_for_anybody() {
        for pid in [&[("WATCHDOG_PID", "42")][..], &[]] {
            let variables = [&[("WATCHDOG_USEC", "20000000")], pid].concat();
            assert_eq!(read(&variables).expect("a watchdog").watchdog, Some(Duration::from_secs(20)));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (variable, value) in [
            ("WATCHDOG_USEC", "0"),
            ("WATCHDOG_USEC", "2s"),
            ("NOTIFY_SOCKET", "vsock:2:1"),
            ("NOTIFY_SOCKET", "@"),
        ] {
            let error = read(&[(variable, value)]).expect_err("no sense").to_string();
            assert!(error.starts_with(&format!("{variable}={value}: ")), "{error}");
        }
        for count in ["-1", "x", "100000"] {
            let error =
                read(&[("LISTEN_PID", "42"), ("LISTEN_FDS", count)]).expect_err("no count").to_string();
            assert!(error.starts_with("LISTEN_FDS="), "{error}");
        }
    }
}
