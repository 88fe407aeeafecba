//! More is offered than the broker takes: what it takes is taken, the rest is told so at once, and apps that ask for little get it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::disk::run;

use crate::restart::body_of;
use crate::support::{App, Broker, Loadtest, Node, Running, await_true, await_true_within};
use crate::throttle::throttled;
use crate::{is_speed_judged, number};

const MEMORY_MAX: &str = "96MiB";
const MEMORY_MAX_BYTES: usize = 96 << 20;
const NODE_CPU: &str = "0";
const LOAD_CPU: &str = "1";
/// Longer than any test, seconds.
const LONG: u64 = 86_400;
const EVENT_BYTES: usize = 1000;
/// What an event takes on its way to the broker, envelope included.
const SENT_BYTES: u64 = 1250;
/// What the broker takes, events a second.
const TAKEN: u64 = 800;
const FILLED_WITHIN: Duration = Duration::from_mins(3);
/// Of what the broker takes, as much has to be accepted.
const GOODPUT_MIN: f64 = 0.9;
const REFUSAL_P99_MAX_US: u64 = 5_000;
/// Of what apps offer that ask for less than their share, as much has to be accepted.
const SMALL_ACCEPTED_MIN: f64 = 0.9;
/// How much longer their 202 may take than without the others.
const SMALL_P99_FACTOR_MAX: f64 = 2.0;

/// A node whose broker takes `TAKEN` events a second.
fn node(broker: Broker) -> Node {
    // The node's CPU is its own: what is measured is neither the broker nor the load.
    let pid = Path::new(env!("CARGO_MANIFEST_DIR")).join(".broker/chaos/os-pid");
    let pid = std::fs::read_to_string(pid).expect("it runs");
    run("taskset", &["-acp".as_ref(), Path::new(LOAD_CPU), Path::new(pid.trim())]);
    let url = throttled(&broker.url(), TAKEN * SENT_BYTES);
    // A small window: what is on its way in sockets is neither here nor there.
    let flags = [
        "--cpus",
        NODE_CPU,
        "--forwarder-cpus",
        LOAD_CPU,
        "--reactors",
        "1",
        "--journal-max",
        "4MiB",
        "--confirm-window",
        "4",
        "--queue-type",
        "classic",
        "--memory-max",
        MEMORY_MAX,
    ];
    let node = Node::spawn_at_home(Some(&url), &flags);
    await_true("the node has its broker", || node.metric("forebay_broker_up") == 1);
    std::fs::write(node.folder.path().join("body"), body_of(EVENT_BYTES)).expect("a file");
    node
}

/// Offers events of an app: so many a second, for so many seconds.
fn offer(node: &Node, app: &App, rate: u64, connections: &str, seconds: u64) -> Running {
    let body = node.folder.path().join("body");
    let (rate, duration) = (rate.to_string(), format!("{seconds}s"));
    let body = body.to_str().expect("a plain path");
    Loadtest { node, app }.start(&[
        "--payload",
        body,
        "--rate",
        &rate,
        "--connections",
        connections,
        "--duration",
        &duration,
        "--cpus",
        LOAD_CPU,
    ])
}

/// Whether the node has grown by no more than it may.
fn check_memory(node: &Node, before: usize) {
    let grown = node.memory_bytes().saturating_sub(before);
    eprintln!("memory: {} MiB more", grown >> 20);
    assert!(grown < MEMORY_MAX_BYTES, "{grown} bytes");
}

fn overloaded(node: &Node) -> u64 {
    node.metric("forebay_events_rejected_total{code=\"overloaded\"}")
}

