//! `forebay journal`: what it says of a journal, and that no event is lost by it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Broker, Node, await_true, forebay};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `forebay journal …` in the node's folder.
fn journal(node: &Node, args: &[&str]) -> Output {
    node.command(&[&["journal"], args].concat())
}

/// Runs it, and it works.
fn said(node: &Node, args: &[&str]) -> String {
    let output = journal(node, args);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn listed(node: &Node) -> Value {
    serde_json::from_str(&said(node, &["ls", "--json"])).expect("JSON")
}

/// The ids of CloudEvents, one a line.
fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("an event a line");
        event["id"].as_str().expect("an id").to_owned()
    };
    lines.lines().map(id).collect()
}

fn send(node: &Node, token: &str, count: usize) -> Vec<String> {
    let mut http = node.http();
    (0..count).map(|n| http.event(token, format!("{{\"n\":\n{n}}}")).id()).collect()
}

fn file(node: &Node, name: &str) -> PathBuf {
    node.folder.path().join(name)
}

#[test]
fn a_node_without_a_broker_is_emptied_while_it_runs_and_when_it_has_stopped() {
    let node = Node::alone(&["--reactors", "1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let first = send(&node, &token, 20);
    assert!(said(&node, &["ls"]).contains("20 events, 20 of them not confirmed"));
    assert!(said(&node, &["check"]).starts_with("sound: 1 logs"));
    assert_eq!(ids(&said(&node, &["cat"])), first);
    said(&node, &["export", "--release", "--to", "first.ndjson"]);
    let exported = std::fs::read_to_string(file(&node, "first.ndjson")).expect("written");
    assert_eq!(ids(&exported), first);
    assert_eq!(
        (node.metric("forebay_events_pending"), node.metric("forebay_events_confirmed_total")),
        (0, 20)
    );
    assert!(!file(&node, "forebay-data/journal/release.json").exists());
    // A file that is there is never overwritten.
    let again = journal(&node, &["export", "--release", "--to", "first.ndjson"]);
    assert!(!again.status.success() && text(&again.stderr).contains("exists"), "{}", text(&again.stderr));

    let second = send(&node, &token, 5);
    assert_eq!(ids(&said(&node, &["cat", "--pending"])), second);
    assert_eq!(ids(&said(&node, &["export"])), second);
    let refused = journal(&node, &["repair"]);
    assert!(text(&refused.stderr).contains("in use by process"), "{}", text(&refused.stderr));
    let mut node = node;
    node.signal(Signal::TERM);
    node.wait();
    assert_eq!(listed(&node)["pending"], 5);
    said(&node, &["export", "--release", "--to", "second.ndjson"]);
    assert_eq!(ids(&std::fs::read_to_string(file(&node, "second.ndjson")).expect("written")), second);
    assert_eq!(listed(&node)["pending"], 0);
    let node = node.again(None, &["--reactors", "1"]);
    let metric = |name: &str| node.metric(&format!("forebay_events_{name}"));
    assert_eq!((metric("pending"), metric("confirmed_total"), metric("accepted_total")), (0, 25, 25));
}

#[test]
fn cat_follows_a_running_node_and_ends_with_its_reader() {
    let node = Node::alone(&["--reactors", "1"]);
    let token = node.token(&node.app("demo"));
    let mut sent = send(&node, &token, 3);
    let mut command = forebay(&["journal", "cat", "--follow"]);
    command.current_dir(node.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || ids(&lines.next().expect("another line").expect("text")).remove(0);
    let mut seen: Vec<String> = (0..3).map(|_| next()).collect();
    sent.extend(send(&node, &token, 4));
    seen.extend((0..4).map(|_| next()));
    assert_eq!(seen, sent);
    drop(lines);
    await_true("it ends with its reader", || child.try_wait().expect("a child").is_some());
    let output = child.wait_with_output().expect("it ended");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn a_node_with_a_broker_keeps_its_events_to_itself() {
    let node = Node::start(&[]);
    let output = journal(&node, &["export", "--release", "--to", "all.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has a broker"), "{}", text(&output.stderr));
    assert!(!file(&node, "all.ndjson").exists(), "nothing was written");
}

#[test]
fn a_repair_saves_all_but_the_batch_that_was_damaged() {
    let mut node = Node::alone(&["--reactors", "1"]);
    let token = node.token(&node.app("demo"));
    // One after the other: each is a batch.
    let sent = send(&node, &token, 9);
    node.kill();
    let segments = listed(&node)["segments"].clone();
    let used = segments.as_array().expect("a list").iter().find(|segment| segment["events"] == 9);
    let used = used.expect("one segment has all");
    let path = format!(
        "forebay-data/journal/{}/{}",
        used["log"].as_str().expect("a log"),
        used["file"].as_str().expect("a file")
    );
    let mut bytes = std::fs::read(file(&node, &path)).expect("there");
    let fourth =
        bytes.windows(4).enumerate().filter(|(_, four)| *four == b"FBJ1").nth(4).expect("nine batches").0;
    bytes[fourth + 60] ^= 4;
    std::fs::write(file(&node, &path), &bytes).expect("written");
    let checked = journal(&node, &["check"]);
    let what = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{what}");
    assert!(
        what.contains(&format!("at byte {fourth}")) && what.contains("4 batches with 4 events behind it"),
        "{what}"
    );
    let repaired = said(&node, &["repair"]);
    assert!(repaired.contains("saved 4 events"), "{repaired}");
    assert!(said(&node, &["repair"]).contains("nothing to repair"));
    assert!(said(&node, &["check"]).starts_with("sound"));
    let node = node.again(Some(&Broker::main().url()), &["--reactors", "1"]);
    await_true("all are confirmed", || node.metric("forebay_events_pending") == 0);
    let delivered: BTreeSet<String> = node.queue.take(8).iter().map(|event| event.id().to_owned()).collect();
    let expected: BTreeSet<String> =
        sent.iter().enumerate().filter(|(n, _)| *n != 4).map(|(_, id)| id.clone()).collect();
    assert_eq!(delivered, expected);
}
