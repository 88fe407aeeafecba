//! Whether the project's load tester and oha say the same of the same server: interleaved runs at the same rate over as many connections.
//!
//! The server is a node, or one of which it is known how long it takes ([`pausing`], this program once more). Both count latency from the moment
//! at which a request should have left (`--latency-correction` of oha). `scripts/bench-agreement` builds and starts what this needs.

#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;
mod pausing;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::statistics::Interval;
use lab::{CONNECTIONS, LOAD_CPU, Lab, SERVER_CPU, Server, number, rounds_and_seconds};
use serde_json::Value;

const PORT: u16 = 18680;
const NODE: &str = "agreement";
/// How far one's percentiles may be from the other's.
const DIFFERENCE_MAX: f64 = 0.10;

/// What one said, microseconds.
#[derive(Clone, Copy, Debug)]
struct Said {
    p50_us: f64,
    p99_us: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, address, pause_ms] = &arguments[..]
        && flag == "--pausing"
    {
        return pausing::serve(address, Duration::from_millis(pause_ms.parse().expect("milliseconds")));
    }
    let (rounds, seconds) = rounds_and_seconds(10);
    let rate = number("RATE", 10_000);
    // What each tool adds by itself counts the less, the longer the node takes: `synced` waits for the disk, `confirmed` for those of a quorum queue.
    let level = std::env::var("LEVEL").unwrap_or_else(|_| "written".to_owned());
    let pause_ms = std::env::var("PAUSE_MS").ok();
    let lab = Lab::open();
    let posts = Posts::of(&lab, number("BATCH", 1), rate);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // By turns, one first and the other.
        for is_ours in [round % 2 == 0, round % 2 != 0] {
            let server = match &pause_ms {
                Some(pause_ms) => pausing(&lab, pause_ms),
                None => node(&lab, &level),
            };
            if is_ours {
                ours.push(loadtest(&lab, &server, seconds, &posts));
            } else {
                theirs.push(oha(&lab, &server, seconds, &posts));
            }
            drop(server);
            if pause_ms.is_none() {
                lab.forget(NODE);
            }
        }
        eprintln!("round {round}: forebay-loadtest {:?}, oha {:?}", ours[round], theirs[round]);
    }
    print(&ours, &theirs, &posts);
}

/// What both send: requests of events.
struct Posts {
    /// In each request.
    events: u64,
    path: &'static str,
    /// In the lab's folder.
    body: &'static str,
    rate: String,
}

impl Posts {
    /// So many requests a second, of so many events each.
    fn of(lab: &Lab, events: u64, rate: u64) -> Self {
        let rate = rate.to_string();
        if events == 1 {
            return Self { events, path: "/v1/events", body: "body.json", rate };
        }
        let event = fs::read_to_string(lab.folder.join("body.json")).expect("the lab's body");
        let batch = format!("[{}]", vec![event; usize::try_from(events).expect("some events")].join(","));
        fs::write(lab.folder.join("events.json"), batch).expect("the lab's folder can be written");
        Self { events, path: "/v1/events/batch", body: "events.json", rate }
    }
}

/// A node that gives its 202 at `level`; with the script's broker, if there is one.
fn node(lab: &Lab, level: &str) -> Server {
    let url = Lab::has_broker().then(Lab::amqp_url);
    let mut flags = vec!["--ack", level, "--journal-max", "16GiB"];
    flags.extend(url.iter().flat_map(|url| ["--amqp-url", url, "--queue", NODE, "--queue-type", "quorum"]));
    lab.node(NODE, PORT, &flags)
}

/// The server that answers after a pause.
fn pausing(lab: &Lab, pause_ms: &str) -> Server {
    let address = format!("127.0.0.1:{PORT}");
    let mut command = lab.on_cpus(SERVER_CPU, &std::env::current_exe().expect("this program"));
    command.args(["--pausing", &address, pause_ms]);
    Server::start("pausing", &address, Server::MAIN_THREAD, command)
}

fn loadtest(lab: &Lab, server: &Server, seconds: u64, posts: &Posts) -> Said {
    let Posts { path, body, rate, .. } = posts;
    let report = lab.send(server, seconds, &["--rate", rate, "--path", path, "--payload", body]);
    let us = |name: &str| report["latency_us"][name].as_f64().expect("a number");
    Said { p50_us: us("p50"), p99_us: us("p99") }
}

fn oha(lab: &Lab, server: &Server, seconds: u64, posts: &Posts) -> Said {
    let Posts { path, body, rate, .. } = posts;
    let report = lab.folder.join("oha.json");
    let status = Command::new("taskset")
        .args(["-c", LOAD_CPU])
        .arg(lab.root.join("target/tools/bin/oha"))
        .args(["--no-tui", "--output-format", "json", "--output", "oha.json", "--latency-correction"])
        .args(["-z", &format!("{seconds}s"), "-q", rate, "-c", CONNECTIONS, "-m", "POST", "-D", body])
        .args(["-H", &format!("Authorization: Bearer {}", lab.token), "-T", "application/json"])
        .arg(format!("{}{path}", server.target()))
        .current_dir(&lab.folder)
        .stdout(Stdio::null())
        .status()
        .expect("oha is installed");
    assert!(status.success(), "oha failed");
    let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    let statuses = report["statusCodeDistribution"].as_object().expect("counts of answers");
    assert!(statuses.keys().eq(["202"]), "nothing but 202: {statuses:?}");
    let us = |name: &str| report["latencyPercentiles"][name].as_f64().expect("a number") * 1e6;
    Said { p50_us: us("p50"), p99_us: us("p99") }
}

fn print(ours: &[Said], theirs: &[Said], Posts { events, rate, .. }: &Posts) {
    println!(
        "\n| {rate}/s of {events} events, {CONNECTIONS} connections | forebay-loadtest, µs | oha, µs | ratio |"
    );
    println!("|---|---|---|---|");
    let p50 = print_row("p50", ours, theirs, |said| said.p50_us);
    let p99 = print_row("p99", ours, theirs, |said| said.p99_us);
    println!();
    for (name, ratio) in [("p50", p50), ("p99", p99)] {
        let verdict = if (ratio.median - 1.0).abs() <= DIFFERENCE_MAX { "kept" } else { "MISSED" };
        println!("{name} within {:.0} %: {ratio:.3}, {verdict}", DIFFERENCE_MAX * 100.0);
    }
}

fn print_row(name: &str, ours: &[Said], theirs: &[Said], of: fn(&Said) -> f64) -> Interval {
    let column = |said: &[Said]| said.iter().map(of).collect::<Vec<_>>();
    let (ours, theirs) = (column(ours), column(theirs));
    let ratio = Interval::of_ratios(&ours, &theirs);
    let (ours, theirs) = (Interval::of_median(&ours), Interval::of_median(&theirs));
    println!("| {name} | {ours:.0} | {theirs:.0} | {ratio:.3} |");
    ratio
}
