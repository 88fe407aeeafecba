//! Apps over the API: a change holds on this node when its answer is there, and of two that do not know of each other one is refused.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::Operator;
use crate::support::{Answer, App, Node};

fn create(node: &Node, settings: &Value) -> App {
    let answer = Operator::of(node).tell("POST", "/admin/apps", settings);
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    let app = App { id: text("id"), api_key: text("api_key"), secret: text("secret") };
    assert_eq!(answer.field("Location"), Some(path(&app).as_str()));
    assert_eq!((answer.field("ETag"), answer.field("Cache-Control")), (Some("\"1\""), Some("no-store")));
    app
}

fn path(app: &App) -> String {
    format!("/admin/apps/{}", app.id)
}

fn patch(node: &Node, app: &App, change: &Value) -> Answer {
    Operator::of(node).tell("PATCH", &path(app), change)
}

/// A token, of the first answer.
fn token(node: &Node, app: &App) -> String {
    let answer = node.ask_token(app);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().expect("a token").to_owned()
}

#[test]
fn an_app_sends_as_soon_as_it_is_made_and_no_more_as_soon_as_it_is_disabled() {
    let node = Node::alone(&["--reactors", "2"]);
    for round in 0..10 {
        let app = create(&node, &json!({ "name": format!("demo {round}") }));
        let token = token(&node, &app);
        assert_eq!(node.http().event(&token, "{}").status, 202);
        assert_eq!(patch(&node, &app, &json!({ "enabled": false })).json()["enabled"], false);
        assert_eq!(node.http().event(&token, "{}").code(), "app_disabled");
        assert_eq!(patch(&node, &app, &json!({ "enabled": true })).status, 200);
        assert_eq!(node.http().event(&token, "{}").status, 202);
    }
    let list = Operator::of(&node).get("/admin/apps").json();
    assert_eq!(list["apps"].as_array().map(Vec::len), Some(10));
    assert!(!list.to_string().contains("sha256") && !list.to_string().contains("secret"), "{list}");
    // What another process reads is the same.
    assert_eq!(node.app_command(&["list", "--json"]), list["apps"]);
}

#[test]
fn regenerate_refuses_the_old_secret_and_its_tokens_at_once_or_after_the_overlap() {
    let node = Node::alone(&["--reactors", "2"]);
    let app = create(&node, &json!({ "name": "demo" }));
    let old = token(&node, &app);
    let regenerate = format!("{}/regenerate", path(&app));
    let fresh = Operator::of(&node).send("POST", &regenerate, &[], None);
    assert_eq!((fresh.status, fresh.field("ETag")), (200, Some("\"2\"")));
    assert_eq!(node.http().event(&old, "{}").code(), "revoked_credentials");
    assert_eq!(node.ask_token(&app).status, 401);
    let fresh = App { secret: fresh.json()["secret"].as_str().expect("a secret").to_owned(), ..app.clone() };
    let current = token(&node, &fresh);
    assert_eq!(node.http().event(&current, "{}").status, 202);
    let overlap = Operator::of(&node).tell("POST", &regenerate, &json!({ "overlap_seconds": 60 }));
    assert_eq!(overlap.status, 200);
    assert_eq!(node.http().event(&current, "{}").status, 202, "still good");
    let shown = Operator::of(&node).get(&path(&app)).json();
    assert!(shown["retiring"]["until"].is_u64() && shown["generation"] == 3, "{shown}");
    let long = Operator::of(&node).tell("POST", &regenerate, &json!({ "overlap_seconds": 99_999_999 }));
    assert_eq!((long.status, long.json()["field"].as_str()), (400, Some("overlap_seconds")));
}

