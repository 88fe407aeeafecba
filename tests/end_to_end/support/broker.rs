//! The throw-away brokers.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One of the brokers that `scripts/broker` knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broker(&'static str);

/// A broker that a test has for itself, to do as it likes with.
#[derive(Debug)]
pub(crate) struct Exclusive {
    pub(crate) broker: Broker,
    _guard: Guard,
}

/// What keeps others away from it.
#[derive(Debug)]
#[expect(dead_code, reason = "held for the locks")]
enum Guard {
    Outage(MutexGuard<'static, ()>),
    Chaos(MutexGuard<'static, bool>),
}

impl Broker {
    /// The broker that tests share: each has its own exchange and queue there.
    pub(crate) fn main() -> Self {
        static STARTED: OnceLock<()> = OnceLock::new();
        let broker = Self("main");
        STARTED.get_or_init(|| broker.start());
        broker
    }

    /// A broker that no other test touches meanwhile; it is running.
    pub(crate) fn exclusive() -> Exclusive {
        static TAKEN: Mutex<()> = Mutex::new(());
        let guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = Self("outage");
        broker.start();
        Exclusive { broker, _guard: Guard::Outage(guard) }
    }

    /// The broker of the chaos tests, which no other test touches; it is running.
    pub(crate) fn chaos() -> Exclusive {
        static TAKEN: Mutex<bool> = Mutex::new(false);
        let mut guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = Self("chaos");
        // A run that was cut short may have left it in any state.
        if !std::mem::replace(&mut *guard, true) || TAKEN.is_poisoned() {
            broker.script(&["remove"], &[]);
            TAKEN.clear_poison();
        }
        broker.start();
        Exclusive { broker, _guard: Guard::Chaos(guard) }
    }

    /// A broker with an AMQPS listener, whose certificates lie in `folder`.
    pub(crate) fn with_tls(folder: &Path) -> Self {
        let broker = Self("tls");
        broker.script(&["remove"], &[]);
        broker.script(&["start"], &[("BROKER_TLS_DIR", folder.to_str().expect("a plain path"))]);
        broker
    }

    pub(crate) fn start(self) {
        self.script(&["start"], &[]);
    }

    pub(crate) fn stop(self) {
        self.script(&["stop"], &[]);
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) {
        self.script(&["kill"], &[]);
    }

    /// Stops the process without ending it.
    pub(crate) fn pause(self) {
        self.script(&["pause"], &[]);
    }

    pub(crate) fn resume(self) {
        self.script(&["resume"], &[]);
    }

    /// Runs `rabbitmqctl`.
    pub(crate) fn ctl(self, args: &[&str]) -> String {
        let args: Vec<&str> = ["ctl", self.0].iter().chain(args).copied().collect();
        run(&args, &[])
    }

    /// The URL of its default user and virtual host.
    pub(crate) fn url(self) -> String {
        run(&["url", self.0], &[]).trim().to_owned()
    }

    fn script(self, args: &[&str], environment: &[(&str, &str)]) {
        let args: Vec<&str> = args.iter().copied().chain([self.0]).collect();
        run(&args, environment);
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // Whatever the test did to it: the next one finds it as new.
        self.broker.resume_quietly();
    }
}

impl Broker {
    fn resume_quietly(self) {
        let _ = command(&["resume", self.0], &[]).status();
    }
}

fn run(args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = command(args, environment).output().expect("scripts/broker runs");
    assert!(
        output.status.success(),
        "scripts/broker {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn command(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/broker"));
    command.args(args).envs(environment.iter().copied());
    command
}
