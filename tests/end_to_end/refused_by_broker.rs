//! A broker that takes no message, or not this one: nothing is dropped, and nothing spins.

use lapin::ExchangeKind;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};

use crate::support::{Broker, Loadtest, Node, await_true};

#[test]
fn a_queue_that_is_deleted_is_declared_again_and_what_came_back_is_sent_again() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    node.http().event(&token, "{}").id();
    await_true("it is confirmed", || node.metric("forebay_events_confirmed_total") > 0);
    let name = node.queue.name.clone();
    node.queue.on_channel(|channel| async move {
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    });
    let ids: Vec<String> =
        (0..50).map(|n| node.http().event(&token, format!("{{\"n\":{n}}}")).id()).collect();
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    assert!(node.metric("forebay_broker_returned_messages_total") > 0, "the broker had returned some");
    let mut delivered: Vec<String> = node.queue.take_all().iter().map(|d| d.id().to_owned()).collect();
    delivered.sort();
    delivered.dedup();
    let mut ids = ids;
    ids.sort();
    assert_eq!(delivered, ids);
}

#[test]
fn returns_in_the_middle_of_a_full_window_are_told_from_confirms() {
    let node = Node::start(&["--no-declare", "--batch-bytes", "1KiB"]);
    let app = node.app("demo");
    let (exchange, queue) = (node.queue.name.clone(), node.queue.name.clone());
    let declare = |is_first: bool| {
        let (exchange, queue) = (exchange.clone(), queue.clone());
        node.queue.on_channel(|channel| async move {
            let (durable, table) =
                (QueueDeclareOptions { durable: true, ..Default::default() }, FieldTable::default());
            let topic = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel
                .exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, topic, table.clone())
                .await
                .expect("an exchange");
            if is_first {
                let mut arguments = FieldTable::default();
                arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
                channel.queue_declare(queue.as_str().into(), durable, arguments).await.expect("a queue");
            }
            let bind = QueueBindOptions::default();
            channel
                .queue_bind(queue.as_str().into(), exchange.as_str().into(), "events".into(), bind, table)
                .await
                .expect("a binding");
        });
    };
    declare(true);
    await_true("the node has its exchange", || node.metric("forebay_broker_up") > 0);
    let load = Loadtest { node: &node, app: &app };
    let running = load.start(&["--duration", "120s", "--connections", "32"]);
    for _ in 0..4 {
        let confirmed = node.metric("forebay_events_confirmed_total");
        await_true("the flow", || node.metric("forebay_events_confirmed_total") > confirmed);
        let (exchange, queue) = (exchange.clone(), queue.clone());
        let returned = node.metric("forebay_broker_returned_messages_total");
        node.queue.on_channel(|channel| async move {
            let table = FieldTable::default();
            channel
                .queue_unbind(queue.as_str().into(), exchange.as_str().into(), "events".into(), table)
                .await
                .expect("unbound");
        });
        await_true("messages come back", || node.metric("forebay_broker_returned_messages_total") > returned);
        declare(false);
    }
    running.stop();
    await_true("everything is confirmed", || node.metric("forebay_events_pending") == 0);
    let findings = load.verify();
    for kind in ["missing", "changed", "unknown"] {
        assert_eq!(findings[kind].as_array().map(Vec::len), Some(0), "{kind}: {findings}");
    }
}