fn p99(latencies: &Value) -> u64 {
    latencies["p99"].as_u64().expect("a latency")
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn a_broker_that_takes_a_third_costs_refusals_and_no_goodput() {
    let seconds = number("OVERLOAD_SECONDS", 5);
    let exclusive = Broker::chaos();
    let node = node(exclusive.broker);
    let memory = node.memory_bytes();
    let app = node.app("overload");
    let filling = offer(&node, &app, 10 * TAKEN, "32", LONG);
    await_true_within(FILLED_WITHIN, "the journal is full", || overloaded(&node) > 0);
    filling.stop();

    let report = offer(&node, &app, 3 * TAKEN, "64", seconds).wait();
    let goodput = report["accepted"].as_f64().expect("a count") / report["seconds"].as_f64().expect("a time");

    // What it takes when nobody else wants anything.
    let before = (Instant::now(), node.metric("forebay_events_pending"));
    await_true_within(FILLED_WITHIN, "half is drained", || {
        node.metric("forebay_events_pending") < before.1 / 2
    });
    let taken = (before.1 - node.metric("forebay_events_pending")) as f64 / before.0.elapsed().as_secs_f64();
    let refusals = p99(&report["refusal_latency_us"]);
    eprintln!(
        "offered {}/s: accepted {goodput:.0}/s of {taken:.0}/s that the broker takes ({:.2}), refusals p99 {refusals} µs",
        3 * TAKEN,
        goodput / taken
    );
    check_memory(&node, memory);
    assert_eq!(report["unanswered"].as_u64(), Some(0), "{report}");
    assert!(report["refused"].as_u64() > Some(0), "{report}");
    assert!(goodput > GOODPUT_MIN * taken || !is_speed_judged(), "{goodput} of {taken}");
    assert!(refusals < REFUSAL_P99_MAX_US || !is_speed_judged(), "{report}");
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn with_one_app_at_a_hundred_times_its_share_the_others_get_theirs() {
    let seconds = number("OVERLOAD_SECONDS", 5);
    let exclusive = Broker::chaos();
    let node = node(exclusive.broker);
    let greedy = node.app("greedy");
    let small: Vec<App> = (0..3).map(|number| node.app(&format!("small-{number}"))).collect();
    let share = TAKEN / 4;
    let little = share * 3 / 4;
    let run_small = || -> Vec<Value> {
        let running: Vec<_> = small.iter().map(|app| offer(&node, app, little, "8", seconds)).collect();
        running.into_iter().map(Running::wait).collect()
    };
    let base = run_small();
    let running = offer(&node, &greedy, 100 * share, "64", LONG);
    // It shares a CPU with the small ones, which are to measure the node and not the greedy client.
    running.step_back();
    await_true_within(FILLED_WITHIN, "the journal is full", || overloaded(&node) > 0);
    // It took this small journal faster than anybody could look; from the first segment on that comes free, there are shares.
    let token = node.token(&small[0]);
    await_true("there is room for the small", || node.http().event(&token, "{}").status == 202);
    let beside = run_small();
    let greedy = running.stop();
    let mut p99s = Vec::new();
    for (base, beside) in base.iter().zip(&beside) {
        let (accepted, refused) = (beside["accepted"].as_u64(), beside["refused"].as_u64());
        let (accepted, refused) = (accepted.expect("a count") as f64, refused.expect("a count") as f64);
        let accepted = accepted / (accepted + refused);
        let (p99, base) = (p99(&beside["latency_us"]), p99(&base["latency_us"]));
        eprintln!("a small app: {accepted:.3} of {little}/s accepted, p99 {p99} µs, alone {base} µs");
        p99s.push((p99, base));
        // A few seconds hold a few segments: one more or less is much.
        let least = if is_speed_judged() { SMALL_ACCEPTED_MIN } else { SMALL_ACCEPTED_MIN / 2.0 };
        assert!(accepted >= least, "{beside}");
    }
    // Of the three: 99 of 100 are some thirty answers of each, which move much.
    let sum = |of: fn(&(u64, u64)) -> u64| p99s.iter().map(of).sum::<u64>() as f64;
    let factor = sum(|pair| pair.0) / sum(|pair| pair.1);
    eprintln!("small apps: p99 {factor:.2} times what it is alone");
    assert!(factor < SMALL_P99_FACTOR_MAX || !is_speed_judged(), "{p99s:?}");
    eprintln!("the greedy app: {} of {} accepted", greedy["accepted"], greedy["answers"]);
    let accepted =
        greedy["accepted"].as_f64().expect("a count") / greedy["answers"].as_f64().expect("a count");
    assert!(accepted < SMALL_ACCEPTED_MIN / 2.0, "it got what was left over: {greedy}");
    assert!(greedy["refused"].as_u64() > Some(0), "{greedy}");
}

#[test]
fn with_the_cpu_as_the_limit_more_load_brings_no_less() {
    let seconds = number("OVERLOAD_SECONDS", 5).min(5);
    // Nothing else of these tests wants the CPUs meanwhile.
    let _alone = Broker::chaos();
    let node = Node::alone(&["--cpus", NODE_CPU, "--reactors", "1", "--memory-max", MEMORY_MAX]);
    let memory = node.memory_bytes();
    let app = node.app("cpu");
    let load = Loadtest { node: &node, app: &app };
    let duration = format!("{seconds}s");
    // The smallest of events: with others the disk would be the limit, which has to take the journal's new segments.
    let body = node.folder.path().join("body");
    std::fs::write(&body, "{}").expect("a file");
    let body = body.to_str().expect("a plain path");
    let goodput = |flags: &[&str]| {
        let report =
            load.run(&[&["--payload", body, "--duration", &duration, "--cpus", LOAD_CPU], flags].concat());
        report["accepted"].as_f64().expect("a count") / report["seconds"].as_f64().expect("a time")
    };
    let few = goodput(&["--connections", "500", "--pipeline", "16"]);
    let many = goodput(&["--connections", "2000", "--pipeline", "16"]);
    eprintln!("500 connections: {few:.0}/s accepted; 2000: {many:.0}/s, {:.2} of it", many / few);
    check_memory(&node, memory);
    assert!(many > GOODPUT_MIN * few || !is_speed_judged(), "{many} of {few}");
}
