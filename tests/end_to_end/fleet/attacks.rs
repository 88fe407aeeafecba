//! What access to the broker alone can do: nothing to the apps, and it is counted.

use std::time::Instant;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use super::{Fleet, apps, entries, follows, holds, write_on};
use crate::support::{Broker, await_true};

#[test]
fn what_is_forged_tampered_with_or_repeated_changes_nothing_and_is_counted() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let app = a.app("demo");
    a.app_command(&["regenerate", &app.id]);
    a.app_command(&["disable", &app.id]);
    await_true("both have the changes", || apps(&a) == apps(&b) && apps(&b)[0]["version"] == 3);
    let before = apps(&a);
    let written: Vec<_> = fleet.entries().into_iter().map(|(_, entry)| entry).collect();
    // Each entry with one bit of another part of it turned over, and what was never an entry.
    let mut forged: Vec<Vec<u8>> = vec![b"{}".to_vec(), vec![1; 80], Vec::new()];
    for (number, entry) in written.iter().enumerate() {
        let mut tampered = entry.clone();
        let at = [0, 1, 5, 20, 30, 40, tampered.len() - 1][number % 7];
        tampered[at] ^= 1;
        forged.push(tampered);
    }
    let refused = (entries(&a, "refused"), entries(&b, "refused"));
    fleet.write(&forged);
    let count = forged.len() as u64;
    await_true("all are refused", || {
        entries(&a, "refused") == refused.0 + count && entries(&b, "refused") == refused.1 + count
    });
    assert!(a.said("refused an entry of the fleet's stream").is_some());
    let told = a.everything().iter().filter(|line| line.contains("refused an entry")).count();
    assert_eq!(told, 1, "not once for each");
    // All of it again, backwards.
    let seen = entries(&a, "known") + entries(&a, "conflict");
    let changes = written.iter().filter(|entry| entry[1] != 5).count() as u64;
    fleet.write(&written.iter().rev().cloned().collect::<Vec<_>>());
    await_true("all are seen", || entries(&a, "known") + entries(&a, "conflict") >= seen + changes);
    assert_eq!((apps(&a), apps(&b)), (before.clone(), before));
    // The fleet goes on.
    let since = Instant::now();
    b.app_command(&["enable", &app.id]);
    holds("a change holds", since, || apps(&a) == apps(&b) && apps(&a)[0]["enabled"] == true);
}

#[test]
fn a_stream_that_is_removed_is_made_again_from_what_the_nodes_have() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let app = a.app("demo");
    b.token(&app);
    let connects = [&a, &b].map(|node| node.metric("forebay_fleet_connects_total"));
    fleet.stream.delete_alone();
    await_true("both begin anew", || {
        [&a, &b]
            .iter()
            .zip(connects)
            .all(|(node, before)| node.metric("forebay_fleet_connects_total") > before)
    });
    [&a, &b].into_iter().for_each(follows);
    let since = Instant::now();
    a.app_command(&["disable", &app.id]);
    holds("a change holds", since, || apps(&b)[0]["enabled"] == false);
    // Whoever comes now finds it all.
    let c = fleet.node();
    await_true("the new node has it", || apps(&c) == apps(&a));
}

#[test]
fn an_old_stream_in_the_place_of_the_fleets_takes_no_version_back() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let app = a.app("demo");
    b.token(&app);
    let old: Vec<_> = fleet.entries().into_iter().map(|(_, entry)| entry).collect();
    a.app_command(&["regenerate", &app.id]);
    a.app_command(&["disable", &app.id]);
    await_true("both have the changes", || apps(&a) == apps(&b) && apps(&b)[0]["version"] == 3);
    let newest = apps(&a);
    let folders = [a.folder.clone(), b.folder.clone()];
    // Nobody looks while the stream is replaced by what it was.
    let (mut a, mut b) = (a, b);
    a.kill();
    b.kill();
    fleet.stream.on_channel(async |channel| {
        let name = fleet.stream.name.as_str();
        channel
            .queue_delete(name.into(), lapin::options::QueueDeleteOptions::default())
            .await
            .expect("removed");
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(256 << 20));
        arguments.insert("x-stream-max-segment-size-bytes".into(), AMQPValue::LongLongInt(16 << 20));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, arguments).await.expect("made");
        write_on(&channel, name, &old).await;
    });
    let (a, b) = (fleet.again(a), fleet.again(b));
    [&a, &b].into_iter().for_each(follows);
    // What a new node finds is what the others have brought back.
    let c = fleet.node();
    await_true("all have the newest", || [&a, &b, &c].iter().all(|node| apps(node) == newest));
    assert!(folders.iter().all(|folder| folder.path().join("forebay-data/fleet-state.json").exists()));
}
