//! Bodies that were made smaller on their way arrive as they were before.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::support::Node;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, 20).write_all(body).expect("memory");
    out
}

#[test]
fn each_coding_is_taken_for_one_event_and_for_many() {
    let node = Node::start(&[]);
    let app = node.app_with("demo", &["--allow-api-key"]);
    let authorization = format!("Bearer {}", node.token(&app));
    let event = format!(r#"{{"message":"{}"}}"#, "no, ".repeat(500));
    let batch = format!("[{event},{event}]");
    let lines = format!("{event}\n{event}\n");
    for name in ["gzip", "deflate", "zstd", "br"] {
        let encode = |body: &[u8]| match name {
            "gzip" => gzip(body),
            "deflate" => deflate(body),
            "zstd" => zstd::encode_all(body, 3).expect("memory"),
            _ => brotli(body),
        };
        let mut http = node.http();
        let bearer = [("Authorization", authorization.as_str()), ("Content-Encoding", name)];
        let ndjson = [&bearer[..], &[("Content-Type", "application/x-ndjson")]].concat();
        let key = [("X-ApiKey", app.api_key.as_str()), ("Content-Encoding", name)];
        for (path, fields, body) in [
            ("/v1/events", &bearer[..], &event),
            ("/v1/events/batch", &bearer[..], &batch),
            ("/v1/events/batch", &ndjson[..], &lines),
            ("/entries", &key[..], &event),
        ] {
            let answer = http.post(path, fields, &encode(body.as_bytes()));
            assert_eq!(answer.status, 202, "{name} {path}: {answer:?}");
        }
        assert!(node.queue.take(6).iter().all(|delivered| delivered.data == event), "{name}");
    }
}

#[test]
fn the_bound_is_that_of_the_decoded_body() {
    let node = Node::alone(&["--max-body", "1KiB", "--max-batch-body", "4KiB"]);
    let authorization = format!("Bearer {}", node.token(&node.app("demo")));
    let fields = [("Authorization", authorization.as_str()), ("Content-Encoding", "gzip")];
    let of = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    let mut http = node.http();
    assert_eq!(http.post("/v1/events", &fields, &gzip(of(1024).as_bytes())).status, 202);
    for bytes in [1025, 100 << 10, 1 << 20] {
        // A thousand times the bound is a kilobyte on the wire.
        let answer = http.post("/v1/events", &fields, &gzip(of(bytes).as_bytes()));
        assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{bytes}");
    }
    for (coding, body) in
        [("gzip", &b"{}"[..]), ("gzip", &gzip(b"{}")[..10]), ("br", b"\xff\xff"), ("zstd", b"")]
    {
        let fields = [("Authorization", authorization.as_str()), ("Content-Encoding", coding)];
        let answer = http.post("/v1/events", &fields, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_encoding"), "{coding}");
    }
    assert_eq!(node.metric("forebay_events_accepted_total"), 1);
}
