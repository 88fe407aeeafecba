//! TLS on the public listener, with a client of another make than the server's code around it: rustls as applications use it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::support::{Http, Node, await_some, await_true, forebay, socket_to};

/// A certificate for `localhost` that vouches for itself, with its key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    key: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(&KeyPair::generate().expect("a key"))
    }

    fn with(key: &KeyPair) -> Self {
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = certificate.self_signed(key).expect("a certificate");
        Self { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn write(&self, folder: &Path) -> [String; 2] {
        let paths = ["cert.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&paths[0], &self.certificate).expect("written");
        std::fs::write(&paths[1], &self.key).expect("written");
        paths.map(|path| path.to_str().expect("a plain path").to_owned())
    }

    /// What a client that trusts this certificate is set up with.
    pub(crate) fn client(&self, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM"))
            .expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let mut config = config.expect("a version").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }
}

/// A node that speaks TLS, and the folder of its certificate.
fn node_with(pair: &Pair, flags: &[&str]) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let [certificate, key] = pair.write(folder.path());
    let flags = [&["--tls-cert", &certificate, "--tls-key", &key], flags].concat();
    (Node::alone(&flags), folder)
}

/// HTTP over TLS on a new connection.
pub(crate) fn https_to(address: SocketAddr, config: &Arc<ClientConfig>) -> Http {
    let stream = StreamOwned::new(connection(config), socket_to(address));
    Http::through(&stream.sock.try_clone().expect("a descriptor"), stream)
}

fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config.clone(), "localhost".try_into().expect("a name")).expect("a client")
}

/// Shakes hands on a new connection.
fn shake(node: &Node, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = StreamOwned::new(connection(config), socket_to(node.address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    stream
}

fn https(node: &Node, config: &Arc<ClientConfig>) -> Http {
    let stream = shake(node, config);
    Http::through(&stream.sock.try_clone().expect("a descriptor"), stream)
}

#[test]
fn rfc8446_and_rfc5246_events_are_taken_and_sessions_resumed() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair, &[]);
    let app = node.app_unseen("demo", &[]);
    for (version, resumed) in [(&rustls::version::TLS13, 1), (&rustls::version::TLS12, 2)] {
        let config = pair.client(version);
        let stream = shake(&node, &config);
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        let mut http = Http::through(&stream.sock.try_clone().expect("a descriptor"), stream);
        let token = app.token(&mut http);
        http.event(&token, r#"{"message":"over TLS"}"#).id();
        // More than a record, and more than a receive buffer.
        http.event(&token, format!(r#"{{"pad":"{}"}}"#, "x".repeat(200_000))).id();
        let pipelined = "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n".repeat(40);
        http.send(pipelined.as_bytes());
        for _ in 0..40 {
            assert_eq!(http.answer().status, 200);
        }
        let again = shake(&node, &config);
        assert_eq!(again.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        await_true("it is counted", || {
            node.metric(r#"forebay_tls_handshakes_total{outcome="resumed"}"#) == resumed
        });
    }
    assert_eq!(node.metric(r#"forebay_tls_handshakes_total{outcome="full"}"#), 2);
    assert_eq!(node.metric("forebay_events_accepted_total"), 4);
}

#[test]
fn a_balancers_header_comes_before_tls() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair, &["--proxy-protocol-from", "127.0.0.1"]);
    let mut socket = socket_to(node.address);
    socket.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n").expect("sent");
    let client = connection(&pair.client(&rustls::version::TLS13));
    let stream = StreamOwned::new(client, socket.try_clone().expect("a descriptor"));
    assert_eq!(Http::through(&socket, stream).get("/livez").status, 200);
}

#[test]
fn rfc8446_6_1_the_last_answer_ends_with_close_notify() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair, &[]);
    let mut stream = shake(&node, &pair.client(&rustls::version::TLS13));
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // Without close_notify this would be an error: somebody may have cut the stream.
    stream.read_to_end(&mut answer).expect("a proper end");
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    // The other way round: a client that says goodbye still gets its answer.
    let mut stream = shake(&node, &pair.client(&rustls::version::TLS13));
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n").expect("sent");
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{ended:?}");
}

#[test]
fn the_end_of_the_handshake_the_only_request_and_goodbye_may_come_together() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair, &[]);
    let mut client = connection(&pair.client(&rustls::version::TLS13));
    let mut socket = socket_to(node.address);
    client.write_tls(&mut socket).expect("sent");
    while client.is_handshaking() {
        client.read_tls(&mut socket).expect("the node answers");
        client.process_new_packets().expect("TLS");
    }
    client.writer().write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n").expect("memory");
    client.send_close_notify();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory");
    }
    socket.write_all(&bytes).expect("sent");
    // The node ends the connection long before it would for idling.
    while client.read_tls(&mut socket).expect("an end in time") > 0 {
        client.process_new_packets().expect("TLS");
    }
    let mut answer = [0; 15];
    client.reader().read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair, &[]);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut client = connection(&pair.client(version));
        let mut socket = socket_to(node.address);
        while client.is_handshaking() || client.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("memory");
            }
            for byte in bytes {
                socket.write_all(&[byte]).expect("the node reads");
            }
            if client.is_handshaking() && client.wants_read() {
                client.read_tls(&mut socket).expect("the node answers");
                client.process_new_packets().expect("TLS");
            }
        }
        let stream = StreamOwned::new(client, socket.try_clone().expect("a descriptor"));
        assert_eq!(Http::through(&socket, stream).get("/livez").status, 200);
    }
}

