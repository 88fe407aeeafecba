//! What Raygun's SDKs send is taken as they send it: a key instead of a token, and an empty 202.

use crate::support::{Answer, App, Node};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn post(node: &Node, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    node.http().post(path, fields, body.as_bytes())
}

fn setting(flags: &[&str]) -> (Node, App) {
    let node = Node::start(&[]);
    let app = node.app_with("raygun", &[&["--allow-api-key"], flags].concat());
    (node, app)
}

#[test]
fn reports_and_beacons_arrive_as_they_were_sent() {
    let (node, app) = setting(&[]);
    let key = [JSON, ("X-ApiKey", app.api_key.as_str())];
    let in_query = |path: &str| format!("{path}?apikey={}", app.api_key);
    let text = [("Content-Type", "text/plain;charset=UTF-8")];
    let camel = r#"{"occurredOn":"2026-11-24T12:00:00Z","details":{"error":{"message":"no"}}}"#;
    let pascal = r#"{"OccurredOn":"2026-11-24T12:00:00Z","Details":{"Error":{"Message":"no"}}}"#;
    let beacon = r#"{"eventData":[{"sessionId":"s","type":"web_request_timing","data":"[{\"url\":\"/a\",\"timing\":{\"a\":\"0.5\"}}]"}]}"#;
    let answers = [
        post(&node, "/entries", &key, camel),
        post(&node, &in_query("/entries"), &text, pascal),
        post(&node, &in_query("/events"), &text, beacon),
        post(&node, "/events", &key, beacon),
        post(&node, "/entries/bulk", &key, &format!("[{camel},{pascal}]")),
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.body.as_slice()), (202, &b""[..]), "{answer:?}");
        assert_eq!((answer.field("Content-Type"), answer.field("Content-Length")), (None, Some("0")));
    }
    let mut delivered: Vec<(String, String)> = node
        .queue
        .take(6)
        .into_iter()
        .map(|delivered| (delivered.event["type"].as_str().expect("a type").to_owned(), delivered.data))
        .collect();
    delivered.sort();
    let mut expected = [("raygun.entry", camel), ("raygun.entry", pascal), ("raygun.rum", beacon)].repeat(2);
    expected.sort_unstable();
    let delivered: Vec<_> = delivered.iter().map(|(kind, data)| (kind.as_str(), data.as_str())).collect();
    assert_eq!(delivered, expected);
}

#[test]
fn a_hundred_messages_of_1_7_megabytes_pass_at_once() {
    let (node, app) = setting(&[]);
    let report = format!(r#"{{"details":{{"pad":"{}"}}}}"#, "x".repeat(17_000 - 23));
    let bulk = format!("[{}]", vec![report.as_str(); 100].join(","));
    assert!(bulk.len() > 1_700_000);
    let answer = post(&node, "/entries/bulk", &[JSON, ("X-ApiKey", &app.api_key)], &bulk);
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
    assert!(node.queue.take(100).iter().all(|delivered| delivered.data == report));
}

/// 401 would make the SDKs store what they have and send it again for ever.
#[test]
fn every_wrong_key_is_a_403_with_its_code() {
    let (node, app) = setting(&[]);
    let tokens_only = node.app("tokens only");
    let disabled = node.app_with("disabled", &["--allow-api-key"]);
    node.app_command(&["disable", &disabled.id]);
    let key = |key: &str| vec![("X-ApiKey".to_owned(), key.to_owned())];
    crate::support::await_true("the node sees it", || node.ask_token(&disabled).status == 403);
    let bearer = vec![("Authorization".to_owned(), format!("Bearer {}", node.token(&app)))];
    let table = [
        (vec![], "bad_api_key"),
        (bearer, "bad_api_key"),
        (key("x"), "bad_api_key"),
        (key(&app.secret), "bad_api_key"),
        (key("\u{e9}"), "bad_api_key"),
        (key(&tokens_only.api_key), "api_key_not_allowed"),
        (key(&disabled.api_key), "app_disabled"),
    ];
    for path in ["/entries", "/entries/bulk", "/events"] {
        for (fields, code) in &table {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = post(&node, path, &fields, "{}");
            assert_eq!((answer.status, answer.code().as_str()), (403, *code), "{path} {fields:?}");
        }
    }
    // The key opens nothing else.
    let answer = post(&node, "/v1/events", &[("X-ApiKey", &app.api_key)], "{}");
    assert_eq!((answer.status, answer.code().as_str()), (401, "missing_token"));
    assert!(node.queue.take_all().is_empty());
}

#[test]
fn what_is_no_json_is_refused_there_too() {
    let (node, app) = setting(&[]);
    let key = [("X-ApiKey", app.api_key.as_str())];
    for (path, body, code) in [
        // What Python's json module makes of a float that is none.
        ("/entries", r#"{"a":NaN}"#, "invalid_json"),
        ("/entries", "[]", "not_an_object"),
        ("/entries", "", "empty_body"),
        ("/entries/bulk", "[]", "empty_batch"),
        ("/entries/bulk", "{}", "invalid_json"),
        ("/events", "{", "invalid_json"),
    ] {
        let answer = post(&node, path, &key, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{path} {body}");
    }
    // Of a bulk, the good ones are kept.
    assert_eq!(post(&node, "/entries/bulk", &key, r#"[{"a":NaN},{"b":1}]"#).status, 202);
    assert_eq!(node.queue.take(1)[0].data, r#"{"b":1}"#);
}
