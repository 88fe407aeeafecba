//! Whoever else reads the same bytes must find the same messages in them: a second reader (hyper) may stop earlier than we do, or later, but where both
//! see a message it has to be the same one. Where they did not agree, a proxy in front could be talked into letting a request through that it never saw
//! (request smuggling, RFC 9112 section 11.2).

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use forebay::http::{Decoder, HeadLimits, KnownHead, Step};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 << 10 };

/// A message, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    path: String,
    body: Vec<u8>,
}

/// What we see, until we refuse or the connection would end.
fn ours(input: &[u8]) -> Vec<Message> {
    let (mut decoder, mut known) = (Decoder::default(), KnownHead::default());
    let (mut used, mut messages, mut path, mut keep_alive) = (0, Vec::new(), String::new(), true);
    while keep_alive || !path.is_empty() {
        let (more, step) = decoder.step(&input[used..], LIMITS, &mut known);
        used += more;
        match step {
            Step::Head(head) => {
                (path, keep_alive) = (head.path.to_owned(), head.keep_alive);
                decoder.take_body(1 << 20);
            }
            Step::Body(body) => {
                messages.push(Message { path: std::mem::take(&mut path), body: body.to_vec() });
            }
            Step::More | Step::Violation(_) => break,
            Step::Skipped => unreachable!("nothing is passed over"),
        }
    }
    messages
}

/// What hyper sees.
fn theirs(input: &[u8]) -> Vec<Message> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let messages = Arc::new(Mutex::new(Vec::new()));
    let seen = messages.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let path = request.uri().path().to_owned();
            if let Ok(body) = request.into_body().collect().await {
                seen.lock().expect("one thread").push(Message { path, body: body.to_bytes().to_vec() });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(input).await.expect("it has room");
        client.shutdown().await.expect("our side");
        // It may refuse: that is an answer, too.
        let mut http1 = hyper::server::conn::http1::Builder::new();
        let _ = http1.half_close(true).serve_connection(TokioIo::new(server), service).await;
    });
    let messages = messages.lock().expect("one thread");
    messages.clone()
}

/// Whether both see the same messages, as far as both go.
fn agree(input: &[u8]) -> Result<usize, String> {
    let (ours, theirs) = (ours(input), theirs(input));
    let both = ours.len().min(theirs.len());
    if ours[..both] == theirs[..both] {
        return Ok(both);
    }
    Err(format!("{:?}\nours   {ours:?}\ntheirs {theirs:?}", String::from_utf8_lossy(input)))
}

const LINES: &[&str] = &[
    "POST /a HTTP/1.1\r\n",
    "POST /b?q=1 HTTP/1.1\r\n",
    "GET /c HTTP/1.1\r\n",
    "GET http://h/d HTTP/1.1\r\n",
    "POST /e HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "HEAD /f HTTP/1.1\r\n",
    "PUT /g HTTP/1.1\n",
];
const FIELDS: &[&str] = &[
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 05\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 5\n",
    "Content-Length:5 \r\n",
    "Content-Length : 5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 18446744073709551621\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: Chunked\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "X: y\r\n",
    "X: y\rContent-Length: 5\r\n",
    " folded\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
];
const BODIES: &[&str] = &[
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\r\nhello\r\n0\r\n\r\n",
    "5;a\nhello\r\n0\r\n\r\n",
    "05\r\nhello\r\n00\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\nhello\n0\n\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
];

const GOOD: &[&str] = &[
    "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "GET /c HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n",
];

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => prop::sample::select(GOOD).prop_map(|text| text.as_bytes().to_vec()), 1 => odd_message()]
}

prop_compose! {
    fn odd_message()(
        line in prop::sample::select(LINES),
        host in prop_oneof![9 => Just("Host: h\r\n"), 1 => Just("")],
        fields in prop::collection::vec(prop::sample::select(FIELDS), 0..3),
        body in prop::sample::select(BODIES),
    ) -> Vec<u8> {
        [line, host, &fields.concat(), "\r\n", body].concat().into_bytes()
    }
}

/// A byte that means something to somebody, at some place.
fn any_change() -> impl Strategy<Value = (usize, Option<u8>, bool)> {
    (
        any::<usize>(),
        prop::option::of(prop::sample::select(&b"\r\n\0\t :,;0159afx\"\x7f\x80"[..])),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn both_see_the_same_messages(
        messages in prop::collection::vec(any_message(), 1..5),
        changes in prop::collection::vec(any_change(), 0..3),
    ) {
        let mut input = messages.concat();
        for (place, byte, insert) in changes {
            let place = place % input.len();
            match byte {
                Some(byte) if insert => input.insert(place, byte),
                Some(byte) => input[place] = byte,
                None => drop(input.remove(place)),
            }
        }
        if let Err(difference) = agree(&input) {
            prop_assert!(false, "{}", difference);
        }
    }
}

#[test]
fn the_comparison_compares_something() {
    let two = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    assert_eq!(agree(two), Ok(2));
    assert_eq!(ours(two)[1], Message { path: "/b".to_owned(), body: b"hello".to_vec() });
}
