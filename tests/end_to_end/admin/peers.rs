//! What a node hears of others (`--peer`), and what it shows them of itself.

use std::sync::Arc;

use serde_json::Value;

use super::{Operator, TOKEN, guarded, token_file};
use crate::support::{Node, await_some, await_true, forebay, trusted_pair};

const OTHER_TOKEN: &str = "another-token-of-good-length-9876543210";

/// The peers of a node, once all of them are as awaited.
fn peers(operator: &mut Operator, are_so: impl Fn(&Value) -> bool) -> Vec<Value> {
    await_some("the peers are as awaited", || {
        let peers = operator.get("/api/peers").json()["peers"].as_array().expect("a list").clone();
        peers.iter().all(&are_so).then_some(peers)
    })
}

fn is_heard(peer: &Value) -> bool {
    peer["pulse"].is_object() && peer["trouble"].is_null()
}

#[test]
fn a_peer_is_shown_the_token_of_this_node_and_a_changed_one_too() {
    let (other, folder) = guarded(&["--node-id", "other"]);
    let token = folder.path().join("admin.token");
    let peer = format!("http://{}", other.admin);
    let flags = ["--admin-token-file", token.to_str().expect("plain"), "--peer", &peer];
    let node = Node::alone(&flags);
    let heard = peers(&mut Operator::with_token(&node), is_heard);
    assert_eq!((heard.len(), &heard[0]["url"]), (1, &peer.clone().into()));
    assert_eq!((&heard[0]["pulse"]["node"]["id"], &heard[0]["is_self"]), (&"other".into(), &false.into()));
    token_file(folder.path(), OTHER_TOKEN);
    let operator = || Operator::of(&node).with("Authorization", &format!("Bearer {OTHER_TOKEN}"));
    await_true("both have the new token", || {
        let other =
            Operator::of(&other).with("Authorization", &format!("Bearer {OTHER_TOKEN}")).get("/ledger");
        (operator().get("/ledger").status, other.status) == (200, 200)
    });
    let since = operator().get("/api/peers").json()["peers"][0]["answered_at"].as_f64().expect("a time");
    peers(&mut operator(), |peer| {
        is_heard(peer) && peer["answered_at"].as_f64().is_some_and(|at| at > since)
    });
}

#[test]
fn a_peer_with_another_token_says_so() {
    let (other, _folder) = guarded(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let token = token_file(folder.path(), OTHER_TOKEN);
    let peer = format!("http://{}", other.admin);
    let node = Node::alone(&["--admin-token-file", &token, "--peer", &peer]);
    let mut operator = Operator::of(&node).with("Authorization", &format!("Bearer {OTHER_TOKEN}"));
    let heard = peers(&mut operator, |peer| peer["trouble"].is_string());
    assert_eq!(heard[0]["trouble"], "refused: 401 bad_token: The token is wrong.");
    assert!(heard[0]["pulse"].is_null() && heard[0]["answered_at"].is_null(), "{heard:?}");
}

#[test]
fn a_peer_is_asked_over_tls_that_the_machine_trusts() {
    let folder = tempfile::tempdir().expect("a folder");
    let [trusted, certificate, key] = trusted_pair(folder.path());
    let token = token_file(folder.path(), TOKEN);
    let own = || Arc::new(tempfile::tempdir().expect("a folder"));
    let tls = ["--admin-token-file", &token, "--admin-tls-cert", &certificate, "--admin-tls-key", &key];
    let other = Node::changed(own(), &tls, |command| command);
    let peer = format!("https://localhost:{}", other.admin.port());
    let flags = ["--admin-token-file", &token, "--peer", &peer];
    let asked_by = |trusted: &str| {
        Node::changed(own(), &flags, |mut command| {
            command.env("SSL_CERT_FILE", trusted);
            command
        })
    };
    peers(&mut Operator::with_token(&asked_by(&trusted)), is_heard);
    let heard = peers(&mut Operator::with_token(&asked_by(&certificate)), |peer| peer["trouble"].is_string());
    assert!(heard[0]["trouble"].as_str().is_some_and(|trouble| trouble.contains("certificate")), "{heard:?}");
}

#[test]
fn without_peers_there_are_none_and_what_cannot_be_one_ends_the_start() {
    let node = Node::alone(&[]);
    assert_eq!(Operator::of(&node).get("/api/peers").json()["peers"], serde_json::json!([]));
    for command in ["serve", "check"] {
        let refused = forebay(&[command, "--listen", "127.0.0.1:0", "--peer", "node-2"]);
        let refused = { refused }.current_dir(node.folder.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(said.contains("--peer node-2: is no URL of a node"), "{said}");
    }
}
