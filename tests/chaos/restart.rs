//! A node that comes back to a large backlog takes events again at once.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise, fdatasync};

use crate::support::{Broker, Loadtest, Node, await_true, await_true_within};
use crate::{is_speed_judged, number};

const READY_WITHIN: Duration = Duration::from_secs(5);
const FILLED_WITHIN: Duration = Duration::from_mins(10);
/// Small events: there are the more of them to look at.
const EVENT_BYTES: usize = 600;
/// What two reactors have ready beyond what they filled, MiB.
const SPARE_MIB: u64 = 2 * 3 * 16;

#[test]
fn a_node_with_a_large_backlog_is_ready_within_seconds() {
    let mib = number("RESTART_MIB", 32);
    // What is timed has the machine for itself.
    let _alone = Broker::chaos();
    let flags = ["--journal-max", "8GiB", "--reactors", "2"];
    let mut node = Node::spawn_at_home(None, &flags);
    let app = node.app("restart");
    let body = node.folder.path().join("body");
    std::fs::write(&body, body_of(EVENT_BYTES)).expect("a file");
    let body = body.to_str().expect("a plain path");
    let load = Loadtest { node: &node, app: &app };
    let running =
        load.start(&["--duration", "1440m", "--connections", "32", "--pipeline", "8", "--payload", body]);
    let wanted = (mib + SPARE_MIB) << 20;
    await_true_within(FILLED_WITHIN, "the backlog", || node.metric("forebay_journal_bytes") >= wanted);
    let accepted = running.stop()["accepted"].as_u64().expect("a count");
    for is_cold in [false, true] {
        let pending = node.metric("forebay_events_pending");
        node.kill();
        let journal = node.folder.path().join("forebay-data/journal");
        if is_cold {
            each_file(&journal, &mut forget);
        }
        let since = Instant::now();
        node.revive(None, &flags);
        await_true("the node is ready", || node.readyz().status == 200);
        let took = since.elapsed();
        let cache = if is_cold { "cold" } else { "warm" };
        eprintln!("ready after {took:.2?} with {pending} events in {mib} MiB, the page cache {cache}");
        assert!(took < READY_WITHIN || !is_speed_judged(), "{took:?}");
        assert_eq!(node.metric("forebay_events_pending"), pending, "all of them are there");
        assert!(pending >= accepted, "{accepted} got their 202");
    }
}

/// A JSON body of so many bytes.
pub(crate) fn body_of(bytes: usize) -> String {
    let head = r#"{"message":"Cannot read properties of undefined","pad":""#;
    format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
}

fn each_file(folder: &Path, act: &mut impl FnMut(&File)) {
    for entry in std::fs::read_dir(folder).expect("the journal") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            each_file(&path, act);
        } else {
            act(&File::open(path).expect("a segment"));
        }
    }
}

/// Lets the kernel forget what it has of a file, so that it has to be read from the disk.
fn forget(file: &File) {
    fdatasync(file).expect("a sync");
    fadvise(file, 0, None, Advice::DontNeed).expect("advice");
}
