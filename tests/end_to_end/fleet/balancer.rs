//! Three nodes behind HAProxy: what is regenerated on one is refused on all, and nobody else notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Fleet, follows, holds};
use crate::balancers::{Haproxy, behind};
use crate::support::{App, Broker, Http, Loadtest, Node, await_true};

const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

fn event(node: &Node, token: &str) -> (u16, String) {
    let answer = behind(node, UNKNOWN).event(token, "{}");
    (answer.status, if answer.status == 202 { String::new() } else { answer.code() })
}

fn grant(node: &Node, app: &App) -> u16 {
    app.ask_token(&mut behind(node, UNKNOWN)).status
}

fn renewed(node: &Node, app: &App, flags: &[&str]) -> App {
    let fresh = node.app_command(&[&["regenerate", &app.id, "--json"], flags].concat());
    App { secret: fresh["secret"].as_str().expect("a secret").to_owned(), ..app.clone() }
}

/// Ends a thread beside the test, also when the test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_regenerated_secret_is_refused_on_all_nodes_behind_haproxy_and_nobody_else_is() {
    let fleet = Fleet::new(&Broker::main().url());
    let flags = fleet.flags(&["--proxy-protocol-from", "127.0.0.1"]);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let nodes = [(), (), ()].map(|()| Node::start_on(&fleet.url, &flags));
    nodes.iter().for_each(follows);
    let (app, other) = (nodes[0].app_unseen("leaked", &[]), nodes[1].app_unseen("other", &[]));
    for node in &nodes {
        await_true("all know both apps", || grant(node, &app) == 200 && grant(node, &other) == 200);
    }
    let haproxy = Haproxy::start(&nodes.iter().collect::<Vec<_>>());
    let old = app.token(&mut behind(&nodes[2], UNKNOWN));
    let load = Loadtest { node: &nodes[1], app: &other };
    let running =
        load.start_at(haproxy.address, &["--duration", "10m", "--connections", "24", "--rate", "300"]);
    let accepted = |node: &Node| node.metric("forebay_events_accepted_total");
    await_true("all nodes have work", || nodes.iter().all(|node| accepted(node) > 50));

    let since = Instant::now();
    let renewed_app = renewed(&nodes[0], &app, &[]);
    // From the node that has made the secret; the token is good on all from then on.
    let new = renewed_app.token(&mut behind(&nodes[0], UNKNOWN));
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = 0;
            while sent < 200 || !is_over.load(Ordering::Relaxed) {
                // A connection each: the balancer takes the nodes in turn.
                assert_eq!(Http::connect(haproxy.address).event(&new, "{}").status, 202, "the new token");
                sent += 1;
            }
            sent
        });
        let until = Until(&is_over);
        for node in &nodes {
            holds("the old token is refused", since, || {
                event(node, &old) == (401, "revoked_credentials".into())
            });
            holds("the old secret is refused", since, || grant(node, &app) == 401);
        }
        eprintln!("refused on all three nodes after {:?}", since.elapsed());
        for node in &nodes {
            holds("the new secret is good", since, || grant(node, &renewed_app) == 200);
        }
        drop(until);
        sending.join().expect("no refusal")
    });
    eprintln!("{sent} events with the new token meanwhile");

    // With an overlap, both are good on all nodes until it is over.
    let overlap = Duration::from_secs(6);
    let since = Instant::now();
    let last = renewed(&nodes[1], &renewed_app, &["--overlap", "6s"]);
    for node in &nodes {
        holds("the newest secret is good", since, || grant(node, &last) == 200);
    }
    // The overlap is counted in whole seconds of the wall clock.
    let sure = Duration::from_secs(5);
    let mut asked = 0;
    while since.elapsed() < sure {
        for node in &nodes {
            let answers = (event(node, &new).0, grant(node, &renewed_app));
            if since.elapsed() < sure {
                assert_eq!(answers, (202, 200), "after {:?}", since.elapsed());
                asked += 1;
            }
        }
    }
    assert!(asked > 3);
    for node in &nodes {
        await_true("the overlap is over", || event(node, &new) == (401, "revoked_credentials".into()));
        assert_eq!(grant(node, &renewed_app), 401);
    }
    assert!(since.elapsed() < overlap + Duration::from_secs(2), "after {:?}", since.elapsed());

    let report = running.stop();
    assert_eq!((report["refused"].as_u64(), report["unanswered"].as_u64()), (Some(0), Some(0)), "{report}");
    assert!(report["accepted"].as_u64() > Some(1_000), "{report}");
}
