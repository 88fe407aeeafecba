//! JSON that was made to hurt: refused with its code, at no more than the cost of its bytes, and nobody else notices.

use crate::support::Node;

#[test]
fn deep_and_endless_nesting_is_refused_and_the_node_lives() {
    let node = Node::alone(&["--max-body", "12MiB", "--max-batch-body", "12MiB", "--queue-max", "256MiB"]);
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        [open.repeat(depth), inner.to_owned(), close.repeat(depth)].concat()
    };
    let deep = 100_000;
    let bodies = [
        "[".repeat(10_000_000),
        "{\"a\":".repeat(2_000_000),
        format!("{{\"a\":{}}}", nested("[", "", "]", deep)),
        nested("{\"a\":", "1", "}", deep),
        format!("{{\"a\":{}", "[".repeat(deep)),
        format!("{{\"a\":\"{}", "\\".repeat(1_000_000)),
        format!("{{\"a\":{}}}", "9".repeat(1_000_000) + "e"),
    ];
    for (index, body) in bodies.iter().enumerate() {
        // Each from an app of its own: what one may cost is bounded, too.
        let app = node.app(&format!("app {index}"));
        let authorization = format!("Bearer {}", node.token(&app));
        let answer = node.http().post("/v1/events", &[("Authorization", &authorization)], body.as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"), "body {index}");
    }
    let app = node.app("batches");
    let authorization = format!("Bearer {}", node.token(&app));
    let fields = [("Authorization", authorization.as_str())];
    for body in [&bodies[0], &nested("[", "", "]", deep), &format!("[{}]", "{\"a\":".repeat(deep))] {
        let answer = node.http().post("/v1/events/batch", &fields, body.as_bytes());
        assert!(matches!(answer.status, 400 | 429), "{answer:?}");
    }
    // What is deep and legal is taken.
    let legal = format!("{{\"a\":{}}}", nested("[", "", "]", 1000));
    let app = node.app("legal");
    assert_eq!(node.http().event(&node.token(&app), legal).status, 202);
    assert_eq!(node.metric("forebay_events_accepted_total"), 1);
}
