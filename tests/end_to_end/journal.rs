//! What got a 202 is there after every end of the process, and the journal says what it holds.

use crate::support::{Broker, Loadtest, Node, await_true};

#[test]
fn without_a_broker_events_stay_in_the_journal_and_a_broker_that_is_given_later_gets_them() {
    let node = Node::alone(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut http = node.http();
    let mut ids: Vec<String> = (0..100).map(|n| http.event(&token, format!("{{\"n\":{n}}}")).id()).collect();
    assert_eq!(
        (node.metric("forebay_events_accepted_total"), node.metric("forebay_events_pending")),
        (100, 100)
    );
    // Two more lives, the first of which ends in peace.
    let mut node = node;
    node.signal(rustix::process::Signal::TERM);
    let stopped = node.wait();
    assert_eq!((stopped.code, stopped.line["pending"].as_u64()), (Some(0), Some(100)), "{stopped:?}");
    let node = node.again(None, &["--reactors", "3"]);
    assert_eq!(
        (node.metric("forebay_events_accepted_total"), node.metric("forebay_events_pending")),
        (100, 100)
    );
    let mut http = node.http();
    ids.extend((0..10).map(|n| http.event(&token, format!("{{\"n\":{n}}}")).id()));
    let url = Broker::main().url();
    let node = node.again(Some(&url), &["--reactors", "1"]);
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    let accepted = node.metric("forebay_events_accepted_total");
    assert_eq!((accepted, node.metric("forebay_events_confirmed_total")), (110, 110));
    let mut delivered: Vec<String> = node.queue.take(110).iter().map(|event| event.id().to_owned()).collect();
    delivered.sort();
    ids.sort();
    assert_eq!(delivered, ids, "each once");
    // Logs of earlier lives go when they are settled.
    let logs = || {
        let entries =
            std::fs::read_dir(node.folder.path().join("forebay-data/journal")).expect("the journal");
        entries.filter(|entry| entry.as_ref().expect("an entry").path().is_dir()).count()
    };
    await_true("only the log of this life is left", || logs() == 1);
}

#[test]
fn kills_under_load_lose_nothing_that_was_written() {
    let url = Broker::main().url();
    let mut node = Node::start_on(&url, &[]);
    let app = node.app("demo");
    let mut reports = 0;
    for _ in 0..5 {
        let load = Loadtest { node: &node, app: &app };
        let running = load.start(&["--duration", "60s", "--connections", "16"]);
        let accepted = node.metric("forebay_events_accepted_total");
        await_true("the flow", || node.metric("forebay_events_accepted_total") > accepted + 500);
        node.kill();
        let report = running.stop();
        reports += report["accepted"].as_u64().expect("a count");
        node = node.again(Some(&url), &[]);
    }
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    let load = Loadtest { node: &node, app: &app };
    let findings = load.verify();
    let count = |name: &str| findings[name].as_array().expect("a list").len();
    assert_eq!(findings["accepted"].as_u64(), Some(reports));
    assert_eq!((count("missing"), count("changed")), (0, 0), "{findings}");
}

#[test]
fn two_nodes_never_share_a_journal() {
    let node = Node::alone(&[]);
    let second = node.command(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(78), "{said}");
    assert!(said.contains("in use by process") && said.contains("one journal serves one node"), "{said}");
}
