//! A stop finishes what is in flight and says what became of everything.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Broker, Loadtest, Node, await_true};

#[test]
fn a_stop_under_load_loses_nothing_and_ends_with_0() {
    let mut node = Node::start(&["--drain-delay", "500ms"]);
    let app = node.app("demo");
    let load = Loadtest { node: &node, app: &app };
    let running = load.start(&["--duration", "4s", "--connections", "16"]);
    await_true("the flow", || node.metric("forebay_events_accepted_total") > 500);
    node.signal(Signal::TERM);
    await_true("readiness says so", || node.readyz().status == 503);
    assert_eq!(node.readyz().json()["reason"], "draining");
    let report = running.wait();
    let stopped = node.wait();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let line = &stopped.line;
    assert_eq!(line["pending"], 0);
    assert_eq!(line["accepted"], line["confirmed"]);
    // Whoever got a 202 was counted; whoever was cut off by a closed listener got no answer at all.
    let accepted = report["accepted"].as_u64().expect("a count");
    assert!(line["accepted"].as_u64().is_some_and(|counted| counted >= accepted), "{line} {report}");
    let findings = Loadtest { node: &node, app: &app }.verify();
    assert_eq!(findings["missing"].as_array().map(Vec::len), Some(0), "{findings}");
}

#[test]
fn while_draining_every_answer_ends_its_connection_and_new_ones_are_served() {
    let mut node = Node::start(&["--drain-delay", "2s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut open = node.http();
    assert_eq!(open.event(&token, "{}").field("Connection"), None);
    let mut idle = node.http();
    assert_eq!(idle.event(&token, "{}").status, 202);
    node.signal(Signal::TERM);
    await_true("readiness says so", || node.readyz().status == 503);
    assert_eq!(node.http().get("/readyz").status, 503, "on the public listener, too");
    let answer = open.event(&token, "{}");
    assert_eq!((answer.status, answer.field("Connection")), (202, Some("close")));
    assert!(open.has_ended());
    let answer = node.http().event(&token, "{}");
    assert_eq!((answer.status, answer.field("Connection")), (202, Some("close")));
    assert!(idle.has_ended(), "an idle connection is closed when the delay is over");
    let stopped = node.wait();
    assert_eq!((stopped.code, stopped.line["confirmed"].as_u64()), (Some(0), Some(4)), "{stopped:?}");
}

#[test]
fn a_request_in_flight_is_finished() {
    let mut node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut slow = node.http();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: 7\r\n\r\n"
    );
    slow.send(format!("{head}{{\"a\"").as_bytes());
    await_true("the node has it", || node.metric("forebay_connections") > 0);
    node.signal(Signal::TERM);
    await_true("it stops", || node.said("stopping").is_some());
    slow.send(b":1}");
    let answer = slow.answer();
    assert_eq!((answer.status, answer.field("Connection")), (202, Some("close")));
    let stopped = node.wait();
    assert_eq!((stopped.code, stopped.line["confirmed"].as_u64()), (Some(0), Some(1)), "{stopped:?}");
}

#[test]
fn events_that_no_broker_has_confirmed_are_at_risk_and_counted() {
    let exclusive = Broker::exclusive();
    let mut node = Node::start_on(&exclusive.broker.url(), &["--drain-timeout", "1s", "--ack", "queued"]);
    let app = node.app("demo");
    let token = node.token(&app);
    exclusive.broker.pause();
    for _ in 0..3 {
        node.http().event(&token, "{}").id();
    }
    node.signal(Signal::TERM);
    let stopped = node.wait();
    assert_eq!((stopped.code, stopped.line["pending"].as_u64()), (Some(1), Some(3)), "{stopped:?}");
    assert_eq!(stopped.line["level"], "ERROR");
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut node = Node::start(&["--drain-delay", "60s"]);
    node.signal(Signal::INT);
    await_true("it stops", || node.said("stopping").is_some());
    let since = Instant::now();
    node.signal(Signal::TERM);
    let stopped = node.wait();
    assert!(since.elapsed() < Duration::from_secs(5), "stopped after {:?}", since.elapsed());
    assert_eq!(stopped.code, Some(0), "nothing was at risk: {stopped:?}");
}

#[test]
fn a_request_that_is_not_complete_when_time_is_up_is_told_so() {
    let mut node = Node::alone(&["--drain-timeout", "500ms", "--body-timeout", "60s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut slow = node.http();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n{{"
    );
    slow.send(head.as_bytes());
    await_true("it is there", || node.metric("forebay_held_bytes") > 0);
    node.signal(Signal::TERM);
    let answer = slow.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "draining"));
    assert!(answer.field("Retry-After").is_some());
    assert!(slow.has_ended());
    assert_eq!(node.wait().code, Some(0));
}
