//! The chunked transfer coding.

use super::{Stage, goes_on};

#[test]
fn rfc9112_7_1_chunks_have_a_plain_size_and_end_where_they_say() {
    let stage = Stage::new();
    for body in [
        // The size.
        "+2\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "-0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2h\r\n{}\r\n0\r\n\r\n",
        "h\r\n{}\r\n0\r\n\r\n",
        "1_0\r\n{}\r\n0\r\n\r\n",
        "2.0\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "\t2\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "2\t\r\n{}\r\n0\r\n\r\n",
        "2\x0b\r\n{}\r\n0\r\n\r\n",
        "2\0\r\n{}\r\n0\r\n\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "\"2\"\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "\r\n2\r\n{}\r\n0\r\n\r\n",
        ";x\r\n{}\r\n0\r\n\r\n",
        "\u{662}\r\n{}\r\n0\r\n\r\n",
        "100000002\r\n{}\r\n0\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffe\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        // The end of its line.
        "2\n{}\r\n0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\r\n{}\r\n0\r\n\r\n",
        "2\n\r{}\r\n0\r\n\r\n",
        // The end of the data.
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}\r0\r\n\r\n",
        "2\r\n{}\r\r\n0\r\n\r\n",
        "2\r\n{}  \r\n0\r\n\r\n",
        "2\r\n{}xx0\r\n\r\n",
        "2\r\n{}\r\n\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "2\r\n{} x\r\n0\r\n\r\n",
        // The last chunk and what follows it.
        "2\r\n{}\r\n0\n\r\n",
        "2\r\n{}\r\n0\r\n\n",
        "2\r\n{}\r\n0\r\r\n",
        "2\r\n{}\r\n0\r\n\r\r\n",
        "2\r\n{}\r\n0\r\n{}\r\n\r\n",
        "2\r\n{}\r\n+0\r\n\r\n",
        "2\r\n{}\r\n0 \r\n\r\n",
    ] {
        stage.refuses(stage.event("Transfer-Encoding: chunked\r\n", body));
    }
    assert_eq!(stage.accepted(), 0);
    for body in [
        "2\r\n{}\r\n0\r\n\r\n",
        "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "00000002\r\n{}\r\n00000000\r\n\r\n",
        "A\r\n{\"a\":\"bc\"}\r\n0\r\n\r\n",
        "a\r\n{\"a\":\"bc\"}\r\n0\r\n\r\n",
    ] {
        stage.accepts(stage.event("Transfer-Encoding: chunked\r\n", body));
    }
    let too_large = format!("10000\r\n{}\r\n2\r\n{{}}\r\n0\r\n\r\n", " ".repeat(65_536));
    stage.refuses_as(stage.event("Transfer-Encoding: chunked\r\n", &too_large), 413, "too_large");
    let mut http = stage.node.http();
    http.send(stage.event("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").as_bytes());
    assert_eq!(http.answer().code(), "empty_body");
    goes_on(http);
}

#[test]
fn rfc9112_7_1_1_extensions_are_read_by_their_grammar_and_dropped() {
    let stage = Stage::new();
    for extension in [
        ";",
        ";;",
        ";x;",
        ";;x",
        ";=",
        ";=y",
        ";x=",
        ";x=;y",
        "; ",
        ";x ",
        ";x=y ",
        ";x y",
        ";x=y z",
        ";x=\"y",
        ";x=\"y\"z",
        ";x=y\"z\"",
        ";x=\"y\n\"",
        ";x=\"y\r\n\"",
        ";x=\"y\\\n\"",
        ";x\n",
        ";x\r",
        ";x\ny",
        ";x\ry",
        ";x\0",
        ";x=\x01",
        ";x=\"\x7f\"",
        ";[x]",
        ";x@y",
        ";x=(y)",
        ";\u{e9}",
        ",x",
        "x",
    ] {
        let body = format!("2{extension}\r\n{{}}\r\n0\r\n\r\n");
        stage.refuses(stage.event("Transfer-Encoding: chunked\r\n", &body));
    }
    let endless = format!("2;x={}\r\n{{}}\r\n0\r\n\r\n", "y".repeat(100_000));
    stage.refuses(stage.event("Transfer-Encoding: chunked\r\n", &endless));
    assert_eq!(stage.accepted(), 0);
    for extension in
        [";x", ";x=y", ";x=\"y;z\\\"\\\\\"", ";x;y=z;w", " ;x", "; x\t= y", ";x=\"\"", ";x=\"\u{e9}\""]
    {
        let body = format!("2{extension}\r\n{{}}\r\n0{extension}\r\n\r\n");
        stage.accepts(stage.event("Transfer-Encoding: chunked\r\n", &body));
    }
}

#[test]
fn rfc9112_7_1_2_trailers_are_read_and_mean_nothing() {
    let stage = Stage::new();
    for trailer in [
        "X : y\r\n",
        " X: y\r\n",
        "X: y\r\n z\r\n",
        "X\r\n",
        ": y\r\n",
        "X: y\n",
        "X: y\n\r\n",
        "X: y\rZ: w\r\n",
        "X: \0\r\n",
        "X: \x01\r\n",
        "[X]: y\r\n",
        "\u{e9}: y\r\n",
    ] {
        let body = format!("2\r\n{{}}\r\n0\r\n{trailer}\r\n");
        stage.refuses(stage.event("Transfer-Encoding: chunked\r\n", &body));
    }
    let endless = format!("2\r\n{{}}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    stage.refuses(stage.event("Transfer-Encoding: chunked\r\n", &endless));
    assert_eq!(stage.accepted(), 0);
    for trailer in [
        "X: y\r\n",
        "X:\r\nY: \u{e9}\t\r\n",
        // RFC 9110 section 6.5.1 forbids these here: whoever sends them all the same gets nothing for it.
        "Content-Length: 99\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: u\r\nConnection: close\r\n",
        "Forebay-Ack: nonsense\r\nForebay-Event-Id: nonsense\r\nContent-Type: text/plain\r\n",
    ] {
        let body = format!("2\r\n{{}}\r\n0\r\n{trailer}\r\n");
        stage.accepts(stage.event("Transfer-Encoding: chunked\r\n", &body));
    }
    // A token that comes too late is none.
    let late = format!("2\r\n{{}}\r\n0\r\n{}\r\n", stage.authorization());
    let mut http = stage.node.http();
    http.send(
        format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{late}").as_bytes(),
    );
    assert_eq!(http.answer().code(), "missing_token");
    goes_on(http);
}
