//! Forebay beside nginx and an axum service, in one interleaved run: CPU per request, and ratios with their intervals.
//!
//! Servers run on CPU 0; load, forwarders and the broker on CPU 1. Every round runs each peer at each depth once, in an order that moves on
//! from round to round; before the next run whatever was accepted has to be confirmed, so that nobody pays for another's work. What is compared is
//! the ratio within a round, because machines drift. `scripts/bench-peers` builds and starts what this needs.

mod peer;
mod statistics;

use std::collections::BTreeMap;
use std::path::PathBuf;

use peer::{Lab, Peer, Sample, rounds_and_seconds};
use statistics::Interval;

/// Pipelining depths.
const DEPTHS: [usize; 2] = [1, 16];
/// Forebay runs at its default level.
const FOREBAY: &str = "written";

/// What the node promises, as a share of the other's CPU per request.
const PROMISES: [(&str, usize, f64); 3] = [("nginx", 1, 0.65), ("axum", 1, 0.55), ("nginx", 16, 0.25)];

fn main() {
    let (rounds, seconds) = rounds_and_seconds();
    let lab = Lab::new(PathBuf::from(std::env::var("PEERS_DIR").expect("run this with `make bench-peers`")));
    let peers = [Peer::nginx(&lab), Peer::axum(&lab), Peer::forebay(&lab, FOREBAY, 0)];

    let mut samples: BTreeMap<(usize, &str), Vec<Sample>> = BTreeMap::new();
    for round in 0..rounds {
        for depth in DEPTHS {
            for step in 0..peers.len() {
                let peer = &peers[(round + step) % peers.len()];
                let sample = peer.measure(&lab, depth, seconds);
                eprintln!("round {round} depth {depth} {:8} {sample}", peer.name);
                samples.entry((depth, peer.name)).or_default().push(sample);
            }
        }
    }
    print(&samples);
}

fn print(samples: &BTreeMap<(usize, &str), Vec<Sample>>) {
    let column = |depth: usize, name: &str, of: fn(&Sample) -> f64| -> Vec<f64> {
        samples[&(depth, name)].iter().map(of).collect()
    };
    let names = [FOREBAY, "nginx", "axum"];
    println!(
        "\n| depth | server | CPU µs/request, server thread | all threads | requests/s | p50 µs | p99 µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    for depth in DEPTHS {
        for name in names {
            let cell = |of: fn(&Sample) -> f64| Interval::of_median(&column(depth, name, of));
            println!(
                "| {depth} | {name} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
                cell(|s| s.server_us),
                cell(|s| s.process_us),
                cell(|s| s.rate),
                cell(|s| s.p50_us),
                cell(|s| s.p99_us),
            );
        }
    }
    println!("\n| depth | Forebay's CPU per request as a share of | server thread | all threads |");
    println!("|---|---|---|---|");
    let share = |depth, name, of: fn(&Sample) -> f64| {
        let (ours, theirs) = (column(depth, FOREBAY, of), column(depth, name, of));
        Interval::of_median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    };
    for depth in DEPTHS {
        for name in ["nginx", "axum"] {
            let (server, process) =
                (share(depth, name, |s| s.server_us), share(depth, name, |s| s.process_us));
            println!("| {depth} | {name} | {server:.3} | {process:.3} |");
        }
    }
    println!();
    for (name, depth, promise) in PROMISES {
        let found = share(depth, name, |s| s.server_us);
        let verdict = if found.median <= promise { "kept" } else { "MISSED" };
        println!("at most {promise:.2} of {name} at depth {depth}: {found:.3}, {verdict}");
    }
}
