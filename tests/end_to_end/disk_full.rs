//! A disk that has no more room: new events are refused, the process lives, and service returns when the disk does.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Broker, Node, await_some, await_true};

/// A small file system of its own, in memory; gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "forebay-test"], folder.path());
        Self(folder)
    }

    fn resize(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], self.0.path());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn mount(args: &[&str], folder: &Path) {
    let status = Command::new("mount").args(args).arg(folder).status().expect("mount runs");
    assert!(status.success(), "mount {args:?}: the tests run as root");
}

#[test]
fn a_full_disk_refuses_new_events_and_takes_them_again_when_there_is_space() {
    let disk = SmallDisk::new("40m");
    let folder = disk.0.path().join("journal");
    let node = Node::alone(&["--reactors", "1", "--journal-dir", folder.to_str().expect("plain")]);
    let app = node.app("demo");
    let token = node.token(&app);
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    let mut http = node.http();
    let mut accepted = 0;
    // A burst may be refused as `overloaded` for a moment, ahead of the next segment.
    let refused = await_some("the disk is full", || {
        let answer = http.event(&token, &body);
        accepted += u32::from(answer.status == 202);
        (answer.status == 503 && answer.code() == "journal_failed").then_some(answer)
    });
    assert!(accepted > 50, "{accepted} events of 200 kB");
    assert!(refused.field("Retry-After").is_some());
    await_true("readiness says so", || node.readyz().status == 503);
    assert_eq!(node.readyz().json()["reason"], "journal_failed");
    assert!(node.said("the journal's disk fails").is_some());
    disk.resize("200m");
    await_true("events are taken again", || http.event(&token, &body).status == 202);
    await_true("readiness says so", || node.readyz().status == 200);
    assert!(node.said("the journal's disk works again").is_some());
    let pending = node.metric("forebay_events_pending");
    let node = node.again(None, &["--reactors", "1", "--journal-dir", folder.to_str().expect("plain")]);
    assert_eq!(
        node.metric("forebay_events_pending"),
        pending,
        "nothing is lost, and nothing refused came back"
    );
    drop(node);
}

#[test]
fn on_a_disk_that_is_full_to_the_last_byte_the_broker_makes_room() {
    let outage = Broker::exclusive();
    let url = outage.broker.url();
    outage.broker.stop();
    let disk = SmallDisk::new("40m");
    let folder = disk.0.path().join("journal");
    let flags = ["--reactors", "1", "--journal-dir", folder.to_str().expect("plain")];
    let node = Node::spawn(&url, &flags, &[]);
    await_true("the node is ready", || node.readyz().status == 200);
    let token = node.token(&node.app("demo"));
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    let mut http = node.http();
    let mut accepted = 0;
    await_true("the journal fills the disk", || {
        let answer = http.event(&token, &body);
        accepted += u64::from(answer.status == 202);
        answer.status == 503 && answer.code() == "journal_failed"
    });
    // Somebody else takes what is left.
    let mut other = std::fs::File::create(disk.0.path().join("other")).expect("a name needs no room");
    // Until the node, which tries again and again, has given all of it back.
    let mut full_since = Instant::now();
    await_true("not a byte is free for good", || {
        while other.write_all(&[1; 4096]).is_ok() {
            full_since = Instant::now();
        }
        full_since.elapsed() > Duration::from_secs(2)
    });
    outage.broker.start();
    await_true("the broker has it all", || node.metric("forebay_events_pending") == 0);
    await_true("events are taken again", || http.event(&token, &body).status == 202);
    await_true("readiness says so", || node.readyz().status == 200);
    assert_eq!(node.queue.take(usize::try_from(accepted).expect("a few")).len() as u64, accepted);
    drop(node);
    drop(disk);
}
