//! The servers: started, loaded, measured, stopped.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";
const RELEASE: &str = "target/release";
const CONNECTIONS: &str = "64";
/// How long a server may take to start, and a broker to confirm what is left.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many rounds to run, and for how many seconds each server is loaded: `ROUNDS` and `RUN_SECONDS`. (`cargo bench` passes flags of its own.)
pub(crate) fn rounds_and_seconds() -> (usize, u64) {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    (usize::try_from(number("ROUNDS", 12)).expect("a few"), number("RUN_SECONDS", 2))
}

/// Where everything is: binaries, credentials, the body that is sent.
pub(crate) struct Lab {
    folder: PathBuf,
    root: PathBuf,
    amqp_url: String,
    token: String,
}

impl Lab {
    /// `folder` holds what `scripts/bench-lab` made: apps, keys, a token, the body.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let token = fs::read_to_string(folder.join("token")).expect("a token").trim().to_owned();
        Self { folder, root, amqp_url: std::env::var("PEERS_AMQP_URL").expect("a broker"), token }
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.root.join(RELEASE).join(name)
    }

    /// A command that runs on one CPU, in the lab's folder.
    fn on_cpu(&self, cpu: &str, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", cpu]).arg(program).current_dir(&self.folder);
        command
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.join("stderr.log")).expect("a log"));
        command
    }
}

/// One server, running until it is dropped.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    target: String,
    /// Address and path that tell how many events are not confirmed.
    pending: Option<(&'static str, &'static str)>,
    child: Child,
    /// The process that serves, and its thread.
    pid: u32,
    thread: &'static str,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of the thread that serves, microseconds a request.
    pub(crate) server_us: f64,
    /// CPU time of all threads of its process, until the last event was confirmed.
    pub(crate) process_us: f64,
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6.2} µs, all threads {:6.2} µs, {:.0}/s", self.server_us, self.process_us, self.rate)
    }
}

impl Peer {
    pub(crate) fn nginx(lab: &Lab) -> Self {
        let mut command = lab.on_cpu(SERVER_CPU, Path::new("nginx"));
        let configuration = lab.root.join("benches/peers/nginx.conf");
        command.arg("-p").arg(&lab.folder).arg("-c").arg(configuration);
        let child = command.spawn().expect("nginx starts");
        let mut peer = Self::new("nginx", "127.0.0.1:18081", None, child, "nginx");
        // The worker is the master's child.
        let children = format!("/proc/{0}/task/{0}/children", peer.child.id());
        let worker = fs::read_to_string(children).expect("a master with a worker");
        peer.pid = worker.trim().parse().expect("one worker");
        peer
    }

    pub(crate) fn axum(lab: &Lab) -> Self {
        let program = lab.root.join("benches/peers/axum/target/release/peer-axum");
        let mut command = lab.on_cpu("0,1", &program);
        command.args(["127.0.0.1:18082", "keys.json", &lab.amqp_url, SERVER_CPU, LOAD_CPU]);
        let child = command.spawn().expect("the axum peer starts");
        Self::new("axum", "127.0.0.1:18082", Some(("127.0.0.1:18082", "/pending")), child, "peer-axum")
    }

    /// A node that gives its 202 at `level`; `slot` tells it from others that run beside it.
    pub(crate) fn forebay(lab: &Lab, level: &'static str, slot: usize) -> Self {
        const PLACES: [(&str, &str); 4] = [
            ("127.0.0.1:18080", "127.0.0.1:18090"),
            ("127.0.0.1:18083", "127.0.0.1:18093"),
            ("127.0.0.1:18084", "127.0.0.1:18094"),
            ("127.0.0.1:18085", "127.0.0.1:18095"),
        ];
        let (listen, admin) = PLACES[slot];
        let mut command = lab.on_cpu("0,1", &lab.binary("forebay"));
        command.args(["serve", "--listen", listen, "--admin-listen", admin, "--ack", level]);
        command.args(["--apps-file", "apps.json", "--signing-key-file", "keys.json"]);
        command.args(["--data-dir", level, "--journal-dir", &format!("{level}/journal")]);
        command.args([
            "--amqp-url",
            &lab.amqp_url,
            "--queue",
            &format!("peer-forebay.{level}"),
            "--queue-type",
            "classic",
            "--drain-delay",
            "0ms",
        ]);
        command.args([
            "--cpus",
            SERVER_CPU,
            "--reactors",
            "1",
            "--forwarder-cpus",
            LOAD_CPU,
            "--queue-max",
            "1GiB",
        ]);
        let child = command.spawn().expect("forebay starts");
        Self::new(level, listen, Some((admin, "/metrics")), child, "reactor-0")
    }

    fn new(
        name: &'static str,
        address: &str,
        pending: Option<(&'static str, &'static str)>,
        child: Child,
        thread: &'static str,
    ) -> Self {
        await_true(name, || TcpStream::connect(address).is_ok());
        let pid = child.id();
        Self { name, target: format!("http://{address}"), pending, child, pid, thread }
    }

    /// Loads the server with all that 64 connections give, and tells what a request cost.
    pub(crate) fn measure(&self, lab: &Lab, depth: usize, seconds: u64) -> Sample {
        self.measure_with(lab, seconds, &["--pipeline", &depth.to_string()])
    }

    /// The same with flags of one's own for the load tester.
    pub(crate) fn measure_with(&self, lab: &Lab, seconds: u64, flags: &[&str]) -> Sample {
        let report = lab.folder.join("report.json");
        let before = self.cpu_ns();
        let status = Command::new(lab.binary("forebay-loadtest"))
            .args(["run", "--quiet", "--target", &self.target, "--token", &lab.token, "--cpus", LOAD_CPU])
            .args(["--connections", CONNECTIONS])
            .args(flags)
            .args(["--duration", &format!("{seconds}s"), "--payload", "body.json", "--json", "report.json"])
            .current_dir(&lab.folder)
            .stdout(Stdio::null())
            .status()
            .expect("the load tester runs");
        assert!(status.success(), "{}: the load tester failed", self.name);
        let served = self.cpu_ns();
        await_true("everything is confirmed", || self.pending() == 0);
        let settled = self.cpu_ns();
        let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
        let number = |value: &Value| value.as_f64().expect("a number");
        assert_eq!(
            (&report["refused"], &report["unanswered"]),
            (&0.into(), &0.into()),
            "{}: {report}",
            self.name
        );
        let requests = number(&report["accepted"]);
        #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
        let us_each = |ns: u64| ns as f64 / 1e3 / requests;
        Sample {
            server_us: us_each(served.0 - before.0),
            process_us: us_each(settled.1 - before.1),
            rate: number(&report["rate"]),
            p50_us: number(&report["latency_us"]["p50"]),
            p99_us: number(&report["latency_us"]["p99"]),
        }
    }

    /// CPU time of the serving thread, and of the whole process.
    fn cpu_ns(&self) -> (u64, u64) {
        let (mut server, mut process) = (0, 0);
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the server runs").flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let ns: u64 = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            process += ns;
            if read("comm").trim() == self.thread {
                server += ns;
            }
        }
        assert!(server > 0, "{} has a thread {}", self.name, self.thread);
        (server, process)
    }

    /// Events that are not confirmed yet.
    fn pending(&self) -> u64 {
        let Some((address, path)) = self.pending else { return 0 };
        let mut stream = TcpStream::connect(address).expect("the server listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        let metric = body.lines().find_map(|line| line.strip_prefix("forebay_events_pending "));
        metric.unwrap_or(body).trim().parse().expect("a number")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx's master takes its worker with it on a signal that it can see.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::park_timeout(Duration::from_millis(20));
    }
}
