//! What is changed on one node holds on the others.

use std::thread;
use std::time::Instant;

use super::{Fleet, apps, follows, holds};
use crate::support::{App, Broker, Node, await_true, forebay};

#[test]
fn an_app_made_regenerated_and_disabled_on_one_node_is_so_on_the_other() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let since = Instant::now();
    let app = a.app_unseen("shared", &["--events-per-second", "500"]);
    holds("the other node knows the app", since, || b.ask_token(&app).status == 200);
    let (of_a, of_b) = (a.token(&app), b.token(&app));
    // One signing key: each takes the other's tokens.
    assert_eq!((a.http().event(&of_b, "{}").status, b.http().event(&of_a, "{}").status), (202, 202));
    let since = Instant::now();
    let fresh = b.app_command(&["regenerate", &app.id, "--json"]);
    holds("the old token is refused", since, || a.http().event(&of_a, "{}").status == 401);
    holds("on both", since, || b.http().event(&of_a, "{}").status == 401);
    assert_eq!((a.ask_token(&app).status, b.ask_token(&app).status), (401, 401), "the old secret");
    let renewed = App { secret: fresh["secret"].as_str().expect("a secret").to_owned(), ..app };
    let token = a.token(&renewed);
    assert_eq!(b.http().event(&token, "{}").status, 202);
    let since = Instant::now();
    a.app_command(&["disable", &renewed.id]);
    holds("the app is disabled", since, || b.http().event(&token, "{}").status == 403);
    assert_eq!(apps(&a), apps(&b));
    assert!(b.said("took credentials from the fleet").is_some());
}

#[test]
fn changes_of_one_app_on_two_nodes_at_once_come_to_one_on_both() {
    let fleet = Fleet::new(&Broker::main().url());
    let (a, b) = (fleet.node(), fleet.node());
    let app = a.app("contended");
    let token = b.token(&app);
    let lost = || [&a, &b].iter().any(|node| node.said("a change of the apps file was lost").is_some());
    let is_settled = || apps(&a) == apps(&b) && !apps(&a)[0]["version"].is_null();
    // Most rounds meet; which of both wins is the broker's to say.
    for _ in 0..50 {
        thread::scope(|scope| {
            scope.spawn(|| a.app_command(&["regenerate", &app.id]));
            scope.spawn(|| b.app_command(&["disable", &app.id]));
        });
        await_true("both have the same", is_settled);
        if lost() {
            // In the files, and in what is served by.
            let is_enabled = apps(&a)[0]["enabled"] == true;
            for node in [&a, &b] {
                let code = if is_enabled { "revoked_credentials" } else { "app_disabled" };
                await_true("all serve by it", || node.http().event(&token, "{}").code() == code);
            }
            return;
        }
        b.app_command(&["enable", &app.id]);
        await_true("both have the same", is_settled);
    }
    panic!("no two changes met in 50 rounds");
}

#[test]
fn a_node_that_joins_takes_what_the_fleet_has_and_brings_what_it_has_alone() {
    let fleet = Fleet::new(&Broker::main().url());
    let a = fleet.node();
    let (first, second) = (a.app("first"), a.app("second"));
    a.app_command(&["disable", &second.id]);
    // A node with a history of its own: an app that the fleet does not know, and an older version of one that it does.
    let before = Node::alone(&["--reactors", "1"]);
    let own = before.app("own");
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(before.apps_file()).expect("a file")).expect("JSON");
    await_true("a change is in the file", || apps(&a).as_array().expect("a list").len() == 2);
    let list = apps(&a);
    let mut old = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|app| app["id"] == second.id.as_str())
        .expect("there")
        .clone();
    // None that the fleet ever had, wherever in the stream the node compares the two.
    (old["version"], old["enabled"], old["name"]) = (1.into(), true.into(), "of its own".into());
    file["apps"].as_array_mut().expect("a list").push(old);
    std::fs::write(before.apps_file(), file.to_string()).expect("written");
    let b = fleet.again(before);
    follows(&b);
    let since = Instant::now();
    holds("the fleet knows the app of the new node", since, || a.ask_token(&own).status == 200);
    holds("the new node knows the fleet's", since, || b.ask_token(&first).status == 200);
    await_true("the files are the same", || apps(&a) == apps(&b));
    // The keys gave way, too.
    assert_eq!(a.http().event(&b.token(&own), "{}").status, 202);
    for line in ["a change of the apps file was lost", "the signing keys of this node have given way"] {
        await_true(line, || b.said(line).is_some());
    }
    // And a life later it goes on from there.
    let b = fleet.again(b);
    follows(&b);
    assert_eq!(b.http().event(&a.token(&first), "{}").status, 202);
    assert!(b.said("a change of the apps file was lost").is_none());
    assert!(b.said("the fleet's stream is not the one").is_none());
}

