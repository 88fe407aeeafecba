//! A node of a test's own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Broker, Http, Queue, await_some, await_true};

/// Any port, another one for each life of a node.
const ANY: &str = "127.0.0.1:0";

/// A running node, with its own data directory, exchange and queue.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) queue: Queue,
    pub(crate) folder: Arc<TempDir>,
    child: Child,
    lines: Lines,
    /// Another node has its queue now.
    has_heir: bool,
}

/// The name of a node's exchange and queue.
fn new_name() -> String {
    static NODES: AtomicU32 = AtomicU32::new(0);
    format!("e2e.{}.{}", std::process::id(), NODES.fetch_add(1, Ordering::Relaxed))
}

/// An address that stays free while the node that has it is away, and that no other test of this process gets.
pub(crate) fn home() -> String {
    static PORTS: AtomicU32 = AtomicU32::new(0);
    // Below the ports that outgoing connections get (32768 and up): one of those would take it meanwhile, or even meet itself.
    let first = 20_000 + std::process::id() % 8_000;
    let mut ports = std::iter::repeat_with(|| first + PORTS.fetch_add(1, Ordering::Relaxed)).take(1_000);
    let address = ports.find_map(|port| {
        let address = format!("127.0.0.1:{port}");
        std::net::TcpListener::bind(&address).is_ok().then_some(address)
    });
    address.expect("a free port")
}

/// What a node says, line by line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

/// A page of metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(String);

/// An app's credentials.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) api_key: String,
    pub(crate) secret: String,
}

/// How a node ended.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    /// Its last line.
    pub(crate) line: Value,
}

/// Where other binaries are to be tested than those that cargo built with the tests: the released ones, by tests that need no optimisation themselves.
pub(super) fn binaries_from_outside() -> Option<PathBuf> {
    std::env::var_os("TESTED_BINARIES").map(PathBuf::from)
}

