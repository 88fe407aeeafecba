//! `forebay app` and `forebay key`: the same words and the same output, whether they edit a file or speak to a node.

use std::process::Output;

use serde_json::Value;

use super::{TOKEN, guarded, token_file};
use crate::support::{Node, await_true, forebay, trusted_pair};

/// Where a command works.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// On a node's files, in its folder.
    Files(&'a Node),
    /// Through a node, in a folder that has none.
    Node(&'a Node, &'a str),
}

impl Place<'_> {
    fn run(self, args: &[&str]) -> Output {
        match self {
            Self::Files(node) => node.command(args),
            Self::Node(node, token) => {
                let elsewhere = tempfile::tempdir().expect("a folder");
                let url = format!("http://{}", node.admin);
                let args = [args, &["--admin-url", &url, "--admin-token-file", token]].concat();
                let output = forebay(&args).current_dir(elsewhere.path()).output().expect("it runs");
                let left = std::fs::read_dir(elsewhere.path()).expect("ours").count();
                assert_eq!(left, 0, "{args:?} touches no file");
                output
            }
        }
    }

    fn text(self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--json"]].concat())).expect("JSON")
    }
}

#[test]
fn apps_are_made_and_changed_alike_in_the_file_and_through_a_node() {
    let (node, folder) = guarded(&[]);
    let token = folder.path().join("admin.token");
    let token = token.to_str().expect("plain");
    for place in [Place::Files(&node), Place::Node(&node, token)] {
        let other = match place {
            Place::Files(_) => Place::Node(&node, token),
            Place::Node(..) => Place::Files(&node),
        };
        let flags = ["--events-per-second", "5", "--burst", "7", "--allowed-origin", "https://a.example"];
        let made = place.json(&[&["app", "create", "demo"], &flags[..]].concat());
        let id = made["id"].as_str().expect("an id");
        let names: Vec<_> = made.as_object().expect("an object").keys().collect();
        assert_eq!(names, ["api_key", "id", "secret"]);
        // What one has done, the other shows, the same way.
        let same = |args: &[&str]| {
            let (here, there) = (place.text(args), other.text(args));
            assert_eq!(here, there, "{args:?}");
            here
        };
        let shown: Value = serde_json::from_str(&same(&["app", "show", id, "--json"])).expect("JSON");
        assert_eq!((shown["events_per_second"].as_u64(), shown["burst"].as_u64()), (Some(5), Some(7)));
        same(&["app", "show", id]);
        let set =
            ["--name", "shop", "--events-per-second", "9", "--burst", "none", "--allowed-origin", "any"];
        let changed = place.json(&[&["app", "set", id], &set[..]].concat());
        assert_eq!(
            (changed["name"].as_str(), changed["events_per_second"].as_u64()),
            (Some("shop"), Some(9))
        );
        assert!(changed["burst"].is_null() && changed["allowed_origins"].is_null(), "{changed}");
        assert_eq!(place.json(&["app", "set", id, "--allow-api-key"])["allow_api_key"], true);
        assert_eq!(place.json(&["app", "set", id, "--allow-api-key", "false"])["allow_api_key"], false);
        assert_eq!(place.json(&["app", "disable", id])["enabled"], false);
        assert_eq!(place.json(&["app", "enable", id])["enabled"], true);
        let fresh = place.json(&["app", "regenerate", id, "--overlap", "1m"]);
        assert_ne!(fresh["secret"], made["secret"]);
        let shown = same(&["app", "show", id, "--json"]);
        assert!(shown.contains("retiring") && !shown.contains("sha256"), "{shown}");
        assert!(same(&["app", "list"]).contains(id));
        same(&["app", "list", "--json"]);
        // What is not sound is refused in the same words.
        for args in [&["app", "set", id, "--burst", "0"][..], &["app", "create", "x", "--burst", "1"]] {
            let (here, there) = (place.run(args), other.run(args));
            for output in [&here, &there] {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(!output.status.success() && said.contains("burst"), "{args:?}: {said}");
            }
        }
    }
    assert_eq!(node.command(&["app", "set", "00000000-0000-0000-0000-000000000000"]).status.code(), Some(2));
    let unknown = Place::Node(&node, token).run(&["app", "show", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("404 unknown_app"));
}

#[test]
fn a_rate_that_was_set_in_the_file_holds() {
    let node = Node::alone(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    node.app_command(&["set", &app.id, "--events-per-second", "1", "--burst", "1"]);
    await_true("it is limited", || node.http().event(&token, "{}").status == 429);
    node.app_command(&["set", &app.id, "--events-per-second", "none", "--burst", "none"]);
    await_true("it is free again", || (0..20).all(|_| node.http().event(&token, "{}").status == 202));
}

#[test]
fn keys_are_changed_alike_in_the_file_and_through_a_node() {
    let (node, folder) = guarded(&[]);
    let token = folder.path().join("admin.token");
    let token = token.to_str().expect("plain");
    let (files, remote) = (Place::Files(&node), Place::Node(&node, token));
    for (place, other) in [(files, remote), (remote, files)] {
        let same = |args: &[&str]| {
            let (here, there) = (place.text(args), other.text(args));
            assert_eq!(here, there, "{args:?}");
            here
        };
        let added = place.text(&["key", "add"]);
        let kid = added.trim();
        assert!(same(&["key", "list"]).contains(&format!("{kid}             verify-only")), "{kid}");
        let signing = place.json(&["key", "sign", kid]);
        assert!(
            signing["keys"]
                .as_array()
                .is_some_and(|keys| keys.iter().any(|key| key["kid"] == kid && key["use"] == "signing"))
        );
        let refused = place.run(&["key", "remove", kid, "--force"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("signs"));
        let next =
            place.json(&["key", "rotate", "--wait", "1h"].map(|arg| if arg == "1h" { "60m" } else { arg }));
        let next = next["kid"].as_str().expect("a name").to_owned();
        assert!(same(&["key", "list"]).contains("(rotation: to sign alone)"));
        assert!(!other.run(&["key", "rotate"]).status.success(), "one is under way");
        same(&["key", "list", "--json"]);
        place.json(&["key", "remove", &next]);
    }
}

#[test]
fn a_node_is_spoken_to_over_tls_that_the_machine_trusts() {
    let folder = tempfile::tempdir().expect("a folder");
    let [trusted, certificate, key] = trusted_pair(folder.path());
    let token = token_file(folder.path(), TOKEN);
    let own = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
    let flags = [
        "--admin-token-file",
        &token,
        "--admin-tls-cert",
        &certificate,
        "--admin-tls-key",
        &key,
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
    ];
    let node = Node::changed(own, &flags, |command| command);
    let url = format!("https://localhost:{}", node.admin.port());
    let environment = |command: &mut std::process::Command, trusted: &str| {
        command.current_dir(node.folder.path()).env("SSL_CERT_FILE", trusted).env("FOREBAY_ADMIN_URL", &url);
    };
    let run = |args: &[&str], trusted: &str| {
        let mut command = forebay(args);
        environment(&mut command, trusted);
        command.output().expect("it runs")
    };
    let made = run(&["app", "create", "demo", "--json", "--admin-token-file", &token], &trusted);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let nobody = run(&["app", "list"], &trusted);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("401 missing_token"));
    let unknown = run(&["app", "list", "--admin-token-file", &token], &certificate);
    assert_eq!(unknown.status.code(), Some(1));
    // The token endpoint is spoken to by the same means.
    let public = format!("https://localhost:{}", node.address.port());
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("a secret"));
    let got = run(&["token", "--app", id, "--secret", secret, "--url", &public, "--json"], &trusted);
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let got: Value = serde_json::from_slice(&got.stdout).expect("JSON");
    assert_eq!(got["token_type"], "Bearer");
    let wrong = run(&["token", "--app", id, "--secret", "wrong", "--url", &public], &trusted);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("401 invalid_client"));
}
