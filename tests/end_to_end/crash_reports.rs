//! A node that dies of a mistake of its own says of what: in a file, and as an event of the next life.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use rustix::net::{Shutdown, getsockname, shutdown};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};

use crate::support::{Broker, Node, await_some, await_true, forebay};

/// Breaks the socket that the node listens on, from outside, as nothing does that a node knows of.
fn break_listener(pid: Pid, address: SocketAddr) {
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("our own child");
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let mut broken = 0;
    for entry in fs::read_dir(folder).expect("its descriptors") {
        let name = entry.expect("an entry").file_name();
        let descriptor = name.to_str().and_then(|name| name.parse().ok()).expect("a number");
        let Ok(copy) = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()) else { continue };
        if is_listener(&copy, address) {
            shutdown(&copy, Shutdown::Both).expect("a socket");
            broken += 1;
        }
    }
    assert!(broken > 0, "the node listens on {address}");
}

fn is_listener(socket: &OwnedFd, address: SocketAddr) -> bool {
    let is_at = getsockname(socket).ok().and_then(|own| SocketAddr::try_from(own).ok()) == Some(address);
    is_at && rustix::net::sockopt::socket_acceptconn(socket) == Ok(true)
}

fn files(node: &Node, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.folder.path().join("forebay-data")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crash-")))
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect()
}

/// Leaves a report of a life that there was not.
fn leave_report(node: &Node, name: &str) -> PathBuf {
    let path = node.folder.path().join("forebay-data").join(name);
    fs::write(&path, json!({"kind": "panic", "message": "x".repeat(1000)}).to_string()).expect("written");
    path
}

#[test]
fn a_fatal_error_leaves_a_report_that_arrives_once_after_the_next_start() {
    let url = Broker::main().url();
    let mut node = Node::start(&["--reactors", "1", "--node-id", "breaks", "--drain-timeout", "5s"]);
    let app = node.app("crash reports");
    let other = node.app("shop");
    assert_eq!(node.http().event(&node.token(&other), r#"{"note":"swordfish"}"#).status, 202);
    assert_eq!(node.queue.take(1).len(), 1);
    break_listener(node.pid(), node.address);
    assert_eq!(node.wait().code, Some(1));

    let found = files(&node, "json");
    let [path] = &found[..] else { panic!("{found:?}: {:?}", node.everything()) };
    assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(path).expect("text");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&report["kind"], &report["thread"]), (&json!("fatal"), &json!("reactor-0")), "{report}");
    assert!(report["message"].as_str().is_some_and(|said| said.contains("Invalid argument")), "{report}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["counters"]["accepted"], 1, "{report}");
    assert_eq!(report["flags"]["--node-id"][0], "breaks", "{report}");
    for secret in ["guest", "swordfish", app.secret.as_str(), app.api_key.as_str()] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }

    let flags = ["--reactors", "1", "--node-id", "breaks", "--self-report-app", &app.id];
    let mut node = node.again(Some(&url), &flags);
    let arrived = node.queue.take(1).remove(0);
    assert_eq!(
        (&arrived.event["type"], &arrived.event["source"]),
        (&json!("forebay.event"), &json!(format!("/apps/{}", app.id)))
    );
    assert_eq!(serde_json::from_str::<Value>(&arrived.data).expect("JSON"), report);
    await_true("it is noted", || files(&node, "sent").len() == 1 && files(&node, "json").is_empty());
    assert!(await_some("it is told", || node.said("sent a crash report"))["file"].is_string());
    assert_eq!(node.metric("forebay_events_accepted_total"), 2, "over both lives");

    // What the broker has confirmed is written down by then.
    node.signal(Signal::TERM);
    node.wait();
    let node = node.again(Some(&url), &flags);
    assert_eq!(node.http().event(&node.token(&other), "{}").status, 202);
    let arrived = node.queue.take_all();
    assert_eq!(arrived.len(), 1, "nothing but the event");
    assert_eq!(arrived[0].event["source"], json!(format!("/apps/{}", other.id)));
}

#[test]
fn a_report_that_cannot_be_sent_is_kept_and_that_is_said() {
    let node = Node::alone(&[]);
    let app = node.app("crash reports");
    let path = leave_report(&node, "crash-20260101T000000.000Z-1.json");
    let node = node.again(None, &["--self-report-app", &app.id, "--max-body", "512"]);
    let said = await_some("it is told", || node.said("cannot send a crash report: it is kept"));
    assert!(said["file"].as_str().is_some_and(|file| file.ends_with("-1.json")), "{said}");
    assert_eq!(said["error"], "the node answered 413");
    assert!(path.exists());
    assert_eq!(node.metric("forebay_events_accepted_total"), 0);
}

#[test]
fn the_node_gets_in_where_tls_and_a_header_of_the_balancer_are_wanted() {
    let node = Node::alone(&[]);
    let app = node.app("crash reports");
    let path = leave_report(&node, "crash-20260101T000000.000Z-2.json");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["node.example".to_owned()]).expect("parameters");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    let [cert_path, key_path] = ["cert.pem", "key.pem"].map(|name| node.folder.path().join(name));
    fs::write(&cert_path, certificate.pem()).expect("written");
    fs::write(&key_path, key.serialize_pem()).expect("written");
    let flags = ["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--proxy-protocol-from", "127.0.0.1"];
    let node = node.again(None, &[&flags[..], &["--self-report-app", &app.id]].concat());
    await_true("it is sent", || path.with_extension("sent").exists() && !path.exists());
    assert_eq!(node.metric("forebay_events_accepted_total"), 1);
}

#[test]
fn an_app_that_cannot_report_ends_the_start_with_78() {
    let node = Node::alone(&[]);
    let app = node.app("crash reports");
    node.app_command(&["disable", &app.id]);
    let folder = node.folder.clone();
    node.stop();
    for (id, problem) in [
        ("0190b6a0-0000-7000-8000-000000000000", "there is no such app"),
        (app.id.as_str(), "the app is disabled"),
    ] {
        for command in ["serve", "check"] {
            let mut command = forebay(&[command, "--self-report-app", id]);
            let output = command.current_dir(folder.path()).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains(&format!("--self-report-app {id}")) && said.contains(problem), "{said}");
        }
    }
}
