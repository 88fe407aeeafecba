//! Who may use the operators' listener: a token, a session of a browser, or whoever is on the machine, and never a page of somebody else.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Operator, TOKEN, guarded, token_file};
use crate::support::{Answer, Chromium, Http, Node, await_true, forebay};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

#[test]
fn with_a_token_everything_but_the_probes_asks_for_it() {
    let (node, _folder) = guarded(&[]);
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(Operator::of(&node).with("Host", "balancer.example").get(path).status, 200, "{path}");
    }
    for path in
        ["/metrics", "/ledger", "/openapi.json", "/admin/apps", "/admin/signing-keys", "/admin/log-level"]
    {
        let answer = Operator::of(&node).get(path);
        assert_eq!(code(&answer), (401, "missing_token".into()), "{path}");
        assert!(answer.field("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")));
        let wrong = Operator::of(&node).with("Authorization", &format!("Bearer {TOKEN}x")).get(path);
        assert_eq!(code(&wrong), (401, "bad_token".into()), "{path}");
        assert_eq!(Operator::with_token(&node).get(path).status, 200, "{path}");
    }
    assert_eq!(Http::connect(node.admin).get("/").status, 401, "the dashboard");
    let made = Operator::of(&node).tell("POST", "/admin/apps", &json!({ "name": "demo" }));
    assert_eq!(made.status, 401);
    assert!(!node.apps_file().exists());
    let open = guarded(&["--admin-metrics-open"]);
    assert_eq!(Operator::of(&open.0).get("/metrics").status, 200);
    assert_eq!(Operator::of(&open.0).get("/ledger").status, 401);
}

#[test]
fn wrong_tokens_are_limited_and_the_right_one_passes_all_the_same() {
    let (node, _folder) = guarded(&[]);
    let mut stranger = Operator::of(&node).with("Authorization", "Bearer wrong");
    let limited = (0..300).map(|_| stranger.get("/ledger")).find(|answer| answer.status == 429);
    let limited = limited.expect("limited");
    assert_eq!(limited.code(), "rate_limited");
    assert!(limited.field("Retry-After").is_some());
    let log_in = Operator::of(&node).tell("POST", "/session", &json!({ "token": "wrong" }));
    assert_eq!(log_in.status, 429, "no other way in");
    assert_eq!(Operator::with_token(&node).get("/ledger").status, 200);
}

#[test]
fn a_changed_token_is_taken_within_a_second_and_a_broken_one_is_not() {
    let (node, folder) = guarded(&[]);
    let cookie = cookie_of(&log_in(&node));
    let since = Instant::now();
    token_file(folder.path(), "another-token-of-good-length-9876543210");
    await_true("the old token is refused", || Operator::with_token(&node).get("/ledger").status == 401);
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let new = || Operator::of(&node).with("Authorization", "Bearer another-token-of-good-length-9876543210");
    assert_eq!(new().get("/ledger").status, 200);
    let session = Operator::of(&node).with("Cookie", &cookie).get("/ledger");
    assert_eq!(code(&session), (401, "session_expired".into()), "it was opened with the token of before");
    token_file(folder.path(), "short");
    await_true("it is told", || node.said("kept the operators' token of before").is_some());
    assert_eq!(new().get("/ledger").status, 200);
}

#[test]
fn a_stream_ends_with_the_session_or_the_token_that_it_was_asked_for_with() {
    let (node, folder) = guarded(&[]);
    let cookie = cookie_of(&log_in(&node));
    let bearer = format!("Bearer {TOKEN}");
    let watch = |field: (&str, &str)| {
        let mut viewer = Http::connect(node.admin);
        viewer.send(
            format!("GET /api/pulse/stream HTTP/1.1\r\nHost: localhost\r\n{}: {}\r\n\r\n", field.0, field.1)
                .as_bytes(),
        );
        viewer
    };
    let [mut with_cookie, mut with_token] = [watch(("Cookie", &cookie)), watch(("Authorization", &bearer))];
    let ended = Operator::of(&node).with("Cookie", &cookie).send(
        "DELETE",
        "/session",
        &[("Origin", "http://localhost")],
        None,
    );
    assert_eq!(ended.status, 204);
    assert!(with_cookie.rest().starts_with("HTTP/1.1 200 "), "it ends");
    token_file(folder.path(), "another-token-of-good-length-9876543210");
    assert!(with_token.rest().starts_with("HTTP/1.1 200 "), "it ends");
}

