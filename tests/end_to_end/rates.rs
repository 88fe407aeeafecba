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
