//! The broker is away for long: the backlog costs disk and no memory, and drains much faster than it came.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::restart::body_of;
use crate::support::{Broker, Loadtest, Node, Queue, await_true, await_true_within};
use crate::{is_speed_judged, number};

const GROWTH_BYTES_MAX: usize = 64 << 20;
/// How much faster it drains than it came; less is no fault if the broker is the limit.
const RATIO_MIN: f64 = 5.0;
/// The share of the broker's own rate that says that it is the limit.
const BROKER_SHARE_MIN: f64 = 0.5;
const EVENT_BYTES: usize = 600;
const DRAINED_WITHIN: Duration = Duration::from_mins(10);
/// As the node does by default.
const WINDOW: usize = 64;
const QUEUE_TYPE: &str = "quorum";

#[test]
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn a_backlog_takes_no_memory_and_drains_faster_than_it_came() {
    let seconds = number("BACKLOG_SECONDS", 4);
    let rate = number("BACKLOG_RATE", 2000);
    let exclusive = Broker::chaos();
    let broker = exclusive.broker;
    let flags = ["--journal-max", "16GiB", "--queue-type", QUEUE_TYPE];
    let node = Node::spawn_at_home(Some(&broker.url()), &flags);
    let app = node.app("backlog");
    let body = node.folder.path().join("body");
    std::fs::write(&body, body_of(EVENT_BYTES)).expect("a file");
    let load = Loadtest { node: &node, app: &app };
    broker.stop();
    await_true("the node notices", || node.metric("forebay_broker_up") == 0);

    let before = node.memory_bytes();
    let mut peak = before;
    let mut running = load.start(&[
        "--duration",
        &format!("{seconds}s"),
        "--rate",
        &rate.to_string(),
        "--connections",
        "64",
        "--payload",
        body.to_str().expect("a plain path"),
    ]);
    await_true_within(Duration::from_secs(2 * seconds + 60), "the load is over", || {
        peak = peak.max(node.memory_bytes());
        running.has_ended()
    });
    let report = running.wait();
    let accepted = report["accepted"].as_u64().expect("a count");
    let arrival = accepted as f64 / report["seconds"].as_f64().expect("a time");
    assert_eq!((report["refused"].as_u64(), report["unanswered"].as_u64()), (Some(0), Some(0)), "{report}");
    assert!(arrival > 0.9 * rate as f64 || !is_speed_judged(), "the load keeps its rate: {report}");
    let growth = peak - before;
    eprintln!(
        "{accepted} events at {arrival:.0}/s without a broker: memory {} MiB, at most {} MiB more",
        before >> 20,
        growth >> 20
    );
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");

    // Nothing moves before the broker is there; and the node may have drained much before whoever starts the broker says so.
    let pending = node.metric("forebay_events_pending");
    let published = node.metric("forebay_broker_published_messages_total");
    let since = std::thread::scope(|scope| {
        scope.spawn(|| broker.start());
        await_true("the node has its broker", || node.metric("forebay_broker_up") == 1);
        Instant::now()
    });
    await_true_within(DRAINED_WITHIN, "all is confirmed", || {
        peak = peak.max(node.memory_bytes());
        node.metric("forebay_events_pending") == 0
    });
    let drain = pending as f64 / since.elapsed().as_secs_f64();
    let growth = peak - before;
    eprintln!(
        "drained {pending} events at {drain:.0}/s, {:.1} times as fast as they came; memory at most {} MiB more",
        drain / arrival,
        growth >> 20
    );
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
    if drain < RATIO_MIN * arrival && is_speed_judged() {
        let messages = node.metric("forebay_broker_published_messages_total") - published;
        let most = pending as f64 / messages as f64 * broker_messages_a_second(&node.queue);
        eprintln!("the broker alone takes {most:.0} such events a second");
        assert!(drain > BROKER_SHARE_MIN * most, "the broker is not the limit");
    }
    let findings = load.verify();
    let count = |name: &str| findings[name].as_array().expect("a list").len();
    assert_eq!((count("missing"), count("changed"), count("unknown")), (0, 0, 0), "of {accepted}");
    assert_eq!(findings["accepted"].as_u64(), Some(accepted));
    eprintln!("all {accepted} arrived, {} more than once", count("repeated"));
}

/// How many messages of the node's size the broker confirms in a second to somebody who does nothing else.
fn broker_messages_a_second(queue: &Queue) -> f64 {
    const MESSAGES: u16 = 2000;
    const MESSAGE_BYTES: usize = 64 << 10;
    let mut taken = Duration::ZERO;
    queue.on_channel(async |channel| {
        let name = "chaos.rate";
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(QUEUE_TYPE.into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, arguments).await.expect("a queue");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let body = vec![b'x'; MESSAGE_BYTES];
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let mut waiting = FuturesUnordered::new();
        let since = Instant::now();
        for _ in 0..MESSAGES {
            let options = BasicPublishOptions::default();
            let sent =
                channel.basic_publish("".into(), name.into(), options, &body, persistent.clone()).await;
            waiting.push(sent.expect("sent"));
            if waiting.len() == WINDOW {
                waiting.next().await.expect("one waits").expect("a confirm");
            }
        }
        while let Some(confirm) = waiting.next().await {
            confirm.expect("a confirm");
        }
        taken = since.elapsed();
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.expect("the queue");
    });
    f64::from(MESSAGES) / taken.as_secs_f64()
}
