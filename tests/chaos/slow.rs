//! Thousands of clients that send a byte a second, and others who notice nothing of them.

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::support::{Broker, Loadtest, Node, await_true, socket_to};
use crate::{is_speed_judged, number};

/// How much longer a 202 may take beside them, 99 of 100.
const P99_FACTOR_MAX: f64 = 2.0;
/// They come in groups, spread over the second.
const GROUPS: u32 = 100;
const LOAD_CPU: usize = 1;
const BYTE_EVERY: Duration = Duration::from_secs(1);

/// Holds connections in the midst of a head, and sends a byte a second on each while `dripping`.
fn drip(node: &Node, count: usize, dripping: &AtomicBool, end: &Receiver<()>) {
    let mut clients: Vec<_> = (0..count).map(|_| socket_to(node.address)).collect();
    for client in &mut clients {
        client.write_all(b"POST /v1/events HTTP/1.1\r\nHost: t\r\nX-Slow: ").expect("the node reads");
    }
    // Beside the good clients, who are to measure the node and not what it costs to be many.
    forebay::uring::pin_thread(&[LOAD_CPU]).expect("there are two CPUs");
    setpriority_process(Some(gettid()), 19).expect("a thread of ours");
    let mut at = Instant::now();
    loop {
        for group in clients.chunks_mut(count.div_ceil(GROUPS as usize)) {
            at += BYTE_EVERY / GROUPS;
            if end.recv_deadline(at) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            for client in group.iter_mut().filter(|_| dripping.load(Relaxed)) {
                client.write_all(b"x").expect("the node reads");
            }
        }
    }
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "microseconds")]
fn clients_that_send_a_byte_a_second_slow_nobody_else_down() {
    let (count, rounds) = (number("SLOW_CONNECTIONS", 500), number("SLOW_ROUNDS", 1));
    // What is timed has the machine for itself.
    let _alone = Broker::chaos();
    // They would be gone after 5 seconds.
    let node = Node::alone(&["--cpus", "0", "--reactors", "1", "--head-timeout", "30m"]);
    let app = node.app("slow");
    let load = Loadtest { node: &node, app: &app };
    let p99 = || {
        let cpu = LOAD_CPU.to_string();
        let report = load.run(&["--duration", "3s", "--rate", "2000", "--connections", "16", "--cpus", &cpu]);
        report["latency_us"]["p99"].as_u64().expect("a latency")
    };
    let dripping = AtomicBool::new(false);
    // One beside the other, and the middle of many: what 99 of 100 take is little and moves much.
    let (mut base, mut beside) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let (going_on, end) = bounded::<()>(0);
        // Dropped when this thread fails, too.
        let _going_on = going_on;
        let slow = usize::try_from(count).expect("a few thousand");
        let (node, dripping) = (&node, &dripping);
        scope.spawn(move || drip(node, slow, dripping, &end));
        await_true("all are connected", || node.metric("forebay_connections") >= count);
        for _ in 0..rounds {
            for (drips, found) in [(false, &mut base), (true, &mut beside)] {
                dripping.store(drips, Relaxed);
                found.push(p99());
            }
        }
        assert!(node.metric("forebay_connections") >= count, "they are still there");
    });
    let (base, beside) = (middle(&mut base), middle(&mut beside));
    let factor = beside as f64 / base as f64;
    eprintln!("beside {count} slow connections: p99 {beside} µs, {factor:.2} times the base of {base} µs");
    assert!(factor < P99_FACTOR_MAX || !is_speed_judged(), "{beside} of {base} µs");
}

fn middle(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}
