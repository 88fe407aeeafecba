//! The broker goes away, in every way it can: no accepted event is lost, and the flow is back soon.

use std::time::{Duration, Instant};

use crate::support::{Broker, Loadtest, Node, await_true};

/// The contract's bound on coming back.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// Everything that was accepted is in the queue, unchanged, and nothing else.
fn nothing_is_lost(load: &Loadtest<'_>) {
    await_true("everything is confirmed", || load.node.metric("forebay_events_pending") == 0);
    let findings = load.verify();
    let count = |name: &str| findings[name].as_array().expect("a list").len();
    assert!(findings["accepted"].as_u64().is_some_and(|accepted| accepted > 0), "{findings}");
    assert_eq!((count("missing"), count("changed"), count("unknown")), (0, 0, 0), "{findings}");
}

#[test]
fn a_broker_that_is_stopped_and_started_again_loses_nothing() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let node = Node::start_on(&broker.url(), &[]);
    let app = node.app("demo");
    let load = Loadtest { node: &node, app: &app };
    let running = load.start(&["--duration", "120s", "--rate", "500", "--connections", "8"]);
    await_true("the flow", || node.metric("forebay_events_confirmed_total") > 100);
    broker.stop();
    await_true("the node notices", || node.metric("forebay_broker_up") == 0);
    assert_eq!(node.readyz().status, 200, "the journal has room");
    let accepted = node.metric("forebay_events_accepted_total");
    await_true("events are still taken", || node.metric("forebay_events_accepted_total") > accepted + 50);
    broker.start();
    let since = Instant::now();
    let confirmed = node.metric("forebay_events_confirmed_total");
    await_true("the flow is back", || node.metric("forebay_events_confirmed_total") > confirmed);
    assert!(since.elapsed() < BACK_WITHIN, "back after {:?}", since.elapsed());
    let report = running.stop();
    assert_eq!(report["unanswered"], 0, "{report}");
    nothing_is_lost(&load);
    assert_eq!(node.stop().code, Some(0));
}

#[test]
fn connections_that_the_broker_closes_are_opened_again_at_once() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let node = Node::start_on(&broker.url(), &[]);
    let app = node.app("demo");
    let load = Loadtest { node: &node, app: &app };
    let running = load.start(&["--duration", "120s", "--connections", "16"]);
    for _ in 0..3 {
        let connects = node.metric("forebay_broker_connects_total");
        let confirmed = node.metric("forebay_events_confirmed_total");
        await_true("the flow", || node.metric("forebay_events_confirmed_total") > confirmed);
        broker.ctl(&["close_all_connections", "a test"]);
        let since = Instant::now();
        await_true("a new connection", || node.metric("forebay_broker_connects_total") > connects);
        let confirmed = node.metric("forebay_events_confirmed_total");
        await_true("the flow is back", || node.metric("forebay_events_confirmed_total") > confirmed);
        assert!(since.elapsed() < BACK_WITHIN, "back after {:?}", since.elapsed());
    }
    running.stop();
    nothing_is_lost(&load);
}

#[test]
fn a_broker_that_falls_silent_is_given_up_after_twice_the_heartbeat() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let node = Node::start_on(&broker.url(), &["--amqp-heartbeat", "1s"]);
    let app = node.app("demo");
    let load = Loadtest { node: &node, app: &app };
    let running = load.start(&["--duration", "120s", "--rate", "300", "--connections", "4"]);
    await_true("the flow", || node.metric("forebay_events_confirmed_total") > 100);
    broker.pause();
    let since = Instant::now();
    await_true("the node notices", || node.metric("forebay_broker_up") == 0);
    assert!(since.elapsed() < Duration::from_secs(6), "noticed after {:?}", since.elapsed());
    broker.resume();
    await_true("the flow is back", || node.metric("forebay_broker_up") > 0);
    running.stop();
    nothing_is_lost(&load);
}

#[test]
fn a_confirm_that_is_overdue_makes_a_new_connection() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let node = Node::start_on(&broker.url(), &["--amqp-heartbeat", "600s", "--confirm-timeout", "1s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    broker.pause();
    let id = node.http().event(&token, "{}").id();
    await_true("the node gives up waiting", || node.said("the broker is lost").is_some());
    broker.resume();
    await_true("it is confirmed after all", || node.metric("forebay_events_confirmed_total") > 0);
    let delivered = node.queue.take_all();
    assert!(
        delivered.iter().all(|event| event.id() == id) && !delivered.is_empty(),
        "once or more, the same id"
    );
}

#[test]
fn a_broker_that_blocks_publishers_is_waited_for() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let node = Node::start_on(&broker.url(), &["--confirm-timeout", "1s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    broker.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    let mut http = node.http();
    // RabbitMQ blocks a connection only when it publishes.
    assert_eq!(http.event(&token, "{}").status, 202);
    await_true("the node notices", || node.said("the broker blocks publishers").is_some());
    assert_eq!(node.readyz().status, 200, "the journal has room");
    let connects = node.metric("forebay_broker_connects_total");
    assert_eq!(http.event(&token, "{}").status, 202, "the journal takes it");
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1GiB"]);
    await_true("both are confirmed", || node.metric("forebay_events_confirmed_total") > 1);
    let again = node.metric("forebay_broker_connects_total");
    assert_eq!(again, connects, "a blocked connection is kept, whatever the confirm timeout");
    node.queue.take(2);
}

#[test]
fn of_several_brokers_the_first_that_works_is_used() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let nobody = format!("amqp://guest:guest@{nobody}/%2f");
    let node = Node::start_on(&Broker::main().url(), &["--amqp-url", &nobody]);
    assert!(node.said("connected to the broker").is_some());
    drop(node);
    let real = Broker::main().url();
    let node = Node::spawn(&nobody, &["--amqp-url", &real], &[]);
    await_true("the second broker is used", || node.metric("forebay_broker_up") == 1);
    let told = node.said("cannot use the broker").expect("the first one's failure is told");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("refused")), "{told}");
}
