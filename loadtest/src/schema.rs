//! Checks documents against `docs/loadtest.schema.json`, for tests: the few keywords that it uses, and a panic at any other.

use serde_json::{Map, Value};

const SCHEMA: &str = include_str!("../../docs/loadtest.schema.json");

/// Panics with the place if the document is not what the schema says.
pub(crate) fn check(document: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    Checker { definitions: schema["$defs"].as_object().expect("definitions") }.check(&schema, document, "");
}

struct Checker<'a> {
    definitions: &'a Map<String, Value>,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, place: &str) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => {}
                "$ref" => {
                    let name =
                        rule.as_str().and_then(|path| path.strip_prefix("#/$defs/")).expect("a definition");
                    self.check(&self.definitions[name], value, place);
                }
                "const" => assert_eq!(rule, value, "{place}"),
                "enum" => assert!(list(rule).contains(value), "{place}: {value} is none of {rule}"),
                "type" => {
                    let types = if rule.is_array() { list(rule) } else { std::slice::from_ref(rule) };
                    let is_one = types.iter().any(|name| is_a(name.as_str().expect("a name"), value));
                    assert!(is_one, "{place}: {value} is no {rule}");
                }
                "minimum" => {
                    let is_enough =
                        value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number"));
                    assert!(is_enough, "{place}: {value} is below {rule}");
                }
                "required" => {
                    for name in list(rule) {
                        let name = name.as_str().expect("a name");
                        assert!(value.get(name).is_some(), "{place}: there is no {name}");
                    }
                }
                "properties" => {
                    for (name, rule) in rule.as_object().expect("an object") {
                        if let Some(member) = value.get(name) {
                            self.check(rule, member, &format!("{place}/{name}"));
                        }
                    }
                }
                "additionalProperties" => {
                    let known = schema["properties"].as_object();
                    for (name, member) in value.as_object().into_iter().flatten() {
                        if known.is_none_or(|known| !known.contains_key(name)) {
                            assert_ne!(rule, false, "{place}: {name} is not in the schema");
                            if rule.is_object() {
                                self.check(rule, member, &format!("{place}/{name}"));
                            }
                        }
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{place}/{index}"));
                    }
                }
                "anyOf" => {
                    // Only ever "null, or what a definition says".
                    let [nothing, rule] = list(rule) else { panic!("{place}: two alternatives") };
                    assert_eq!(nothing["type"], "null", "{place}");
                    if !value.is_null() {
                        self.check(rule, value, place);
                    }
                }
                _ => panic!("{place}: the checker does not know `{keyword}`"),
            }
        }
    }
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => panic!("`{name}` is no type"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[should_panic(expected = "/verdict: there is no reasons")]
    fn what_is_missing_is_noticed() {
        check(&json!({ "verdict": { "result": "good" } }));
    }

    #[test]
    #[should_panic(expected = "surprise is not in the schema")]
    fn what_is_too_much_is_noticed() {
        check(&json!({ "surprise": 1 }));
    }
}