#[test]
fn rfc7396_a_change_sets_what_it_names_and_null_removes() {
    let node = Node::alone(&[]);
    let app = create(
        &node,
        &json!({ "name": "demo", "events_per_second": 1, "burst": 2, "allowed_origins": ["https://a.example"] }),
    );
    let token = token(&node, &app);
    let statuses = || (0..4).map(|_| node.http().event(&token, "{}").status).collect::<Vec<_>>();
    assert_eq!(statuses(), [202, 202, 429, 429]);
    let freed =
        patch(&node, &app, &json!({ "events_per_second": null, "burst": null, "allowed_origins": null }));
    assert_eq!((freed.status, freed.field("ETag")), (200, Some("\"2\"")));
    assert_eq!(statuses(), [202; 4]);
    let shown = freed.json();
    assert!(shown["events_per_second"].is_null() && shown["allowed_origins"].is_null(), "{shown}");
    let merge = [("Content-Type", "application/merge-patch+json")];
    let answer =
        crate::support::Http::connect(node.admin).tell("PATCH", &path(&app), &merge, br#"{"name":"shop"}"#);
    assert_eq!(answer.json()["name"], "shop");
}

#[test]
fn what_is_not_sound_is_refused_with_its_field() {
    let node = Node::alone(&[]);
    let app = create(&node, &json!({ "name": "demo" }));
    for (change, code, field) in [
        (json!({ "name": "" }), "invalid_field", Some("name")),
        (json!({ "events_per_second": 0 }), "invalid_field", Some("events_per_second")),
        (json!({ "burst": 1 }), "invalid_field", Some("burst")),
        (json!({ "allowed_origins": ["shop"] }), "invalid_field", Some("allowed_origins")),
        (json!({ "name": null }), "invalid_field", None),
        (json!({ "id": app.id }), "invalid_field", None),
        (json!([]), "not_an_object", None),
        (json!(["x", false]), "not_an_object", None),
    ] {
        let answer = patch(&node, &app, &change);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{change}: {answer:?}");
        assert_eq!(answer.json()["field"].as_str(), field, "{change}");
    }
    let nameless = Operator::of(&node).tell("POST", "/admin/apps", &json!({}));
    assert_eq!((nameless.status, nameless.json()["field"].as_str()), (400, Some("name")));
    let large = json!({ "name": "x".repeat(70_000) });
    assert_eq!(patch(&node, &app, &large).code(), "too_large");
    let send = |fields: &[(&str, &str)], body: &[u8]| {
        crate::support::Http::connect(node.admin).tell("PATCH", &path(&app), fields, body).code()
    };
    let kind = ("Content-Type", "application/json");
    assert_eq!(send(&[("Content-Type", "text/plain")], b"{}"), "unsupported_media_type");
    assert_eq!(send(&[kind], b"{"), "invalid_json");
    assert_eq!(send(&[kind], b""), "empty_body");
    assert_eq!(send(&[kind, ("If-Match", "1")], b"{}"), "malformed_request");
    for unknown in ["00000000-0000-0000-0000-000000000000", "x"] {
        let answer = Operator::of(&node).get(&format!("/admin/apps/{unknown}"));
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_app"));
    }
    assert_eq!(Operator::of(&node).get(&path(&app)).field("ETag"), Some("\"1\""), "nothing has changed");
    assert_eq!(Operator::of(&node).send("DELETE", &path(&app), &[], None).status, 405);
}

#[test]
fn of_changes_that_have_seen_the_same_version_one_is_taken_and_without_one_all_are() {
    let node = Node::alone(&[]);
    let app = create(&node, &json!({ "name": "demo" }));
    let at_once = |count: usize, version: Option<&str>| -> Vec<Answer> {
        let together = Barrier::new(count);
        thread::scope(|scope| {
            let change = |burst: usize| {
                let (node, app, together) = (&node, &app, &together);
                let change = json!({ "events_per_second": 1000, "burst": burst + 1 });
                scope.spawn(move || {
                    let fields: Vec<_> = version.map(|version| ("If-Match", version)).into_iter().collect();
                    together.wait();
                    Operator::of(node).send("PATCH", &path(app), &fields, Some(&change))
                })
            };
            let changes: Vec<_> = (0..count).map(change).collect();
            changes.into_iter().map(|change| change.join().expect("no panic")).collect()
        })
    };
    let answers = at_once(8, Some("\"1\""));
    let taken: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(taken.len(), 1);
    let lost = answers.iter().filter(|answer| answer.status == 409 && answer.code() == "version_conflict");
    assert_eq!(lost.count(), 7);
    assert_eq!(Operator::of(&node).get(&path(&app)).json(), taken[0].json());
    assert!(at_once(4, None).iter().all(|answer| answer.status == 200));
    assert_eq!(Operator::of(&node).get(&path(&app)).json()["version"], 6);
    // A change of the file counts, whether or not the node has looked at it yet.
    node.app_command(&["disable", &app.id]);
    let stale = Operator::of(&node).send(
        "PATCH",
        &path(&app),
        &[("If-Match", "\"6\"")],
        Some(&json!({ "enabled": true })),
    );
    assert_eq!(stale.status, 409);
    let current = Operator::of(&node).send(
        "PATCH",
        &path(&app),
        &[("If-Match", "\"7\"")],
        Some(&json!({ "name": "x" })),
    );
    assert_eq!((current.status, current.json()["enabled"].as_bool()), (200, Some(false)));
}

#[test]
fn a_file_that_cannot_be_written_changes_nothing_and_is_told() {
    let node = Node::alone(&[]);
    let app = create(&node, &json!({ "name": "demo" }));
    // In the place of the temporary file, nothing can be written: not by root either.
    let in_the_way = node.folder.path().join("forebay-data/apps.json.tmp");
    std::fs::create_dir(&in_the_way).expect("ours");
    let answer = patch(&node, &app, &json!({ "enabled": false }));
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_failed"), "{answer:?}");
    assert_eq!(Operator::of(&node).get(&path(&app)).json()["enabled"], true);
    assert_eq!(node.http().event(&token(&node, &app), "{}").status, 202);
    std::fs::remove_dir(&in_the_way).expect("ours");
    assert_eq!(patch(&node, &app, &json!({ "enabled": false })).status, 200);
}
