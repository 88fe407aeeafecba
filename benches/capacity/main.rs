//! What a node says of its capacity, beside the limit that the load tester finds: at three sizes of body, after seconds of heavier load.
//!
//! A new node is loaded for some seconds, as fast as it answers or at a part of that; then at a fortieth for longer than the node looks back, so that the estimate
//! rests on what it remembers. Then `limit` looks for what a new node holds. All of them at `written`, without a broker, the reactor on CPU 0, the load on CPU 1,
//! the journal on the disk. `scripts/bench-capacity` builds and starts what this needs.

#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;

use std::fs;

use lab::statistics::Interval;
use lab::{Lab, Server, WarmMemory, number, rounds_and_seconds};

const NODE_PORT: u16 = 18480;
/// Bodies, bytes.
const SIZES: [u64; 3] = [600, 4 << 10, 16 << 10];
/// How long the heavier load stays, seconds.
const HEAVY_SECONDS: u64 = 8;
/// Longer than a node looks back.
const LITTLE_SECONDS: u64 = 66;
/// How little comes then, as a part of what it answers at most. A journal that nobody empties must not fill within minutes: a node tells of that first.
const LITTLE_PART: f64 = 1.0 / 40.0;
/// Where `limit` begins, as a part of what is answered as fast as it can be; it goes on with twice that.
const START_PART: f64 = 0.55;
/// How far the estimate may be from what is found, as a part of it.
const ERROR_MAX: f64 = 0.15;
/// The heavier loads, as parts of what is answered as fast as it can be, which comes first.
const PARTS: [f64; 4] = [1.0, 0.8, 0.65, 0.5];

/// One round at one size.
struct Found {
    /// Requests a second that `limit` finds.
    limit: f64,
    /// Whether the load tester had no more to give.
    is_loads: bool,
    /// What the node tells after each heavier load.
    estimates: Vec<Estimate>,
}

/// What a node tells.
#[derive(Debug)]
struct Estimate {
    /// Answers a second under the heavier load.
    rate: f64,
    /// Requests a second at the limit, as it sees it.
    told: f64,
}

fn main() {
    let (rounds, _) = rounds_and_seconds(1);
    let lab = Lab::open();
    let _memory = WarmMemory::of_free();
    let mut rows = Vec::new();
    let mut worst = [0.0_f64; PARTS.len()];
    let sizes = match number("SIZE", 0) {
        0 => SIZES.to_vec(),
        size => vec![size],
    };
    for size in sizes {
        let body = write_body(&lab, size);
        let found: Vec<Found> = (0..rounds).filter_map(|_| look(&lab, &body)).collect();
        if found.len() < rounds {
            // What was not found was not kept.
            worst = [f64::INFINITY; PARTS.len()];
            rows.push(format!(
                "| {size} bytes | | | no rate held in {} of {rounds} rounds | |",
                rounds - found.len()
            ));
        }
        if found.is_empty() {
            continue;
        }
        let limits: Vec<f64> = found.iter().map(|found| found.limit).collect();
        let whose = if found.iter().any(|found| found.is_loads) { ", the load tester's" } else { "" };
        for (heavy, part) in PARTS.iter().enumerate() {
            let column = |of: fn(&Estimate) -> f64| -> Vec<f64> {
                found.iter().map(|found| of(&found.estimates[heavy])).collect()
            };
            let told = column(|estimate| estimate.told);
            let ratio = Interval::of_ratios(&told, &limits);
            worst[heavy] = worst[heavy].max((ratio.median - 1.0).abs());
            rows.push(format!(
                "| {size} bytes | {}: {:.0} | {:.0} | {:.0}{whose} | {ratio:.2} |",
                name_of(*part),
                Interval::of_median(&column(|estimate| estimate.rate)),
                Interval::of_median(&told),
                Interval::of_median(&limits),
            ));
        }
    }
    println!(
        "\n| body | heavier load, requests/s | what the node tells after it | `limit` finds | told as a multiple of found |"
    );
    println!("|---|---|---|---|---|\n{}\n", rows.join("\n"));
    for (part, worst) in PARTS.iter().zip(worst) {
        let verdict = if worst <= ERROR_MAX { "kept" } else { "MISSED" };
        let name = name_of(*part);
        println!("after {name}, within {ERROR_MAX} of what `limit` finds: {worst:.2}, {verdict}");
    }
}

fn name_of(part: f64) -> String {
    if part < 1.0 { format!("{part} of that") } else { "as fast as it answers".to_owned() }
}

/// A crash report of so many bytes: the lab's, with more in it.
fn write_body(lab: &Lab, size: u64) -> String {
    let mut body = fs::read_to_string(lab.folder.join("body.json")).expect("the lab's body");
    let end = body.rfind("\"}}").expect("it ends with text");
    let missing = usize::try_from(size).expect("a size").checked_sub(body.len());
    body.insert_str(end, &"x".repeat(missing.expect("SIZE is at least that of the lab's body, 600")));
    let name = format!("body-{size}.json");
    fs::write(lab.folder.join(&name), body).expect("the lab's folder can be written");
    name
}

/// None where no rate held, as it may be where the kernel looks for memory or the disk falls behind.
fn look(lab: &Lab, body: &str) -> Option<Found> {
    let full = estimate(lab, body, None);
    let most = full.rate;
    let mut estimates = vec![full];
    estimates.extend(PARTS[1..].iter().map(|part| estimate(lab, body, Some((most, *part)))));
    let node = new_node(lab);
    // Short, and from where the second step is just too much: all that is sent on the way stays in the journal, a gigabyte a second of bodies of 16 KB.
    let start = format!("{:.0}", most * START_PART);
    let flags =
        ["--start", &start, "--warm-up", "1s", "--probe", "1s", "--confirm", "3s", "--max-p99", "100ms"];
    let finding = lab.run(&node, &["limit"], &[&flags[..], &["--payload", body]].concat());
    forget(lab, node);
    let found =
        Found { limit: finding["rate"].as_f64()?, is_loads: !finding["invalid"].is_null(), estimates };
    eprintln!("{body}: {:.0?}, limit {:.0}/s", found.estimates, found.limit);
    Some(found)
}

/// What a node tells of its capacity under little load, after it answered as fast as it could, or took a part of that if it is known.
fn estimate(lab: &Lab, body: &str, most: Option<(f64, f64)>) -> Estimate {
    let send = |node: &Server, seconds: u64, rate: Option<f64>| {
        let rate = rate.map(|rate| format!("{rate:.0}"));
        let mut flags = vec!["--payload", body];
        flags.extend(rate.iter().flat_map(|rate| ["--rate", rate]));
        lab.push(node, seconds, &flags)["rate"].as_f64().expect("answers")
    };
    let node = new_node(lab);
    let rate = send(&node, HEAVY_SECONDS, most.map(|(most, part)| most * part));
    send(&node, LITTLE_SECONDS, Some(most.map_or(rate, |(most, _)| most) * LITTLE_PART));
    let told = node.decimal("forebay_capacity_requests_per_second");
    forget(lab, node);
    Estimate { rate, told }
}

fn new_node(lab: &Lab) -> Server {
    // All of a search has to find room: nobody takes anything away.
    lab.node("lone", NODE_PORT, &["--ack", "written", "--journal-max", "50GiB"])
}

fn forget(lab: &Lab, node: Server) {
    drop(node);
    lab.forget("lone");
}
