//! The lines of a head: how they end, what they hold, and how long they may be.

use super::Stage;

#[test]
fn rfc9112_2_2_a_control_character_has_no_place_anywhere_in_a_head() {
    let stage = Stage::new();
    let head = "POST /v1/events HTTP/1.1\r\nHost: t\r\nX: yz\r\nContent-Length: 2\r\n\r\n";
    for place in 0..head.len() - 1 {
        for control in ["\r", "\n", "\0", "\x01", "\x0b", "\x0c", "\x1b", "\x7f"] {
            stage.refuses([&head[..place], control, &head[place..], "{}"].concat());
        }
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_2_2_a_line_ends_with_cr_lf() {
    let stage = Stage::new();
    stage.refuses("GET /livez HTTP/1.1\nHost: t\n\n");
    stage.refuses("GET /livez HTTP/1.1\r\nHost: t\n\r\n");
    stage.refuses("GET /livez HTTP/1.1\r\nHost: t\r\n\n");
    stage.refuses("GET /livez HTTP/1.1\r\nHost: t\r\n\r\r\n");
    stage.refuses("GET /livez HTTP/1.1\r\nHost: t\r\n\r\0\n");
    stage.refuses("GET /livez HTTP/1.1\rHost: t\r\r");
    stage.refuses("GET /livez HTTP/1.1\n\rHost: t\n\r\n\r");
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_2_2_a_few_empty_lines_ahead_are_passed_over() {
    let stage = Stage::new();
    let event = stage.event("Content-Length: 2\r\n", "{}");
    stage.accepts(format!("\r\n{event}"));
    stage.accepts(format!("\r\n\r\n{event}"));
    stage.refuses("\r\n".repeat(5));
    stage.refuses("\n");
    stage.refuses(" \r\n");
    assert_eq!(stage.accepted(), 2);
}

#[test]
fn rfc9112_2_2_white_space_ahead_of_the_first_field_is_refused() {
    let stage = Stage::new();
    stage.refuses("GET /livez HTTP/1.1\r\n Host: t\r\n\r\n");
    stage.refuses("GET /livez HTTP/1.1\r\n\tHost: t\r\n\r\n");
    stage.refuses("GET /livez HTTP/1.1\r\n X: y\r\nHost: t\r\n\r\n");
    stage.refuses("GET /livez HTTP/1.1\r\n \r\nHost: t\r\n\r\n");
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_2_3_other_versions_are_refused() {
    let stage = Stage::new();
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/9.9",
        "HTTP/1",
        "HTTP/2",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.1.1",
        "HTTP/1.10",
        "HTTP/11",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/+1.1",
        "http/1.1",
        "Http/1.1",
        "HTTP 1.1",
        "HTTP/ 1.1",
        "HTTP /1.1",
        "HTTP/1 .1",
        "HTTP/1,1",
        "HTTP-1.1",
        "HTTPS/1.1",
        "ICAP/1.0",
        "RTSP/1.0",
        "HTTP/1.x",
        "x",
    ] {
        stage.refuses(format!("GET /livez {version}\r\nHost: t\r\n\r\n"));
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_2_3_a_request_without_a_version_is_refused() {
    let stage = Stage::new();
    stage.refuses("GET /livez\r\n\r\n");
    stage.refuses("GET /livez\r\nHost: t\r\n\r\n");
    stage.refuses("GET /livez \r\nHost: t\r\n\r\n");
    // As HTTP/0.9 would end it.
    let mut http = stage.node.http();
    http.send(b"GET /livez\r\n");
    http.end();
    assert_eq!(http.answer().status, 400);
    assert!(http.has_ended());
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9113_3_4_the_preface_of_http2_is_refused() {
    let stage = Stage::new();
    stage.refuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_3_a_request_line_has_three_parts_and_two_spaces() {
    let stage = Stage::new();
    for line in [
        "GET  /livez HTTP/1.1",
        "GET /livez  HTTP/1.1",
        "GET\t/livez HTTP/1.1",
        "GET /livez\tHTTP/1.1",
        "GET\x0b/livez HTTP/1.1",
        " GET /livez HTTP/1.1",
        "\tGET /livez HTTP/1.1",
        "GET /livez HTTP/1.1 ",
        "GET /livez HTTP/1.1\t",
        "GET /livez HTTP/1.1 x",
        "GET /li vez HTTP/1.1",
        "GET /livez HTTP/1.1HTTP/1.1",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "GET",
        "GET ",
        "/livez HTTP/1.1",
        " /livez HTTP/1.1",
        "Host: t",
    ] {
        stage.refuses(format!("{line}\r\nHost: t\r\n\r\n"));
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_5_the_lines_of_fields_have_names_and_colons() {
    let stage = Stage::new();
    let lines: [&[u8]; 18] = [
        b"X : y",
        b"X\t: y",
        b"X",
        b"X y",
        b": y",
        b":",
        b" : y",
        b"[X]: y",
        b"X(: y",
        b"X\"Y\": z",
        b"X/Y: z",
        b"X@Y: z",
        b"X{}: y",
        b"X Y: z",
        b"\xc3\xa9: y",
        b"X\xff: y",
        b"Content-Length : 2",
        b"Host : t",
    ];
    for line in lines {
        stage.refuses([b"GET /livez HTTP/1.1\r\nHost: t\r\n", line, b"\r\n\r\n"].concat());
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_5_2_folded_lines_are_refused() {
    let stage = Stage::new();
    for lines in [
        "X: y\r\n z\r\n",
        "X: y\r\n\tz\r\n",
        "X:\r\n y\r\n",
        "X: y\r\n \r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length:\r\n 2\r\n",
        "X: y\r\n Content-Length: 2\r\n",
    ] {
        stage.refuses(stage.event(lines, "{}"));
        stage.refuses(stage.event(&format!("Content-Length: 2\r\n{lines}"), "{}"));
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_5_5_values_may_hold_what_is_not_ascii() {
    let stage = Stage::new();
    let event = stage.event("X: y\u{e9}\tz\r\nEmpty:\r\nContent-Length:2\r\n", "{}");
    stage.accepts(event);
    let mut latin = stage.event("Content-Length: 2\r\nX: ?\r\n", "{}").into_bytes();
    let place = latin.iter().rposition(|byte| *byte == b'?').expect("it is there");
    latin[place] = 0xff;
    stage.accepts(latin);
}

#[test]
fn rfc6585_5_heads_that_are_too_large_have_their_own_status() {
    let stage = Stage::new();
    for fields in [
        format!("X: {}\r\n", "y".repeat(20_000)),
        format!("X: {}\r\n", "y".repeat(200_000)),
        format!("{}: y\r\n", "X".repeat(100_000)),
        "X: y\r\n".repeat(101),
        "X: y\r\n".repeat(10_000),
        format!("Cookie: {}\r\n", "a=b; ".repeat(10_000)),
    ] {
        stage.refuses_as(stage.event(&fields, ""), 431, "head_too_large");
    }
    assert_eq!(stage.accepted(), 0);
}
