//! The forwarder, journal included, beside a bare publisher of the same messages, in one interleaved run.
//!
//! A node without a broker is filled; its next life has one, reads the events back, builds messages and publishes them. The bare publisher sends
//! as many messages with bodies that were taken from the node's queue. Both have CPU 0, and the broker CPU 1; what is compared is the time for the
//! same messages, as a ratio within a round. `scripts/bench-forward` builds and starts what this needs.

#[path = "../lab/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other benchmarks of servers, of which this needs a part"
)]
mod lab;
mod publisher;

use std::fs;
use std::path::Path;
use std::time::Instant;

use lab::statistics::Interval;
use lab::{Lab, SERVER_CPU, await_true, rounds_and_seconds};
use lapin::options::{BasicGetOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use publisher::Taken;

const PORT: u16 = 18580;
/// The exchange and the queue. `scripts/bench-forward` keeps queues of this beginning short.
const NAME: &str = "peer-forward";
/// A node's default.
const ROUTING_KEY: &str = "events";
/// Bodies that are taken from the queue, to be sent again.
const BODIES: usize = 64;
/// What the forwarder does of what a bare publisher does in the same time.
const SHARE_MIN: f64 = 0.85;

/// What there is to send: found in the first round, and about the same in each.
#[derive(Clone, Copy, Debug)]
struct Backlog {
    events: u64,
    messages: u64,
    /// Mean bytes of a message.
    message_bytes: f64,
}

/// One side of a round.
#[derive(Clone, Copy, Debug)]
struct Rate {
    events: f64,
    bytes: f64,
    cpu_us_each: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, url, messages, folder] = &arguments[..]
        && flag == "--publisher"
    {
        let messages = messages.parse().expect("a number");
        return publisher::publish(url, NAME, ROUTING_KEY, messages, Path::new(folder));
    }
    let (rounds, seconds) = rounds_and_seconds(10);
    let queue_type = std::env::var("QUEUE_TYPE").unwrap_or_else(|_| "classic".to_owned());
    let lab = Lab::open();
    on_channel(async |channel| {
        // Of another type, perhaps.
        channel.queue_delete(NAME.into(), QueueDeleteOptions::default()).await.map(drop)
    });
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (backlog, rate) = forward(&lab, seconds, &queue_type);
        let bare = publish(&lab, backlog);
        eprintln!(
            "round {round}: {} events in {} messages; forwarder {:.0}/s, bare {:.0}/s, {:.3}",
            backlog.events,
            backlog.messages,
            rate.events,
            bare.events,
            rate.events / bare.events
        );
        ours.push(rate);
        theirs.push(bare);
    }
    print(&ours, &theirs, &queue_type);
}

/// Fills a node, and has its next life empty it.
fn forward(lab: &Lab, seconds: u64, queue_type: &str) -> (Backlog, Rate) {
    let room = ["--journal-max", "16GiB"];
    let node = lab.node("forward", PORT, &room);
    lab.send(&node, seconds, &["--pipeline", "16"]);
    drop(node);
    let url = Lab::amqp_url();
    let broker = ["--amqp-url", &url, "--exchange", NAME, "--queue", NAME, "--queue-type", queue_type];
    let node = lab.node_on(SERVER_CPU, SERVER_CPU, "forward", PORT, &[&room[..], &broker].concat());
    await_true("the node has its broker", || node.number("forebay_broker_up") == 1);
    let (since, cpu_since) = (Instant::now(), node.cpu());
    let (events, published) = (node.pending(), node.number("forebay_broker_published_messages_total"));
    node.settle();
    let seconds = since.elapsed().as_secs_f64();
    let cpu_ns = node.cpu().process_ns - cpu_since.process_ns;
    let messages = node.number("forebay_broker_published_messages_total") - published;
    drop(node);
    lab.forget("forward");
    let message_bytes = take_bodies(&lab.folder.join("bodies"));
    let backlog = Backlog { events, messages, message_bytes };
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
    let cpu_seconds = cpu_ns as f64 / 1e9;
    (backlog, Rate::of(backlog, Taken { seconds, cpu_seconds }))
}

/// Keeps some bodies of what was published, removes the rest; returns how many bytes one has.
fn take_bodies(folder: &Path) -> f64 {
    fs::create_dir_all(folder).expect("a folder");
    let mut bytes = 0;
    on_channel(async |channel| {
        for number in 0..BODIES {
            let got = channel.basic_get(NAME.into(), BasicGetOptions { no_ack: true }).await?;
            let body = got.expect("more messages than that").delivery.data;
            bytes += body.len();
            fs::write(folder.join(number.to_string()), body).expect("a body");
        }
        channel.queue_purge(NAME.into(), QueuePurgeOptions::default()).await.map(drop)
    });
    #[allow(clippy::cast_precision_loss, reason = "a few MiB")]
    let each = bytes as f64 / BODIES as f64;
    each
}

fn publish(lab: &Lab, backlog: Backlog) -> Rate {
    let own = std::env::current_exe().expect("a path");
    let output = lab
        .on_cpus(SERVER_CPU, &own)
        .args(["--publisher", &Lab::amqp_url(), &backlog.messages.to_string(), "bodies"])
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("the publisher runs");
    assert!(output.status.success(), "the publisher failed: see the lab's stderr.log");
    let taken: Taken = serde_json::from_slice(&output.stdout).expect("what it took");
    on_channel(async |channel| {
        channel.queue_purge(NAME.into(), QueuePurgeOptions::default()).await.map(drop)
    });
    Rate::of(backlog, taken)
}

/// Does something on a channel of the broker's.
fn on_channel(act: impl AsyncFnOnce(&Channel) -> Result<(), lapin::Error>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = Lab::amqp_url();
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        act(&channel).await.expect("the broker does it");
        connection.close(200, "done".into()).await.expect("a close");
    });
}

impl Rate {
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn of(backlog: Backlog, taken: Taken) -> Self {
        let (events, messages) = (backlog.events as f64, backlog.messages as f64);
        Self {
            events: events / taken.seconds,
            bytes: messages * backlog.message_bytes / taken.seconds,
            cpu_us_each: taken.cpu_seconds * 1e6 / events,
        }
    }
}

fn print(ours: &[Rate], theirs: &[Rate], queue_type: &str) {
    let column = |rates: &[Rate], of: fn(&Rate) -> f64| rates.iter().map(of).collect::<Vec<_>>();
    println!("\n| to a {queue_type} queue | events/s | MB/s | client's CPU µs/event |");
    println!("|---|---|---|---|");
    for (name, rates) in [("forwarder, out of the journal", ours), ("bare publisher", theirs)] {
        println!(
            "| {name} | {:.0} | {:.1} | {:.2} |",
            Interval::of_median(&column(rates, |rate| rate.events)),
            Interval::of_median(&column(rates, |rate| rate.bytes / 1e6)),
            Interval::of_median(&column(rates, |rate| rate.cpu_us_each)),
        );
    }
    let events = |rates| column(rates, |rate| rate.events);
    let share = Interval::of_ratios(&events(ours), &events(theirs));
    let verdict = if share.median >= SHARE_MIN { "kept" } else { "MISSED" };
    println!("\nthe forwarder at least {SHARE_MIN} of a bare publisher: {share:.3}, {verdict}");
}
