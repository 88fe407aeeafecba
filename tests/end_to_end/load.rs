//! Real load through the whole way: each accepted event is found once, byte for byte; each bad one is refused with its own code.

use crate::support::{Loadtest, Node, await_true};

#[test]
fn ten_thousand_crash_reports_arrive_once_and_a_thousand_bad_requests_do_not() {
    let node = Node::start(&[]);
    let (app, revoked) = (node.app("demo"), node.app("revoked"));
    let old = node.token(&revoked);
    node.app_command(&["regenerate", &revoked.id, "--json"]);
    let keys = "./forebay-data/signing-keys.json";
    let args = ["token", "--app", &app.id, "--signing-key-file", keys, "--token-lifetime", "1s"];
    let expired = String::from_utf8(node.command(&args).stdout).expect("a token").trim().to_owned();
    await_true("the token expires", || node.http().event(&expired, "{").code() == "expired_token");
    await_true("the other is revoked", || node.http().event(&old, "{").code() == "revoked_credentials");

    let load = Loadtest { node: &node, app: &app };
    let good = load.run(&["--requests", "10000", "--duration", "60s", "--connections", "32"]);
    assert_eq!((good["accepted"].as_u64(), good["refused"].as_u64()), (Some(10_000), Some(0)), "{good}");
    let flags = [
        "--requests",
        "1000",
        "--duration",
        "60s",
        "--bad",
        "100",
        "--bad-token",
        &old,
        "--bad-token",
        &expired,
    ];
    let bad = load.run(&flags);
    assert_eq!((bad["bad_refused"].as_u64(), bad["bad_accepted"].as_u64()), (Some(1000), Some(0)), "{bad}");
    let refusals = bad["refusals"].as_object().expect("refusals");
    let codes = [
        "400 invalid_json",
        "401 bad_signature",
        "401 expired_token",
        "401 revoked_credentials",
        "404 not_found",
    ];
    assert_eq!(refusals.keys().collect::<Vec<_>>(), codes, "{bad}");
    assert!(refusals.values().all(|count| count.as_u64().is_some_and(|count| count > 100)), "{bad}");

    await_true("everything is confirmed", || node.metric("forebay_events_pending") == 0);
    let findings = load.verify();
    assert_eq!(
        (findings["accepted"].as_u64(), findings["found"].as_u64()),
        (Some(10_000), Some(10_000)),
        "{findings}"
    );
    for kind in ["missing", "repeated", "changed", "unknown"] {
        assert_eq!(findings[kind].as_array().map(Vec::len), Some(0), "{kind}: {findings}");
    }
    let stopped = node.stop();
    let ledger = ["accepted", "confirmed", "pending"].map(|name| stopped.line[name].as_u64());
    assert_eq!((stopped.code, ledger), (Some(0), [Some(10_000), Some(10_000), Some(0)]), "{stopped:?}");
}
