//! What is changed through the operators' API of one node holds on the others; of two changes at once one is refused.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Fleet, holds};
use crate::support::{Answer, App, Broker, Http, Node, await_some};

fn tell(node: &Node, method: &str, path: &str, version: Option<&str>, body: &Value) -> Answer {
    let mut fields = vec![("Content-Type", "application/json")];
    fields.extend(version.map(|version| ("If-Match", version)));
    Http::connect(node.admin).tell(method, path, &fields, body.to_string().as_bytes())
}

fn get(node: &Node, path: &str) -> Answer {
    Http::connect(node.admin).get(path)
}

/// The version of something, once both nodes have the same.
fn settled(nodes: [&Node; 2], path: &str) -> String {
    await_some("both have the same version", || {
        let [one, other] = nodes.map(|node| get(node, path).field("ETag").map(str::to_owned));
        one.filter(|one| Some(one) == other.as_ref())
    })
}

/// A change of one version by each of two nodes, sent at the same moment: the statuses, smaller first, and the code of the refusal.
fn at_once(changes: [(&Node, Value); 2], method: &str, path: &str, version: &str) -> ([u16; 2], String) {
    let start = Barrier::new(2);
    let mut answers = thread::scope(|scope| {
        let sent = changes.map(|(node, body)| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                tell(node, method, path, Some(version), &body)
            })
        });
        sent.map(|sent| sent.join().expect("no panic"))
    });
    answers.sort_by_key(|answer| answer.status);
    let [won, lost] = answers;
    ([won.status, lost.status], lost.code())
}

#[test]
fn an_app_made_changed_regenerated_and_disabled_on_one_node_is_so_on_the_other() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let since = Instant::now();
    let made = tell(&a, "POST", "/admin/apps", None, &json!({ "name": "shared" }));
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let text = |made: &Value, name: &str| made[name].as_str().expect("text").to_owned();
    let app = App { id: text(&made, "id"), api_key: text(&made, "api_key"), secret: text(&made, "secret") };
    assert_eq!(a.ask_token(&app).status, 200, "here it holds with the answer");
    holds("the other node knows the app", since, || b.ask_token(&app).status == 200);
    let token = b.token(&app);
    let path = format!("/admin/apps/{}", app.id);

    let since = Instant::now();
    let change = json!({ "name": "renamed", "events_per_second": 500 });
    assert_eq!(tell(&a, "PATCH", &path, Some("\"1\""), &change).status, 200);
    let shown = || get(&b, &path).json();
    holds("it is changed", since, || (shown()["name"] == "renamed") && shown()["events_per_second"] == 500);
    let stale = tell(&b, "PATCH", &path, Some("\"1\""), &change);
    assert_eq!((stale.status, stale.code().as_str()), (409, "version_conflict"));

    let since = Instant::now();
    let fresh = tell(&a, "POST", &format!("{path}/regenerate"), None, &json!({}));
    assert_eq!(fresh.status, 200, "{fresh:?}");
    let fresh = App { secret: text(&fresh.json(), "secret"), ..app.clone() };
    holds("the old token is refused", since, || b.http().event(&token, "{}").code() == "revoked_credentials");
    assert_eq!((b.ask_token(&app).status, b.ask_token(&fresh).status), (401, 200));
    let token = b.token(&fresh);

    let since = Instant::now();
    assert_eq!(tell(&a, "PATCH", &path, None, &json!({ "enabled": false })).status, 200);
    assert_eq!(a.http().event(&token, "{}").code(), "app_disabled");
    holds("it is disabled", since, || b.http().event(&token, "{}").code() == "app_disabled");
    assert_eq!(get(&a, &path).json(), get(&b, &path).json());
}

#[test]
fn of_two_changes_of_one_version_on_two_nodes_one_is_refused() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let nodes = [&a, &b];
    let made = tell(&a, "POST", "/admin/apps", None, &json!({ "name": "contended" })).json();
    let path = format!("/admin/apps/{}", made["id"].as_str().expect("an id"));
    let conflict = |won| ([won, 409], "version_conflict".to_owned());
    for rate in 1..=5 {
        let version = settled(nodes, &path);
        // Not the same change: of that, both nodes would have what they were asked for.
        let changes =
            [(&a, json!({ "events_per_second": rate })), (&b, json!({ "name": format!("round {rate}") }))];
        assert_eq!(at_once(changes, "PATCH", &path, &version), conflict(200), "{version}");
    }
    assert_eq!(settled(nodes, &path), "\"6\"", "each round made one version");
    let keys = "/admin/signing-keys";
    let revision = settled(nodes, keys);
    assert_eq!(at_once(nodes.map(|node| (node, json!({}))), "POST", keys, &revision), conflict(201));
    assert_ne!(settled(nodes, keys), revision);
    let listed = get(&a, keys).json();
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(2), "one was added: {listed}");
    assert_eq!(listed, get(&b, keys).json());
}

#[test]
fn a_key_that_signs_on_one_node_is_taken_by_the_other() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let app = a.app("demo");
    let old = b.token(&app);
    let keys = "/admin/signing-keys";
    let since = Instant::now();
    let added = tell(&a, "POST", keys, None, &json!({}));
    let kid = added.json()["kid"].as_str().expect("a name").to_owned();
    let usage = |node: &Node| {
        let all = get(node, keys).json()["keys"].as_array().expect("keys").clone();
        all.into_iter().find(|key| key["kid"] == kid.as_str()).map(|key| key["use"].clone())
    };
    holds("the other has the key", since, || usage(&b) == Some("verify-only".into()));
    let since = Instant::now();
    // By the other one, which has heard of it.
    assert_eq!(tell(&b, "POST", &format!("{keys}/{kid}/sign"), None, &json!({})).status, 200);
    holds("it signs there", since, || usage(&a) == Some("signing".into()));
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert_eq!(to.http().event(&from.token(&app), "{}").status, 202);
        assert_eq!(to.http().event(&old, "{}").status, 202, "the old key still verifies");
    }
}
