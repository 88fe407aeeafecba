//! Under a service manager: it is told the truth, its sockets are listened on, and no privilege is needed.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Http, Node, await_some, await_true, forebay};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// The ear of a service manager.
struct Manager {
    folder: Arc<TempDir>,
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a free name");
        Self { folder, socket, heard: Vec::new() }
    }

    /// Starts a node and tells it where to tell what.
    fn start(&self, flags: &[&str], environment: &[(&str, &str)]) -> Node {
        let ear = self.folder.path().join("notify");
        Node::changed(self.folder.clone(), flags, |mut command| {
            command.env("NOTIFY_SOCKET", ear).envs(environment.iter().copied());
            command
        })
    }

    /// The next datagram, if one comes in time.
    fn hear(&mut self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).expect("not zero");
        let mut buffer = [0u8; 4096];
        let count = self.socket.recv(&mut buffer).ok()?;
        self.heard.push(String::from_utf8(buffer[..count].to_vec()).expect("text"));
        self.heard.last().cloned()
    }

    /// The next datagram that says this.
    fn await_news(&mut self, line: &str) -> String {
        await_some(line, || {
            self.hear(Duration::from_millis(100)).filter(|news| news.lines().any(|said| said == line))
        })
    }

    fn has_heard(&self, text: &str) -> bool {
        self.heard.iter().any(|news| news.contains(text))
    }
}

#[test]
fn ready_is_said_when_the_node_is_and_stopping_when_it_stops() {
    let mut manager = Manager::new();
    let mut node = manager.start(&["--drain-delay", "1s", "--drain-timeout", "20s"], &[]);
    let ready = manager.await_news("READY=1");
    assert_eq!(node.readyz().status, 200);
    let pid = format!("MAINPID={}", node.pid().as_raw_nonzero());
    assert!(ready.lines().any(|line| line == pid) && ready.contains("STATUS=ready"), "{ready}");
    assert!(!manager.has_heard("WATCHDOG=1"), "nobody has asked for it");
    node.signal(Signal::TERM);
    let stopping = manager.await_news("STOPPING=1");
    // Both flags, and a little for each step after them.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=35000000"), "{stopping}");
    manager.await_news("STATUS=not ready: draining");
    assert_eq!(node.wait().code, Some(0));
}

#[test]
fn a_node_that_is_not_ready_says_why_and_asks_for_more_time() {
    let mut manager = Manager::new();
    let mut node = manager.start(&["--ack", "confirmed", "--amqp-url", "amqp://127.0.0.1:1/%2f"], &[]);
    let starting = manager.await_news("STATUS=not ready: starting");
    assert!(starting.contains("EXTEND_TIMEOUT_USEC="), "{starting}");
    assert_eq!(node.readyz().status, 503);
    node.signal(Signal::TERM);
    node.wait();
    manager.await_news("STOPPING=1");
    assert!(!manager.has_heard("READY=1"), "{:?}", manager.heard);
}

/// Holds one thread of a process in front of its next system call, as a disk or a kernel that never answers would. Lets go when dropped.
struct Hang(Child);

impl Hang {
    fn of(node: &Node, thread: &str) -> Self {
        let tasks = format!("/proc/{}/task", node.pid().as_raw_nonzero());
        let tasks = fs::read_dir(tasks).expect("a process").map(|task| task.expect("a thread").path());
        let mut named = tasks
            .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == thread));
        let task = named.next().unwrap_or_else(|| panic!("no thread {thread}"));
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", "inject=io_uring_enter:delay_enter=60s", "-p"]);
        Self(strace.arg(task.file_name().expect("a number")).spawn().expect("strace is installed"))
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn signs_of_life_come_at_half_of_the_interval_until_a_reactor_hangs() {
    let mut manager = Manager::new();
    let node = manager.start(&["--reactors", "2"], &[("WATCHDOG_USEC", "1000000")]);
    manager.await_news("WATCHDOG=1");
    let since = Instant::now();
    for _ in 0..4 {
        manager.await_news("WATCHDOG=1");
    }
    let took = since.elapsed();
    assert!(took > Duration::from_millis(1500), "four signs, half a second apart, in {took:?}");
    let livez = || Http::connect(node.admin).get("/livez").status;
    assert_eq!(livez(), 200);

    let hang = Hang::of(&node, "reactor-1");
    await_true("the node is seen to hang", || livez() == 503);
    manager.await_news("STATUS=not ready: reactor_stuck");
    let until = Instant::now() + Duration::from_secs(2);
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let news = manager.hear(left).unwrap_or_default();
        assert!(!news.contains("WATCHDOG=1"), "a node that hangs says that it lives");
    }
    drop(hang);
    await_true("the node is seen to live", || livez() == 200);
    manager.await_news("WATCHDOG=1");
}

