//! A journal that is full refuses, says when to come back, and is told to the balancer; memory stays bounded.

use crate::support::{Answer, Broker, Http, Node, await_true};

/// Posts the same event until one is refused: how many were accepted, and the refusal.
fn post_until_refused(http: &mut Http, token: &str, body: &str) -> (usize, Answer) {
    for accepted in 0..1000 {
        let answer = http.event(token, body);
        if answer.status != 202 {
            return (accepted, answer);
        }
    }
    panic!("every bound is reached some time");
}

#[test]
fn a_full_journal_refuses_with_retry_after_and_readiness_until_there_is_room() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let flags =
        ["--reactors", "1", "--journal-max", "4MiB", "--amqp-heartbeat", "600s", "--confirm-window", "2"];
    let node = Node::start_on(&broker.url(), &flags);
    let app = node.app("demo");
    let token = node.token(&app);
    broker.pause();
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(50_000));
    let mut http = node.http();
    // A burst may be refused for a moment, ahead of the next segment; when the journal is full, for good.
    let mut accepted = 0;
    await_true("readiness says so", || {
        let (more, _) = post_until_refused(&mut http, &token, &body);
        accepted += more;
        node.readyz().status == 503
    });
    assert_eq!(node.readyz().json()["reason"], "overloaded");
    let refused = http.event(&token, &body);
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.json()["retryable"], true);
    let retry_after: u32 = refused.field("Retry-After").expect("a time").parse().expect("an integer");
    assert!(retry_after >= 1);
    assert!(accepted >= 60, "{accepted} events of 50 KB before the journal of 4 MiB was full");
    assert_eq!(http.event(&token, &body).status, 503, "still");
    broker.resume();
    await_true("there is room again", || http.event(&token, &body).status == 202);
    await_true("readiness says so", || node.readyz().status == 200);
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    let (received, accepted) =
        (node.metric("forebay_events_received_total"), node.metric("forebay_events_accepted_total"));
    let rejected = node.metric("forebay_events_rejected_total{code=\"overloaded\"}");
    assert_eq!(received, accepted + rejected);
    assert_eq!(node.stop().code, Some(0));
}

#[test]
fn a_batch_that_no_segment_could_hold_is_too_large_and_not_to_be_tried_again() {
    let node = Node::start(&["--reactors", "1", "--journal-max", "1200KiB"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let authorization = format!("Bearer {token}");
    let mut http = node.http();
    let mut post =
        |body: &str| http.post("/v1/events/batch", &[("Authorization", &authorization)], body.as_bytes());
    let large = format!("[{{\"a\":\"{}\"}}]", "x".repeat(400_000));
    let many = format!("[{}]", vec!["{}"; 8_000].join(","));
    for body in [&large, &many] {
        let refused = post(body);
        assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"));
        assert_eq!(refused.json()["retryable"], false);
    }
    let answer = post("[{}]");
    assert_eq!(answer.status, 202, "{answer:?}");
    node.queue.take(1);
}

#[test]
fn a_batch_that_only_lacks_a_second_look_may_come_again() {
    let node = Node::start(&["--reactors", "1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut http = node.http();
    // Legal, but nothing that the fast parser takes.
    let half = format!("{{\"half\":\"\\ud83d\",\"pad\":\"{}\"}}", "x".repeat(240_000));
    let (accepted, refused) = post_until_refused(&mut http, &token, &half);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let authorization = format!("Bearer {token}");
    let batch = format!("[{half},{half},{half}]");
    let refused = http.post("/v1/events/batch", &[("Authorization", &authorization)], batch.as_bytes());
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{refused:?}");
    assert_eq!(refused.json()["rejected"][2]["code"], "rate_limited");
    assert!(refused.field("Retry-After").is_some());
    assert_eq!(http.event(&token, "{}").status, 202, "an event that needs no second look");
    node.queue.take(accepted + 1);
}

#[test]
fn past_the_memory_cap_new_bodies_are_refused_and_connections_stay() {
    // 1 MiB is the queue's: 5 MiB are left.
    let flags = ["--reactors", "1", "--queue-max", "1MiB", "--memory-max", "6MiB"];
    let node = Node::alone(&flags);
    let app = node.app("demo");
    let token = node.token(&app);
    let body = format!(r#"{{"pad":"{}"}}"#, "x".repeat(200_000));
    let head = |length: &str| {
        format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n{length}\r\n\r\n")
    };
    let whole = head(&format!("Content-Length: {}", body.len()));
    let mut idle = node.http();
    assert_eq!(idle.event(&token, "{}").status, 202);
    // A body counts as what it says that it will be, from its first byte on.
    let mut slow: Vec<Http> = (0..26).map(|_| node.http()).collect();
    for http in &mut slow {
        http.send(&[whole.as_bytes(), &body.as_bytes()[..10]].concat());
    }
    await_true("they are held", || node.metric("forebay_held_bytes") > 5_200_000);
    let mut refused = node.http();
    refused.send(whole.as_bytes());
    let answer = refused.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert!(answer.field("Retry-After").is_some());
    // What takes no memory is served, on connections of before too.
    assert_eq!(idle.event(&token, "{}").status, 202);
    assert_eq!(idle.get("/livez").status, 200);
    // A body of unknown length is refused when it has grown too far.
    let mut growing = node.http();
    growing.send(head("Transfer-Encoding: chunked").as_bytes());
    growing.send(format!("{:x}\r\n{}", body.len(), &body[..150_000]).as_bytes());
    assert_eq!(growing.answer().status, 503);
    for http in &mut slow {
        http.send(&body.as_bytes()[10..]);
        assert_eq!(http.answer().status, 202);
    }
    await_true("there is room again", || node.http().event(&token, &body).status == 202);
    drop((slow, idle, refused, growing));
    await_true("nothing is held", || node.metric("forebay_held_bytes") == 0);
}
