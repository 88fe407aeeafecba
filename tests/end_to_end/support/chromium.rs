//! A headless browser, driven by the protocol of its developer tools through a pipe.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DEADLINE, await_true};

/// A browser with one page.
pub(crate) struct Chromium {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: String,
    asked: u64,
    /// What the page said on its console, and what its policy forbade.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Chromium {
    /// A browser whose window has this size.
    pub(crate) fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // The protocol is on descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                r#"exec "$@" 3<&0 4>&1"#,
                "sh",
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args(["--disable-dev-shm-usage", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium runs");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut browser = Self {
            child,
            requests,
            answers,
            session: String::new(),
            asked: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", &attached);
        session["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, &json!({}));
        }
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        browser.ask("Emulation.setDeviceMetricsOverride", &size);
        browser
    }

    /// Opens a page.
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", &json!({"url": url}));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
    }

    /// What an expression comes to in the page; promises are awaited.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        self.try_evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Awaits that an expression comes true in the page; says where the page is if it does not.
    ///
    /// While a page gives way to the next, an expression may find half of what it looks for, or no page at all: that is not true yet.
    pub(crate) fn await_true(&mut self, expression: &str) {
        let deadline = Instant::now() + DEADLINE;
        await_true(expression, || {
            let found = self.try_evaluate(expression);
            let is_true = found.as_ref().is_ok_and(|value| *value == true);
            if !is_true && Instant::now() >= deadline {
                let page =
                    self.evaluate("`${location.href} (${document.readyState}): ${document.body?.innerText}`");
                panic!("{expression}: {found:?} after {DEADLINE:?}; {page}; {:?}", self.complaints);
            }
            is_true
        });
    }

    fn try_evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let mut answer = self.try_ask("Runtime.evaluate", &asked)?;
        match answer.get_mut("exceptionDetails") {
            Some(exception) => Err(exception.take()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            let code = if key == "Tab" { 9 } else { 13 };
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.ask("Input.dispatchKeyEvent", &event);
        }
    }

    /// Lets the page reach what matches `patterns` no more; with none, everything again.
    pub(crate) fn block(&mut self, patterns: &[&str]) {
        self.ask("Network.enable", &json!({}));
        self.ask("Network.setBlockedURLs", &json!({"urls": patterns}));
    }

    /// Errors and warnings so far.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What happened before an answer is told before it.
        self.evaluate("0");
        std::mem::take(&mut self.complaints)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.try_ask(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_ask(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).expect("plain data");
        bytes.push(0);
        self.requests.write_all(&bytes).expect("chromium listens");
        loop {
            let mut text = Vec::new();
            self.answers.read_until(0, &mut text).expect("chromium answers");
            assert_eq!(text.pop(), Some(0), "chromium has ended");
            let mut answer: Value = serde_json::from_slice(&text).expect("JSON");
            if answer["id"] == self.asked {
                return match answer.get_mut("error") {
                    Some(error) => Err(error.take()),
                    None => Ok(answer["result"].take()),
                };
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] != "log" => Some(params["args"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] != "verbose" => {
                Some(params["entry"].to_string())
            }
            _ => None,
        };
        self.complaints.extend(complaint);
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
