//! Connections of every kind, on real sockets.

use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::{Http, Node, await_true};

fn event(token: &str, fields: &str, body: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut http = node.http();
    let many: String = (0..200)
        .map(|n| match n % 4 {
            0 => "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
            1 => event(&token, &format!("X-Request-Id: {n}\r\n"), "{bad"),
            2 => event(&token, &format!("X-Request-Id: {n}\r\nForebay-Ack: confirmed\r\n"), "{}"),
            _ => event(&token, &format!("X-Request-Id: {n}\r\n"), "{}"),
        })
        .collect();
    http.send(many.as_bytes());
    for n in 0..200 {
        let answer = http.answer();
        let expected = [200, 400, 202, 202][n % 4];
        assert_eq!(answer.status, expected, "answer {n}");
        if expected != 200 {
            assert_eq!(answer.field("X-Request-Id"), Some(n.to_string().as_str()));
        }
    }
    node.queue.take(100);
}

#[test]
fn http10_half_close_and_connection_close_are_honoured() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut http = node.http();
    http.send(event(&token, "", "{}").as_bytes());
    http.end();
    assert_eq!(http.answer().status, 202, "a client that ends its side still gets its answer");
    assert!(http.has_ended());
    let mut http = node.http();
    http.send(event(&token, "Connection: close\r\n", "{}").as_bytes());
    assert_eq!(http.answer().field("Connection"), Some("close"));
    assert!(http.has_ended());
    let mut http = node.http();
    http.send(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(http.answer().field("Connection"), Some("keep-alive"));
    assert_eq!(http.answer().field("Connection"), Some("close"));
    assert!(http.has_ended());
    node.queue.take(2);
}

#[test]
fn an_answer_is_not_destroyed_by_a_body_that_nobody_reads() {
    let node = Node::start(&[]);
    let mut http = node.http();
    let head = "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n";
    http.send(head.as_bytes());
    http.send(&vec![b'x'; 4_000_000]);
    let answer = http.answer();
    assert_eq!((answer.status, answer.field("Connection")), (413, Some("close")));
}

#[test]
fn descriptors_that_run_out_pause_the_accept_and_nothing_spins() {
    let node = Node::start(&["--reactors", "1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut before = node.http();
    assert_eq!(before.event(&token, "{}").status, 202);
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero()))
        .expect("a process")
        .count() as u64;
    let limit = |current| Rlimit { current: Some(current), maximum: Some(20_000) };
    prlimit(Some(node.pid()), Resource::Nofile, limit(open + 2)).expect("our own child");
    let more: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(node.address).expect("the backlog takes it")).collect();
    // The admin listener needs descriptors too, so the public one is asked.
    assert_eq!(before.event(&token, "{}").status, 202, "those who are in are served");
    let busy = cpu_ms(&node);
    for _ in 0..20 {
        assert_eq!(before.event(&token, "{}").status, 202);
    }
    let spent = cpu_ms(&node) - busy;
    assert!(spent < 500, "{spent} ms of CPU for twenty requests");
    drop(more);
    prlimit(Some(node.pid()), Resource::Nofile, limit(20_000)).expect("our own child");
    let mut after = Http::connect(node.address);
    assert_eq!(after.event(&token, "{}").status, 202, "new ones are served again");
}

fn cpu_ms(node: &Node) -> u64 {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", node.pid().as_raw_nonzero())).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
    ticks * 10
}

#[test]
fn beyond_the_cap_connections_are_refused_until_one_ends() {
    let node = Node::start(&["--max-connections", "3"]);
    let held: Vec<Http> = (0..3)
        .map(|_| {
            let mut http = node.http();
            assert_eq!(http.get("/livez").status, 200);
            http
        })
        .collect();
    let answer = node.http().answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert!(answer.field("Retry-After").is_some());
    drop(held);
    await_true("there is room again", || {
        let mut http = node.http();
        http.send(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n");
        http.answer().status == 200
    });
}

#[test]
fn ten_thousand_idle_connections_add_less_than_5_mb() {
    const IDLE: usize = 10_000;
    const BYTES_MAX: usize = 5_000_000;
    // Both sides' descriptors: ours are in this process.
    forebay::uring::raise_descriptor_limit().expect("our own limit");
    let node = Node::start(&["--idle-timeout", "600s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    // As many events at once as come below in all: what they take is theirs, and not that of idle connections.
    let mut warm = node.http();
    for _ in 0..IDLE / 100 {
        warm.send(event(&token, "", "{}").repeat(100).as_bytes());
        for _ in 0..100 {
            assert_eq!(warm.answer().status, 202);
        }
    }
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    let before = node.memory_bytes();
    let idle: Vec<Http> = (0..IDLE)
        .map(|_| {
            let mut http = node.http();
            assert_eq!(http.event(&token, "{}").status, 202, "each was used once");
            http
        })
        .collect();
    await_true("all are open", || node.metric("forebay_connections") >= IDLE as u64);
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    let grown = node.memory_bytes().saturating_sub(before);
    drop(idle);
    assert!(grown < BYTES_MAX, "{grown} bytes for {IDLE} idle connections");
}

#[test]
fn an_address_has_its_share_of_connections_and_no_more() {
    let node = Node::alone(&["--max-connections-per-address", "3"]);
    let mut held: Vec<Http> = (0..3).map(|_| node.http()).collect();
    for http in &mut held {
        assert_eq!(http.get("/livez").status, 200);
    }
    let mut fourth = node.http();
    let refused = fourth.answer();
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.field("Connection"), Some("close"));
    assert!(
        refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("address")),
        "{refused:?}"
    );
    drop((fourth, held.pop()));
    await_true("a place is free again", || {
        let mut http = node.http();
        http.send(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n");
        http.answer().status == 200
    });
    assert!(held.iter_mut().all(|http| http.get("/livez").status == 200), "the others were left alone");
}

#[test]
fn an_old_connection_ends_with_its_next_answer() {
    let node = Node::alone(&["--max-connection-age", "1s"]);
    let mut http = node.http();
    assert_eq!(http.get("/livez").field("Connection"), None);
    await_true("it is old", || http.get("/livez").field("Connection") == Some("close"));
    assert!(http.has_ended());
    assert_eq!(node.http().get("/livez").field("Connection"), None);
}
