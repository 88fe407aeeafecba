//! Signing keys over the API: step by step, and the whole rotation by itself, over a restart too.

use serde_json::{Value, json};

use super::Operator;
use crate::support::{Answer, Node, await_some, await_true};

const ALL: &str = "/admin/signing-keys";

fn keys(node: &Node) -> Value {
    Operator::of(node).get(ALL).json()
}

fn do_it(node: &Node, method: &str, path: &str) -> Answer {
    Operator::of(node).send(method, path, &[], None)
}

fn signer(node: &Node) -> String {
    let keys = keys(node);
    let signing: Vec<_> =
        keys["keys"].as_array().expect("keys").iter().filter(|key| key["use"] == "signing").collect();
    assert_eq!(signing.len(), 1, "{keys}");
    signing[0]["kid"].as_str().expect("a name").to_owned()
}

/// The `kid` of a token's header.
fn kid_of(token: &str) -> String {
    use base64::Engine;
    let (header, _) = token.split_once('.').expect("three parts");
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64url");
    let header: Value = serde_json::from_slice(&text).expect("JSON");
    header["kid"].as_str().expect("a name").to_owned()
}

#[test]
fn a_key_is_added_signs_and_goes_when_its_tokens_are_over_or_by_force() {
    let node = Node::alone(&["--reactors", "2"]);
    let app = node.app("demo");
    let (old, old_token) = (signer(&node), node.token(&app));
    let added = do_it(&node, "POST", ALL);
    assert_eq!((added.status, added.field("ETag")), (201, Some("\"1\"")));
    let new = added.json()["kid"].as_str().expect("a name").to_owned();
    assert_eq!(signer(&node), old, "it only verifies");
    let stale =
        Operator::of(&node).send("POST", &format!("{ALL}/{new}/sign"), &[("If-Match", "\"0\"")], None);
    assert_eq!((stale.status, stale.code().as_str()), (409, "version_conflict"));
    assert_eq!(do_it(&node, "POST", &format!("{ALL}/{new}/sign")).status, 200);
    assert_eq!(kid_of(&node.token(&app)), new, "at once");
    assert_eq!(node.http().event(&old_token, "{}").status, 202, "the old key verifies");
    let signs = do_it(&node, "DELETE", &format!("{ALL}/{new}?force=true"));
    assert_eq!((signs.status, signs.code().as_str()), (409, "key_signs"));
    let live = do_it(&node, "DELETE", &format!("{ALL}/{old}"));
    assert_eq!((live.status, live.code().as_str()), (409, "tokens_live"));
    assert_eq!(node.http().event(&old_token, "{}").status, 202);
    let unclear = do_it(&node, "DELETE", &format!("{ALL}/{old}?force=yes"));
    assert_eq!((unclear.status, unclear.code().as_str()), (400, "malformed_request"));
    assert_eq!(do_it(&node, "DELETE", &format!("{ALL}/{old}?force=true")).status, 200);
    assert_eq!(node.http().event(&old_token, "{}").code(), "unknown_key");
    assert_eq!(do_it(&node, "DELETE", &format!("{ALL}/{old}")).code(), "unknown_key");
    // One that has never signed goes without a question.
    let spare = do_it(&node, "POST", ALL).json()["kid"].as_str().expect("a name").to_owned();
    assert_eq!(do_it(&node, "DELETE", &format!("{ALL}/{spare}")).status, 200);
    let text =
        std::fs::read_to_string(node.folder.path().join("forebay-data/signing-keys.json")).expect("the file");
    let stored: Value = serde_json::from_str(&text).expect("JSON");
    let shown = keys(&node).to_string();
    for key in stored["keys"].as_array().expect("keys") {
        assert!(!shown.contains(key["key"].as_str().expect("a key")), "{shown}");
    }
}

#[test]
fn a_rotation_walks_by_itself_and_over_a_restart_without_refusing_anybody() {
    let flags = ["--token-lifetime", "2s", "--key-rotation-wait", "2s"];
    let node = Node::alone(&flags);
    let app = node.app("demo");
    let old = signer(&node);
    let begun = do_it(&node, "POST", &format!("{ALL}/rotate"));
    assert_eq!(begun.status, 202);
    let new = begun.json()["kid"].as_str().expect("a name").to_owned();
    let again = do_it(&node, "POST", &format!("{ALL}/rotate"));
    assert_eq!((again.status, again.code().as_str()), (409, "rotation_under_way"));
    assert_eq!(keys(&node)["rotation"]["from"].as_str(), Some(old.as_str()));
    let send = |node: &Node| {
        let token = node.token(&app);
        assert_eq!(node.http().event(&token, "{}").status, 202);
        kid_of(&token)
    };
    assert_eq!(send(&node), old);
    let node = node.again(None, &flags);
    await_true("the new key signs", || send(&node) == new);
    assert!(keys(&node)["keys"].as_array().is_some_and(|keys| keys.len() == 2), "tokens of the old one live");
    let node = node.again(None, &flags);
    await_true("the old key is gone", || {
        assert_eq!(send(&node), new);
        keys(&node)["keys"].as_array().is_some_and(|keys| keys.len() == 1)
    });
    assert!(keys(&node)["rotation"].is_null());
    assert!(node.said("the old key is gone").is_some());
}

#[test]
fn a_rotation_waits_as_long_as_it_is_told_and_is_given_up_by_removing_its_key() {
    let node = Node::alone(&[]);
    let old = signer(&node);
    let begun = Operator::of(&node).tell("POST", &format!("{ALL}/rotate"), &json!({ "wait_seconds": 3600 }));
    let new = begun.json()["kid"].as_str().expect("a name").to_owned();
    let rotation = keys(&node)["rotation"].clone();
    // The flag's wait is a minute, a token lives for a quarter of an hour.
    assert_eq!(
        (rotation["wait_seconds"].as_u64(), rotation["drop_seconds"].as_u64()),
        (Some(3600), Some(3600 + 900))
    );
    assert_eq!(do_it(&node, "DELETE", &format!("{ALL}/{new}")).status, 200);
    assert!(keys(&node)["rotation"].is_null());
    let hurried = Operator::of(&node).tell("POST", &format!("{ALL}/rotate"), &json!({ "wait_seconds": 0 }));
    let new = hurried.json()["kid"].as_str().expect("a name").to_owned();
    await_true("it signs at the next look", || signer(&node) == new);
    assert_ne!(old, new);
    let long = Operator::of(&node).tell("POST", &format!("{ALL}/rotate"), &json!({ "wait_seconds": 99_999 }));
    assert_eq!((long.status, long.json()["field"].as_str()), (400, Some("wait_seconds")));
}

#[test]
fn two_nodes_on_one_file_walk_together() {
    let flags = ["--token-lifetime", "1s", "--key-rotation-wait", "1s"];
    let one = Node::alone(&flags);
    let file = one.folder.path().join("forebay-data/signing-keys.json");
    let other = Node::alone(&[&["--signing-key-file", file.to_str().expect("plain")], &flags[..]].concat());
    let begun = do_it(&one, "POST", &format!("{ALL}/rotate"));
    let new = begun.json()["kid"].as_str().expect("a name").to_owned();
    let revision = await_some("the rotation is over", || {
        let keys = keys(&other);
        (keys["keys"].as_array().map(Vec::len) == Some(1) && keys["rotation"].is_null())
            .then(|| keys["revision"].as_u64().expect("a number"))
    });
    assert_eq!((signer(&one), signer(&other)), (new.clone(), new));
    assert_eq!(revision, 3, "begun, signs, dropped: each step once");
}
