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
/// Events of a batch; `scripts/bench-lab` makes one.
const BATCH_EVENTS: f64 = 100.0;
/// More of them than this, and the disk cannot keep up with a journal that grows.
const BATCHES_PER_SECOND: &str = "1000";
/// As many events, one a request.
const SINGLES_PER_SECOND: &str = "100000";
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
}

const RUNS: [Run; 6] =
    [Run::Floor("1"), Run::Node("1"), Run::Floor("16"), Run::Node("16"), Run::Singles, Run::Batches];

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
            Self::Batches => {
                let path = ["--path", "/v1/events/batch", "--payload", "batch.json"];
                lab.load_lone_node(NODE_PORT, seconds, &[&path[..], &["--rate", BATCHES_PER_SECOND]].concat())
            }
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
    // Bodies as large as this batch are checked by the pool's thread: so all threads count here.
    let fastest = column(Run::Node("1"), |load| load.process_us);
    let single = column(Run::Singles, |load| load.process_us);
    let batched = column(Run::Batches, |load| load.process_us / BATCH_EVENTS);
    println!("\n| events | CPU µs/event, all threads | events/s |");
    println!("|---|---|---|");
    for (name, each, rate) in [
        ("one a request, as fast as it goes", &fastest, column(Run::Node("1"), |load| load.rate)),
        ("one a request", &single, column(Run::Singles, |load| load.rate)),
        ("100 a request", &batched, column(Run::Batches, |load| load.rate * BATCH_EVENTS)),
    ] {
        println!("| {name} | {:.2} | {:.0} |", Interval::of_median(each), Interval::of_median(&rate));
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
    // A node at its limit has more to do in each turn, which makes single events cheaper.
    for (name, single) in [("as many a second", &single), ("at the node's limit", &fastest)] {
        let multiple = Interval::of_ratios(single, &batched);
        let verdict = if multiple.median >= BATCH_MULTIPLE_MIN { "kept" } else { "MISSED" };
        println!(
            "events in batches at least {BATCH_MULTIPLE_MIN} times as many as single ones, {name}, for the same CPU time: {multiple:.2}, {verdict}"
        );
    }
}
