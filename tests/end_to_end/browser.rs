//! A page in a real browser sends to a node on another origin: the preflights, the answers that it may read, `sendBeacon`, and raygun4js.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use serde_json::json;

use crate::sdks::{script, sdks};
use crate::support::{Node, await_true};

/// Serves the page and raygun4js to whoever asks, as long as the test runs; returns where.
fn serve_page() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let page = fs::read(script("page.html")).expect("the page");
    let raygun =
        fs::read(sdks().join("node_modules/raygun4js/dist/raygun.vanilla.js")).expect("scripts/sdks has run");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0u8; 4096];
            // A browser may connect ahead of need and send nothing.
            let count = stream.read(&mut request).unwrap_or(0);
            let (media, body) = match request[..count].split(|b| *b == b' ').nth(1) {
                Some(path) if path.starts_with(b"/page") => ("text/html; charset=utf-8", &page),
                Some(b"/raygun.js") => ("text/javascript", &raygun),
                _ => continue,
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

#[test]
fn a_page_of_another_origin_is_served_as_its_app_allows() {
    let node = Node::start(&[]);
    let page = serve_page();
    // Not the same site: to the browser, `localhost` and `127.0.0.1` are two.
    let origin = format!("http://localhost:{}", page.port());
    let app = node.app_with("shop", &["--allow-api-key", "--allowed-origin", &origin]);
    let stranger = node.app_with("other", &["--allow-api-key", "--allowed-origin", "https://other.example"]);
    let url = format!(
        "{origin}/page?node=http://{}&token={}&key={}&stranger={}",
        node.address,
        node.token(&app),
        app.api_key,
        stranger.api_key
    );
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // The page is there when nothing is under way any more, and at the latest after this time of its own clock.
        .args(["--virtual-time-budget=20000", "--dump-dom", &url])
        .output()
        .expect("chromium runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = shown.split_once(r#"<pre id="told">"#).and_then(|(_, rest)| rest.split_once("</pre>"));
    let told = told.unwrap_or_else(|| panic!("{shown}{}", String::from_utf8_lossy(&output.stderr))).0;
    let told: serde_json::Value =
        serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let expected = json!({
        "event": [202, "page-1", "written", "string"],
        "refusal": [401, "malformed_token"],
        "credentials": 202,
        "stranger": [403, "origin_not_allowed"],
        "text": true,
        "blob": true,
        "rum": true,
        "raygun4js": null,
    });
    assert_eq!(told, expected);
    await_true("all have come", || node.metric("forebay_events_accepted_total") == 6);
    let mut from: Vec<String> = node
        .queue
        .take(6)
        .iter()
        .map(|delivered| {
            let data: serde_json::Value = serde_json::from_str(&delivered.data).expect("JSON");
            let kind = delivered.event["type"].as_str().expect("a type");
            let from = data["from"].as_str().or(data["Details"]["Error"]["Message"].as_str());
            format!("{kind} {}", from.unwrap_or_else(|| panic!("{data}")))
        })
        .collect();
    from.sort();
    assert_eq!(
        from,
        [
            "forebay.event fetch",
            "raygun.entry blob",
            "raygun.entry credentials",
            "raygun.entry raygun4js",
            "raygun.entry text",
            "raygun.rum rum",
        ]
    );
}
