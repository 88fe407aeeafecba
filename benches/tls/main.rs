//! What TLS costs, in one interleaved run: an event over TLS beside the same event in plain, and a handshake beside nginx's.
//!
//! All servers run on CPU 0, all of their threads; the clients on CPU 1. What is compared is the servers' CPU time for each request or
//! handshake, as a ratio within a round, because machines drift. `scripts/bench-tls` builds and starts what this needs.

#[path = "../lab/statistics.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks, of which this needs a part")]
mod statistics;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use statistics::Interval;

const SERVER_CPU: &str = "0";
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_mins(1);
/// What is promised: requests over TLS as a share of plain ones, for the same CPU time.
const KEPT_ALIVE_MIN: f64 = 0.6;

trait Duplex: Read + Write {}
impl<S: Read + Write> Duplex for S {}

/// A server and how it is reached.
struct Server {
    name: &'static str,
    address: &'static str,
    pid: u32,
    child: Child,
}

impl Server {
    fn start(name: &'static str, address: &'static str, mut command: Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "{name} does not listen");
            thread::park_timeout(Duration::from_millis(20));
        }
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        // nginx serves in a child of its master.
        let worker = fs::read_to_string(children).expect("it runs").trim().parse();
        Self { name, address, pid: worker.unwrap_or(child.id()), child }
    }

    /// CPU time of all its threads.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("it runs").flatten();
        let ns = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(ns.sum())
    }

    /// Lets all clients work for a while; the CPU time of each piece of work, in microseconds.
    fn measure(&self, seconds: u64, work: impl Fn(&str, &dyn Fn() -> bool) + Sync) -> f64 {
        let (done, before) = (AtomicU64::new(0), self.cpu());
        let end = Instant::now() + Duration::from_secs(seconds);
        let tick = || {
            done.fetch_add(1, Ordering::Relaxed);
            Instant::now() < end
        };
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| work(self.address, &tick));
            }
        });
        let cpu = self.cpu().saturating_sub(before).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a few million")]
        let each = cpu * 1e6 / done.load(Ordering::Relaxed) as f64;
        each
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

fn main() {
    let number =
        |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let (rounds, seconds) = (number("ROUNDS", 10), number("RUN_SECONDS", 2));
    let lab = PathBuf::from(std::env::var("TLS_DIR").expect("run this with `make bench-tls`"));
    let client = make_certificate(&lab);
    let body = fs::read(lab.join("body.json")).expect("a body");
    let token = fs::read_to_string(lab.join("token")).expect("a token");
    let event = [
        format!("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n", token.trim()),
        format!("Content-Length: {}\r\n\r\n", body.len()),
        String::from_utf8(body).expect("JSON"),
    ]
    .concat();
    let get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let plain = Server::start("plain", "127.0.0.1:18180", forebay(&lab, 18180, &[]));
    let ours = Server::start("TLS", "127.0.0.1:18182", forebay(&lab, 18182, &tls));
    let nginx = Server::start("nginx", "127.0.0.1:18184", nginx(&lab));

    let keep_alive = |connect: &dyn Fn(&str) -> Box<dyn Duplex>, address: &str, tick: &dyn Fn() -> bool| {
        let mut stream = connect(address);
        while tick() {
            exchange(&mut stream, &event, "HTTP/1.1 202");
        }
    };
    let over_tcp = |address: &str| Box::new(connect(address)) as Box<dyn Duplex>;
    let over_tls = |address: &str| Box::new(shake(address, &client)) as Box<dyn Duplex>;
    let (mut requests, mut handshakes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let in_plain = plain.measure(seconds, |address, tick| keep_alive(&over_tcp, address, tick));
        let in_tls = ours.measure(seconds, |address, tick| keep_alive(&over_tls, address, tick));
        let shaken = [&ours, &nginx].map(|server| {
            server.measure(seconds, |address, tick| {
                while tick() {
                    exchange(&mut shake(address, &client), get, "HTTP/1.1 20");
                }
            })
        });
        eprintln!(
            "round {round}: an event {in_plain:.1} µs {}, {in_tls:.1} µs {}; a handshake {:.0} µs, {} {:.0} µs",
            plain.name, ours.name, shaken[0], nginx.name, shaken[1]
        );
        requests.push(in_plain / in_tls);
        handshakes.push(shaken[1] / shaken[0]);
    }
    let (requests, handshakes) = (Interval::of_median(&requests), Interval::of_median(&handshakes));
    let verdict = if requests.median >= KEPT_ALIVE_MIN { "kept" } else { "MISSED" };
    println!(
        "requests for the same CPU time, as a share of plain: {requests:.3} (at least {KEPT_ALIVE_MIN}: {verdict})"
    );
    println!("handshakes for the same CPU time, as a multiple of nginx's: {handshakes:.3}");
}

/// A certificate for `localhost`, and what clients trust it with. Every handshake of theirs is a full one.
fn make_certificate(lab: &Path) -> Arc<ClientConfig> {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    fs::write(lab.join("cert.pem"), certificate.pem()).expect("written");
    fs::write(lab.join("key.pem"), key.serialize_pem()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der().to_vec())).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn on_server_cpu(lab: &Path, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CPU]).arg(program).current_dir(lab);
    command
}

fn forebay(lab: &Path, port: u16, flags: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/forebay");
    let mut command = on_server_cpu(lab, &program);
    let (data, journal) = (format!("data-{port}"), format!("data-{port}/journal"));
    command.args([
        "serve",
        "--apps-file",
        "apps.json",
        "--signing-key-file",
        "keys.json",
        "--drain-delay",
        "0ms",
    ]);
    command.args([
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--admin-listen",
        &format!("127.0.0.1:{}", port + 1),
    ]);
    command.args(["--data-dir", &data, "--journal-dir", &journal, "--max-connection-age", "60m"]).args(flags);
    command
}

fn nginx(lab: &Path) -> Command {
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/tls/nginx.conf");
    let mut command = on_server_cpu(lab, Path::new("nginx"));
    // Paths in a configuration are relative to its own place: those of the lab come from here.
    let files = format!("ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;", lab.display());
    fs::write(
        lab.join("nginx.conf"),
        fs::read_to_string(configuration).expect("a file").replace("#FILES", &files),
    )
    .expect("written");
    command.arg("-p").arg(lab).arg("-c").arg(lab.join("nginx.conf"));
    command
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
}

fn shake(address: &str, client: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let connection = ClientConnection::new(client.clone(), "localhost".try_into().expect("a name"));
    StreamOwned::new(connection.expect("a client"), connect(address))
}

/// Sends a request and reads its answer, which comes in one piece.
fn exchange(stream: &mut (impl Duplex + ?Sized), request: &str, expected: &str) {
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = [0u8; 4096];
    let count = stream.read(&mut answer).expect("it answers");
    assert!(
        answer[..count].starts_with(expected.as_bytes()),
        "{}",
        String::from_utf8_lossy(&answer[..count])
    );
}
