//! Thousands of clients that send a byte a second, and others who notice nothing of them.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::support::{Broker, Loadtest, Node, await_true, socket_to};
use crate::{is_speed_judged, number};

/// How much longer a 202 may take beside them, 99 of 100.
const P99_FACTOR_MAX: f64 = 2.0;
const BYTE_EVERY: Duration = Duration::from_secs(1);

/// Sends a byte a second on each connection, spread over the second.
fn drip(node: &Node, count: usize, end: &Receiver<()>) {
    let mut clients: Vec<_> = (0..count).map(|_| socket_to(node.address)).collect();
    for client in &mut clients {
        client.write_all(b"POST /v1/events HTTP/1.1\r\nHost: t\r\nX-Slow: ").expect("the node reads");
    }
    let mut at = Instant::now();
    let step = BYTE_EVERY / u32::try_from(count).expect("a few thousand");
    loop {
        for client in &mut clients {
            at += step;
            if end.recv_deadline(at) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            client.write_all(b"x").expect("the node reads");
        }
    }
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "microseconds")]
fn clients_that_send_a_byte_a_second_slow_nobody_else_down() {
    let (count, seconds) = (number("SLOW_CONNECTIONS", 500), number("SLOW_SECONDS", 3));
    // What is timed has the machine for itself.
    let _alone = Broker::chaos();
    // They would be gone after 5 seconds.
    let node = Node::alone(&["--cpus", "0", "--reactors", "1", "--head-timeout", "10m"]);
    let app = node.app("slow");
    let load = Loadtest { node: &node, app: &app };
    let duration = format!("{seconds}s");
    let run = || load.run(&["--duration", &duration, "--rate", "2000", "--connections", "16", "--cpus", "1"]);
    let (base, beside) = thread::scope(|scope| {
        let base = run();
        let (going_on, end) = bounded::<()>(0);
        let slow = usize::try_from(count).expect("a few thousand");
        let node = &node;
        scope.spawn(move || drip(node, slow, &end));
        await_true("all are connected", || node.metric("forebay_connections") >= count);
        let beside = run();
        assert!(node.metric("forebay_connections") >= count, "they are still there");
        drop(going_on);
        (base, beside)
    });
    let p99 = |report: &serde_json::Value| report["latency_us"]["p99"].as_u64().expect("a latency");
    let (base, beside) = (p99(&base), p99(&beside));
    let factor = beside as f64 / base as f64;
    eprintln!("beside {count} slow connections: p99 {beside} µs, {factor:.2} times the base of {base} µs");
    assert!(factor < P99_FACTOR_MAX || !is_speed_judged(), "{beside} of {base} µs");
}