#[test]
fn who_has_closed_his_side_gets_his_answer_all_the_same() {
    let node = Node::alone(&[]);
    for path in ["/readyz", "/livez", "/metrics", "/ledger"] {
        let mut http = Http::connect(node.admin);
        http.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        http.end();
        assert!(http.rest().starts_with("HTTP/1.1 200 "), "{path}");
    }
}

fn log_in(node: &Node) -> Answer {
    let own = format!("http://{}", node.admin);
    let host = node.admin.to_string();
    // `Host` is written by the client of the tests; the page's origin has to fit it.
    let origin = own.replace(&host, "localhost");
    let form = format!("token={TOKEN}");
    Http::connect(node.admin).post("/session", &[FORM, ("Origin", &origin)], form.as_bytes())
}

fn cookie_of(answer: &Answer) -> String {
    let set = answer.field("Set-Cookie").unwrap_or_else(|| panic!("no cookie: {answer:?}"));
    set.split(';').next().expect("a cookie").to_owned()
}

#[test]
fn a_browser_logs_in_with_a_form_and_its_cookie_changes_things_from_our_own_page_alone() {
    let (node, _folder) = guarded(&[]);
    let page = Http::connect(node.admin).ask("GET", "/", &[("Accept", "text/html,*/*;q=0.8")]);
    assert_eq!((page.status, page.field("Content-Type")), (401, Some("text/html; charset=utf-8")));
    assert!(String::from_utf8_lossy(&page.body).contains(r#"<form method="post" action="/session">"#));
    let policy = page.field("Content-Security-Policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    let wrong = Http::connect(node.admin).post("/session", &[FORM], b"token=wrong");
    assert_eq!((wrong.status, wrong.field("Set-Cookie")), (401, None));
    let answer = log_in(&node);
    assert_eq!((answer.status, answer.field("Location")), (303, Some("/")));
    let set = answer.field("Set-Cookie").expect("a cookie");
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Secure"), "this is no TLS: {set}");
    let cookie = cookie_of(&answer);
    let browser = || Operator::of(&node).with("Cookie", &cookie);
    assert_eq!(browser().get("/ledger").status, 200);
    let app = json!({ "name": "demo" });
    for (origin, status) in [
        (None, 403),
        (Some("http://evil.example"), 403),
        (Some("null"), 403),
        (Some("http://localhost"), 201),
    ] {
        let operator = browser();
        let mut operator = origin.map_or_else(browser, |origin| operator.with("Origin", origin));
        assert_eq!(operator.tell("POST", "/admin/apps", &app).status, status, "{origin:?}");
    }
    let ended = browser().send("DELETE", "/session", &[("Origin", "http://localhost")], None);
    assert!(ended.field("Set-Cookie").is_some_and(|set| set.contains("Max-Age=0")), "{ended:?}");
    assert_eq!(code(&browser().get("/ledger")), (401, "session_expired".into()));
    let json = Operator::of(&node).tell("POST", "/session", &json!({ "token": TOKEN }));
    assert_eq!(json.status, 204);
    assert_eq!(Operator::of(&node).with("Cookie", &cookie_of(&json)).get("/ledger").status, 200);
}

#[test]
fn a_person_logs_in_with_a_real_browser_and_again_when_the_session_is_over() {
    let (node, _folder) = guarded(&[]);
    let mut browser = Chromium::start(1440, 900);
    let page = format!("http://{}/", node.admin);
    let is_asked = "document.readyState === 'complete' && document.title === 'Forebay: log in' && document.forms.length === 1";
    let is_told = |problem: &str| {
        format!("{is_asked} && document.querySelector('[role=alert]')?.textContent === {problem:?}")
    };
    browser.open(&page);
    browser.await_true(is_asked);
    let send = |token: &str| {
        format!(
            "document.getElementById('token').value = {token:?}; document.querySelector('form button').click()"
        )
    };
    browser.evaluate(&send("wrong"));
    browser.await_true(&format!("location.pathname === '/session' && {}", is_told("The token is wrong.")));
    browser.evaluate(&send(TOKEN));
    let is_live = "document.querySelector('#feed')?.dataset.feed === 'stream'";
    browser.await_true(&format!("location.pathname === '/' && {is_live}"));
    assert_eq!(browser.evaluate("document.cookie"), "", "no script can read it");

    // Logged out, the stream ends, and the open page gives way to the one that asks for the token.
    let log_out = "void fetch('/session', { method: 'DELETE' })";
    let is_page_asked = format!("location.pathname === '/' && {is_asked}");
    browser.evaluate(log_out);
    browser.await_true(&is_page_asked);
    assert_eq!(browser.evaluate("document.querySelector('[role=alert]')"), serde_json::Value::Null);
    browser.evaluate(&send(TOKEN));
    browser.await_true(is_live);

    // A wall's screen comes back to what it showed.
    browser.evaluate(log_out);
    browser.await_true(&is_page_asked);
    browser.open(&format!("{page}?radiator=1"));
    browser.await_true(&format!("location.search === '?radiator=1' && {is_asked}"));
    browser.evaluate(&send("wrong"));
    browser.await_true(&is_told("The token is wrong."));
    browser.evaluate(&send(TOKEN));
    browser.await_true(&format!("location.search === '?radiator=1' && {is_live}"));
}

#[test]
fn without_a_token_pages_of_others_are_kept_out_all_the_same() {
    let node = Node::alone(&["--admin-host", "forebay.example"]);
    let ask = |host: &str, path: &str| {
        let mut http = Http::connect(node.admin);
        http.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        http.answer()
    };
    let here = node.admin.to_string();
    for host in [here.as_str(), "localhost", "localhost:1", "[::1]:9090", "forebay.example"] {
        assert_eq!(ask(host, "/ledger").status, 200, "{host}");
    }
    for path in ["/ledger", "/metrics", "/admin/apps", "/"] {
        assert_eq!(code(&ask("rebound.example", path)), (421, "wrong_host".into()), "{path}");
    }
    assert_eq!(ask("rebound.example", "/readyz").status, 200);
    let app = json!({ "name": "demo" });
    let cross = Operator::of(&node).with("Origin", "https://evil.example").tell("POST", "/admin/apps", &app);
    assert_eq!(code(&cross), (403, "cross_origin".into()));
    assert_eq!(
        Operator::of(&node).with("Origin", "http://localhost").tell("POST", "/admin/apps", &app).status,
        201
    );
    assert_eq!(Operator::of(&node).tell("POST", "/admin/apps", &app).status, 201, "no browser");
}

#[test]
fn a_listener_that_is_not_guarded_is_a_bad_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = token_file(folder.path(), TOKEN);
    let run = |command: &str, flags: &[&str]| {
        let args = [&[command, "--listen", "127.0.0.1:0"], flags].concat();
        let output = forebay(&args).current_dir(folder.path()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let pair = crate::https::Pair::new();
    let [certificate, key] = pair.write(folder.path());
    let both = ["--admin-token-file", &token, "--admin-tls-cert", &certificate, "--admin-tls-key", &key];
    for command in ["serve", "check"] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            for flags in [&[][..], &both[..2], &both[2..]] {
                let (code, said) = run(command, &[&["--admin-listen", address], flags].concat());
                assert_eq!(code, Some(78), "{said}");
                assert!(said.contains("--admin-token-file, --admin-tls-cert and --admin-tls-key"), "{said}");
            }
        }
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("ours");
        let (code, said) = run(command, &both);
        assert!(
            code == Some(78) && said.contains("chmod 600") && said.contains("--admin-token-file"),
            "{said}"
        );
        token_file(folder.path(), "short");
        let (code, said) = run(command, &both);
        assert!(code == Some(78) && said.contains("32 to 512"), "{said}");
        assert!(!said.contains("\"short\""), "{said}");
        token_file(folder.path(), TOKEN);
    }
    assert_eq!(run("check", &[&["--admin-listen", "0.0.0.0:9090"][..], &both].concat()).0, Some(0));
}
