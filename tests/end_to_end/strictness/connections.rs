//! When connections go on and when they end; what is said ahead of an answer, and with each.

use super::{Stage, goes_on};

#[test]
fn rfc9110_10_1_1_the_body_is_asked_for_when_it_is_expected() {
    let stage = Stage::new();
    for (fields, body) in [
        ("Expect: 100-continue\r\nContent-Length: 2\r\n", "{}"),
        ("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("Expect: x, 100-continue\r\nContent-Length: 2\r\n", "{}"),
    ] {
        let mut http = stage.node.http();
        http.send(stage.event(fields, "").as_bytes());
        assert_eq!(http.answer().status, 100, "{fields}");
        http.send(body.as_bytes());
        assert_eq!(http.answer().status, 202);
        goes_on(http);
    }
    // Whose body is coming already is not asked for it.
    stage.accepts(stage.event("Expect: 100-continue\r\nContent-Length: 2\r\n", "{}"));
    // There is none to come.
    let mut http = stage.node.http();
    assert_eq!(http.ask("GET", "/livez", &[("Expect", "100-continue")]).status, 200);
    // Expectations that nobody knows may be left unmet.
    stage.accepts(stage.event("Expect: the-unexpected\r\nContent-Length: 2\r\n", "{}"));
}

#[test]
fn rfc9110_10_1_1_a_body_that_is_not_wanted_is_not_asked_for() {
    let stage = Stage::new();
    for (fields, code) in [
        ("Content-Length: 2\r\n", "missing_token"),
        ("Content-Length: 65537\r\n", "too_large"),
        ("Transfer-Encoding: chunked\r\n", "missing_token"),
    ] {
        // Whether the body follows is the client's to decide, so nothing more is read.
        let mut http = stage.node.http();
        http.send(
            format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n{fields}\r\n").as_bytes(),
        );
        let answer = http.answer();
        assert_eq!((answer.code().as_str(), answer.field("Connection")), (code, Some("close")));
        http.send(stage.event("Content-Length: 2\r\n", "{}").as_bytes());
        assert!(http.has_ended());
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_10_1_1_an_expectation_in_http10_is_ignored() {
    let stage = Stage::new();
    let keep = "Connection: keep-alive\r\n";
    let mut http = stage.node.http();
    let authorization = stage.authorization();
    http.send(
        format!(
            "GET /livez HTTP/1.0\r\n{keep}\r\nPOST /v1/events HTTP/1.0\r\n{keep}{authorization}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(http.answer().status, 200, "and the head behind it was read with it");
    http.send(b"{}");
    assert_eq!(http.answer().status, 202);
    goes_on(http);
}

#[test]
fn rfc9112_9_3_connections_go_on_and_end_as_asked() {
    let stage = Stage::new();
    for (head, last) in [
        ("HTTP/1.1\r\nHost: t\r\n", false),
        ("HTTP/1.1\r\nHost: t\r\nConnection: keep-alive\r\n", false),
        ("HTTP/1.1\r\nHost: t\r\nConnection: closed\r\n", false),
        ("HTTP/1.1\r\nHost: t\r\nConnection: close\r\n", true),
        ("HTTP/1.1\r\nHost: t\r\nconnection: CLOSE\r\n", true),
        ("HTTP/1.1\r\nHost: t\r\nConnection: x,close , keep-alive\r\n", true),
        ("HTTP/1.1\r\nHost: t\r\nConnection: keep-alive\r\nConnection: close\r\n", true),
        ("HTTP/1.0\r\n", true),
        ("HTTP/1.0\r\nConnection: close\r\n", true),
        ("HTTP/1.0\r\nConnection: keep-alive, close\r\n", true),
        ("HTTP/1.0\r\nConnection: Keep-Alive\r\n", false),
    ] {
        let mut http = stage.node.http();
        http.send(format!("GET /livez {head}\r\n").repeat(2).as_bytes());
        let answer = http.answer();
        assert_eq!(answer.status, 200, "{head}");
        let expected = match (last, head.starts_with("HTTP/1.0")) {
            (true, _) => Some("close"),
            (false, true) => Some("keep-alive"),
            (false, false) => None,
        };
        assert_eq!(answer.field("Connection"), expected, "{head}");
        if last {
            assert!(http.has_ended(), "{head}");
        } else {
            assert_eq!(http.answer().status, 200, "{head}");
            goes_on(http);
        }
    }
}

#[test]
fn rfc9112_9_3_2_pipelined_requests_are_answered_in_order_up_to_the_broken_one() {
    let stage = Stage::new();
    let good = stage.event("Content-Length: 2\r\n", "{}");
    let wrong = stage.event("Content-Length: 2\r\n", "{x");
    let probe = "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    let lost = "GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n";
    let broken = stage.event("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "{}");
    let mut http = stage.node.http();
    http.send([probe, &wrong, &good, lost, &good, &broken, &good, probe].concat().as_bytes());
    let statuses: Vec<u16> = (0..6).map(|_| http.answer().status).collect();
    assert_eq!(statuses, [200, 400, 202, 404, 202, 400]);
    assert!(http.has_ended());
    assert_eq!(stage.accepted(), 2);
}

#[test]
fn rfc9112_9_6_a_client_that_ends_its_side_gets_its_answers() {
    let stage = Stage::new();
    let mut http = stage.node.http();
    http.send(stage.event("Content-Length: 2\r\n", "{}").repeat(3).as_bytes());
    http.end();
    for _ in 0..3 {
        assert_eq!(http.answer().status, 202);
    }
    assert!(http.has_ended());
    assert_eq!(stage.accepted(), 3);
}

#[test]
fn rfc9112_9_6_an_answer_survives_a_client_that_goes_on_sending() {
    let stage = Stage::new();
    let endless = vec![b' '; 4 << 20];
    for (head, status) in [
        (stage.event("Content-Length: 9999999\r\n", ""), 413),
        (stage.event("Content-Length: 9999999\r\nTransfer-Encoding: chunked\r\n", ""), 400),
        (stage.event("Transfer-Encoding: chunked\r\n", "x"), 400),
        ("GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".to_owned(), 200),
    ] {
        let mut http = stage.node.http();
        http.send(head.as_bytes());
        http.send(&endless);
        let answer = http.answer();
        assert_eq!((answer.status, answer.field("Connection")), (status, Some("close")));
        assert!(http.has_ended(), "without a reset");
    }
    assert_eq!(stage.accepted(), 0);
}

#[test]
fn rfc9110_7_8_an_upgrade_is_ignored() {
    let stage = Stage::new();
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: TLS/1.0\r\n",
    ] {
        stage.accepts(stage.event(&format!("{fields}Content-Length: 2\r\n"), "{}"));
        let mut http = stage.node.http();
        http.send(format!("GET /livez HTTP/1.1\r\nHost: t\r\n{fields}\r\n").as_bytes());
        let answer = http.answer();
        assert_eq!((answer.status, answer.field("Upgrade")), (200, None));
        goes_on(http);
    }
}

#[test]
fn rfc9110_6_6_1_and_8_6_answers_have_a_date_and_a_length() {
    let stage = Stage::new();
    let mut http = stage.node.http();
    let event = http.event(&stage.token, "{}");
    for answer in [
        event,
        http.get("/livez"),
        http.get("/nowhere"),
        http.ask("PUT", "/livez", &[]),
        http.event("x", "{}"),
    ] {
        let date = answer.field("Date").expect("a date");
        assert!(is_imf_fixdate(date), "{date}");
        let length: usize = answer.field("Content-Length").expect("a length").parse().expect("a number");
        assert_eq!(length, answer.body.len());
        assert!(answer.field("Transfer-Encoding").is_none() && answer.field("Connection").is_none());
    }
}

/// The form of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_imf_fixdate(date: &str) -> bool {
    let form: String = date
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' => 'a',
            '0'..='9' => '0',
            other => other,
        })
        .collect();
    form == "aaa, 00 aaa 0000 00:00:00 aaa" && date.ends_with(" GMT")
}
