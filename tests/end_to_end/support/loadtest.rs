//! The load tester, as users run it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::node::binaries_from_outside;
use super::{App, Node};

/// Runs the load tester against a node.
pub(crate) struct Loadtest<'a> {
    pub(crate) node: &'a Node,
    pub(crate) app: &'a App,
}

/// A run in the background.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    report: PathBuf,
}

impl Loadtest<'_> {
    /// Runs to the end; the report.
    pub(crate) fn run(&self, flags: &[&str]) -> Value {
        self.start(flags).wait()
    }

    /// Starts a run.
    pub(crate) fn start(&self, flags: &[&str]) -> Running {
        self.start_at(self.node.address, flags)
    }

    /// Starts a run against what is ahead of the node.
    pub(crate) fn start_at(&self, address: SocketAddr, flags: &[&str]) -> Running {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let report = self.node.folder.path().join(format!("report-{run}.json"));
        let mut command = Command::new(binary());
        command.args(["run", "--quiet", "--target", &format!("http://{address}")]);
        command.args(["--api-key", &self.app.api_key, "--secret", &self.app.secret]);
        std::fs::create_dir_all(self.ids()).expect("a folder");
        command.arg("--ids").arg(self.ids().join(run.to_string())).arg("--json").arg(&report).args(flags);
        let child =
            command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the load tester runs");
        Running { child, report }
    }

    /// Drains the queue and compares it with the 202s of all runs.
    pub(crate) fn verify(&self) -> Value {
        self.verify_with(None)
    }

    /// As [`Loadtest::verify`], together with what a [`Collector`] has taken out of the queue.
    pub(crate) fn verify_with(&self, collected: Option<&Path>) -> Value {
        let mut command = Command::new(binary());
        command.args(["verify", "--json", "--patience", "2s", "--amqp-url", &self.node.queue.url]);
        command.args(["--queue", &self.node.queue.name]);
        for entry in std::fs::read_dir(self.ids()).expect("the ids") {
            command.arg("--ids").arg(entry.expect("an entry").path());
        }
        command.args(collected.iter().flat_map(|path| [OsStr::new("--collected"), path.as_os_str()]));
        let Output { stdout, stderr, .. } = command.output().expect("the load tester runs");
        serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)))
    }

    fn ids(&self) -> PathBuf {
        self.node.folder.path().join("ids")
    }
}

/// Consumes from a node's queue all the time and writes down what it got.
#[derive(Debug)]
pub(crate) struct Collector {
    child: Child,
    pub(crate) file: PathBuf,
}

impl Collector {
    pub(crate) fn start(node: &Node) -> Self {
        let file = node.folder.path().join("collected");
        let mut command = Command::new(binary());
        command.args(["collect", "--amqp-url", &node.queue.url, "--queue", &node.queue.name, "--out"]);
        let child = command.arg(&file).stdout(Stdio::null()).spawn().expect("the collector runs");
        Self { child, file }
    }

    /// Stops it without ending it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it once everything it has taken is written down; the file.
    pub(crate) fn stop(mut self) -> PathBuf {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "the collector ended with {status}");
        self.file.clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Lets everybody else go first.
    pub(crate) fn step_back(&self) {
        rustix::process::setpriority_process(Some(Pid::from_child(&self.child)), 19)
            .expect("a child of ours");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for the end; the report.
    pub(crate) fn wait(mut self) -> Value {
        let status = self.child.wait().expect("a child");
        // A machine that is busy makes the load tester say that it was late itself (3): what is counted is right all the same.
        let is_told = status.success() || status.code() == Some(3);
        assert!(is_told, "the load tester ended with {status}");
        serde_json::from_slice(&std::fs::read(&self.report).expect("a report")).expect("JSON")
    }

    /// Ends the run before its time, once the test has seen what it wanted; the report.
    pub(crate) fn stop(mut self) -> Value {
        assert!(self.child.try_wait().expect("a child").is_none(), "all of it happened under load");
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("our own child");
        self.wait()
    }
}

/// The load tester is another package, so cargo does not build it for these tests by itself.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(folder) = binaries_from_outside() {
            return folder.join("forebay-loadtest");
        }
        let forebay = PathBuf::from(env!("CARGO_BIN_EXE_forebay"));
        let profile = forebay.parent().expect("a folder");
        let mut build = Command::new(env!("CARGO"));
        // All of it, as `scripts/test` does: of one package alone cargo would build other features of what it rests on, and everything anew.
        build.args(["build", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--locked"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // What cargo tells this test of its package would be a change to the build scripts that look at it: everything would be built anew.
        for (name, _) in std::env::vars_os() {
            let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
            if name.to_str().is_some_and(|name| told.iter().any(|prefix| name.starts_with(prefix))) {
                build.env_remove(name);
            }
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(built.success(), "the load tester builds");
        profile.join("forebay-loadtest")
    })
}
