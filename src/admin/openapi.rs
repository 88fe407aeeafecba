//! The description of the listener for programs: `docs/openapi.json`, by version 3.1 of that standard.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::Operator;

/// The document. A test holds it to the routes.
const DOCUMENT: &str = include_str!("../../docs/openapi.json");

pub(super) fn routes() -> Router<Arc<Operator>> {
    Router::new().route("/openapi.json", get(([(header::CONTENT_TYPE, "application/json")], DOCUMENT)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    /// The paths that the sources of the listener give routes to.
    fn routed() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
        let sources = fs::read_dir(folder).expect("sources").map(|entry| entry.expect("an entry").path());
        let mut paths = BTreeSet::new();
        for source in sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
            let text = fs::read_to_string(source).expect("UTF-8");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            paths.extend(code.split(".route(").skip(1).map(|rest| {
                let path = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                path.expect("a path is written where its route is").to_owned()
            }));
        }
        paths
    }

    #[test]
    fn every_route_is_in_the_document_and_the_other_way_round() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let described: BTreeSet<String> =
            document["paths"].as_object().expect("paths").keys().cloned().collect();
        assert_eq!(routed(), described);
        assert!(described.contains("/openapi.json"));
    }
}
