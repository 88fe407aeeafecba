//! Load, by the project's own load tester, and what a request costs the server meanwhile.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{CONNECTIONS, Cpu, LOAD_CPU, Lab, Server};

/// The load tester's way to say that it was the one that fell behind.
const FELL_BEHIND: i32 = 3;
/// The way of its `limit` to say that no rate held.
const NONE_HELD: i32 = 99;

/// So many requests warm a server up, if they do not take longer than that.
const FIRST_REQUESTS: &str = "5000";
const WARM_UP_SECONDS: u64 = 5;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// CPU time of the thread that serves, microseconds a request.
    pub(crate) server_us: f64,
    /// CPU time of all threads of its process, until the last event was confirmed.
    pub(crate) process_us: f64,
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server_us, process_us, rate, p99_us, .. } = self;
        write!(f, "{server_us:6.2} µs, all threads {process_us:6.2} µs, {rate:.0}/s, p99 {p99_us:.0} µs")
    }
}

impl Lab {
    /// Loads a server that sees to it itself that all is confirmed: with all that [`CONNECTIONS`] give, or as `flags` say.
    pub(crate) fn load(&self, server: &Server, seconds: u64, flags: &[&str]) -> Load {
        let before = server.cpu();
        let report = self.send(server, seconds, flags);
        let served = server.cpu();
        server.settle();
        Self::found(&report, before, served, server.cpu())
    }

    /// Has a server answer its first requests, which pay for memory that serves again later and for code that is compiled as it runs.
    pub(crate) fn warm_up(&self, server: &Server) {
        self.send(server, WARM_UP_SECONDS, &["--requests", FIRST_REQUESTS]);
        server.settle();
    }

    /// Loads a server that has just begun, and keeps what it gets: its first requests do not count.
    pub(crate) fn load_new(&self, server: &Server, seconds: u64, flags: &[&str]) -> Load {
        self.send(server, WARM_UP_SECONDS, &[flags, &["--requests", FIRST_REQUESTS]].concat());
        let before = server.cpu();
        let report = self.send(server, seconds, flags);
        let served = server.cpu();
        Self::found(&report, before, served, served)
    }

    /// Loads a node of its own that gives its 202 at `written` and has no broker, and removes what it kept: nothing else of it needs the load's CPU.
    pub(crate) fn load_lone_node(&self, port: u16, seconds: u64, flags: &[&str]) -> Load {
        // All of a run has to find room: nobody takes anything away.
        let node = self.node("lone", port, &["--ack", "written", "--journal-max", "16GiB"]);
        let load = self.load_new(&node, seconds, flags);
        drop(node);
        self.forget("lone");
        load
    }

    /// Loads a server so long, all of which it has to accept; returns the report.
    pub(crate) fn send(&self, server: &Server, seconds: u64, flags: &[&str]) -> Value {
        let report = self.push(server, seconds, flags);
        let refused = (&report["refused"], &report["unanswered"]);
        assert_eq!(refused, (&0.into(), &0.into()), "{}: {report}", server.name);
        report
    }

    /// Loads a server so long, whatever becomes of it; returns the report.
    pub(crate) fn push(&self, server: &Server, seconds: u64, flags: &[&str]) -> Value {
        self.run(server, &["run", "--duration", &format!("{seconds}s")], flags)
    }

    /// Loads a server at a rate that follows a curve in the lab's folder, whatever becomes of it; returns the report.
    pub(crate) fn follow(&self, server: &Server, curve: &str) -> Value {
        self.run(server, &["profile", curve], &[])
    }

    /// Runs the load tester; returns its report.
    pub(crate) fn run(&self, server: &Server, command: &[&str], flags: &[&str]) -> Value {
        let status = Command::new(self.binary("forebay-loadtest"))
            .args(command)
            .args(["--quiet", "--target", &server.target(), "--token", &self.token])
            .args(["--cpus", LOAD_CPU, "--json", "report.json"])
            .args(with_usual(flags))
            .current_dir(&self.folder)
            .stdout(Stdio::null())
            .status()
            .expect("the load tester runs");
        match status.code() {
            Some(FELL_BEHIND) => {
                eprintln!("{}: the load tester fell behind; its latencies say little", server.name);
            }
            Some(NONE_HELD) if command == ["limit"] => eprintln!("{}: no rate held", server.name),
            _ => assert!(status.success(), "{}: the load tester failed", server.name),
        }
        let report = fs::read(self.folder.join("report.json")).expect("a report");
        serde_json::from_slice(&report).expect("JSON")
    }

    fn found(report: &Value, before: Cpu, served: Cpu, settled: Cpu) -> Load {
        let number = |value: &Value| value.as_f64().expect("a number");
        let requests = number(&report["accepted"]);
        #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
        let us_each = |ns: u64| ns as f64 / 1e3 / requests;
        let latency = &report["latency_us"];
        Load {
            server_us: us_each(served.server_ns - before.server_ns),
            process_us: us_each(settled.process_ns - before.process_ns),
            rate: number(&report["rate"]),
            p50_us: number(&latency["p50"]),
            p99_us: number(&latency["p99"]),
            p999_us: number(&latency["p999"]),
        }
    }
}

/// The flags, and the usual body and number of connections where they say nothing of these.
fn with_usual<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let mut flags = flags.to_vec();
    for (flag, usual) in [("--payload", "body.json"), ("--connections", CONNECTIONS)] {
        if !flags.contains(&flag) {
            flags.extend([flag, usual]);
        }
    }
    flags
}
