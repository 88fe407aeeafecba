//! A node that cannot work says why, with the exit code that a service manager understands.

use crate::support::{Broker, Node, forebay};

/// `EX_CONFIG` of `sysexits.h`.
const EXIT_CONFIG: i32 = 78;

fn run(args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = forebay(args).current_dir(folder.path()).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_configuration_that_cannot_work_ends_with_78_and_names_its_flag() {
    let amqp = ["--amqp-url", "amqp://127.0.0.1:1/%2f"];
    let none: [&str; 0] = [];
    for (broker, flags, expected) in [
        (&none[..], &["--ack", "confirmed"][..], "--ack confirmed needs a broker"),
        (&none, &["--journal-max", "1MiB"], "--journal-max 1048576"),
        (&amqp, &["--token-lifetime", "25m", "--max-connections", "99999999"], "--max-connections 99999999"),
        (&amqp, &["--token-lifetime", "1441m"], "--token-lifetime"),
        (&amqp, &["--cpus", "4096"], "--cpus 4096"),
        (&amqp, &["--queue-max", "64KiB"], "--queue-max 65536"),
        (&amqp, &["--node-id", "a b"], "--node-id"),
        (&amqp, &["--forwarder-cpus", "4096"], "--forwarder-cpus 4096"),
        (&["--amqp-url", "http://user:secret@x"], &[], "--amqp-url (number 1): is no URL like"),
    ] {
        for command in ["serve", "check"] {
            // What only a start can tell is not checked without one.
            if command == "check" && expected.contains("max-connections") {
                continue;
            }
            let args = [&[command], broker, flags].concat();
            let (code, said) = run(&args);
            assert_eq!(code, Some(EXIT_CONFIG), "{args:?}: {said}");
            assert!(said.contains(expected), "{args:?}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
    let (code, said) = run(&["check", amqp[0], amqp[1]]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn wrong_usage_ends_with_2_and_shows_how() {
    for args in [&["serve", "--no-such-flag"][..], &["serve", "--max-body", "64KB"], &["fly"]] {
        let (code, said) = run(args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains("error: "), "{said}");
    }
}

#[test]
fn every_flag_has_an_environment_variable() {
    let environment = [("FOREBAY_ACK", "confirmed"), ("FOREBAY_NODE_ID", "from-the-environment")];
    let node = Node::spawn(&Broker::main().url(), &[], &environment);
    let ready = node.said("ready").expect("ready");
    assert_eq!(
        (ready["ack"].as_str(), ready["node"].as_str()),
        (Some("confirmed"), Some("from-the-environment"))
    );
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, said) = run(&["serve", "--amqp-url", "amqp://127.0.0.1:1/%2f", "--listen", &address]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn exposed_signing_keys_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.json");
    let args = ["--signing-key-file", keys.to_str().expect("plain"), "--amqp-url", "amqp://127.0.0.1:1/%2f"];
    std::fs::write(&keys, r#"{"version":1,"keys":[]}"#).expect("written");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let (code, said) = run(&[&["check"], &args[..]].concat());
    assert_eq!(code, Some(EXIT_CONFIG));
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn no_secret_and_no_token_is_in_any_line() {
    let mut node = Node::start(&["--log-level", "trace"]);
    let app = node.app("demo");
    let token = node.token(&app);
    let mut http = node.http();
    assert_eq!(http.event(&token, "{}").status, 202);
    assert_eq!(http.event(&format!("{token}x"), "{}").status, 401);
    node.queue.take(1);
    node.signal(rustix::process::Signal::TERM);
    node.wait();
    let said = node.everything();
    assert!(said.iter().any(|line| line.contains("TRACE")), "{said:?}");
    for line in said {
        for secret in [&app.secret, &token, "guest:guest"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
