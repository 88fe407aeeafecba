//! Forebay beside other servers in one interleaved run: CPU per request, latency at parts of each one's own limit, memory; and ratios with their
//! intervals.
//!
//! Servers run on CPU 0; load, Forebay's and the Rust services' publishers and the broker on CPU 1. Every round runs each server at each depth
//! once, in an order that moves on from round to round; before the next run whatever was accepted has to be confirmed, so that nobody pays for
//! another's work. What is compared is the ratio within a round, because machines drift. `scripts/bench-peers` builds and starts what this needs.

#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;
mod servers;
mod tables;

use std::collections::BTreeMap;

use lab::{Lab, Load, Server, rounds_and_seconds};
use tables::{Found, Run};

/// What the node runs at by default; its figures are what the promises are about.
const FOREBAY: &str = "written";

fn main() {
    let (rounds, seconds) = rounds_and_seconds(12);
    let lab = Lab::open();
    let servers = start(&lab);
    for server in &servers {
        lab.warm_up(server);
    }
    let mut found = Found::default();
    for round in 0..rounds {
        for run in Run::FULL {
            measure(&lab, &servers, round, run, seconds, &mut found);
        }
    }
    let limits = found.limits();
    for round in 0..rounds {
        for run in Run::parts() {
            measure_at(&lab, &servers, round, run, seconds, &limits, &mut found);
        }
    }
    for server in &servers {
        found.memory_bytes.insert(server.name, server.peak_memory_bytes());
    }
    found.print(&servers.iter().map(|server| server.name).collect::<Vec<_>>());
    found.plot(&lab.root);
}

fn start(lab: &Lab) -> Vec<Server> {
    let mut servers = vec![
        lab.node_at("queued", 18080),
        lab.node_at("written", 18083),
        lab.node_at("synced", 18084),
        servers::nginx(lab),
        servers::rust(lab, "hyper", "peer-hyper", 18088),
        servers::rust(lab, "axum", "peer-axum", 18082),
        servers::fastify(lab),
        servers::fastapi(lab),
    ];
    // Its 202 waits for the broker: with so few connections its limit is the wait.
    if std::env::var("CONFIRMED").is_ok_and(|value| value == "1") {
        servers.push(lab.node_at("confirmed", 18085));
    }
    servers
}

fn measure(lab: &Lab, servers: &[Server], round: usize, run: Run, seconds: u64, found: &mut Found) {
    for step in 0..servers.len() {
        let server = &servers[(round + step) % servers.len()];
        let load = lab.load(server, seconds, &["--pipeline", run.depth()]);
        tell(round, run, server, &load);
        found.add(run, server.name, load);
    }
}

fn measure_at(
    lab: &Lab,
    servers: &[Server],
    round: usize,
    run: Run,
    seconds: u64,
    limits: &BTreeMap<&'static str, f64>,
    found: &mut Found,
) {
    for step in 0..servers.len() {
        let server = &servers[(round + step) % servers.len()];
        let rate = format!("{:.0}", limits[server.name] * run.share());
        let load = lab.load(server, seconds, &["--rate", &rate]);
        tell(round, run, server, &load);
        found.add(run, server.name, load);
    }
}

fn tell(round: usize, run: Run, server: &Server, load: &Load) {
    eprintln!("round {round} {run} {:9} {load}", server.name);
}
