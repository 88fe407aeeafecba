//! Targets and hosts.

use super::{Stage, goes_on};

#[test]
fn rfc9112_3_a_target_that_is_too_long_has_its_own_status() {
    let stage = Stage::new();
    for length in [8_200, 16_000, 100_000] {
        let path = "x".repeat(length);
        stage.refuses_as(format!("GET /{path} HTTP/1.1\r\nHost: t\r\n\r\n"), 414, "target_too_long");
        stage.refuses_as(format!("GET /livez?{path} HTTP/1.1\r\nHost: t\r\n\r\n"), 414, "target_too_long");
    }
    // Section 3 recommends at least 8,000 octets of request line.
    let answer = stage.node.http().get(&format!("/livez?{}", "x".repeat(8_000)));
    assert_eq!(answer.status, 200);
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_3_2_a_target_has_one_of_four_forms_and_characters_of_a_uri() {
    let stage = Stage::new();
    let targets: [&[u8]; 24] = [
        b"livez",
        b"*",
        b"?",
        b"#",
        b"t:80",
        b"t",
        b"http:/livez",
        b"http:livez",
        b"http://",
        b"http:///livez",
        b"http://?x",
        b"http://u@t/livez",
        b"http://u:p@t/livez",
        b"http://t:x/livez",
        b"ftp://t/livez",
        b"://t/livez",
        b"http://t/livez#f",
        b"/livez#f",
        b"/livez?x#f",
        b"/livez\\",
        b"/liv\xc3\xa9",
        b"/\xc0\xaf",
        b"/\xff",
        b"/<livez>",
    ];
    for target in targets {
        stage.refuses([b"GET ", target, b" HTTP/1.1\r\nHost: t\r\n\r\n"].concat());
    }
    // No path is made of another one: whoever reads the same bytes might make it differently.
    for target in [
        "//livez",
        "/livez/",
        "/./livez",
        "/x/../livez",
        "/%6civez",
        "/LIVEZ",
        "/livez%00",
        "/livez%0d%0a",
        "/livez;x",
    ] {
        let mut http = stage.node.http();
        let answer = http.get(target);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{target}");
        goes_on(http);
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_3_2_host_is_there_once_and_valid() {
    let stage = Stage::new();
    let event = |hosts: &str| {
        format!("POST /v1/events HTTP/1.1\r\n{hosts}{}Content-Length: 2\r\n\r\n{{}}", stage.authorization())
    };
    stage.refuses(event(""));
    stage.refuses(event("Host: t\r\nHost: t\r\n"));
    stage.refuses(event("Host: t\r\nX: y\r\nhOST: u\r\n"));
    for host in [
        "", " ", "t u", "t, u", "t/", "/t", "http://t", "u@t", "u:p@t", "t:x", "t:-1", "t:1:2", "t:123456",
        ":80", "t\\", "t?x", "t#x", "<t>", "\"t\"", "\u{e9}", "[", "[]", "[::1", "::1", "[::1]x", "[::1]:x",
        "[t]", "[::g]", "t%", "t%zz", "t\tu", "t^u",
    ] {
        stage.refuses(event(&format!("Host: {host}\r\n")));
    }
    for host in [
        "t",
        "T.example",
        "t:80",
        "t:",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "xn--bcher-kva.example",
        " t ",
        "\tt\t",
    ] {
        stage.accepts(event(&format!("Host:{host}\r\n")));
    }
}

#[test]
fn rfc9112_3_2_http10_needs_no_host_but_no_wrong_one() {
    let stage = Stage::new();
    let event = |fields: &str| {
        format!("POST /v1/events HTTP/1.0\r\n{fields}{}Content-Length: 2\r\n\r\n{{}}", stage.authorization())
    };
    for fields in ["", "Host: t\r\n"] {
        let mut http = stage.send_and_smuggle(event(fields));
        let answer = http.answer();
        assert_eq!((answer.status, answer.field("Connection")), (202, Some("close")));
        assert!(http.has_ended());
    }
    stage.refuses(event("Host: t\r\nHost: t\r\n"));
    stage.refuses(event("Host: a b\r\n"));
    assert_eq!(stage.accepted(), 2);
}

#[test]
fn rfc9112_3_2_2_absolute_form_is_taken_and_its_authority_counts() {
    let stage = Stage::new();
    let event = |target: &str, host: &str| {
        format!("POST {target} HTTP/1.1\r\n{host}{}Content-Length: 2\r\n\r\n{{}}", stage.authorization())
    };
    for target in [
        "http://t/v1/events",
        "HTTP://T/v1/events",
        "https://t:443/v1/events?x=http://u/",
        "http://[::1]:80/v1/events",
    ] {
        stage.accepts(event(target, "Host: t\r\n"));
    }
    // The server "MUST ignore the received Host": another one is no reason to refuse, but it has to be one.
    stage.accepts(event("http://t/v1/events", "Host: u\r\n"));
    stage.refuses(event("http://t/v1/events", ""));
    stage.refuses(event("http://t/v1/events", "Host: a b\r\n"));
    stage.refuses(event("http://t/v1/events", "Host: t\r\nHost: t\r\n"));
}
