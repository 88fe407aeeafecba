//! What an operator does to a node that runs: drain it, change what it logs.

use serde_json::json;

use super::Operator;
use crate::support::{Node, await_true};

#[test]
fn drain_answers_and_then_stops_as_a_signal_would() {
    let mut node = Node::alone(&["--drain-delay", "1s"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut open = node.http();
    assert_eq!(open.event(&token, "{}").status, 202);
    let answer = Operator::of(&node).send("POST", "/admin/drain", &[], None);
    assert_eq!((answer.status, answer.json()), (202, json!({ "status": "draining" })));
    await_true("it is not ready any more", || {
        let answer = Operator::of(&node).get("/readyz");
        answer.status == 503 && answer.json()["reason"] == "draining"
    });
    let last = open.event(&token, "{}");
    assert_eq!((last.status, last.field("Connection")), (202, Some("close")), "it goes on for the delay");
    let stopped = node.wait();
    assert_eq!((stopped.code, stopped.line["accepted"].as_u64()), (Some(0), Some(2)));
    assert_eq!(node.said("stopping").expect("told")["by"], "POST /admin/drain");
}

#[test]
fn the_answer_to_drain_comes_even_if_there_is_nothing_to_drain() {
    for _ in 0..5 {
        let mut node = Node::alone(&["--drain-delay", "0ms"]);
        assert_eq!(Operator::of(&node).send("POST", "/admin/drain", &[], None).status, 202);
        assert_eq!(node.wait().code, Some(0));
    }
}

#[test]
fn what_is_logged_changes_while_the_node_runs() {
    let node = Node::alone(&[]);
    let mut operator = Operator::of(&node);
    assert_eq!(operator.get("/admin/log-level").json(), json!({ "filter": "info" }));
    let make = |operator: &mut Operator, name: &str| {
        let made = operator.tell("POST", "/admin/apps", &json!({ "name": name }));
        made.json()["id"].as_str().expect("an id").to_owned()
    };
    let tells_of = |app: &str| node.everything().iter().any(|line| line.contains(app));
    let told = make(&mut operator, "told");
    await_true("it is told", || tells_of(&told));
    let off = operator.tell("PUT", "/admin/log-level", &json!({ "filter": "off" }));
    assert_eq!((off.status, off.json()), (200, json!({ "filter": "off" })));
    let quiet = make(&mut operator, "quiet");
    for bad in ["forebay=loud", ""] {
        let answer = operator.tell("PUT", "/admin/log-level", &json!({ "filter": bad }));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("filter")), "{bad}");
    }
    assert_eq!(operator.get("/admin/log-level").json(), json!({ "filter": "off" }));
    operator.tell("PUT", "/admin/log-level", &json!({ "filter": "info,forebay::forward=debug" }));
    let again = make(&mut operator, "again");
    await_true("it is told again", || tells_of(&again));
    assert!(!tells_of(&quiet), "lines come in order");
}

#[test]
fn no_operators_token_and_no_secret_is_in_any_line() {
    let (mut node, _folder) = super::guarded(&["--log-level", "trace"]);
    let made = Operator::with_token(&node).tell("POST", "/admin/apps", &json!({ "name": "demo" })).json();
    let login = Operator::of(&node).tell("POST", "/session", &json!({ "token": super::TOKEN }));
    let cookie =
        login.field("Set-Cookie").expect("a cookie").split([';', '=']).nth(1).expect("a value").to_owned();
    Operator::of(&node).with("Cookie", &format!("forebay_session={cookie}")).get("/ledger");
    assert_eq!(Operator::with_token(&node).send("POST", "/admin/signing-keys/rotate", &[], None).status, 202);
    assert_eq!(Operator::with_token(&node).send("POST", "/admin/drain", &[], None).status, 202);
    node.wait();
    let keys =
        std::fs::read_to_string(node.folder.path().join("forebay-data/signing-keys.json")).expect("keys");
    let keys: serde_json::Value = serde_json::from_str(&keys).expect("JSON");
    let keys = keys["keys"].as_array().expect("keys").iter().map(|key| key["key"].as_str().expect("a key"));
    let mut secrets = vec![super::TOKEN, &cookie, made["secret"].as_str().expect("a secret")];
    secrets.extend(keys);
    let said = node.everything();
    assert!(said.iter().any(|line| line.contains("made an app")), "{said:?}");
    for line in said {
        assert!(secrets.iter().all(|secret| !line.contains(secret)), "{line}");
    }
}
