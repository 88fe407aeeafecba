//! Where a body ends: Transfer-Encoding and Content-Length.

use super::{Stage, goes_on};

#[test]
fn rfc9112_6_1_transfer_encoding_is_chunked_and_nothing_else() {
    let stage = Stage::new();
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    for fields in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked-ext",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked;",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chun ked",
        "Transfer-Encoding: chunked chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: chunked\x0c",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: chunked\x08",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: \u{feff}chunked",
        "Transfer-Encoding: chun\u{212a}ed",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\x0b: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding chunked",
        "Transfer-Encoding\0: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    ] {
        stage.refuses(stage.event(&format!("{fields}\r\n"), chunks));
        stage.refuses(stage.event(&format!("Content-Length: 2\r\n{fields}\r\n"), chunks));
        stage.refuses(stage.event(&format!("{fields}\r\nContent-Length: 2\r\n"), chunks));
    }
    assert_eq!(stage.accepted(), 0);
    for fields in [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding: \t chunked \t",
    ] {
        stage.accepts(stage.event(&format!("{fields}\r\n"), chunks));
    }
    // A name that only looks like it means nothing.
    stage.accepts(stage.event("Transfer_Encoding: chunked\r\nContent-Length: 2\r\n", "{}"));
}

#[test]
fn rfc9112_6_1_transfer_encoding_with_content_length_is_refused() {
    let stage = Stage::new();
    let smuggled = stage.event("Content-Length: 2\r\n", "{}");
    for length in ["2", "0", "6", "99999"] {
        for fields in [
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            format!("Content-Length: {length}\r\nX: y\r\ntRANSFER-eNCODING: Chunked\r\n"),
        ] {
            stage.refuses(stage.event(&fields, "0\r\n\r\n"));
            stage.refuses(stage.event(&fields, &format!("2\r\n{{}}\r\n0\r\n\r\n{smuggled}")));
            stage.refuses(format!("GET /livez HTTP/1.1\r\nHost: t\r\n{fields}\r\n0\r\n\r\n"));
        }
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_6_1_transfer_encoding_in_http10_is_refused() {
    let stage = Stage::new();
    for fields in
        ["Transfer-Encoding: chunked\r\n", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"]
    {
        let authorization = stage.authorization();
        stage.refuses(format!(
            "POST /v1/events HTTP/1.0\r\n{authorization}{fields}\r\n2\r\n{{}}\r\n0\r\n\r\n"
        ));
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_8_6_content_length_is_one_plain_number() {
    let stage = Stage::new();
    for value in [
        "", "+2", "-2", "-0", "0x2", "2h", "2;", "2.0", "2e0", "1_0", "2 ,", "2, 2", "2,2", "2,3", "2 2",
        "\"2\"", "two", "\u{662}", "2\x0b", "\x0b2", "2\0", "\u{a0}2", "2\u{a0}",
    ] {
        stage.refuses(stage.event(&format!("Content-Length: {value}\r\n"), "{}"));
        stage.refuses(format!("GET /livez HTTP/1.1\r\nHost: t\r\nContent-Length: {value}\r\n\r\n{{}}"));
    }
    for fields in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 0\r\nX: y\r\ncontent-length: 2\r\n",
        "Content-Length : 2\r\n",
        "Content-Length\r\n",
    ] {
        stage.refuses(stage.event(fields, "{}"));
    }
    for value in [
        "4294967298",
        "18446744073709551615",
        "18446744073709551618",
        "99999999999999999999999999999999999999999999",
    ] {
        stage.refuses_as(stage.event(&format!("Content-Length: {value}\r\n"), "{}"), 413, "too_large");
    }
    assert_eq!(stage.accepted(), 0);
    for value in ["2", "02", "0000000000000000000000000002", " 2 ", "\t2\t"] {
        stage.accepts(stage.event(&format!("Content-Length:{value}\r\n"), "{}"));
    }
    stage.accepts(stage.event("Content_Length: 5\r\nContent-Length: 2\r\n", "{}"));
}

#[test]
fn rfc9112_6_3_without_a_length_there_is_no_body() {
    let stage = Stage::new();
    // What looks like the body is the next request, and no good one.
    let mut http = stage.send_and_smuggle(stage.event("", "{}"));
    assert_eq!(http.answer().code(), "length_required");
    assert_eq!(http.answer().code(), "malformed_request");
    assert!(http.has_ended());
    let mut http = stage.node.http();
    http.send(stage.event("Content-Length: 0\r\n", "").as_bytes());
    assert_eq!(http.answer().code(), "empty_body");
    goes_on(http);
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_8_a_body_that_was_cut_short_is_no_event() {
    let stage = Stage::new();
    for (fields, body) in [
        ("Content-Length: 3\r\n", "{}"),
        ("Content-Length: 65536\r\n", "{}"),
        ("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n"),
        ("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3\r\n{}"),
        ("Transfer-Encoding: chunked\r\n", "ffffffff\r\n{}"),
        ("Transfer-Encoding: chunked\r\n", "2"),
        ("Transfer-Encoding: chunked\r\n", ""),
    ] {
        let mut http = stage.node.http();
        http.send(stage.event(fields, body).as_bytes());
        http.end();
        let answer = http.answer();
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_request"), "{body:?}");
        assert!(http.has_ended());
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9112_6_3_the_body_of_any_request_is_no_request() {
    let stage = Stage::new();
    let inner = stage.event("Content-Length: 2\r\n", "{}");
    let length = inner.len();
    for head in [
        "GET /livez",
        "GET /nowhere",
        "OPTIONS /v1/events",
        "DELETE /livez",
        "POST /v1/events",
        "POST /oauth/token",
    ] {
        for rest in [
            format!("Content-Length: {length}\r\n\r\n{inner}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n"),
        ] {
            let mut http = stage.node.http();
            http.send(format!("{head} HTTP/1.1\r\nHost: t\r\n{rest}").as_bytes());
            let answer = http.answer();
            assert!(matches!(answer.status, 200 | 204 | 400 | 401 | 404 | 405), "{head}: {answer:?}");
            goes_on(http);
        }
        // A body that breaks the rules ends the connection, answered or not.
        let mut http = stage.send_and_smuggle(format!(
            "{head} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n"
        ));
        assert!(matches!(http.answer().status, 200 | 204 | 400 | 401 | 404 | 405), "{head}");
        assert!(http.has_ended(), "{head}");
    }
    assert_eq!(stage.accepted(), 0);
}
