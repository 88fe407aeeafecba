//! Nodes with folders of their own that share apps and signing keys through the broker.

mod attacks;
mod balancer;
mod following;
mod in_process;
mod outage;
mod over_http;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use tempfile::TempDir;

use crate::support::{Node, Queue, await_true, await_true_within, forebay};

/// The contract's bound on a change, from the moment that a node reaches the broker.
const HOLDS_WITHIN: Duration = Duration::from_secs(5);

/// What the nodes of a fleet have in common.
struct Fleet {
    url: String,
    folder: TempDir,
    /// The control stream.
    stream: Queue,
}

impl Fleet {
    fn new(url: &str) -> Self {
        static FLEETS: AtomicU32 = AtomicU32::new(0);
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e.fleet.{}.{number}", std::process::id());
        let fleet = Self {
            url: url.to_owned(),
            folder: tempfile::tempdir().expect("a folder"),
            stream: Queue { url: url.to_owned(), name },
        };
        let made = forebay(&["fleet", "key", &fleet.key_file()]).output().expect("the command runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fleet
    }

    fn key_file(&self) -> String {
        self.folder.path().join("fleet.key").to_str().expect("a plain path").to_owned()
    }

    /// The flags of a node of the fleet, and more.
    fn flags(&self, more: &[&str]) -> Vec<String> {
        let own =
            ["--reactors", "1", "--fleet-key-file", &self.key_file(), "--control-stream", &self.stream.name];
        own.iter().chain(more).map(|flag| (*flag).to_owned()).collect()
    }

    /// A node that follows the fleet.
    fn node(&self) -> Node {
        self.node_with(&[])
    }

    fn node_with(&self, more: &[&str]) -> Node {
        let flags = self.flags(more);
        let node = Node::start_on(&self.url, &flags.iter().map(String::as_str).collect::<Vec<_>>());
        follows(&node);
        node
    }

    /// Another life of a node.
    fn again(&self, node: Node) -> Node {
        let flags = self.flags(&[]);
        node.again(Some(&self.url), &flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// All entries of the stream: offset and bytes.
    fn entries(&self) -> Vec<(i64, Vec<u8>)> {
        let mut entries = Vec::new();
        self.stream.on_channel(async |channel| {
            channel.basic_qos(100, BasicQosOptions::default()).await.expect("a prefetch");
            let mut first = FieldTable::default();
            first.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
            let name = self.stream.name.as_str().into();
            let consumer = channel.basic_consume(name, "test".into(), BasicConsumeOptions::default(), first);
            let mut consumer = consumer.await.expect("the stream");
            while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await
            {
                let delivery = delivery.expect("an entry");
                delivery.ack(BasicAckOptions::default()).await.expect("an ack");
                let headers = delivery.properties.headers().clone().expect("headers");
                let Some(AMQPValue::LongLongInt(offset)) = headers.inner().get("x-stream-offset") else {
                    panic!("no offset: {headers:?}");
                };
                entries.push((*offset, delivery.data));
            }
        });
        entries
    }

    /// Writes entries with nothing but access to the broker.
    fn write(&self, entries: &[Vec<u8>]) {
        self.stream.on_channel(async |channel| write_on(&channel, &self.stream.name, entries).await);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stream.delete();
    }
}

async fn write_on(channel: &Channel, stream: &str, entries: &[Vec<u8>]) {
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.expect("confirms");
    for entry in entries {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let confirm = channel.basic_publish("".into(), stream.into(), options, entry, properties).await;
        confirm.expect("sent").await.expect("confirmed");
    }
}

fn follows(node: &Node) {
    await_true("the node follows its fleet", || node.metric("forebay_registry_stale_seconds") == 0);
}

/// Awaits what has to hold everywhere.
fn holds(what: &str, since: Instant, is_so: impl FnMut() -> bool) {
    await_true_within(HOLDS_WITHIN.saturating_sub(since.elapsed()), what, is_so);
}

fn entries(node: &Node, outcome: &str) -> u64 {
    node.metric(&format!("forebay_fleet_entries_total{{outcome=\"{outcome}\"}}"))
}

/// The apps of a node's file, by id.
fn apps(node: &Node) -> serde_json::Value {
    let text = std::fs::read(node.apps_file()).unwrap_or_else(|_| br#"{"apps":[]}"#.to_vec());
    let mut file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let mut apps = file["apps"].take().as_array().expect("a list").clone();
    apps.sort_by_key(|app| app["id"].as_str().expect("an id").to_owned());
    apps.into()
}
