//! The tail of the 202 at half of the node's limit, beside nginx's constant answer at the same rate; and how a step from next to nothing to nearly all is taken.
//!
//! The node gives its 202 at `written`. Its reactor and nginx run on CPU 0, the load on CPU 1. The tail is that of a node without a broker: one that shares the
//! load's CPU would be what the tail tells of, even while it idles, and no 202 waits for it. The steps have one, and the forwarder, on CPU 1. Rounds are
//! interleaved. `scripts/bench-latency` builds and starts what this needs, and runs this twice: without a broker for the tail, and with one.

#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;
#[path = "../peers/servers.rs"]
#[allow(dead_code, reason = "shared with the benchmark of all peers, of which this needs one")]
mod servers;

use std::fs;

use serde_json::Value;

use lab::statistics::Interval;
use lab::{Lab, Load, Server, rounds_and_seconds};

const LONE_PORT: u16 = 18480;
/// Runs at full load that tell the limit.
const LIMIT_RUNS: usize = 3;
/// Parts of the limit before and after the step.
const STEP: (f64, f64) = (0.05, 0.90);
/// Seconds until the step comes, and how long it stays; the last of these are what is called steady.
const BEFORE_SECONDS: usize = 5;
const AFTER_SECONDS: usize = 10;
const STEADY_SECONDS: usize = 5;
/// What the node's p99.9 may be, as a multiple of nginx's.
const TAIL_MULTIPLE_MAX: f64 = 1.0;
/// What a second's p99 may be after the step, as a multiple of the steady one.
const STEP_MULTIPLE_MAX: f64 = 10.0;

fn main() {
    let (rounds, seconds) = rounds_and_seconds(10);
    let lab = Lab::open();
    if !Lab::has_broker() {
        tails(&lab, rounds, seconds);
        return;
    }
    let node = lab.node_at("written", 18083);
    lab.warm_up(&node);
    steps(&lab, &node, rounds, limit(|| lab.load(&node, seconds, &[])));
}

/// The least of some runs at full load, requests a second.
fn limit(load: impl Fn() -> Load) -> f64 {
    let limit = (0..LIMIT_RUNS).map(|_| load().rate).fold(f64::INFINITY, f64::min);
    eprintln!("the least of {LIMIT_RUNS} runs at full load: {limit:.0}/s");
    limit
}

/// Both at half of the node's limit.
fn tails(lab: &Lab, rounds: usize, seconds: u64) {
    let nginx = servers::nginx(lab);
    let limit = limit(|| lab.load_lone_node(LONE_PORT, seconds, &[]));
    let rate = format!("{:.0}", limit / 2.0);
    let mut tails = [const { Vec::new() }; 2];
    for round in 0..rounds {
        for step in 0..2 {
            let which = (round + step) % 2;
            let flags = ["--rate", &rate];
            let (name, load) = match which {
                0 => ("forebay", lab.load_lone_node(LONE_PORT, seconds, &flags)),
                _ => ("nginx", lab.load_new(&nginx, seconds, &flags)),
            };
            eprintln!("round {round} {name:8} p99 {:.0} µs, p99.9 {:.0} µs", load.p99_us, load.p999_us);
            tails[which].push(load.p999_us);
        }
    }
    let [own, nginx] = &tails;
    let multiple = Interval::of_ratios(own, nginx);
    println!("\n| at {rate} requests/s | p99.9 µs |\n|---|---|");
    println!(
        "| forebay, `written` | {:.0} |\n| nginx | {:.0} |",
        Interval::of_median(own),
        Interval::of_median(nginx)
    );
    let verdict = if multiple.median <= TAIL_MULTIPLE_MAX { "kept" } else { "MISSED" };
    println!("\np99.9 at most {TAIL_MULTIPLE_MAX:.1} of nginx's: {multiple:.2}, {verdict}");
}

/// Steps of the load, each after a pause in which all is confirmed.
fn steps(lab: &Lab, node: &Server, rounds: usize, limit: f64) {
    let (low, high) = (limit * STEP.0, limit * STEP.1);
    let (at, end) = (BEFORE_SECONDS, BEFORE_SECONDS + AFTER_SECONDS);
    let curve = format!("0 {low:.0}\n{at} {low:.0}\n{at} {high:.0}\n{end} {high:.0}\n");
    fs::write(lab.folder.join("step.curve"), curve).expect("the lab's folder can be written");
    let (mut multiples, mut refused) = (Vec::new(), 0);
    for round in 0..rounds {
        let report = lab.follow(node, "step.curve");
        node.settle();
        refused +=
            report["refused"].as_u64().expect("a count") + report["unanswered"].as_u64().expect("a count");
        let p99s: Vec<f64> = seconds_of(&report).collect();
        let after = &p99s[at..end];
        let steady = Interval::of_median(&after[AFTER_SECONDS - STEADY_SECONDS..]).median;
        let worst = after.iter().copied().fold(0.0, f64::max);
        eprintln!("round {round}: steady p99 {steady:.0} µs, worst second {worst:.0} µs");
        multiples.push(worst / steady);
    }
    let multiple = Interval::of_median(&multiples);
    let is_kept = multiple.median <= STEP_MULTIPLE_MAX && refused == 0;
    println!(
        "\na step from {low:.0} to {high:.0} requests/s: {refused} not accepted, the worst second's p99 {multiple:.1} times the steady one \
         (0 and {STEP_MULTIPLE_MAX:.0} promised), {}",
        if is_kept { "kept" } else { "MISSED" }
    );
}

/// The p99 of each second; as long as can be where nothing was accepted.
fn seconds_of(report: &Value) -> impl Iterator<Item = f64> {
    let seconds = report["series"]["intervals"].as_array().expect("a list");
    seconds.iter().map(|second| second["latency_us"]["p99"].as_f64().unwrap_or(f64::INFINITY))
}
