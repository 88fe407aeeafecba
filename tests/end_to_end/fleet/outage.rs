//! The broker is away.

use std::collections::HashSet;
use std::time::Instant;

use super::{Fleet, apps, entries, follows, holds};
use crate::support::{Broker, Collector, Cutter, Node, await_true};

#[test]
fn changes_made_while_the_broker_is_away_hold_here_at_once_and_everywhere_afterwards() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let fleet = Fleet::new(&broker.url());
    let (a, b) = (fleet.node(), fleet.node());
    let (first, second) = (a.app("first"), a.app("second"));
    let (token, other) = (b.token(&first), b.token(&second));
    assert!(!String::from_utf8_lossy(&a.readyz().body).contains("stale"));
    broker.stop();
    for node in [&a, &b] {
        await_true("it is noticed", || node.metric("forebay_registry_stale_seconds") > 0);
        let ready = node.readyz();
        assert_eq!(ready.status, 200, "stale credentials are better than none");
        assert!(ready.json()["registry_stale_seconds"].as_u64() > Some(0));
        assert!(node.http().get("/readyz").json()["registry_stale_seconds"].as_u64() > Some(0));
        assert!(node.said("the fleet is not followed").is_some());
    }
    a.app_command(&["regenerate", &first.id]);
    b.app_command(&["disable", &second.id]);
    let made = b.app("made meanwhile");
    await_true("it holds where it was changed", || a.http().event(&token, "{}").status == 401);
    await_true("it holds where it was changed", || b.http().event(&other, "{}").status == 403);
    assert_eq!(b.http().event(&token, "{}").status, 202, "the other knows nothing of it");
    // One of them is restarted without the broker: it serves by what it has, and forgets no change.
    let b = fleet.again(b);
    assert_eq!(b.http().event(&token, "{}").status, 202);
    assert_eq!(b.http().event(&other, "{}").status, 403);
    assert!(b.metric("forebay_registry_stale_seconds") > 0);
    broker.start();
    let since = Instant::now();
    holds("the change of the first holds on the second", since, || {
        b.http().event(&token, "{}").status == 401
    });
    holds("the change of the second holds on the first", since, || {
        a.http().event(&other, "{}").status == 403
    });
    holds("and the app that was made", since, || a.ask_token(&made).status == 200);
    [&a, &b].into_iter().for_each(follows);
    await_true("both have the same", || apps(&a) == apps(&b));
    assert!(!String::from_utf8_lossy(&b.readyz().body).contains("stale"));
    assert_eq!((entries(&a, "conflict"), entries(&b, "refused")), (0, 0));
    let outages = a.everything().iter().filter(|line| line.contains("the fleet is not followed")).count();
    assert_eq!(outages, 1, "once an outage, not once a try");
}

#[test]
fn a_fleet_that_starts_without_its_broker_agrees_on_tokens_and_meets_later() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let fleet = Fleet::new(&broker.url());
    broker.stop();
    let flags = fleet.flags(&[]);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let [a, b] = [(), ()].map(|()| crate::support::Node::spawn(&fleet.url, &flags, &[]));
    let app = a.app("demo");
    std::fs::copy(a.apps_file(), b.apps_file()).expect("brought by hand");
    let token = a.token(&app);
    // The first signing key comes from the fleet's.
    await_true("the other takes the token", || b.http().event(&token, "{}").status == 202);
    let of_b = b.app("of the other");
    broker.start();
    let since = Instant::now();
    [&a, &b].into_iter().for_each(follows);
    holds("what one had alone is the other's too", since, || a.ask_token(&of_b).status == 200);
    await_true("both have the same", || apps(&a) == apps(&b));
    assert_eq!(b.http().event(&token, "{}").status, 202);
}

#[test]
fn connections_that_the_broker_closes_are_opened_again_and_nothing_is_missed() {
    let exclusive = Broker::exclusive();
    let broker = exclusive.broker;
    let fleet = Fleet::new(&broker.url());
    let (a, b) = (fleet.node(), fleet.node());
    let app = a.app("demo");
    b.token(&app);
    for round in 0..4 {
        let connects = b.metric("forebay_fleet_connects_total");
        let change = if round % 2 == 0 { "disable" } else { "enable" };
        broker.ctl(&["close_all_connections", "a test"]);
        a.app_command(&[change, &app.id]);
        await_true("a new connection", || b.metric("forebay_fleet_connects_total") > connects);
        let since = Instant::now();
        holds("the change holds", since, || {
            apps(&b)[0]["enabled"] == (round % 2 != 0) && apps(&a) == apps(&b)
        });
    }
    assert!(a.said("the fleet's stream is not the one").is_none(), "it goes on from where it was");
}

#[test]
fn connections_that_are_cut_anywhere_are_opened_again_and_nothing_is_missed() {
    let fleet = Fleet::new(&Broker::main().url());
    let cutter = Cutter::in_front_of(&fleet.url);
    let flags = fleet.flags(&["--confirm-timeout", "5s"]);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let (a, b) = (fleet.node(), Node::start_on(&cutter.url, &flags));
    let collector = Collector::start(&b);
    let (app, other) = (a.app("steady"), a.app("changing"));
    let token = b.token(&app);
    cutter.begin();
    let mut sent = 0;
    await_true("thirty connections are cut", || {
        a.app_command(&["regenerate", &other.id]);
        assert_eq!(b.http().event(&token, "{}").status, 202);
        sent += 1;
        cutter.cuts() >= 30
    });
    cutter.end();
    await_true("both have the same", || apps(&a) == apps(&b));
    follows(&b);
    await_true("all is confirmed", || b.metric("forebay_events_confirmed_total") == sent);
    assert_eq!((entries(&a, "refused"), entries(&b, "refused")), (0, 0));
    // The load tester's `collect` came the same way. Whatever was sent twice.
    let collected = || -> HashSet<String> {
        let text = std::fs::read_to_string(&collector.file).expect("the collector's file");
        text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    await_true("all is collected", || collected().len() as u64 == sent);
}
