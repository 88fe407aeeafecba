//! Everything that is refused: each with its own code, none forwarded, all counted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Answer, Node, await_true};

/// Path, header fields, body; status and code.
type Row<'a> = (&'a str, Vec<(String, String)>, &'a [u8], u16, &'a str);

#[test]
fn each_mistake_has_its_own_code_and_none_is_forwarded() {
    let node = Node::start(&["--max-body", "1KiB", "--max-batch-body", "4KiB", "--max-head", "4KiB"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let bearer = format!("Bearer {token}");
    let (head, rest) = token.split_once('.').expect("three parts");
    let (claims, signature) = rest.split_once('.').expect("three parts");
    let wrong = format!("Bearer {head}.{claims}.A{}", &signature[1..]);
    let wrong = if wrong == bearer { format!("Bearer {head}.{claims}.B{}", &signature[1..]) } else { wrong };
    let foreign = {
        let other = Node::start(&[]);
        let app = other.app("foreign");
        format!("Bearer {}", other.token(&app))
    };
    let none = format!("Bearer {}", "eyJhbGciOiJub25lIn0.e30.");
    let big = format!(r#"{{"a":"{}"}}"#, "x".repeat(1024));
    let with = |authorization: &str| vec![("Authorization".to_owned(), authorization.to_owned())];
    let also = |name: &str, value: &str| {
        let mut fields = with(&bearer);
        fields.push((name.to_owned(), value.to_owned()));
        fields
    };
    let event = "/v1/events";
    let table: Vec<Row<'_>> = vec![
        (event, vec![], b"{}", 401, "missing_token"),
        (event, with("Basic YTpi"), b"{}", 401, "missing_token"),
        (event, with("Bearer x"), b"{}", 401, "malformed_token"),
        (event, with(&none), b"{}", 401, "malformed_token"),
        (event, with(&wrong), b"{}", 401, "bad_signature"),
        (event, with(&foreign), b"{}", 401, "unknown_key"),
        (event, with(&bearer), b"{", 400, "invalid_json"),
        (event, with(&bearer), b"{\"a\":\"\xff\"}", 400, "invalid_json"),
        (event, with(&bearer), b"{\"a\":NaN}", 400, "invalid_json"),
        (event, with(&bearer), b"[]", 400, "not_an_object"),
        (event, with(&bearer), b"\"x\"", 400, "not_an_object"),
        (event, with(&bearer), b"", 400, "empty_body"),
        (event, with(&bearer), b" \n", 400, "empty_body"),
        (event, with(&bearer), big.as_bytes(), 413, "too_large"),
        ("/v1/event", with(&bearer), b"{}", 404, "not_found"),
        ("/livez", with(&bearer), b"{}", 405, "method_not_allowed"),
        (event, also("Content-Type", "text/plain"), b"{}", 415, "unsupported_media_type"),
        (event, also("Content-Type", "application/x-ndjson"), b"{}", 415, "unsupported_media_type"),
        (event, also("Content-Encoding", "compress"), b"{}", 415, "unsupported_encoding"),
        (event, also("Content-Encoding", "gzip, br"), b"{}", 415, "unsupported_encoding"),
        (event, also("Content-Encoding", "gzip"), b"{}", 400, "bad_encoding"),
        (event, also("Forebay-Ack", "soon"), b"{}", 400, "malformed_request"),
        (event, also("Forebay-Event-Id", "42"), b"{}", 400, "malformed_request"),
        (event, also("Content-Length", "2"), b"{}", 400, "malformed_request"),
        (event, also("X", &"x".repeat(5000)), b"{}", 431, "head_too_large"),
    ];
    for (path, fields, body, status, code) in &table {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = node.http().post(path, &fields, body);
        check(&answer, *status, code);
    }
    let mut http = node.http();
    http.send(format!("POST {event} HTTP/1.1\r\nHost: t\r\nAuthorization: {bearer}\r\n\r\n").as_bytes());
    check(&http.answer(), 411, "length_required");
    let mut http = node.http();
    http.send(format!("GET /{} HTTP/1.1\r\n", "x".repeat(5000)).as_bytes());
    check(&http.answer(), 414, "target_too_long");

    assert!(node.queue.take_all().is_empty(), "nothing was forwarded");
    let refused = table.len() as u64 + 2;
    let rejected = node.metric_sum("forebay_events_rejected_total{");
    assert_eq!(rejected, refused);
    assert_eq!(node.metric("forebay_events_received_total"), rejected, "the ledger balances");
    assert_eq!(node.metric("forebay_events_rejected_total{code=\"bad_signature\"}"), 1);
}

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.field("Content-Type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["retryable"], false);
    assert_eq!(problem["request_id"].as_str(), answer.field("X-Request-Id"));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "it says what to do");
    let challenge = answer.field("WWW-Authenticate");
    match (status, code) {
        // RFC 6750 section 3.1.
        (401, "missing_token") => assert_eq!(challenge, Some(r#"Bearer realm="forebay""#)),
        (401, _) => {
            assert!(challenge.is_some_and(|c| c.contains(r#"error="invalid_token""#)), "{challenge:?}");
        }
        _ => assert_eq!(challenge, None),
    }
    match code {
        "method_not_allowed" => assert_eq!(answer.field("Allow"), Some("GET, HEAD, OPTIONS")),
        "unsupported_encoding" => {
            assert_eq!(answer.field("Accept-Encoding"), Some("gzip, deflate, zstd, br"));
        }
        _ => {}
    }
}

#[test]
fn rfc6749_5_the_token_endpoint_keeps_oauths_shapes() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let granted = node.ask_token(&app);
    assert_eq!((granted.status, granted.field("Cache-Control")), (200, Some("no-store")));
    let body = granted.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));

    let wrong = crate::support::App { secret: "wrong".into(), ..app.clone() };
    let unknown = crate::support::App { api_key: "x".repeat(22), ..app.clone() };
    for app in [&wrong, &unknown] {
        let refused = node.ask_token(app);
        assert_eq!((refused.status, &refused.json()["error"]), (401, &json!("invalid_client")));
        assert!(refused.field("WWW-Authenticate").is_some_and(|c| c.starts_with("Basic ")));
    }
    let basic = STANDARD.encode(format!("{}:{}", app.api_key, app.secret));
    let basic = format!("Basic {basic}");
    for (form, error) in [
        ("grant_type=password", "unsupported_grant_type"),
        ("", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
    ] {
        let refused = node.http().post("/oauth/token", &[("Authorization", &basic)], form.as_bytes());
        assert_eq!((refused.status, &refused.json()["error"]), (400, &json!(error)), "{form}");
    }
    let form = b"scope=x&grant_type=client%5Fcredentials";
    assert_eq!(node.http().post("/oauth/token", &[("Authorization", &basic)], form).status, 200);
    node.app_command(&["disable", &app.id]);
    await_true("the node sees it", || node.ask_token(&app).status == 403);
    assert_eq!(node.ask_token(&app).json()["error"], "unauthorized_client");
}
