//! Behind a balancer: the PROXY protocol, and what is known of a client by it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::Signal;

use crate::support::{Answer, Http, Loadtest, Node, await_true, socket_to};

/// A header of version 2 for a client, with a type-length-value behind the addresses.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13".to_vec();
    header.extend_from_slice(&client);
    header.extend_from_slice(&[198, 51, 100, 1, 0xdc, 4, 1, 0xbb, 4, 0, 4, 1, 2, 3, 4]);
    header
}

pub(crate) fn behind(node: &Node, header: &[u8]) -> Http {
    let mut http = node.http();
    http.send(header);
    http
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, if answer.status == 200 { String::new() } else { answer.code() })
}

#[test]
fn a_client_is_known_by_its_balancers_header() {
    let node = Node::alone(&["--proxy-protocol-from", "127.0.0.1", "--max-connections-per-address", "1"]);
    let mut first = behind(&node, b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n");
    assert_eq!(first.get("/livez").status, 200);
    // The same client, however it is written; another one has a place of its own.
    let mut second = behind(&node, &binary([192, 0, 2, 1]));
    assert_eq!(code(&second.answer()), (503, "overloaded".to_owned()));
    assert!(second.has_ended());
    let mut mapped = behind(&node, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    assert_eq!(code(&mapped.answer()), (503, "overloaded".to_owned()));
    let mut other = behind(&node, &binary([192, 0, 2, 2]));
    assert_eq!(other.get("/livez").status, 200);
    assert_eq!(first.get("/livez").status, 200);
    // The balancer's own connection, to see whether the node lives.
    let mut local = behind(&node, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert_eq!(local.get("/livez").status, 200);
}

#[test]
fn a_header_may_come_byte_by_byte_and_with_the_request() {
    let node = Node::alone(&["--proxy-protocol-from", "127.0.0.0/8"]);
    let request = b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    for header in [&b"PROXY UNKNOWN\r\n"[..], &binary([192, 0, 2, 1])] {
        let mut http = behind(&node, &[header, request].concat());
        assert_eq!(http.answer().status, 200);
        let mut http = node.http();
        for byte in [header, request].concat() {
            http.send(&[byte]);
        }
        assert_eq!(http.answer().status, 200);
        assert_eq!(http.get("/livez").status, 200, "one header a connection");
    }
}

#[test]
fn a_header_is_required_where_it_is_believed_and_refused_elsewhere() {
    let node = Node::alone(&["--proxy-protocol-from", "127.0.0.1", "--head-timeout", "300ms"]);
    for bytes in [
        &b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.1 0x1 443\r\nGET /livez HTTP/1.1\r\nHost: t\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ] {
        let mut http = behind(&node, bytes);
        assert_eq!(code(&http.answer()), (400, "malformed_request".to_owned()));
        assert!(http.has_ended());
    }
    // Neither is waited for without end.
    for bytes in [&b""[..], b"PROXY TCP4"] {
        let mut socket = socket_to(node.address);
        socket.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("an end");
        assert!(rest.is_empty());
    }
    let node = Node::alone(&["--proxy-protocol-from", "192.0.2.0/24,2001:db8::/32"]);
    for header in [&b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"[..], &binary([192, 0, 2, 1])] {
        let mut http = behind(&node, &[header, b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n"].concat());
        assert_eq!(code(&http.answer()), (400, "malformed_request".to_owned()));
        assert!(http.has_ended());
    }
    assert_eq!(node.http().get("/livez").status, 200);
}

/// HAProxy as it is deployed, ahead of two nodes or more.
pub(crate) struct Haproxy {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where it tells its numbers.
    operators: SocketAddr,
    _configuration: tempfile::NamedTempFile,
}

impl Haproxy {
    pub(crate) fn start(nodes: &[&Node]) -> Self {
        // Nobody else gets a port of the kernel's choice so soon again.
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let (address, operators) = (port(), port());
        let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/haproxy/haproxy.cfg");
        let mut text = std::fs::read_to_string(deployed).expect("the configuration");
        let mut command = Command::new("haproxy");
        let line = |number: usize| format!("    server node{number} \"${{FOREBAY_NODE_{number}}}\"\n");
        for (number, node) in (1..).zip(nodes) {
            if !text.contains(&line(number)) {
                let before = line(number - 1);
                text = text.replace(&before, &(before.clone() + &line(number)));
            }
            command.env(format!("FOREBAY_NODE_{number}"), node.address.to_string());
        }
        let configuration = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(configuration.path(), text).expect("written");
        let child = command
            .args(["-db", "-q", "-f"])
            .arg(configuration.path())
            .env("FOREBAY_BIND", address.to_string())
            .env("FOREBAY_STATS_BIND", operators.to_string())
            .spawn()
            .expect("haproxy is installed (scripts/install haproxy)");
        let haproxy = Self { child, address, operators, _configuration: configuration };
        await_true("haproxy listens", || TcpStream::connect(address).is_ok());
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_rolling_restart_behind_haproxy_fails_no_request() {
    let flags = [
        "--proxy-protocol-from",
        "127.0.0.1",
        "--reactors",
        "1",
        // The time that haproxy needs to notice: twice half a second, and some of its own.
        "--drain-delay",
        "3s",
        // So that a node that has come back gets its share again.
        "--max-connection-age",
        "2s",
    ];
    let mut nodes = [0, 1].map(|_| Node::spawn_at_home(None, &flags));
    let apps: Vec<_> = nodes.iter().map(Node::apps_file).collect();
    let app = nodes[0].app_unseen("rolling", &[]);
    // One registry and one signing key, as a fleet has them.
    std::fs::copy(&apps[0], &apps[1]).expect("a file");
    let keys = |node: &Node| node.folder.path().join("forebay-data/signing-keys.json");
    std::fs::copy(keys(&nodes[0]), keys(&nodes[1])).expect("a file");
    for node in &nodes {
        app.token(&mut behind(node, b"PROXY UNKNOWN\r\n"));
    }
    let haproxy = Haproxy::start(&[&nodes[0], &nodes[1]]);
    let accepted = |nodes: &[Node; 2]| {
        nodes.iter().map(|node| node.metric("forebay_events_accepted_total")).collect::<Vec<_>>()
    };
    let running = Loadtest { node: &nodes[0], app: &app }
        .start_at(haproxy.address, &["--duration", "10m", "--connections", "32", "--rate", "500"]);
    // What ends with the connection comes in one piece.
    let mut exporter = Http::connect(haproxy.operators);
    exporter.send(b"GET /metrics HTTP/1.0\r\n\r\n");
    let page = exporter.rest();
    let up = ["node1", "node2"].map(|node| {
        page.contains(&format!("haproxy_server_status{{proxy=\"nodes\",server=\"{node}\",state=\"UP\"}} 1"))
    });
    assert_eq!(up, [true; 2], "it says so for Prometheus: {page}");
    await_true("both nodes have work", || accepted(&nodes).iter().all(|count| *count > 100));
    for restarted in 0..2 {
        nodes[restarted].signal(Signal::TERM);
        nodes[restarted].wait();
        nodes[restarted].revive(None, &flags);
        let before = accepted(&nodes);
        await_true("it is given work again", || accepted(&nodes)[restarted] > before[restarted] + 100);
    }
    let report = running.stop();
    assert_eq!((report["refused"].as_u64(), report["unanswered"].as_u64()), (Some(0), Some(0)), "{report}");
    let sum: u64 = accepted(&nodes).iter().sum();
    assert_eq!(report["accepted"].as_u64(), Some(sum), "each event was accepted once: {report}");
}
