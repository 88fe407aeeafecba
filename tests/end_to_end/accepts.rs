//! What is accepted reaches the broker as the contract says, byte for byte.

use lapin::types::{AMQPValue, ShortString};
use serde_json::json;

use crate::support::{Node, await_true};

#[test]
fn an_event_arrives_in_its_envelope_byte_for_byte() {
    let node = Node::start(&["--node-id", "node-1", "--reactors", "1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let body = "{ \"message\" : \"caf\\u00e9 🚧\",\n\t\"n\": 1.0e2, \"n\": 2 }";
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let authorization = format!("Bearer {token}");
    let fields =
        [("Authorization", authorization.as_str()), ("traceparent", trace), ("X-Request-Id", "request-7")];
    let answer = node.http().post("/v1/events", &fields, body.as_bytes());
    let id = answer.id();
    assert_eq!(&id[14..15], "7", "UUID v7");
    assert_eq!(answer.field("X-Request-Id"), Some("request-7"));
    assert_eq!(answer.field("Forebay-Ack"), Some("written"));

    let delivered = node.queue.take(1).remove(0);
    assert_eq!(delivered.data, body, "byte for byte");
    let event = &delivered.event;
    assert_eq!((&event["specversion"], delivered.id()), (&json!("1.0"), id.as_str()));
    assert_eq!(event["source"], format!("/apps/{}", app.id));
    assert_eq!(
        (&event["type"], &event["datacontenttype"]),
        (&json!("forebay.event"), &json!("application/json"))
    );
    assert_eq!(event["traceparent"], trace);
    let time = event["time"].as_str().expect("a time");
    let time = humantime::parse_rfc3339(time).expect("RFC 3339");
    assert!(time.elapsed().is_ok_and(|age| age.as_secs() < 60), "{event}");

    let properties = &delivered.properties;
    assert_eq!(
        properties.content_type().as_ref().map(ShortString::as_str),
        Some("application/cloudevents-batch+json")
    );
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert_eq!(properties.app_id().as_ref().map(ShortString::as_str), Some("forebay"));
    assert!(properties.timestamp().is_some());
    let message_id = properties.message_id().as_ref().expect("an id").as_str().to_owned();
    assert!(message_id.starts_with("node-1-") && message_id.ends_with("-0-0-0"), "{message_id}");
    let headers = properties.headers().as_ref().expect("headers").inner();
    assert_eq!(
        format!("{:?}", headers["forebay-node"]),
        "LongString(LongString([110, 111, 100, 101, 45, 49]))"
    );
    assert_eq!(headers["forebay-events"].as_long_long_int(), Some(1));
    assert!(!headers.contains_key("forebay-lenient"));
}

#[test]
fn a_client_may_name_its_event_and_its_batch() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let authorization = format!("Bearer {}", node.token(&app));
    let name = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let fields = [("Authorization", authorization.as_str()), ("Forebay-Event-Id", name)];
    let mut http = node.http();
    assert_eq!(http.post("/v1/events", &fields, b"{}").id(), name);
    let batch = http.post("/v1/events/batch", &fields, br#"[{"a":1}, 2, {"a":3}]"#);
    assert_eq!(batch.status, 202);
    // `python3 -c 'import uuid; print(uuid.uuid5(uuid.UUID(name), "0"))'`, and "2" likewise.
    let ids: Vec<String> = serde_json::from_value(batch.json()["ids"].clone()).expect("ids");
    assert_eq!(ids, ["6af613b6-569c-5c22-9c37-2ed93f31d3af", "4b166dbe-d99d-5091-abdd-95b83330ed3a"]);
    let again = http.post("/v1/events/batch", &fields, br#"[{"a":1}, 2, {"a":3}]"#);
    assert_eq!(again.json()["ids"], batch.json()["ids"], "a retry has the same ids");
    assert_eq!(batch.json()["rejected"], json!([{"index": 1, "code": "not_an_object"}]));
    let mut delivered: Vec<String> = node.queue.take(5).iter().map(|d| d.id().to_owned()).collect();
    delivered.sort();
    let mut sent = [vec![name.to_owned()], ids.clone(), ids].concat();
    sent.sort();
    assert_eq!(delivered, sent);
}

#[test]
fn arrays_and_lines_are_taken_apart_and_their_valid_items_kept() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let authorization = format!("Bearer {}", node.token(&app));
    let mut http = node.http();
    let mut post = |media: &str, body: &str| {
        let fields = [("Authorization", authorization.as_str()), ("Content-Type", media)];
        http.post("/v1/events/batch", &fields, body.as_bytes())
    };
    let array = post("application/json", r#" [ {"a" : 1} ,"x", {"b":[2, {"c":"]"}]}, {bad}, {"d":4}]"#);
    assert_eq!((array.status, array.json()["accepted"].as_u64()), (202, Some(3)));
    assert_eq!(
        array.json()["rejected"],
        json!([{"index": 1, "code": "not_an_object"}, {"index": 3, "code": "invalid_json"}])
    );
    let lines = post("application/x-ndjson", "{\"e\":5}\r\n\n  {\"f\":6}\nnull\n{\"g\":7}");
    assert_eq!((lines.status, lines.json()["accepted"].as_u64()), (202, Some(3)));
    assert_eq!(lines.json()["rejected"], json!([{"index": 2, "code": "not_an_object"}]));
    let data: Vec<String> = {
        let mut delivered = node.queue.take(6);
        // One connection, so one core; its order is kept.
        delivered.sort_by(|a, b| a.id().cmp(b.id()));
        delivered.into_iter().map(|d| d.data).collect()
    };
    let expected =
        [r#"{"a" : 1}"#, r#"{"b":[2, {"c":"]"}]}"#, r#"{"d":4}"#, r#"{"e":5}"#, r#"{"f":6}"#, r#"{"g":7}"#];
    assert_eq!(data, expected);

    for (body, code) in [
        ("[]", "empty_batch"),
        ("", "empty_body"),
        ("{}", "invalid_json"),
        ("[1,{bad}]", "invalid_json"),
        ("[1,2]", "not_an_object"),
    ] {
        let answer = post("application/json", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}");
    }
}

#[test]
fn what_a_strict_parser_may_refuse_travels_alone_and_marked() {
    let node = Node::start(&["--reactors", "1"]);
    let app = node.app("demo");
    let authorization = format!("Bearer {}", node.token(&app));
    let deep = format!("{{\"deep\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let batch = format!(r#"[{{"n":1}},{{"half":"\ud83d"}},{{"n":2}},{deep},{{"n":3}}]"#);
    let answer = node.http().post("/v1/events/batch", &[("Authorization", &authorization)], batch.as_bytes());
    assert_eq!(answer.json()["accepted"], 5);
    let delivered = node.queue.take(5);
    for event in &delivered {
        let headers = event.properties.headers().as_ref().expect("headers").inner();
        let is_marked = headers.get("forebay-lenient").and_then(AMQPValue::as_bool) == Some(true);
        let is_lenient = event.data.contains("half") || event.data.contains("deep");
        assert_eq!(is_marked, is_lenient, "{}", event.data);
        assert!(!is_lenient || event.together == 1, "alone in its message");
    }
    let data: Vec<&str> = delivered.iter().map(|d| d.data.as_str()).collect();
    assert_eq!(data, [r#"{"n":1}"#, r#"{"half":"\ud83d"}"#, r#"{"n":2}"#, &deep, r#"{"n":3}"#]);
}

#[test]
fn a_stronger_level_waits_for_the_broker_and_a_weaker_one_is_not_given() {
    let exclusive = crate::support::Broker::exclusive();
    let node = Node::start_on(&exclusive.broker.url(), &["--ack", "confirmed"]);
    let app = node.app("demo");
    let authorization = format!("Bearer {}", node.token(&app));
    let mut http = node.http();
    let fields = [("Authorization", authorization.as_str()), ("Forebay-Ack", "queued")];
    let answer = http.post("/v1/events", &fields, b"{}");
    assert_eq!((answer.status, answer.field("Forebay-Ack")), (202, Some("confirmed")), "never weaker");
    // The forwarder releases an answer first, and counts then.
    await_true("the event counts as confirmed", || node.metric("forebay_events_confirmed_total") == 1);

    exclusive.broker.pause();
    let accepted = node.metric("forebay_events_accepted_total");
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: test\r\nAuthorization: {authorization}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    http.send(request.as_bytes());
    await_true("the event is taken over", || node.metric("forebay_events_accepted_total") > accepted);
    assert_eq!(node.metric("forebay_requests_total{code=\"202\"}"), accepted, "and not answered");
    exclusive.broker.resume();
    assert_eq!(http.answer().field("Forebay-Ack"), Some("confirmed"));
    await_true("it counts as confirmed, too", || {
        node.metric("forebay_events_confirmed_total") == accepted + 1
    });
}