#[test]
fn a_queue_that_is_full_and_rejects_holds_events_back_without_a_hot_loop() {
    let node = Node::start(&["--no-declare", "--queue-type", "classic"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let name = node.queue.name.clone();
    node.queue.on_channel(|channel| async move {
        let topic = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(name.as_str().into(), ExchangeKind::Topic, topic, FieldTable::default())
            .await
            .expect("an exchange");
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.as_str().into(), durable, arguments).await.expect("a queue");
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(
                name.as_str().into(),
                name.as_str().into(),
                "events".into(),
                bind,
                FieldTable::default(),
            )
            .await
            .expect("a binding");
    });
    await_true("the node has its exchange", || node.metric("forebay_broker_up") > 0);
    let mut ids: Vec<String> =
        (0..20).map(|n| node.http().event(&token, format!("{{\"n\":{n}}}")).id()).collect();
    await_true("the broker refuses", || node.metric("forebay_broker_nacked_messages_total") > 3);
    let published = node.metric("forebay_broker_published_messages_total");
    assert!(published < 200, "{published} messages sent for 20 events");
    assert!(node.metric("forebay_events_pending") > 0);
    // A consumer makes room, one message at a time.
    let mut delivered: Vec<String> = Vec::new();
    await_true("all arrive", || {
        let name = node.queue.name.clone();
        let got = std::sync::Mutex::new(Vec::new());
        node.queue.on_channel(|channel| {
            let got = &got;
            async move {
                let options = BasicGetOptions { no_ack: true };
                if let Some(message) = channel.basic_get(name.as_str().into(), options).await.expect("a get")
                {
                    let events: Vec<serde_json::Value> = serde_json::from_slice(&message.data).expect("JSON");
                    got.lock()
                        .expect("one thread")
                        .extend(events.iter().map(|e| e["id"].as_str().expect("an id").to_owned()));
                }
            }
        });
        delivered.extend(got.into_inner().expect("one thread"));
        node.metric("forebay_events_pending") == 0 && delivered.len() >= 20
    });
    delivered.sort();
    delivered.dedup();
    ids.sort();
    assert_eq!(delivered, ids);
}

#[test]
fn when_the_limit_of_a_quorum_queue_is_lifted_the_flow_comes_back() {
    let node = Node::start(&["--queue-type", "quorum"]);
    let app = node.app("demo");
    let token = node.token(&app);
    node.http().event(&token, "{}").id();
    await_true("it is confirmed", || node.metric("forebay_events_confirmed_total") > 0);
    let name = &node.queue.name;
    let limit = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let pattern = format!("^{name}$");
    Broker::main().ctl(&["set_policy", name, &pattern, limit, "--apply-to", "queues"]);
    let refused = || {
        node.http().event(&token, "{}").id();
        node.metric("forebay_broker_nacked_messages_total") > 0
    };
    await_true("the broker refuses", refused);
    // RabbitMQ 3.10 goes on refusing what comes over this channel.
    Broker::main().ctl(&["clear_policy", name]);
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
}

#[test]
fn an_event_that_no_broker_takes_is_parked_and_all_others_arrive() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    broker.ctl(&["eval", "application:set_env(rabbit, max_message_size, 20000)."]);
    let node = Node::start_on(&broker.url(), &["--batch-bytes", "15KiB", "--reactors", "1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let poison = format!("{{\"poison\":\"{}\"}}", "x".repeat(30_000));
    let mut http = node.http();
    let before: Vec<String> = (0..20).map(|n| http.event(&token, format!("{{\"n\":{n}}}")).id()).collect();
    let parked = http.event(&token, &poison).id();
    let after: Vec<String> = (0..20).map(|n| http.event(&token, format!("{{\"n\":{n}}}")).id()).collect();
    await_true("it is parked", || node.metric("forebay_events_parked_total") > 0);
    await_true("all others are confirmed", || node.metric("forebay_events_pending") == 0);
    assert_eq!(node.metric("forebay_events_confirmed_total"), 40);
    assert!(node.said("parked an event that the broker refuses").is_some(), "and alarmed");
    let file = node.folder.path().join("forebay-data/parked.ndjson");
    let text = std::fs::read_to_string(file).expect("the parking file");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0]["id"].as_str(), lines[0]["data"]["poison"].as_str().map(str::len)),
        (Some(parked.as_str()), Some(30_000))
    );
    let mut delivered: Vec<String> = node.queue.take_all().iter().map(|d| d.id().to_owned()).collect();
    delivered.sort();
    delivered.dedup();
    let mut expected = [before, after].concat();
    expected.sort();
    assert_eq!(delivered, expected);

    // One who waits for the broker is told that it did not take the event.
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Forebay-Ack", "confirmed")];
    let answer = http.post("/v1/events", &fields, poison.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (503, "ack_timeout"));
    broker.ctl(&["eval", "application:set_env(rabbit, max_message_size, 134217728)."]);
    let stopped = node.stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(stopped.line["parked"], 2);
}