/// The same command with another binary, run by way of another command.
fn by_way_of(way: &[&str], binary: impl AsRef<OsStr>, command: &Command) -> Command {
    let mut wrapped = Command::new(way[0]);
    wrapped.args(&way[1..]).arg(binary).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// The same command, with its standard input and output passed on as descriptors 3 and 4, the way of `sd_listen_fds(3)`.
fn passing(command: &Command, sockets: [Stdio; 2], count: &str, names: Option<&str>) -> Command {
    let script = r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 4<&1 < /dev/null > /dev/null"#;
    let mut wrapped = by_way_of(&["sh", "-c", script], command.get_program(), command);
    let [first, second] = sockets;
    wrapped.stdin(first).stdout(second).env("LISTEN_FDS", count);
    wrapped.envs(names.map(|names| ("LISTEN_FDNAMES", names)));
    wrapped
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn stdio(socket: impl Into<OwnedFd>) -> Stdio {
    Stdio::from(socket.into())
}

#[test]
fn reactors_share_the_sockets_that_were_passed() {
    let ((public, public_address), (admin, admin_address)) = (listener(), listener());
    // As some managers leave it.
    public.set_nonblocking(true).expect("a socket");
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    let mut node = Node::changed(folder, &["--reactors", "2", "--drain-delay", "1s"], |command| {
        passing(
            &command,
            [stdio(admin), stdio(public.try_clone().expect("a descriptor"))],
            "2",
            Some("admin:public"),
        )
    });
    assert_eq!((node.address, node.admin), (public_address, admin_address));
    await_true("the node is ready", || node.readyz().status == 200);
    let app = node.app("demo");
    let token = node.token(&app);
    // One after another, so that none comes while the reactor whose turn it is has something else to do.
    let clients: Vec<Http> = (0..20)
        .map(|_| {
            let mut client = node.http();
            client.event(&token, "{}").id();
            client
        })
        .collect();
    // Each reactor has a journal of its own: both have got their part.
    let listed = node.command(&["journal", "ls", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
    let events = |core: u64| -> u64 {
        let segments = listed["segments"].as_array().expect("segments").iter();
        segments.filter(|of| of["core"] == core).filter_map(|of| of["events"].as_u64()).sum()
    };
    assert!(events(0) >= 5 && events(1) >= 5 && events(0) + events(1) == 20, "{listed}");
    drop(clients);
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code, Some(0));
    // Whoever comes while there is no node waits for the next one, as long as the manager keeps the socket.
    let mut early = Http::connect(public_address);
    let next = Node::changed(node.folder.clone(), &["--reactors", "2"], |command| {
        passing(&command, [stdio(public), Stdio::null()], "1", None)
    });
    assert_eq!(next.address, public_address);
    assert_eq!(early.get("/livez").status, 200);
}

#[test]
fn what_cannot_be_listened_on_ends_with_78_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let serve = |sockets: [Stdio; 2], count: &str, names: &str| -> Output {
        let command = forebay(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let mut command = passing(&command, sockets, count, Some(names));
        command.current_dir(folder.path()).output().expect("it runs")
    };
    let tcp = || stdio(listener().0);
    let udp = || stdio(UdpSocket::bind("127.0.0.1:0").expect("a port"));
    for (sockets, count, names, expected) in [
        (
            [Stdio::null(), tcp()],
            "2",
            "public:public",
            "descriptor 3 (`public`), passed by the service manager: is no socket",
        ),
        (
            [tcp(), udp()],
            "2",
            "public:admin",
            "descriptor 4 (`admin`), passed by the service manager: is no TCP socket",
        ),
        (
            [tcp(), tcp()],
            "2",
            "public:amdin",
            "descriptor 4 (`amdin`), passed by the service manager: has a name that means nothing",
        ),
        (
            [tcp(), tcp()],
            "2",
            "admin:admin",
            "descriptor 4 (`admin`), passed by the service manager: is the second for operators",
        ),
        ([tcp(), tcp()], "9", "public", "descriptor 5 (``), passed by the service manager: is not open"),
        ([tcp(), tcp()], "many", "public", "LISTEN_FDS=many"),
    ] {
        let output = serve(sockets, count, names);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{expected}: {said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// The way to run something as somebody without any privilege, with the resource limits of `prlimit(1)`.
fn as_nobody(command: &Command, binary: &Path, memlock: &str) -> Command {
    let way = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all --bounding-set -all --no-new-privs prlimit";
    let way: Vec<_> = way.split(' ').chain([memlock, "--nofile=1024"]).collect();
    by_way_of(&way, binary, command)
}

/// A folder of that user's, with the binary in it, which may be where only root can reach it.
fn folder_of_nobody() -> (Arc<TempDir>, PathBuf) {
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    let binary = folder.path().join("forebay");
    fs::copy(forebay(&[]).get_program(), &binary).expect("room for a copy");
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("the tests run as root");
    (folder, binary)
}

#[test]
fn an_ordinary_user_without_capabilities_can_run_a_node() {
    let (folder, binary) = folder_of_nobody();
    // systemd's limit, where a unit gives none.
    let change = |command| as_nobody(&command, &binary, "--memlock=8388608");
    let mut node = Node::changed(folder.clone(), &["--reactors", "2"], change);
    await_true("the node is ready", || node.readyz().status == 200);
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero()));
    let status = status.expect("a process");
    for line in ["Uid:\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }
    let app = node.app("demo");
    node.http().event(&node.token(&app), "{}").id();
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code, Some(0));
    // The app was made by root, which did not lock the node out.
    for path in [folder.path().join("forebay-data/signing-keys.json"), node.apps_file()] {
        assert_eq!(fs::metadata(&path).expect("a file").uid(), NOBODY, "{}", path.display());
    }
}

#[test]
fn too_little_locked_memory_ends_with_78_and_names_the_limit() {
    let (folder, binary) = folder_of_nobody();
    let command = forebay(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let mut command = as_nobody(&command, &binary, "--memlock=0");
    let output = command.current_dir(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("LimitMEMLOCK="), "{said}");
}

/// A file of the project.
fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(name);
    fs::read_to_string(path).expect("a unit")
}

#[test]
fn the_unit_has_settings_that_exist_and_more_time_than_a_stop_takes() {
    let help = forebay(&["serve", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let service = unit("forebay.service");
    let settings = service.lines().filter_map(|line| line.strip_prefix("Environment="));
    let names: Vec<_> = settings.filter_map(|setting| setting.split('=').next()).collect();
    assert!(names.len() > 5, "{service}");
    for name in names {
        assert!(help.contains(&format!("[env: {name}=")), "{name} of forebay.service is no setting");
    }
    for expected in
        ["Restart=on-failure", "RestartPreventExitStatus=2 78", "WatchdogSec=20s", "TimeoutStopSec=60s"]
    {
        assert!(service.lines().any(|line| line == expected), "{expected}");
    }
    // 60 s are enough for the defaults.
    for default in [
        "FOREBAY_DRAIN_DELAY=]\n          [default: 5s]",
        "FOREBAY_DRAIN_TIMEOUT=]\n          [default: 30s]",
    ] {
        assert!(help.contains(default), "{help}");
    }
}

#[test]
fn systemd_reads_the_units_without_a_complaint_and_finds_little_exposed() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = forebay(&[]).get_program().to_string_lossy().into_owned();
    // What an installation brings: the binary and the user.
    let installed =
        |text: String| text.replace("/usr/bin/forebay", &binary).replace("=forebay\n", "=daemon\n");
    let units = ["forebay.service", "forebay.socket"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, installed(unit(name))).expect("ours");
        path
    });
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output();
    let verified = verified.expect("systemd is installed");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // In tenths, of 100.
    let exposed = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    let exposed = Command::new("systemd-analyze").args(exposed).arg(&units[0]).output().expect("installed");
    assert!(exposed.status.success(), "{}", String::from_utf8_lossy(&exposed.stdout));
}
