//! A real Prometheus that scrapes one node, and the tool that comes with it.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Http, await_true};

/// A Prometheus server with a folder of its own.
pub(crate) struct Prometheus {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes `target` once a second; returns when it answers.
    pub(crate) fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - {{job_name: node, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
        fs::write(&config, text).expect("written");
        // Free a moment ago: nobody else asks for ports of this machine by number.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs: scripts/test installs it");
        let prometheus = Self { address, child, _folder: folder };
        await_true("Prometheus is ready", || std::net::TcpStream::connect(address).is_ok());
        prometheus
    }

    /// The values that a query has now, as they are written.
    pub(crate) fn query(&self, query: &str) -> Vec<String> {
        let plain: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = Http::connect(self.address).get(&format!("/api/v1/query?query={plain}"));
        if answer.status != 200 {
            return Vec::new();
        }
        let result = &answer.json()["data"]["result"];
        let values = result.as_array().expect("a vector").iter().map(|sample| &sample["value"][1]);
        values.map(|value: &Value| value.as_str().expect("text").to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `promtool check metrics` has to say of a page; nothing if it is good.
pub(crate) fn promtool(page: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs: scripts/test installs it");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("a child");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.is_empty() || output.status.success(), "promtool failed without a word");
    said
}
