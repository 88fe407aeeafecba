//! Raygun's own SDKs, as npm and `PyPI` have them (`scripts/sdks` installs them).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{App, Node};

/// Where `scripts/sdks` put them: beside the folder of the binary.
pub(crate) fn sdks() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_forebay"));
    let folder = built.ancestors().nth(2).expect("target").join("sdks");
    assert!(folder.join("installed").exists(), "run scripts/sdks first");
    folder
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/sdks").join(name)
}

fn told(command: &mut Command) -> Vec<String> {
    let Output { status, stdout, stderr } = command.output().expect("the SDK runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text").lines().map(str::to_owned).collect()
}

fn setting() -> (Node, App) {
    let node = Node::start(&[]);
    let app = node.app_with("sdk", &["--allow-api-key"]);
    (node, app)
}

#[test]
fn raygun4py_reports_and_what_it_calls_json_is_judged() {
    let (node, app) = setting();
    let python = sdks().join("python/bin/python");
    let report = |key: &str, more: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(script("report.py")).args([&node.address.to_string(), key, "it broke"]).args(more);
        told(&mut command)
    };
    assert_eq!(report(&app.api_key, &[]), ["202"]);
    let delivered = node.queue.take(1).remove(0);
    assert_eq!(delivered.event["type"], "raygun.entry");
    let data: serde_json::Value = serde_json::from_str(&delivered.data).expect("JSON");
    assert!(data["details"]["error"]["message"].as_str().is_some_and(|m| m.contains("it broke")), "{data}");
    // A float that is no number becomes a literal that JSON does not have.
    assert_eq!(report(&app.api_key, &["nan"]), ["400"]);
    assert_eq!(report("wrong", &[]), ["403"]);
}

#[test]
fn npms_raygun_hangs_up_early_and_loses_nothing() {
    const REPORTS: usize = 20;
    let (node, app) = setting();
    let report = |key: &str, count: usize| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", sdks().join("node_modules")).arg(script("report.js"));
        command.args([node.address.ip().to_string(), node.address.port().to_string()]);
        command.args([key, "it broke", &count.to_string()]);
        told(&mut command)
    };
    assert_eq!(report(&app.api_key, REPORTS), vec!["202"; REPORTS]);
    let mut messages: Vec<String> = node
        .queue
        .take(REPORTS)
        .iter()
        .map(|delivered| {
            let data: serde_json::Value = serde_json::from_str(&delivered.data).expect("JSON");
            data["details"]["error"]["message"].as_str().expect("a message").to_owned()
        })
        .collect();
    messages.sort();
    let mut expected: Vec<String> = (0..REPORTS).map(|index| format!("it broke {index}")).collect();
    expected.sort();
    assert_eq!(messages, expected);
    assert_eq!(report("wrong", 1), ["403"]);
}
