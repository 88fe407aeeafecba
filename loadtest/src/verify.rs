//! `verify`: is every accepted event in the queue, once and unchanged, and nothing else?

use std::collections::HashMap;
use std::path::Path;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Verdict;
use crate::options::VerifyOptions;
use crate::request::hash;

/// Messages on their way to us that we have not acknowledged.
const PREFETCH: u16 = 64;
/// How many ids of a kind are shown.
const SHOWN_MAX: usize = 10;

type AnyError = Box<dyn std::error::Error>;

/// A `CloudEvents` item, as far as it matters here.
#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What became of an accepted event.
#[derive(Debug, Default)]
struct Fate {
    hash: String,
    seen: u64,
    changed: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Findings {
    accepted: u64,
    found: u64,
    messages: u64,
    missing: Vec<String>,
    repeated: Vec<String>,
    changed: Vec<String>,
    unknown: Vec<String>,
}

/// Drains the queue and compares.
pub(crate) fn verify(options: &VerifyOptions) -> Result<Verdict, AnyError> {
    let mut fates = HashMap::new();
    for path in &options.ids {
        read_ids(path, &mut fates)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings = runtime.block_on(drain(options, &mut fates))?;
    findings.accepted = fates.len() as u64;
    for (id, fate) in fates {
        match fate {
            Fate { seen: 0, .. } => findings.missing.push(id),
            Fate { changed: true, .. } => findings.changed.push(id),
            Fate { seen: 2.., .. } => findings.repeated.push(id),
            Fate { .. } => {}
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        println!("accepted  {}", findings.accepted);
        println!("found     {} in {} messages", findings.found, findings.messages);
        for (name, ids) in [
            ("missing", &findings.missing),
            ("repeated", &findings.repeated),
            ("changed", &findings.changed),
            ("unknown", &findings.unknown),
        ] {
            println!("{name:9} {} {}", ids.len(), ids[..ids.len().min(SHOWN_MAX)].join(" "));
        }
    }
    // Repeats are what at-least-once means.
    let is_known = options.allow_unknown || findings.unknown.is_empty();
    let is_good = findings.missing.is_empty() && findings.changed.is_empty() && is_known;
    Ok(if is_good { Verdict::Good } else { Verdict::Bad })
}

fn read_ids(path: &Path, fates: &mut HashMap<String, Fate>) -> Result<(), AnyError> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("--ids {}: {error}", path.display()))?;
    for line in text.lines() {
        let (id, hash) =
            line.split_once(' ').ok_or_else(|| format!("{}: `{line}` is no id and hash", path.display()))?;
        fates.insert(id.to_owned(), Fate { hash: hash.to_owned(), ..Fate::default() });
    }
    Ok(())
}

/// Consumes until all events were seen and the queue is quiet, or until patience ends.
async fn drain(options: &VerifyOptions, fates: &mut HashMap<String, Fate>) -> Result<Findings, AnyError> {
    let url: AMQPUri = options
        .amqp_url
        .parse()
        .map_err(|_| "--amqp-url is no URL like amqp://user:password@host:5672/%2f")?;
    let connection = Connection::connect_uri(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut consumer = channel
        .basic_consume(
            options.queue.as_str().into(),
            "forebay-loadtest".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let mut findings = Findings::default();
    while let Ok(Some(delivery)) = tokio::time::timeout(options.patience, consumer.next()).await {
        let delivery = delivery?;
        findings.messages += 1;
        let items: Vec<Item<'_>> = serde_json::from_slice(&delivery.data)
            .map_err(|error| format!("a message is no CloudEvents batch: {error}"))?;
        for item in items {
            findings.found += 1;
            match fates.get_mut(item.id) {
                Some(fate) => {
                    fate.seen += 1;
                    fate.changed |= hash(item.data.get().as_bytes()) != fate.hash;
                }
                None => findings.unknown.push(item.id.to_owned()),
            }
        }
        delivery.ack(BasicAckOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(findings)
}