#[test]
fn who_does_not_speak_tls_is_told_and_who_does_not_go_on_is_left() {
    let pair = Pair::new();
    let (node, _folder) = node_with(&pair, &["--head-timeout", "300ms"]);
    let mut http = node.http();
    let answer = http.get("/livez");
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_request"));
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("TLS")), "{answer:?}");
    assert!(http.has_ended());
    // A client hello that is none: an alert (RFC 8446 section 6) and the end.
    let mut socket = socket_to(node.address);
    socket.write_all(&[22, 3, 1, 0, 8, 1, 0, 0, 4, 1, 2, 3, 4]).expect("sent");
    let mut alert = Vec::new();
    socket.read_to_end(&mut alert).expect("an end");
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    assert_eq!(node.metric(r#"forebay_tls_handshakes_total{outcome="failed"}"#), 1);
    // Silent from the start, and in the middle.
    for bytes in [&[][..], &[22, 3, 1]] {
        let mut socket = socket_to(node.address);
        socket.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("an end");
    }
    let mut client = ClientConfig::clone(&pair.client(&rustls::version::TLS13));
    client.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = StreamOwned::new(connection(&Arc::new(client)), socket_to(node.address));
    let error = stream.conn.complete_io(&mut stream.sock).expect_err("no protocol in common");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "RFC 7301 section 3.2: {error}");
    await_true("all are gone", || node.metric("forebay_connections") == 0);
}

#[test]
fn a_changed_certificate_is_taken_without_dropping_a_connection() {
    let (before, after) =
        (Pair::new(), Pair::with(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key")));
    let (node, folder) = node_with(&before, &[]);
    let mut open = https(&node, &before.client(&rustls::version::TLS13));
    assert_eq!(open.get("/livez").status, 200);
    // One file after the other: in between they do not belong together.
    std::fs::write(folder.path().join("key.pem"), &after.key).expect("written");
    await_some("it is told", || node.said("kept the certificate of before"));
    let mut meanwhile = https(&node, &before.client(&rustls::version::TLS13));
    assert_eq!(meanwhile.get("/livez").status, 200);
    after.write(folder.path());
    await_some("it is told", || node.said("took a changed certificate"));
    let mut new = https(&node, &after.client(&rustls::version::TLS13));
    for http in [&mut open, &mut meanwhile, &mut new] {
        assert_eq!(http.get("/livez").status, 200);
    }
}

#[test]
fn files_that_cannot_work_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = Pair::new();
    let [certificate, key] = pair.write(folder.path());
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Pair::new().key).expect("written");
    let other = other.to_str().expect("plain");
    let missing = folder.path().join("missing.pem");
    let missing = missing.to_str().expect("plain");
    for (certificate, key, named) in [
        (certificate.as_str(), other, "do not belong together"),
        (key.as_str(), key.as_str(), "no certificate"),
        (certificate.as_str(), certificate.as_str(), "the key file"),
        (missing, key.as_str(), "--tls-cert"),
        (certificate.as_str(), missing, "--tls-key"),
    ] {
        let output = forebay(&["check", "--tls-cert", certificate, "--tls-key", key])
            .current_dir(folder.path())
            .output()
            .expect("the command runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(named), "{said}");
    }
    let output = forebay(&["check", "--tls-cert", &certificate]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(2));
}
