//! `docs/openapi.json` is what the node serves, and says of each path what may be done there.

use super::{DOCUMENT, Operator, check_described};
use crate::support::{Http, Node};

#[test]
fn the_document_is_served_and_describes_every_path_and_method() {
    let node = Node::alone(&[]);
    assert_eq!(Operator::of(&node).get("/openapi.json").json(), *DOCUMENT);
    for (template, operations) in DOCUMENT["paths"].as_object().expect("paths") {
        let path = template.replace("{id}", "00000000-0000-0000-0000-000000000000").replace("{kid}", "x");
        // A method that means nothing anywhere: the answer says which do here.
        let answer = Http::connect(node.admin).ask("TRACE", &path, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"), "{template}");
        let mut allowed: Vec<_> = answer.field("Allow").expect("methods").split(',').map(str::trim).collect();
        allowed.retain(|method| *method != "HEAD");
        let mut known: Vec<_> = ["GET", "PUT", "POST", "PATCH", "DELETE"]
            .into_iter()
            .filter(|method| operations[method.to_lowercase()].is_object())
            .collect();
        allowed.sort_unstable();
        known.sort_unstable();
        assert_eq!(allowed, known, "{template}");
    }
}

#[test]
fn what_can_only_be_read_is_as_described() {
    let node = Node::alone(&[]);
    let app = node.app("demo");
    let token = node.token(&app);
    assert_eq!(node.http().event(&token, "{}").status, 202);
    assert_eq!(node.http().event(&token, "[]").status, 400);
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/ledger", "/openapi.json"] {
        let answer = Operator::of(&node).get(path);
        assert_eq!((answer.status, answer.field("X-Content-Type-Options")), (200, Some("nosniff")), "{path}");
        check_described("GET", path, &answer);
    }
    assert_eq!(Operator::of(&node).get("/ledger").json()["apps"][&app.id]["accepted"], 1);
    // The second name is no UTF-8.
    for path in ["/nowhere", "/admin/apps/%FF"] {
        let nowhere = Operator::of(&node).get(path);
        assert_eq!((nowhere.status, nowhere.code().as_str()), (404, "not_found"), "{path}");
        assert_eq!(nowhere.field("Content-Type"), Some("application/problem+json"), "{path}");
    }
}
