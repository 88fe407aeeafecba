//! The four levels of the 202 in one interleaved run: CPU per request under full load, and the latency of the 202 at half of
//! what each level takes.
//!
//! Four nodes, one for each level, with the same flags otherwise; only one is loaded at a time. Reactors run on CPU 0; load, forwarders and
//! the broker on CPU 1. `queued` writes nothing to the journal while the queue has room, so it is what the journal is measured by.

#[path = "../peers/peer.rs"]
#[allow(dead_code, reason = "shared with the peers, of which this needs a part")]
mod peer;
#[path = "../peers/statistics.rs"]
mod statistics;

use std::collections::BTreeMap;
use std::path::PathBuf;

use peer::{Lab, Peer, Sample, rounds_and_seconds};
use statistics::Interval;

const LEVELS: [&str; 4] = ["queued", "written", "synced", "confirmed"];
/// What the journal may cost, as a multiple of `queued`: the upper end of the interval.
const PROMISES: [(&str, f64); 2] = [("written", 1.10), ("synced", 1.20)];

fn main() {
    let (rounds, seconds) = rounds_and_seconds();
    let lab = Lab::new(PathBuf::from(std::env::var("PEERS_DIR").expect("run this with `make bench-levels`")));
    let nodes: Vec<Peer> =
        LEVELS.iter().enumerate().map(|(slot, level)| Peer::forebay(&lab, level, slot)).collect();

    let mut full: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 0..rounds {
        for step in 0..nodes.len() {
            let node = &nodes[(round + step) % nodes.len()];
            let sample = node.measure(&lab, 1, seconds);
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
    let mut half: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 0..rounds {
        for step in 0..nodes.len() {
            let node = &nodes[(round + step) % nodes.len()];
            let rate = &rates[node.name];
            let sample = node.measure_with(&lab, seconds, &["--rate", rate]);
            eprintln!("round {round} {:9} at {rate}/s: p99 {:.0} µs", node.name, sample.p99_us);
            half.entry(node.name).or_default().push(sample);
        }
    }

    println!(
        "\n| level | CPU µs/request, reactor | as a multiple of `queued` | all threads | requests/s | half load, requests/s | p50 µs | p99 µs |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let column = |samples: &[Sample], of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<_>>();
    let multiple = |level: &str| {
        let pairs = full[level].iter().zip(&full["queued"]);
        Interval::of_median(&pairs.map(|(one, queued)| one.server_us / queued.server_us).collect::<Vec<_>>())
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
