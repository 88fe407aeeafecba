//! "Why was I refused?" has an answer within two seconds, with the client's own address, and nothing in it that is a secret.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, App, Http, Node, await_some, await_true};

/// How soon a refusal is to be seen.
const SOON: Duration = Duration::from_secs(2);

/// What the operators' listener says.
fn told(node: &Node, path: &str) -> Value {
    let answer = Http::connect(node.admin).get(path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    answer.json()
}

/// A connection of a client, passed on by a balancer.
fn from(node: &Node, client: &str) -> Http {
    let mut http = node.http();
    http.send(format!("PROXY TCP4 {client} 198.51.100.1 56324 443\r\n").as_bytes());
    http
}

/// Asks until what was refused is in the list, for only a few a second are kept; the entry. One that is kept is there soon.
fn shown(node: &Node, list: &str, code: &str, mut ask: impl FnMut() -> Answer) -> Value {
    let path = format!("{list}?code={code}&limit=100");
    await_some(&format!("{code} in {list}"), || {
        let answer = ask();
        let answered = Instant::now();
        let request = answer.field("X-Request-Id").expect("an id").to_owned();
        let listed = told(node, &path)["refusals"].as_array().expect("a list").clone();
        let entry = listed.into_iter().find(|entry| entry["request_id"] == request.as_str())?;
        assert!(answered.elapsed() < SOON, "{:?}", answered.elapsed());
        assert_eq!((&entry["code"], &entry["status"]), (&json!(code), &json!(answer.status)), "{answer:?}");
        Some(entry)
    })
}

fn list_of(app: &App) -> String {
    format!("/admin/apps/{}/refusals", app.id)
}

fn bearer(token: &str) -> (String, String) {
    ("Authorization".to_owned(), format!("Bearer {token}"))
}

/// Path, more header fields, body, code.
type Row<'a> = (&'a str, Vec<(String, String)>, &'a [u8], &'a str);

fn post(http: &mut Http, (path, fields, body, _): &Row<'_>) -> Answer {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    http.post(path, &fields, body)
}

