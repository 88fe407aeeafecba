//! A whole reactor, from the socket to the 202, beside the floor: CPU per request, alone and 16 deep, and for events in batches.
//!
//! The node has no broker and gives its 202 at `written`; each run is one of a node's first seconds, with a journal of its own, so that none pays
//! for another's backlog. The floor ([`floor`]) is this program once more. Rounds are interleaved, and what is compared are ratios within a round.
//! `scripts/bench-reactor` builds and starts what this needs.

mod floor;
#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;

use std::collections::BTreeMap;

use lab::statistics::Interval;
use lab::{Lab, Load, SERVER_CPU, Server, rounds_and_seconds};

const NODE_PORT: u16 = 18480;
const FLOOR_ADDRESS: &str = "127.0.0.1:18481";
const DEPTHS: [&str; 2] = ["1", "16"];
/// A batch that `scripts/bench-lab` makes.
const BATCH: [&str; 4] = ["--path", "/v1/events/batch", "--payload", "batch.json"];
const BATCH_EVENTS: f64 = 100.0;
/// A rate that both single events and batches are held to.
const SINGLES_PER_SECOND: &str = "100000";
/// As many events.
const BATCHES_PER_SECOND: &str = "1000";
/// What the reactor's thread may take, as a multiple of the floor, with one request at a time on each connection.
const FLOOR_MULTIPLE_MAX: f64 = 1.25;
const FLOOR_MULTIPLE_GOAL: f64 = 1.15;
/// How many times as many events in batches there have to be for the same CPU time.
const BATCH_MULTIPLE_MIN: f64 = 5.0;

/// What is loaded, and how: so many requests at once on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    Floor(&'static str),
    Node(&'static str),
    Singles,
    Batches,
    /// As fast as they are answered. The disk takes in so much for seconds only.
    AllBatches,
}

const RUNS: [Run; 7] = [
    Run::Floor("1"),
    Run::Node("1"),
    Run::Floor("16"),
    Run::Node("16"),
    Run::Singles,
    Run::Batches,
    Run::AllBatches,
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, address] = &arguments[..]
        && flag == "--floor"
    {
        return floor::serve(address);
    }
    let (rounds, seconds) = rounds_and_seconds(15);
    let lab = Lab::open();
    let mut loads: BTreeMap<Run, Vec<Load>> = BTreeMap::new();
    for round in 0..rounds {
        for step in 0..RUNS.len() {
            let run = RUNS[(round + step) % RUNS.len()];
            let load = run.measure(&lab, seconds);
            eprintln!("round {round} {run:?}: {load}");
            loads.entry(run).or_default().push(load);
        }
    }
    print(&loads);
}

impl Run {
    /// How many come in a request.
    fn events(self) -> f64 {
        if matches!(self, Self::Batches | Self::AllBatches) { BATCH_EVENTS } else { 1.0 }
    }

    fn measure(self, lab: &Lab, seconds: u64) -> Load {
        match self {
            Self::Floor(depth) => {
                let own = std::env::current_exe().expect("a path");
                let mut command = lab.on_cpus(SERVER_CPU, &own);
                command.args(["--floor", FLOOR_ADDRESS]);
                let server = Server::start("floor", FLOOR_ADDRESS, Server::MAIN_THREAD, command);
                lab.load_new(&server, seconds, &["--pipeline", depth])
            }
            Self::Node(depth) => lab.load_lone_node(NODE_PORT, seconds, &["--pipeline", depth]),
            Self::Singles => lab.load_lone_node(NODE_PORT, seconds, &["--rate", SINGLES_PER_SECOND]),
            Self::Batches => lab.load_lone_node(
                NODE_PORT,
                seconds,
                &[&BATCH[..], &["--rate", BATCHES_PER_SECOND]].concat(),
            ),
            Self::AllBatches => lab.load_lone_node(NODE_PORT, seconds, &BATCH),
        }
    }
}

fn print(loads: &BTreeMap<Run, Vec<Load>>) {
    let column = |run, of: fn(&Load) -> f64| loads[&run].iter().map(of).collect::<Vec<_>>();
    let server = |run| column(run, |load| load.server_us);
    println!(
        "\n| depth | floor, µs/request | reactor, µs/request | as a multiple of the floor | all threads of the node | requests/s |"
    );
    println!("|---|---|---|---|---|---|");
    for depth in DEPTHS {
        let (floor, node) = (Run::Floor(depth), Run::Node(depth));
        println!(
            "| {depth} | {:.2} | {:.2} | {:.3} | {:.2} | {:.0} |",
            Interval::of_median(&server(floor)),
            Interval::of_median(&server(node)),
            Interval::of_ratios(&server(node), &server(floor)),
            Interval::of_median(&column(node, |load| load.process_us)),
            Interval::of_median(&column(node, |load| load.rate)),
        );
    }
    // A larger batch may be checked by the pool's thread: so all threads count here.
    let cpu = |run: Run| loads[&run].iter().map(|load| load.process_us / run.events()).collect::<Vec<_>>();
    let rate = |run: Run| loads[&run].iter().map(|load| load.rate * run.events()).collect::<Vec<_>>();
    println!("\n| events | CPU µs/event, all threads | events/s |");
    println!("|---|---|---|");
    for (name, run) in [
        ("one a request, at one rate", Run::Singles),
        ("100 a request, at one rate", Run::Batches),
        ("one a request, as fast as they are answered", Run::Node("1")),
        ("100 a request, as fast as they are answered", Run::AllBatches),
    ] {
        println!(
            "| {name} | {:.2} | {:.0} |",
            Interval::of_median(&cpu(run)),
            Interval::of_median(&rate(run))
        );
    }
    println!();
    let multiple = Interval::of_ratios(&server(Run::Node("1")), &server(Run::Floor("1")));
    let verdict = match multiple.median {
        ..=FLOOR_MULTIPLE_GOAL => "kept, and the goal reached",
        ..=FLOOR_MULTIPLE_MAX => "kept",
        _ => "MISSED",
    };
    println!(
        "the reactor at most {FLOOR_MULTIPLE_MAX} of the floor (goal {FLOOR_MULTIPLE_GOAL}): {multiple:.3}, {verdict}"
    );
    for (name, single, batched) in [
        ("at one rate", Run::Singles, Run::Batches),
        ("as fast as they are answered", Run::Node("1"), Run::AllBatches),
    ] {
        let multiple = Interval::of_ratios(&cpu(single), &cpu(batched));
        let verdict = if multiple.median >= BATCH_MULTIPLE_MIN { "kept" } else { "MISSED" };
        println!(
            "events in batches at least {BATCH_MULTIPLE_MIN} times as many as single ones, {name}, for the same CPU time: {multiple:.2}, {verdict}"
        );
    }
}
