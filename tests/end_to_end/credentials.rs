//! Changes of apps and keys reach a running node within a second, and end what was issued before.

use std::time::{Duration, Instant};

use base64::Engine;

use crate::support::{Node, await_true};

/// The contract's bound.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

fn refused_within(node: &Node, token: &str, code: &str) {
    let since = Instant::now();
    await_true("the change is seen", || {
        let answer = node.http().event(token, "{}");
        answer.status != 202 && answer.code() == code
    });
    assert!(since.elapsed() < SEEN_WITHIN, "{code} after {:?}", since.elapsed());
}

#[test]
fn regenerate_revokes_tokens_and_secret_and_the_new_secret_works() {
    let node = Node::start(&[]);
    let (app, other) = (node.app("demo"), node.app("other"));
    let (token, others) = (node.token(&app), node.token(&other));
    assert_eq!(node.http().event(&token, "{}").status, 202);
    let fresh = node.app_command(&["regenerate", &app.id, "--json"]);
    refused_within(&node, &token, "revoked_credentials");
    assert_eq!(node.ask_token(&app).status, 401, "the old secret");
    let secret = fresh["secret"].as_str().expect("a secret").to_owned();
    let renewed = crate::support::App { secret, ..app };
    assert_eq!(node.http().event(&node.token(&renewed), "{}").status, 202);
    assert_eq!(node.http().event(&others, "{}").status, 202, "another app is not touched");
}

#[test]
fn with_an_overlap_the_old_secret_and_its_tokens_are_good_until_it_is_over() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let since = Instant::now();
    node.app_command(&["regenerate", &app.id, "--overlap", "3s"]);
    // The overlap is counted in whole seconds of the wall clock.
    let sure = Duration::from_millis(1_900);
    let mut asked = 0;
    while since.elapsed() < sure {
        let (event, grant) = (node.http().event(&token, "{}"), node.ask_token(&app));
        if since.elapsed() < sure {
            assert_eq!((event.status, grant.status), (202, 200), "after {:?}", since.elapsed());
            let expires_in = grant.json()["expires_in"].as_u64().expect("seconds");
            assert!(
                expires_in <= 3 || since.elapsed() < SEEN_WITHIN,
                "a token of the old secret ends with it"
            );
            asked += 1;
        }
    }
    assert!(asked > 0);
    await_true("the overlap is over", || node.http().event(&token, "{}").status == 401);
    assert!(since.elapsed() < Duration::from_secs(4), "after {:?}", since.elapsed());
    assert_eq!(node.http().event(&token, "{}").code(), "revoked_credentials");
    assert_eq!(node.ask_token(&app).status, 401, "the old secret");
}

#[test]
fn a_secret_that_is_regenerated_while_the_form_is_held_back_gets_no_token() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    let form = "grant_type=client_credentials";
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", app.api_key, app.secret));
    let mut http = node.http();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: t\r\nAuthorization: Basic {basic}\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    http.send(head.as_bytes());
    node.app_command(&["regenerate", &app.id]);
    refused_within(&node, &token, "revoked_credentials");
    http.send(form.as_bytes());
    let answer = http.answer();
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_client")));
}

#[test]
fn a_disabled_app_is_refused_until_it_is_enabled_again() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    node.app_command(&["disable", &app.id]);
    refused_within(&node, &token, "app_disabled");
    assert_eq!(node.http().event(&token, "{}").status, 403);
    node.app_command(&["enable", &app.id]);
    await_true("it is enabled again", || node.http().event(&token, "{}").status == 202);
}

#[test]
fn an_expired_token_is_refused_and_a_minted_one_is_as_good_as_a_fetched_one() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let keys = "./forebay-data/signing-keys.json";
    let mint = |lifetime: &str| {
        let args = ["token", "--app", &app.id, "--signing-key-file", keys, "--token-lifetime", lifetime];
        let output = node.command(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let (long, short) = (mint("15m"), mint("1s"));
    assert_eq!(node.http().event(&long, "{}").status, 202);
    await_true("it expires", || {
        let answer = node.http().event(&short, "{}");
        answer.status != 202 && answer.code() == "expired_token"
    });
    let url = format!("http://{}", node.address);
    let asked = node.command(&["token", "--app", &app.id, "--url", &url, "--secret", &app.secret]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let asked = String::from_utf8(asked.stdout).expect("text");
    assert_eq!(node.http().event(asked.trim(), "{}").status, 202);
}

#[test]
fn signing_keys_rotate_without_refusing_anybody() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let old = node.token(&app);
    let path = node.folder.path().join("forebay-data/signing-keys.json");
    let mut keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("the keys")).expect("JSON");
    let replace = |keys: &serde_json::Value| {
        // As an operator would: a new file, moved into place.
        let temporary = path.with_extension("new");
        std::fs::copy(&path, &temporary).expect("a copy, mode included");
        std::fs::write(&temporary, keys.to_string()).expect("written");
        std::fs::rename(&temporary, &path).expect("moved");
    };
    let all = keys["keys"].as_array_mut().expect("keys");
    all[0]["use"] = "verify-only".into();
    all.push(serde_json::json!({"kid": "new", "use": "signing", "key": "A".repeat(43)}));
    replace(&keys);
    await_true("the new key signs", || header(&node.token(&app)).contains(r#""kid":"new""#));
    assert_eq!(node.http().event(&old, "{}").status, 202, "the old key still verifies");
    assert_eq!(node.http().event(&node.token(&app), "{}").status, 202);
    keys["keys"].as_array_mut().expect("keys").remove(0);
    replace(&keys);
    refused_within(&node, &old, "unknown_key");
}

fn header(token: &str) -> String {
    use base64::Engine;
    let (header, _) = token.split_once('.').expect("three parts");
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64url");
    String::from_utf8(text).expect("JSON")
}

#[test]
fn a_broken_apps_file_changes_nothing_and_is_told() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    std::fs::write(node.apps_file(), "{").expect("written");
    await_true("it is told", || node.said("kept the credentials of before").is_some());
    assert_eq!(node.http().event(&token, "{}").status, 202);
    let list = node.command(&["app", "list"]);
    assert_eq!(list.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&list.stderr).contains("apps.json"));
}

#[test]
fn apps_are_listed_and_shown_without_secrets() {
    let node = Node::start(&[]);
    let app = node.app("demo");
    let list = node.app_command(&["list", "--json"]);
    assert_eq!((list[0]["name"].as_str(), list[0]["id"].as_str()), (Some("demo"), Some(app.id.as_str())));
    let shown = node.app_command(&["show", &app.id, "--json"]);
    assert_eq!(shown["enabled"], true);
    assert!(!format!("{list}{shown}").contains("secret"));
    let unknown = node.command(&["app", "show", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("forebay app list"));
    assert_eq!(node.command(&["app", "show", "x"]).status.code(), Some(2));
}