#[test]
fn each_refusal_is_at_its_app_with_the_clients_address_within_two_seconds() {
    let flags = ["--proxy-protocol-from", "127.0.0.1", "--body-timeout", "300ms", "--max-body", "4KiB"];
    let node = Node::alone(&flags);
    let app = node.app_unseen("demo", &[]);
    let token = app.token(&mut from(&node, "192.0.2.250"));
    let limited = node.app_unseen("limited", &["--events-per-second", "1", "--burst", "1"]);
    let pages = node.app_unseen("pages", &["--allowed-origin", "https://shop.example"]);
    let [limited_token, pages_token] =
        [&limited, &pages].map(|app| app.token(&mut from(&node, "192.0.2.250")));
    let plain = vec![bearer(&token)];
    let also = |name: &str, value: &str| vec![bearer(&token), (name.to_owned(), value.to_owned())];
    let event = "/v1/events";
    let batch = "/v1/events/batch";
    let big = format!(r#"[{{"a":"{}"}},{{}}]"#, "x".repeat(5000));
    let rows: Vec<(&App, Row<'_>)> = vec![
        (&app, (event, plain.clone(), br#"{"count":nul}"#, "invalid_json")),
        (&app, (event, plain.clone(), b"[]", "not_an_object")),
        (&app, (event, plain.clone(), b" ", "empty_body")),
        (&app, (event, also("Content-Encoding", "gzip"), b"{}", "bad_encoding")),
        (&app, (event, also("Content-Encoding", "compress"), b"{}", "unsupported_encoding")),
        (&app, (event, also("Content-Type", "text/plain"), b"{}", "unsupported_media_type")),
        (&app, (event, also("Forebay-Ack", "soon"), b"{}", "malformed_request")),
        (&app, (batch, plain.clone(), b"[]", "empty_batch")),
        (
            &app,
            ("/entries", vec![("X-ApiKey".to_owned(), app.api_key.clone())], b"{}", "api_key_not_allowed"),
        ),
        (&limited, (event, vec![bearer(&limited_token)], b"{}", "rate_limited")),
        (
            &pages,
            (
                event,
                vec![bearer(&pages_token), ("Origin".to_owned(), "https://other.example".to_owned())],
                b"{}",
                "origin_not_allowed",
            ),
        ),
    ];
    for (number, (app, row)) in rows.iter().enumerate() {
        let client = format!("192.0.2.{}", number + 1);
        let entry = shown(&node, &list_of(app), row.3, || {
            let mut http = from(&node, &client);
            let mut answer = post(&mut http, row);
            while answer.status == 202 {
                answer = post(&mut http, row); // the burst has to be used up first
            }
            answer
        });
        assert_eq!((&entry["address"], &entry["app"]), (&json!(client), &json!(app.id)), "{entry}");
        assert_eq!((&entry["method"], &entry["path"]), (&json!("POST"), &json!(row.0)), "{entry}");
        assert!(entry["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{entry}");
        let time = entry["time"].as_str().expect("a time");
        assert!(
            time.len() == "2026-01-01T00:00:00.000Z".len() && humantime::parse_rfc3339(time).is_ok(),
            "{entry}"
        );
        match row.3 {
            "invalid_json" => {
                assert_eq!((&entry["sample"], &entry["stopped_at"]), (&json!(r#"{"count":…}"#), &json!(12)));
            }
            "not_an_object" => assert_eq!(entry["sample"], "[]"),
            _ => assert_eq!(entry["sample"], Value::Null, "{entry}"),
        }
    }

    // Items of a batch, of which others were accepted.
    let mut http = from(&node, "192.0.2.100");
    let items = await_some("the items", || {
        let answer = post(&mut http, &(batch, also("X-Request-Id", "abc-1"), big.as_bytes(), ""));
        assert_eq!(answer.status, 202, "{answer:?}");
        let listed = told(&node, &format!("{}?code=too_large", list_of(&app)))["refusals"].clone();
        listed.as_array().expect("a list").first().cloned()
    });
    assert_eq!((&items["item"], &items["request_id"]), (&json!(0), &json!("abc-1")), "{items}");
    assert_eq!((&items["path"], &items["address"]), (&json!(batch), &json!("192.0.2.100")), "{items}");

    // A body that does not come: its head is long gone.
    let entry = shown(&node, &list_of(&app), "body_timeout", || {
        let mut http = from(&node, "192.0.2.101");
        let head = format!(
            "POST {event} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n"
        );
        http.send(head.as_bytes());
        http.answer()
    });
    assert_eq!((&entry["path"], &entry["address"]), (&json!(event), &json!("192.0.2.101")), "{entry}");
    // Wrong secrets, by the key that they came with.
    let entry = shown(&node, &list_of(&app), "invalid_client", || {
        App { secret: "wrong".to_owned(), ..app.clone() }.ask_token(&mut from(&node, "192.0.2.102"))
    });
    assert_eq!(
        (&entry["path"], &entry["address"]),
        (&json!("/oauth/token"), &json!("192.0.2.102")),
        "{entry}"
    );
    // A token whose time is over is still somebody's.
    let keys = node.folder.path().join("forebay-data/signing-keys.json");
    let keys = keys.to_str().expect("plain");
    let minted =
        node.command(&["token", "--app", &app.id, "--signing-key-file", keys, "--token-lifetime", "1s"]);
    let short = String::from_utf8(minted.stdout).expect("text").trim().to_owned();
    let expired = (event, vec![bearer(&short)], &b"{}"[..], "expired_token");
    await_true("the token expires", || post(&mut from(&node, "192.0.2.103"), &expired).status == 401);
    let entry = shown(&node, &list_of(&app), expired.3, || post(&mut from(&node, "192.0.2.103"), &expired));
    assert_eq!((&entry["app"], &entry["address"]), (&json!(app.id), &json!("192.0.2.103")), "{entry}");
    // And so is one that was revoked, or is of an app that is disabled.
    for (command, code) in [("regenerate", "revoked_credentials"), ("disable", "app_disabled")] {
        let revoked = (event, plain.clone(), &b"{}"[..], code);
        node.app_command(&[command, &app.id]);
        let is_seen = || {
            let answer = post(&mut from(&node, "192.0.2.104"), &revoked);
            answer.status != 202 && answer.code() == code
        };
        await_true("the node sees it", is_seen);
        let entry = shown(&node, &list_of(&app), code, || post(&mut from(&node, "192.0.2.104"), &revoked));
        assert_eq!((&entry["app"], &entry["address"]), (&json!(app.id), &json!("192.0.2.104")), "{entry}");
    }
}

#[test]
fn who_is_refused_before_it_is_known_who_it_is_is_in_the_list_of_all() {
    let node =
        Node::alone(&["--max-body", "1KiB", "--head-timeout", "300ms", "--forwarded-for-from", "127.0.0.1"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let big = vec![b'x'; 2000];
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let wrong = format!("{signed}.{other}{}", &signature[1..]);
    let rows: Vec<Row<'_>> = vec![
        ("/v1/events", vec![], b"{}", "missing_token"),
        ("/v1/events", vec![bearer("x")], b"{}", "malformed_token"),
        ("/v1/events", vec![bearer(&wrong)], b"{}", "bad_signature"),
        ("/v1/events", vec![bearer(&token)], &big, "too_large"),
        ("/entries", vec![("X-ApiKey".to_owned(), "wrong".to_owned())], b"{}", "bad_api_key"),
        ("/v1/event?apikey=swordfish", vec![], b"{}", "not_found"),
        ("/livez", vec![], b"{}", "method_not_allowed"),
    ];
    for (number, row) in rows.iter().enumerate() {
        let client = format!("2001:db8::{:x}", number + 1);
        let entry = shown(&node, "/admin/refusals", row.3, || {
            let mut row = row.clone();
            row.1.push(("X-Forwarded-For".to_owned(), format!("203.0.113.9, {client}")));
            post(&mut node.http(), &row)
        });
        let path = row.0.split('?').next();
        assert_eq!((entry["address"].as_str(), entry["path"].as_str()), (Some(&*client), path), "{entry}");
        assert_eq!((&entry["app"], &entry["method"]), (&Value::Null, &json!("POST")));
    }
    // What is no request has neither method nor path.
    let entry = shown(&node, "/admin/refusals", "malformed_request", || {
        let mut http = node.http();
        http.send(b"GET / HTTP/1.1\nHost: t\r\n\r\n");
        http.answer()
    });
    assert_eq!(
        (&entry["method"], &entry["path"], &entry["address"]),
        (&Value::Null, &Value::Null, &json!("127.0.0.1"))
    );
    // An app's own are there too, whose body came long after the field that says whose it is.
    let entry = shown(&node, "/admin/refusals", "invalid_json", || {
        let fields = vec![bearer(&token), ("X-Forwarded-For".to_owned(), "192.0.2.7".to_owned())];
        post(&mut node.http(), &("/v1/events", fields, b"{", ""))
    });
    assert_eq!((&entry["app"], &entry["address"]), (&json!(app.id), &json!("192.0.2.7")), "{entry}");
    // Newest first, as many as asked for, and nothing else.
    let listed = told(&node, "/admin/refusals?limit=3")["refusals"].clone();
    let times: Vec<_> =
        listed.as_array().expect("a list").iter().map(|entry| entry["time"].to_string()).collect();
    assert!(times.len() == 3 && times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    for path in ["/admin/refusals?limit=0", "/admin/refusals?nothing=1"] {
        assert_eq!(Http::connect(node.admin).get(path).status, 400, "{path}");
    }
    for id in ["0190b6a0-0000-7000-8000-000000000000", "demo"] {
        assert_eq!(Http::connect(node.admin).get(&format!("/admin/apps/{id}/refusals")).status, 404, "{id}");
    }
}

#[test]
fn who_waits_in_vain_for_a_level_finds_it_there_too() {
    let nobody = "amqp://127.0.0.1:1/%2f";
    let flags = ["--amqp-url", nobody, "--ack-timeout", "200ms", "--forwarded-for-from", "127.0.0.1"];
    let node = Node::alone(&flags);
    let app = node.app("demo");
    let token = node.token(&app);
    let entry = shown(&node, &list_of(&app), "ack_timeout", || {
        let mut fields = vec![bearer(&token)];
        fields.extend(
            [("Forebay-Ack", "confirmed"), ("X-Forwarded-For", "192.0.2.9")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        post(&mut node.http(), &("/v1/events", fields, b"{}", ""))
    });
    assert_eq!((&entry["status"], &entry["address"]), (&json!(503), &json!("192.0.2.9")), "{entry}");
    assert_eq!((&entry["method"], &entry["path"]), (&json!("POST"), &json!("/v1/events")), "{entry}");
    let outcomes = told(&node, &format!("/admin/apps/{}/outcomes", app.id));
    assert_eq!(outcomes["rejected"], json!({}), "the event stays accepted: {outcomes}");
}

#[test]
fn no_secret_is_in_any_answer() {
    let node = Node::alone(&["--max-body", "64KiB", "--max-batch-body", "256KiB"]);
    let app = node.app_with("demo", &["--allow-api-key"]);
    let token = node.token(&app);
    let values = ["hunter2-swordfish", "bob@example.org", "203.0.113.77", "4111111111111111", "correcthorse"];
    let [password, mail, address, card, word] = values;
    let object = format!(
        r#""password":"{password}","mail":"{mail}","seen":["{address}"],"card":{card},"note":"{word} {word}""#
    );
    let bodies = [
        format!("{{{object},}}"),
        format!("{{{object}"),
        format!("[{object}]"),
        format!("{{\"a\":nul,{object}}}"),
        format!("{password} {mail} {address} {card} {word}"),
        format!("password={password}&mail={mail}&from={address}&card={card}&x={word}"),
        format!("\"{password} {mail} {address} {card} {word}\""),
        // Examined by another thread.
        format!("{{{object},\"filler\":\"{}\",}}", "x".repeat(40_000)),
    ];
    let mut secrets = values.map(str::to_owned).to_vec();
    secrets.extend([
        token.clone(),
        app.secret.clone(),
        app.api_key.clone(),
        "choc0late-cookie-77".to_owned(),
    ]);
    let fields = vec![
        bearer(&token),
        ("Cookie".to_owned(), "session=choc0late-cookie-77".to_owned()),
        ("X-Request-Id".to_owned(), app.secret.clone()),
    ];
    let count = || told(&node, "/admin/refusals?limit=1000")["refusals"].as_array().expect("a list").len();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for body in &bodies {
        rows.push(("/v1/events", fields.clone(), body.as_bytes(), ""));
    }
    let batch = format!("[{},{{}},{}]", bodies[0], bodies[6]);
    rows.push(("/v1/events/batch", fields.clone(), batch.as_bytes(), ""));
    let key = format!("/entries?apikey={}", app.api_key);
    rows.push((&key, vec![], bodies[0].as_bytes(), ""));
    let wrong_path = format!("/v1/{token}/{password}/{mail}?apikey={}", app.api_key);
    rows.push((&wrong_path, fields.clone(), b"{}", ""));
    let form = format!("client_secret={}&grant_type=password", app.secret);
    let basic = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", app.api_key, app.secret))
    };
    secrets.push(basic.clone());
    rows.push((
        "/oauth/token",
        vec![("Authorization".to_owned(), format!("Basic {basic}"))],
        form.as_bytes(),
        "",
    ));
    for row in &rows {
        let before = count();
        await_true("it is kept", || {
            post(&mut node.http(), row);
            // Those of the app are twenty at most: the list may only turn over.
            count() > before || before >= 20
        });
    }
    let all =
        [told(&node, "/admin/refusals?limit=1000"), told(&node, &format!("{}?limit=1000", list_of(&app)))];
    for told in &all {
        let text = told.to_string();
        assert!(text.contains("\"sample\""), "{text}");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
    }
}

#[test]
fn what_became_of_an_apps_events_is_told_by_code_and_in_bytes() {
    let node = Node::alone(&[]);
    let app = node.app_with("demo", &["--events-per-second", "1", "--burst", "5"]);
    let idle = node.app("idle");
    let token = node.token(&app);
    let outcomes = |app: &App| told(&node, &format!("/admin/apps/{}/outcomes", app.id));
    let nothing = outcomes(&idle);
    assert_eq!((&nothing["accepted"], &nothing["rejected"]), (&json!(0), &json!({})), "{nothing}");
    assert_eq!((&nothing["bytes"], &nothing["last_seen"]), (&json!(0), &Value::Null), "{nothing}");

    let mut http = node.http();
    let event = format!(r#"{{"a":"{}"}}"#, "x".repeat(1000));
    for _ in 0..2 {
        assert_eq!(http.event(&token, &event).status, 202);
    }
    for _ in 0..3 {
        assert_eq!(http.event(&token, "{").status, 400);
    }
    assert_eq!(http.event(&token, "[]").status, 400);
    let fields = [("Authorization", format!("Bearer {token}"))];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = http.post("/v1/events/batch", &fields, b"[{},{},{},{},{},{},{},{}]");
    assert_eq!(refused.status, 429, "{refused:?}");

    let seen = outcomes(&app);
    assert_eq!(
        (&seen["accepted"], &seen["pending"], &seen["confirmed"]),
        (&json!(2), &json!(2), &json!(0)),
        "{seen}"
    );
    assert_eq!(seen["rejected"], json!({"invalid_json": 3, "not_an_object": 1, "rate_limited": 8}), "{seen}");
    assert_eq!(seen["limited"], 8);
    let bytes = seen["bytes"].as_u64().expect("bytes");
    assert!((2 * 1008..2 * 1300).contains(&bytes), "{seen}");
    let last = humantime::parse_rfc3339(seen["last_seen"].as_str().expect("a time")).expect("a time");
    assert!(last.elapsed().is_ok_and(|age| age < Duration::from_mins(1)), "{seen}");
    for (outcome, count) in [("accepted", 2), ("rejected", 12), ("limited", 8), ("confirmed", 0)] {
        let name = format!("forebay_app_events_total{{app=\"{}\",outcome=\"{outcome}\"}}", app.id);
        assert_eq!(node.metric(&name), count, "{name}");
    }
    let unknown = Http::connect(node.admin).get("/admin/apps/0190b6a0-0000-7000-8000-000000000000/outcomes");
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_app".to_owned()));
}

#[test]
fn a_flood_of_refusals_is_counted_and_few_of_them_are_kept() {
    const REFUSALS: usize = 2000;
    let node = Node::alone(&["--reactors", "1"]);
    let (app, other) = (node.app("loud"), node.app("quiet"));
    let [token, others] = [&app, &other].map(|app| node.token(app));
    let mut http = node.http();
    for _ in 0..REFUSALS {
        assert_eq!(http.event(&token, "{").status, 400);
    }
    let entry = shown(&node, &list_of(&other), "invalid_json", || node.http().event(&others, "{"));
    assert_eq!(entry["app"], json!(other.id));
    let told = told(&node, &format!("{}?limit=1000", list_of(&app)));
    let kept = told["refusals"].as_array().expect("a list").len();
    let skipped = told["skipped"].as_u64().expect("a number");
    assert!((1..=20).contains(&kept), "{kept}");
    assert!(skipped > REFUSALS as u64 / 2 && skipped < REFUSALS as u64, "{skipped}");
    let rejected = format!("forebay_app_events_total{{app=\"{}\",outcome=\"rejected\"}}", app.id);
    assert_eq!(node.metric(&rejected), REFUSALS as u64);
}
