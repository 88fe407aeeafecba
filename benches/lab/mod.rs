//! What benchmarks of whole servers share: where things are, servers and what they cost, load, medians, tables and plots.
//!
//! Servers run on CPU 0; the load, forwarders and the broker on CPU 1. `scripts/bench-lab` makes the folder that a [`Lab`] stands for.

mod load;
mod memory;
pub(crate) mod plot;
mod server;
pub(crate) mod statistics;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use load::Load;
pub(crate) use memory::WarmMemory;
pub(crate) use server::{Cpu, Server};

pub(crate) const SERVER_CPU: &str = "0";
pub(crate) const LOAD_CPU: &str = "1";
/// Connections of the load, where nothing else is said.
pub(crate) const CONNECTIONS: &str = "64";
/// How long a server may take to start, and a broker to confirm what is left.
const PATIENCE: Duration = Duration::from_mins(2);

/// How many rounds to run, and for how many seconds each server is loaded: `ROUNDS` and `RUN_SECONDS`. (`cargo bench` passes flags of its own.)
pub(crate) fn rounds_and_seconds(usual_rounds: u64) -> (usize, u64) {
    (usize::try_from(number("ROUNDS", usual_rounds)).expect("a few"), number("RUN_SECONDS", 2))
}

/// A number in the environment.
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Where everything is: binaries, credentials, the body that is sent.
pub(crate) struct Lab {
    pub(crate) folder: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) token: String,
}

impl Lab {
    /// The folder that `scripts/bench-lab` filled: apps, keys, a token, bodies.
    pub(crate) fn open() -> Self {
        let folder = PathBuf::from(std::env::var("LAB_DIR").expect("run this with `make`: see `make help`"));
        let token = fs::read_to_string(folder.join("token")).expect("a token").trim().to_owned();
        Self { folder, root: PathBuf::from(env!("CARGO_MANIFEST_DIR")), token }
    }

    /// Whether the script has started a broker.
    pub(crate) fn has_broker() -> bool {
        std::env::var_os("LAB_AMQP_URL").is_some()
    }

    /// The broker that the script has started.
    pub(crate) fn amqp_url() -> String {
        std::env::var("LAB_AMQP_URL").expect("run this with `make`: see `make help`")
    }

    /// One of the workspace's programs, as it is released.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.root.join("target/release").join(name)
    }

    /// A command that runs on these CPUs, in the lab's folder.
    pub(crate) fn on_cpus(&self, cpus: &str, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", cpus]).arg(program).current_dir(&self.folder);
        let log = self.folder.join("stderr.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    /// A node with one reactor, which listens on `port` and for its operators ten above, and has its folder for itself. Its reactor runs on
    /// CPU 0, all else beside the load.
    pub(crate) fn node(&self, name: &'static str, port: u16, flags: &[&str]) -> Server {
        self.node_on("0,1", LOAD_CPU, name, port, flags)
    }

    /// The same with threads where the caller wants them: all on `cpus`, the forwarder on one of them.
    pub(crate) fn node_on(
        &self,
        cpus: &str,
        forwarder_cpu: &str,
        name: &'static str,
        port: u16,
        flags: &[&str],
    ) -> Server {
        let (listen, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 10));
        let mut command = self.on_cpus(cpus, &self.binary("forebay"));
        command.args(["serve", "--listen", &listen, "--admin-listen", &admin]);
        command.args(["--apps-file", "apps.json", "--signing-key-file", "keys.json"]);
        command.args([
            "--data-dir",
            name,
            "--journal-dir",
            &format!("{name}/journal"),
            "--drain-delay",
            "0ms",
        ]);
        command
            .args(["--cpus", SERVER_CPU, "--reactors", "1", "--forwarder-cpus", forwarder_cpu])
            .args(flags);
        Server::start(name, &listen, "reactor-0", command).with_pending(&admin, "/metrics")
    }

    /// A node that gives its 202 at `level` and forwards to a classic queue of the script's broker.
    pub(crate) fn node_at(&self, level: &'static str, port: u16) -> Server {
        let (url, queue) = (Self::amqp_url(), format!("peer-forebay.{level}"));
        let flags = ["--ack", level, "--amqp-url", &url, "--queue", &queue, "--queue-type", "classic"];
        self.node(level, port, &[&flags[..], &["--queue-max", "1GiB"]].concat())
    }

    /// Removes what a node has kept, so that the next one of that name begins anew.
    pub(crate) fn forget(&self, name: &str) {
        fs::remove_dir_all(self.folder.join(name)).expect("the folder of a node that ran");
    }
}

/// Waits until something is so.
pub(crate) fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::park_timeout(Duration::from_millis(20));
    }
}
