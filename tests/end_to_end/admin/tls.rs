//! TLS on the operators' listener.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use serde_json::json;

use super::{TOKEN, check_described, token_file};
use crate::https::{Pair, https_to};
use crate::support::{Node, await_true, socket_to};

/// A node whose operators have token and TLS; the folder has their files.
fn node_with(pair: &Pair) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let token = token_file(folder.path(), TOKEN);
    let [certificate, key] = pair.write(folder.path());
    let flags = ["--admin-token-file", &token, "--admin-tls-cert", &certificate, "--admin-tls-key", &key];
    let own = Arc::new(tempfile::tempdir().expect("a folder"));
    // Its operators' listener cannot be asked in plain, so the public one is.
    let node = Node::changed(own, &flags, |command| command);
    await_true("the node is ready", || node.http().get("/readyz").status == 200);
    (node, folder)
}

#[test]
fn operators_are_served_over_tls_and_their_cookie_is_for_it_alone() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair);
    let bearer = format!("Bearer {TOKEN}");
    for version in [&TLS13, &TLS12] {
        let mut http = https_to(node.admin, &pair.client(version));
        assert_eq!(http.get("/readyz").status, 200);
        assert_eq!(http.get("/ledger").status, 401);
        let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let answer = http.tell("POST", "/admin/apps", &fields, br#"{"name":"over TLS"}"#);
        check_described("POST", "/admin/apps", &answer);
        assert_eq!(answer.status, 201, "on the same connection");
        let token = json!({ "token": TOKEN }).to_string();
        let login = http.post("/session", &fields[1..], token.as_bytes());
        assert!(login.field("Set-Cookie").is_some_and(|set| set.ends_with("; Secure")), "{login:?}");
        assert_eq!(
            http.ask(
                "POST",
                "/admin/drain",
                &[("Authorization", &bearer), ("Origin", "http://evil.example")]
            )
            .status,
            403
        );
        let own = http.ask(
            "PUT",
            "/admin/log-level",
            &[("Authorization", &bearer), ("Origin", "https://localhost")],
        );
        assert_eq!(own.code(), "empty_body", "our own page");
    }
}

#[test]
fn who_does_not_speak_tls_is_left_and_a_handshake_that_does_not_go_on_ends() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair);
    let mut plain = socket_to(node.admin);
    std::io::Write::write_all(&mut plain, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // An alert at most (RFC 8446 section 6), no HTTP.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let since = Instant::now();
    let mut silent = socket_to(node.admin);
    assert_eq!(silent.read(&mut [0; 16]).expect("an end"), 0);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!(https_to(node.admin, &pair.client(&TLS13)).get("/livez").status, 200);
}

#[test]
fn a_changed_certificate_is_taken() {
    let (before, after) = (Pair::new(), Pair::new());
    let (node, folder) = node_with(&before);
    assert_eq!(https_to(node.admin, &before.client(&TLS13)).get("/livez").status, 200);
    after.write(folder.path());
    await_true("it is told", || node.said("took a changed certificate").is_some());
    assert_eq!(https_to(node.admin, &after.client(&TLS13)).get("/livez").status, 200);
}
