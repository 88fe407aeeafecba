//! The operators' API: who may use it, what it changes and when that holds. Each answer is held to the document that the node serves.

mod apps;
mod command_line;
mod described;
mod guard;
mod keys;
mod peers;
mod steer;
mod tls;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::{Answer, Http, Node};

const TOKEN: &str = "an-operators-token-of-good-length-0123456789";

/// What the node serves as `/openapi.json`.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON"));

/// A connection to the operators' listener.
struct Operator {
    http: Http,
    fields: Vec<(String, String)>,
}

impl Operator {
    fn of(node: &Node) -> Self {
        Self { http: Http::connect(node.admin), fields: Vec::new() }
    }

    /// The same, with the token.
    fn with_token(node: &Node) -> Self {
        Self::of(node).with("Authorization", &format!("Bearer {TOKEN}"))
    }

    /// With a field in each request.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    fn tell(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[], Some(body))
    }

    /// Sends a request; its answer is as the document says.
    fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let own = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut all: Vec<_> = own.chain(fields.iter().copied()).collect();
        let answer = match body {
            Some(body) => {
                all.push(("Content-Type", "application/json"));
                self.http.tell(method, path, &all, body.to_string().as_bytes())
            }
            None => self.http.ask(method, path, &all),
        };
        check_described(method, path, &answer);
        answer
    }
}

/// The description of a path: `/admin/apps/{id}` of `/admin/apps/0198…`.
fn described(path: &str) -> Option<(&'static String, &'static Value)> {
    let path = path.split('?').next().expect("a path");
    let is_it = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(&path).all(|(known, given)| known == given || known.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    // A path that is written as it is goes before one with a place for a name.
    paths.iter().find(|(known, _)| *known == path).or_else(|| paths.iter().find(|(known, _)| is_it(known)))
}

/// Whether an answer is one that the document describes, body included.
fn check_described(method: &str, path: &str, answer: &Answer) {
    if [404, 405].contains(&answer.status)
        && ["not_found", "method_not_allowed"].contains(&answer.code().as_str())
    {
        return;
    }
    let (template, operations) = described(path).unwrap_or_else(|| panic!("{path} is not described"));
    let responses = &operations[method.to_lowercase()]["responses"];
    let response = &responses[answer.status.to_string()];
    assert!(response.is_object(), "{method} {template}: {} is not described: {answer:?}", answer.status);
    for (name, _) in response["headers"].as_object().into_iter().flatten() {
        assert!(answer.field(name).is_some(), "{method} {template}: {name} is missing: {answer:?}");
    }
    let kind = answer.field("Content-Type").unwrap_or_default().split(';').next().unwrap_or_default();
    let Some(content) = response["content"].as_object() else {
        assert!(answer.body.is_empty(), "{method} {template}: a body is not described: {answer:?}");
        return;
    };
    let schema = &content.get(kind).unwrap_or_else(|| panic!("{method} {template}: {kind} is not described"))
        ["schema"];
    if kind.ends_with("json") {
        let schema = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
        let schema = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        let body = answer.json();
        let errors: Vec<_> = schema.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {template}: {errors:?}: {body}");
    }
}

/// Writes a token as an operator would, and gives the flags that name it.
fn token_file(folder: &Path, token: &str) -> String {
    let path = folder.join("admin.token");
    let temporary = folder.join("admin.token.new");
    std::fs::write(&temporary, format!("{token}\n")).expect("written");
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).expect("ours");
    std::fs::rename(&temporary, &path).expect("moved");
    path.to_str().expect("a plain path").to_owned()
}

/// A node whose operators have a token; and the folder with its file.
fn guarded(flags: &[&str]) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let token = token_file(folder.path(), TOKEN);
    (Node::alone(&[&["--admin-token-file", &token], flags].concat()), folder)
}