/// The command of the binary under test, without any configuration from outside.
pub(crate) fn forebay(args: &[&str]) -> Command {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_forebay"));
    let mut command =
        Command::new(binaries_from_outside().map_or_else(built, |folder| folder.join("forebay")));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FOREBAY_")) {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// The command of a node.
fn serve(name: &str, listen: &str, url: Option<&str>, flags: &[&str]) -> Command {
    let mut command =
        forebay(&["--log-format", "json", "serve", "--listen", listen, "--exchange", name, "--queue", name]);
    command.args(url.iter().flat_map(|url| ["--amqp-url", url]));
    // Where a flag of the test may say otherwise.
    command.env("FOREBAY_DRAIN_DELAY", "0ms").env("FOREBAY_ADMIN_LISTEN", ANY);
    command.args(flags).stdout(Stdio::null());
    command
}

impl Node {
    /// A node on the shared broker that is ready to take events.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_on(&Broker::main().url(), flags)
    }

    /// A node on the given broker.
    pub(crate) fn start_on(url: &str, flags: &[&str]) -> Self {
        let node = Self::spawn(url, flags, &[]);
        await_true("the node is ready", || node.readyz().status == 200);
        await_true("the node has its broker", || node.metric("forebay_broker_up") == 1);
        node
    }

    /// A node without a broker that is ready to take events.
    pub(crate) fn alone(flags: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let node = Self::launch(folder, new_name(), ANY, None, flags, &[]);
        await_true("the node is ready", || node.readyz().status == 200);
        node
    }

    /// A node that may never become ready.
    pub(crate) fn spawn(url: &str, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::launch(folder, new_name(), ANY, Some(url), flags, environment)
    }

    /// A node whose clients find it at the same address in every life; see [`Node::revive`]. It may never become ready.
    pub(crate) fn spawn_at_home(url: Option<&str>, flags: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::launch(folder, new_name(), &home(), url, flags, &[])
    }

    /// Another life at the same address of a node that was killed, ready or not.
    pub(crate) fn revive(&mut self, url: Option<&str>, flags: &[&str]) {
        let (folder, name, address) =
            (self.folder.clone(), self.queue.name.clone(), self.address.to_string());
        self.has_heir = true;
        *self = Self::launch(folder, name, &address, url, flags, &[]);
    }

    /// Another life of a node that has ended: the same folder, exchange and queue.
    pub(crate) fn again(mut self, url: Option<&str>, flags: &[&str]) -> Self {
        self.kill();
        let (folder, name) = (self.folder.clone(), self.queue.name.clone());
        self.has_heir = true;
        let node = Self::launch(folder, name, ANY, url, flags, &[]);
        await_true("the node is ready", || node.readyz().status == 200);
        node
    }

    fn launch(
        folder: Arc<TempDir>,
        name: String,
        listen: &str,
        url: Option<&str>,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = serve(&name, listen, url, flags);
        command.envs(environment.iter().copied());
        Self::run(command, folder, Queue { url: url.unwrap_or_default().to_owned(), name })
    }

    /// A node without a broker in a folder, its command changed before it is run: by a service manager, say. It may never become ready.
    pub(crate) fn changed(
        folder: Arc<TempDir>,
        flags: &[&str],
        change: impl FnOnce(Command) -> Command,
    ) -> Self {
        let name = new_name();
        let command = change(serve(&name, ANY, None, flags));
        Self::run(command, folder, Queue { url: String::new(), name })
    }

    fn run(mut command: Command, folder: Arc<TempDir>, queue: Queue) -> Self {
        command.current_dir(folder.path()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the node starts");
        let lines = Lines::default();
        let reader = BufReader::new(child.stderr.take().expect("piped"));
        let kept = lines.clone();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                kept.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let ready = await_some("the node says that it is ready", || {
            assert!(child.try_wait().expect("a child").is_none(), "the node ended: {:?}", lines.all());
            lines.find("ready")
        });
        let address = |name: &str| ready[name].as_str().expect("an address").parse().expect("an address");
        Self {
            address: address("listen"),
            admin: address("admin"),
            queue,
            folder,
            child,
            lines,
            has_heir: false,
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A new connection to the public listener.
    pub(crate) fn http(&self) -> Http {
        Http::connect(self.address)
    }

    pub(crate) fn readyz(&self) -> super::Answer {
        Http::connect(self.admin).get("/readyz")
    }

    /// Makes an app with the command line; the node knows it when this returns.
    pub(crate) fn app(&self, name: &str) -> App {
        self.app_with(name, &[])
    }

    /// The same, with flags.
    pub(crate) fn app_with(&self, name: &str, flags: &[&str]) -> App {
        let app = self.app_unseen(name, flags);
        await_true("the node knows the app", || self.ask_token(&app).status == 200);
        app
    }

    /// Makes an app; the node may not know it yet.
    pub(crate) fn app_unseen(&self, name: &str, flags: &[&str]) -> App {
        let app = self.app_command(&[&["create", name, "--json"], flags].concat());
        let text = |name: &str| app[name].as_str().expect("text").to_owned();
        App { id: text("id"), api_key: text("api_key"), secret: text("secret") }
    }

    /// Runs `forebay app …` on this node's files; its JSON.
    pub(crate) fn app_command(&self, args: &[&str]) -> Value {
        let output = self.command(&[&["app"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Runs a command in this node's folder.
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        forebay(args).current_dir(self.folder.path()).output().expect("the command runs")
    }

    /// Asks the token endpoint.
    pub(crate) fn ask_token(&self, app: &App) -> super::Answer {
        app.ask_token(&mut self.http())
    }

    /// A token of an app.
    pub(crate) fn token(&self, app: &App) -> String {
        app.token(&mut self.http())
    }

    /// The value of a metric, with its labels as they are written.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.metrics().value(name)
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric_sum(&self, name: &str) -> u64 {
        self.metrics().sum(name)
    }

    /// All metrics, of one moment.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics(String::from_utf8(Http::connect(self.admin).get("/metrics").body).expect("text"))
    }

    /// The node's process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Resident memory, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("our own child");
    }

    /// The lines that hold `text`.
    pub(crate) fn said(&self, text: &str) -> Option<Value> {
        self.lines.find(text)
    }

    /// All lines.
    pub(crate) fn everything(&self) -> Vec<String> {
        self.lines.all()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> Stopped {
        let status: ExitStatus = await_some("the node ends", || self.child.try_wait().expect("a child"));
        // Its last words may still be on their way to us.
        let line = await_some("the node's last line", || self.lines.find("stopped"));
        Stopped { code: status.code(), line }
    }

    /// Stops it and waits for the end.
    pub(crate) fn stop(mut self) -> Stopped {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// The registry of apps.
    pub(crate) fn apps_file(&self) -> PathBuf {
        self.folder.path().join("forebay-data/apps.json")
    }
}

impl App {
    /// Asks the token endpoint at the other end of a connection.
    pub(crate) fn ask_token(&self, http: &mut Http) -> super::Answer {
        use base64::Engine;
        let basic =
            base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.api_key, self.secret));
        let fields = [
            ("Authorization", format!("Basic {basic}")),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        http.post("/oauth/token", &fields, b"grant_type=client_credentials")
    }

    /// A token, once the node knows the app.
    pub(crate) fn token(&self, http: &mut Http) -> String {
        let answer =
            await_some("a token", || Some(self.ask_token(http)).filter(|answer| answer.status == 200));
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }
}

impl Metrics {
    /// The page.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The value of a metric that is no whole number.
    pub(crate) fn number(&self, name: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in {}", self.0)).parse().expect("a number")
    }

    /// The value of a metric, with its labels as they are written.
    pub(crate) fn value(&self, name: &str) -> u64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in {}", self.0)).parse().expect("a number")
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let lines = self.0.lines().filter(|line| !line.starts_with('#') && line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the node said: {:#?}", self.lines.all());
        } else if !self.has_heir && !self.queue.url.is_empty() {
            self.queue.delete();
        }
    }
}

impl Lines {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, text: &str) -> Option<Value> {
        let lines = self.all();
        let messages = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages
            .into_iter()
            .find(|line| line["message"].as_str().is_some_and(|message| message.starts_with(text)))
    }
}
