//! The four levels of the 202 in one interleaved run: CPU per request under full load, and the latency of the 202 at half of
//! what each level takes.
//!
//! Four nodes, one for each level, with the same flags otherwise; only one is loaded at a time. Reactors run on CPU 0; load, forwarders and
//! the broker on CPU 1. `queued` writes nothing to the journal while the queue has room, so it is what the journal is measured by.

#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;

use std::collections::BTreeMap;

use lab::statistics::Interval;
use lab::{Lab, Load, Server, rounds_and_seconds};

const LEVELS: [&str; 4] = ["queued", "written", "synced", "confirmed"];
const PORTS: [u16; 4] = [18080, 18083, 18084, 18085];
/// What the journal may cost, as a multiple of `queued`: the upper end of the interval.
const PROMISES: [(&str, f64); 2] = [("written", 1.10), ("synced", 1.20)];

fn main() {
    let (rounds, seconds) = rounds_and_seconds(12);
    let lab = Lab::open();
    let nodes: Vec<Server> =
        LEVELS.into_iter().zip(PORTS).map(|(level, port)| lab.node_at(level, port)).collect();

    let mut full: BTreeMap<&str, Vec<Load>> = BTreeMap::new();
    for round in 0..rounds {
        for step in 0..nodes.len() {
            let node = &nodes[(round + step) % nodes.len()];
            let sample = lab.load(node, seconds, &[]);
            eprintln!("round {round} {:9} {sample}", node.name);
            full.entry(node.name).or_default().push(sample);
        }
    }
    // Half of the least that a level took in any round: its own half load.
    let rates: BTreeMap<&str, String> = full
        .iter()
        .map(|(level, samples)| {
            let least = samples.iter().map(|sample| sample.rate).fold(f64::INFINITY, f64::min);
            (*level, format!("{:.0}", least / 2.0))
        })
        .collect();
    let mut half: BTreeMap<&str, Vec<Load>> = BTreeMap::new();
    for round in 0..rounds {
        for step in 0..nodes.len() {
            let node = &nodes[(round + step) % nodes.len()];
            let rate = &rates[node.name];
            let sample = lab.load(node, seconds, &["--rate", rate]);
            eprintln!("round {round} {:9} at {rate}/s: p99 {:.0} µs", node.name, sample.p99_us);
            half.entry(node.name).or_default().push(sample);
        }
    }

    println!(
        "\n| level | CPU µs/request, reactor | as a multiple of `queued` | all threads | requests/s | half load, requests/s | p50 µs | p99 µs |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let column = |samples: &[Load], of: fn(&Load) -> f64| samples.iter().map(of).collect::<Vec<_>>();
    let multiple = |level: &str| {
        let server = |level| column(&full[level], |s| s.server_us);
        Interval::of_ratios(&server(level), &server("queued"))
    };
    for level in LEVELS {
        let cell = |of| Interval::of_median(&column(&full[level], of));
        let at_half = |of| Interval::of_median(&column(&half[level], of));
        println!(
            "| `{level}` | {:.2} | {:.3} | {:.2} | {:.0} | {} | {:.0} | {:.0} |",
            cell(|s| s.server_us),
            multiple(level),
            cell(|s| s.process_us),
            cell(|s| s.rate),
            rates[level],
            at_half(|s| s.p50_us),
            at_half(|s| s.p99_us),
        );
    }
    println!();
    for (level, promise) in PROMISES {
        let found = multiple(level);
        let verdict = if found.high <= promise { "kept" } else { "MISSED" };
        println!("{level} at most {promise:.2} of queued: {found:.3}, {verdict}");
    }
}
