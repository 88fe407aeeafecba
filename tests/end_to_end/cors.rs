//! Pages of other origins: the preflight, and what an answer shows to a script (Fetch standard, "HTTP-CORS protocol").

use crate::support::{Answer, Node};

const SHOP: &str = "https://shop.example";

fn allowed(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.field("Access-Control-Allow-Origin"), answer.field("Access-Control-Allow-Credentials"))
}

#[test]
fn a_preflight_echoes_its_origin_on_each_path() {
    let node = Node::alone(&[]);
    let fields = [
        ("Origin", SHOP),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,traceparent"),
    ];
    for (path, credentials) in [
        ("/v1/events", None),
        ("/v1/events/batch", None),
        ("/oauth/token", None),
        ("/entries", Some("true")),
        ("/entries/bulk?apikey=x", Some("true")),
        ("/events", Some("true")),
    ] {
        let answer = node.http().ask("OPTIONS", path, &fields);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
        assert_eq!(allowed(&answer), (Some(SHOP), credentials), "{path}");
        assert_eq!(answer.field("Access-Control-Allow-Methods"), Some("POST, OPTIONS"));
        assert_eq!(
            answer.field("Access-Control-Allow-Headers"),
            Some("authorization,content-type,traceparent")
        );
        assert_eq!(answer.field("Access-Control-Max-Age"), Some("7200"));
        assert!(answer.field("Vary").is_some_and(|vary| vary.contains("Origin")), "{answer:?}");
    }
    let answer = node.http().ask("OPTIONS", "/v1/events", &[("Origin", "no origin")]);
    assert_eq!((answer.status, allowed(&answer)), (204, (None, None)));
    assert_eq!(node.http().ask("OPTIONS", "/nowhere", &fields).status, 404);
    assert_eq!(node.http().ask("OPTIONS", "/livez", &fields).status, 204);
    assert_eq!(node.metric_sum("forebay_events_rejected_total{"), 1, "a preflight is no event");
}

#[test]
fn answers_and_errors_can_be_read_by_the_page() {
    let node = Node::alone(&[]);
    let app = node.app_with("shop", &["--allow-api-key"]);
    let token = format!("Bearer {}", node.token(&app));
    let mut http = node.http();
    let bearer = [("Origin", SHOP), ("Authorization", token.as_str())];
    let key = [("Origin", SHOP), ("X-ApiKey", app.api_key.as_str())];
    for (path, fields, body, status, credentials) in [
        ("/v1/events", &bearer[..], "{}", 202, None),
        ("/v1/events", &bearer[..], "{", 400, None),
        ("/v1/events", &bearer[..1], "{}", 401, None),
        ("/v1/events/batch", &bearer[..], "[{}]", 202, None),
        ("/oauth/token", &bearer[..1], "", 401, None),
        ("/nowhere", &bearer[..], "{}", 404, None),
        ("/entries", &key[..], "{}", 202, Some("true")),
        ("/entries", &key[..1], "{}", 403, Some("true")),
        ("/events", &key[..], "[", 400, Some("true")),
    ] {
        let answer = http.post(path, fields, body.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(allowed(&answer), (Some(SHOP), credentials), "{path} {status}");
        assert_eq!(answer.field("Vary"), Some("Origin"));
        let exposed = answer.field("Access-Control-Expose-Headers").expect("a list");
        assert!(exposed.contains("Retry-After") && exposed.contains("X-Request-Id"), "{exposed}");
    }
    let plain = http.event(&node.token(&app), "{}");
    assert!(plain.status == 202 && allowed(&plain) == (None, None), "{plain:?}");
}

#[test]
fn an_app_with_a_list_takes_events_from_its_own_pages_alone() {
    let node = Node::alone(&[]);
    let flags = ["--allow-api-key", "--allowed-origin", SHOP, "--allowed-origin", "http://localhost:3000"];
    let app = node.app_with("shop", &flags);
    let token = format!("Bearer {}", node.token(&app));
    for (origin, status) in [
        (Some(SHOP), 202),
        (Some("http://localhost:3000"), 202),
        (Some("https://other.example"), 403),
        (Some("null"), 403),
        // No browser: a server, or an app on a phone.
        (None, 202),
    ] {
        let origin: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
        for (path, credential) in
            [("/v1/events", ("Authorization", token.as_str())), ("/entries", ("X-ApiKey", &app.api_key))]
        {
            let fields = [&origin[..], &[credential]].concat();
            let answer = node.http().post(path, &fields, b"{}");
            assert_eq!(answer.status, status, "{path} {origin:?}");
            if status == 403 {
                assert_eq!(answer.code(), "origin_not_allowed");
                assert_eq!(allowed(&answer).0, Some(origin[0].1), "the page may read why");
            }
        }
    }
    for odd in ["shop.example", "https://shop.example/", "*"] {
        let refused = node.command(&["app", "create", "odd", "--allowed-origin", odd]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("without a path"), "{refused:?}");
    }
}
