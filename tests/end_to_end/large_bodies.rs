//! Bodies that are examined by other threads: they keep the order of answers, and nothing of what small ones are judged by is lost.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;

use crate::support::{Http, Node, await_true};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn request(token: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An event of about so many bytes, whose values are lenient if `value` is.
fn event(bytes: usize, value: &str) -> String {
    let members: Vec<String> =
        (0..bytes / (value.len() + 10)).map(|n| format!(r#""m{n:05}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn answers_keep_their_order_behind_large_bodies() {
    let node = Node::alone(&["--reactors", "1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let large = event(200_000, r#""value""#);
    let batch = format!("[{0},1,{0}]", event(100_000, "[1,2,3]"));
    let small = request(&token, "/v1/events", "", b"{}");
    let mut http = node.http();
    for _ in 0..5 {
        let pipelined = [
            request(&token, "/v1/events", "", large.as_bytes()),
            small.clone(),
            // Small on its way, and large when it is decoded.
            request(&token, "/v1/events", "Content-Encoding: gzip\r\n", &gzip(large.as_bytes())),
            request(&token, "/v1/events/batch", "Content-Encoding: gzip\r\n", &gzip(batch.as_bytes())),
            b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n".to_vec(),
        ];
        http.send(&pipelined.concat());
        let statuses: Vec<u16> = (0..3).map(|_| http.answer().status).collect();
        assert_eq!(statuses, [202, 202, 202]);
        let verdict = http.answer();
        assert_eq!(verdict.json()["accepted"], 2, "{verdict:?}");
        assert_eq!(verdict.json()["rejected"][0]["code"], "not_an_object");
        assert_eq!(http.answer().status, 200);
    }
    assert_eq!(node.metric("forebay_events_accepted_total"), 25);
}

#[test]
fn large_bodies_are_judged_as_small_ones_are() {
    let node = Node::alone(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let strict = event(100_000, "1");
    let broken = format!("{}x", &strict[..strict.len() - 1]);
    let mut http = node.http();
    for (path, body, status, code) in [
        ("/v1/events", strict.clone(), 202, ""),
        // Legal by the grammar, and refused by strict parsers: a second look takes them.
        ("/v1/events", event(100_000, "1e999"), 202, ""),
        ("/v1/events", event(100_000, r#""\ud83d""#), 202, ""),
        ("/v1/events", broken.clone(), 400, "invalid_json"),
        ("/v1/events", format!("[{strict}]"), 400, "not_an_object"),
        ("/v1/events", " ".repeat(100_000), 400, "empty_body"),
        ("/v1/events/batch", format!("[{broken}]"), 400, "invalid_json"),
        ("/v1/events/batch", format!("[{strict}"), 400, "invalid_json"),
        ("/v1/events/batch", format!("[{}]", " ".repeat(100_000)), 400, "empty_batch"),
        ("/v1/events/batch", format!("[{}]", event(300_000, "1")), 400, "invalid_json"),
        ("/v1/events/batch", format!("[{}1]", "1,".repeat(40_000)), 413, "too_large"),
    ] {
        let answer = http.post(path, &[("Authorization", &format!("Bearer {token}"))], body.as_bytes());
        assert_eq!(answer.status, status, "{path} {answer:?}");
        if status != 202 {
            assert_eq!(answer.code(), code, "{path}");
        }
    }
    assert_eq!(node.metric("forebay_events_accepted_total"), 3);
    let received = node.metric("forebay_events_received_total");
    assert_eq!(received, 3 + node.metric_sum("forebay_events_rejected_total{"), "the ledger balances");
}

#[test]
fn a_stop_waits_for_a_body_that_is_examined_and_a_client_that_leaves_is_forgotten() {
    // What has not been read when the node closes is not its any more.
    let mut node = Node::alone(&["--reactors", "1", "--drain-delay", "1s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let large = request(&token, "/v1/events", "", event(200_000, r#""value""#).as_bytes());
    for _ in 0..50 {
        let mut http = node.http();
        http.send(&large);
        drop(http);
    }
    await_true("they are gone", || node.metric("forebay_connections") == 0);
    // Its side is ended: the answer comes all the same.
    let mut ended = node.http();
    ended.send(&large);
    ended.end();
    assert_eq!(ended.answer().status, 202);
    let mut clients: Vec<Http> = (0..20).map(|_| node.http()).collect();
    for client in &mut clients {
        client.send(&large);
    }
    node.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.answer().status, 202);
    }
    assert_eq!(node.wait().code, Some(0));
}
