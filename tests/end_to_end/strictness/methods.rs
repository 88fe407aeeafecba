//! Methods: which there are, where, and what is peculiar to them.

use super::{Stage, goes_on};

#[test]
fn rfc9112_3_1_a_method_is_a_token_and_no_endless_one() {
    let stage = Stage::new();
    for method in ["G(T", "G/T", "G\"T", "G{T", "GET:", "G\u{e9}T", "\u{feff}GET", "[GET]", "G=T", "G@T"] {
        stage.refuses(format!("{method} /livez HTTP/1.1\r\nHost: t\r\n\r\n"));
    }
    stage.refuses(format!("{} /livez HTTP/1.1\r\nHost: t\r\n\r\n", "M".repeat(33)));
    stage.refuses(format!("{} /livez HTTP/1.1\r\nHost: t\r\n\r\n", "M".repeat(100_000)));
    // The method is judged before the target.
    stage.refuses(format!("{} /{} HTTP/1.1\r\nHost: t\r\n\r\n", "M".repeat(33), "x".repeat(100_000)));
    stage.refuses(format!("G@T /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(100_000)));
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_9_1_an_unknown_method_is_not_allowed_whatever_its_target() {
    const ALL: &str = "GET, HEAD, POST, OPTIONS";
    let stage = Stage::new();
    let longest = "M".repeat(32);
    for method in
        ["PUT", "DELETE", "PATCH", "TRACE", "get", "Get", "post", "BREW", "M-SEARCH", "QUERY", "!", &longest]
    {
        for (target, allow) in [
            ("/livez", "GET, HEAD, OPTIONS"),
            ("/v1/events?x", "POST, OPTIONS"),
            ("/nowhere", ALL),
            ("*", ALL),
            ("t:443", ALL),
            ("nothing", ALL),
        ] {
            let mut http = stage.node.http();
            let answer = http.ask(method, target, &[]);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (405, "method_not_allowed"),
                "{method} {target}"
            );
            assert_eq!(answer.field("Allow"), Some(allow), "{method} {target}");
            goes_on(http);
        }
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_15_5_6_a_method_that_is_not_for_this_place_is_told_those_that_are() {
    let stage = Stage::new();
    for (method, path, allow) in [
        ("GET", "/v1/events", "POST, OPTIONS"),
        ("GET", "/oauth/token", "POST, OPTIONS"),
        ("GET", "/entries/bulk", "POST, OPTIONS"),
        ("POST", "/readyz", "GET, HEAD, OPTIONS"),
    ] {
        let answer = stage.node.http().ask(method, path, &[]);
        assert_eq!((answer.status, answer.field("Allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(stage.node.http().get("/nowhere").code(), "not_found");
}

#[test]
fn rfc9110_9_3_6_behind_a_connect_there_is_no_request() {
    let stage = Stage::new();
    for target in ["t:443", "t", "/livez", "http://t/"] {
        stage.refuses_as(format!("CONNECT {target} HTTP/1.1\r\nHost: t\r\n\r\n"), 405, "method_not_allowed");
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_9_3_8_trace_echoes_nothing() {
    let stage = Stage::new();
    let answer = stage.node.http().ask("TRACE", "/livez", &[("Cookie", "secret=1")]);
    assert_eq!(answer.status, 405);
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
}

#[test]
fn rfc9110_9_3_7_options_of_the_whole_server() {
    let stage = Stage::new();
    let mut http = stage.node.http();
    let answer = http.ask("OPTIONS", "*", &[]);
    assert_eq!((answer.status, answer.field("Allow")), (204, Some("GET, HEAD, POST, OPTIONS")));
    assert_eq!((answer.field("Content-Length"), answer.body.len()), (None, 0), "RFC 9110 section 8.6");
    // It may have a body, which is no request.
    let body = stage.event("Content-Length: 2\r\n", "{}");
    http.send(
        format!("OPTIONS * HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    );
    assert_eq!(http.answer().status, 204);
    goes_on(http);
    stage.refuses("OPTIONS *x HTTP/1.1\r\nHost: t\r\n\r\n");
    stage.refuses("OPTIONS *?x HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_9_3_2_an_answer_to_head_has_no_body() {
    let stage = Stage::new();
    for (target, status) in [("/livez", 200), ("/nowhere", 404), ("/v1/events", 405)] {
        let mut http = stage.node.http();
        http.send(
            format!(
                "HEAD {target} HTTP/1.1\r\nHost: t\r\n\r\nHEAD {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
            )
            .as_bytes(),
        );
        let heads = http.rest();
        assert!(heads.ends_with("\r\n\r\n") && !heads.contains('{'), "{heads:?}");
        assert_eq!(heads.matches(&format!("HTTP/1.1 {status} ")).count(), 2, "{heads:?}");
        assert_eq!(heads.matches("\r\nContent-Length: ").count(), 2, "{heads:?}");
        assert_eq!(heads.matches("\r\nContent-Length: 0").count(), 0, "as GET would say it: {heads:?}");
    }
    // Not even a refused one.
    for request in [
        "HEAD /livez HTTP/1.1\r\n\r\n",
        "HEAD /livez HTTP/1.1\r\nHost: t\n\r\n",
        "HEAD /livez HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HEAD * HTTP/1.1\r\nHost: t\r\n\r\n",
    ] {
        let head = stage.send_and_smuggle(request).rest();
        assert!(head.starts_with("HTTP/1.1 400 ") && head.ends_with("\r\n\r\n"), "{head:?}");
        assert!(!head.contains('{'), "{head:?}");
    }
    let mut http = stage.node.http();
    http.send(b"HEAD /livez HTTP/1.1\r\nHost");
    http.end();
    let head = http.rest();
    assert!(head.starts_with("HTTP/1.1 400 ") && head.ends_with("\r\n\r\n"), "{head:?}");
    // A body of its own is no request.
    let body = stage.event("Content-Length: 2\r\n", "{}");
    let mut http = stage.node.http();
    http.send(
        format!(
            "HEAD /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    assert_eq!(http.rest().matches("HTTP/1.1 ").count(), 1);
    assert_eq!(stage.accepted(), 0);
}