#[test]
fn a_rotation_of_the_signing_keys_reaches_every_node() {
    let fleet = Fleet::new(&Broker::main().url());
    let nodes = [fleet.node(), fleet.node(), fleet.node()];
    let app = nodes[0].app("demo");
    let old = nodes[1].token(&app);
    let path = |node: &Node| node.folder.path().join("forebay-data/signing-keys.json");
    let mut keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path(&nodes[0])).expect("the keys")).expect("JSON");
    let replace = |node: &Node, keys: &serde_json::Value| {
        let temporary = path(node).with_extension("new");
        std::fs::copy(path(node), &temporary).expect("a copy, mode included");
        std::fs::write(&temporary, keys.to_string()).expect("written");
        std::fs::rename(&temporary, path(node)).expect("moved");
    };
    let kids = |node: &Node| {
        let text = std::fs::read(path(node)).expect("the keys");
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")["keys"].clone()
    };
    let all = keys["keys"].as_array_mut().expect("keys");
    all[0]["use"] = "verify-only".into();
    all.push(serde_json::json!({"kid": "new", "use": "signing", "key": "A".repeat(43)}));
    let since = Instant::now();
    replace(&nodes[0], &keys);
    holds("all have the new key", since, || nodes.iter().all(|node| kids(node) == keys["keys"]));
    for node in &nodes {
        assert_eq!(node.http().event(&old, "{}").status, 202, "the old key still verifies");
        assert_eq!(nodes[0].http().event(&node.token(&app), "{}").status, 202);
    }
    // Another node goes on with it.
    keys["keys"].as_array_mut().expect("keys").remove(0);
    let since = Instant::now();
    replace(&nodes[2], &keys);
    holds("the old key is gone everywhere", since, || {
        nodes.iter().all(|node| node.http().event(&old, "{}").status == 401)
    });
}

#[test]
fn the_key_is_made_once_and_needed_to_start() {
    let fleet = Fleet::new(&Broker::main().url());
    let again = forebay(&["fleet", "key", &fleet.key_file()]).output().expect("the command runs");
    assert_eq!(again.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&again.stderr).contains("kept"));
    let check = |flags: &[&str]| {
        let flags = [&["check", "--reactors", "1"], flags].concat();
        let mut command = forebay(&flags);
        let output = command.current_dir(fleet.folder.path()).output().expect("the command runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let key = fleet.key_file();
    let url = ["--amqp-url", fleet.url.as_str()];
    assert_eq!(check(&[&url[..], &["--fleet-key-file", &key]].concat()).0, Some(0));
    let (code, said) = check(&["--fleet-key-file", &key]);
    assert!(code == Some(78) && said.contains("--amqp-url"), "{said}");
    let (code, said) = check(&[&url[..], &["--fleet-key-file", "missing.key"]].concat());
    assert!(code == Some(78) && said.contains("missing.key"), "{said}");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    let (code, said) = check(&[&url[..], &["--fleet-key-file", &key]].concat());
    assert!(code == Some(78) && said.contains("others can read it"), "{said}");
}
