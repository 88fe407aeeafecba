//! An app gets what it may send, over all reactors, and is told when it may go on.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Node, await_true};

#[test]
fn past_its_burst_an_app_is_told_when_to_come_back() {
    let node = Node::alone(&[]);
    let app = node.app_with("slow", &["--events-per-second", "1", "--burst", "3"]);
    let other = node.app("other");
    let token = node.token(&app);
    let mut http = node.http();
    // The bucket goes on filling: at least the burst passes, and not everything.
    let statuses: Vec<u16> = (0..6).map(|_| http.event(&token, "{}").status).collect();
    assert!(statuses.starts_with(&[202, 202, 202]) && statuses.contains(&429), "{statuses:?}");
    let refused =
        http.post("/v1/events/batch", &[("Authorization", &format!("Bearer {token}"))], b"[{},{},{}]");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.json()["retryable"], true);
    let seconds: u64 = refused.field("Retry-After").expect("a time").parse().expect("an integer");
    assert!((1..=7).contains(&seconds), "{seconds}");
    assert_eq!(refused.field("RateLimit-Policy"), Some(r#""events";q=1;w=1"#));
    assert!(
        refused.field("RateLimit").is_some_and(|left| left.starts_with(r#""events";r=0;t="#)),
        "{refused:?}"
    );
    assert_eq!(http.event(&node.token(&other), "{}").status, 202, "another app is not touched");
    // What is refused for another reason costs nothing.
    await_true("an event passes again", || http.event(&token, "{}").status == 202);
    await_true("a broken one is looked at again", || http.event(&token, "{").status == 400);
    assert_eq!(http.event(&token, "{}").status, 202);
}

#[test]
fn the_rate_is_kept_over_all_connections_and_reactors() {
    const RATE: u32 = 1000;
    const SECONDS: u32 = 3;
    let node = Node::alone(&["--reactors", "2"]);
    let rate = RATE.to_string();
    let app = node.app_with("busy", &["--events-per-second", &rate, "--burst", "100"]);
    let token = node.token(&app);
    let begin = Instant::now();
    let until = begin + Duration::from_secs(SECONDS.into());
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (mut http, token) = (node.http(), token.clone());
            thread::spawn(move || {
                let mut accepted = 0u32;
                while Instant::now() < until {
                    accepted += u32::from(http.event(&token, "{}").status == 202);
                }
                accepted
            })
        })
        .collect();
    let accepted: u32 = senders.into_iter().map(|sender| sender.join().expect("no panic")).sum();
    let elapsed = begin.elapsed().as_secs_f64();
    let most = f64::from(RATE) * elapsed + 100.0 + 8.0;
    assert!(f64::from(accepted) <= most, "{accepted} in {elapsed} s");
    // How many come depends on the machine; that the rest was refused for its rate does not.
    let refused = node.metric("forebay_events_rejected_total{code=\"rate_limited\"}");
    assert!(refused > 0, "{accepted} in {elapsed} s, all that came");
    assert!(f64::from(accepted) > 0.9 * f64::from(RATE * SECONDS), "{accepted} in {elapsed} s");
}

/// Sends wrong ones until they are refused for their number; how many were not.
fn wrong_until_limited(mut ask: impl FnMut() -> crate::support::Answer, usual: u16) -> usize {
    for count in 0..1000 {
        let answer = ask();
        if answer.status == 429 {
            assert!(answer.field("Retry-After").is_some());
            return count;
        }
        assert_eq!(answer.status, usual, "{answer:?}");
    }
    panic!("wrong ones are limited some time");
}

#[test]
fn wrong_keys_and_secrets_are_limited_by_address_and_right_ones_are_not() {
    let node = Node::alone(&["--forwarded-for-from", "127.0.0.1"]);
    let app = node.app_with("demo", &["--allow-api-key"]);
    let from = |client: &str, path: &str, name: &str, value: &str| {
        node.http().post(path, &[("X-Forwarded-For", client), (name, value)], b"{}")
    };
    let wrong_key = |client: &str| from(client, "/entries", "X-ApiKey", "wrong");
    let limited = wrong_until_limited(|| wrong_key("192.0.2.1"), 403);
    assert!((100..150).contains(&limited), "{limited}");
    // Whoever has the right one is served from there all the same, and others are not touched.
    assert_eq!(from("192.0.2.1", "/entries", "X-ApiKey", &app.api_key).status, 202);
    assert_eq!(wrong_key("192.0.2.2").status, 403);
    // Secrets count with them. What a client writes itself stands ahead of what its proxy adds.
    let wrong_secret = || from("192.0.2.7, 192.0.2.1", "/oauth/token", "Authorization", "Basic YTpi");
    let answer = wrong_until_limited(wrong_secret, 401);
    assert!(answer < 50, "{answer}");
    assert_eq!(app.ask_token(&mut node.http()).status, 200);
    // From elsewhere the field is not believed: all of these are one address.
    let node = Node::alone(&[]);
    let mut number = 0;
    let limited = wrong_until_limited(
        || {
            number += 1;
            node.http().post("/entries", &[("X-Forwarded-For", &format!("192.0.2.{number}"))], b"{}")
        },
        403,
    );
    assert!((100..150).contains(&limited), "{limited}");
}
