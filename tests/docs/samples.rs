//! The samples of answers in the documents have the fields that `openapi.json` says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

const DOCUMENTS: [&str; 2] = ["README.md", "docs/OPERATIONS.md"];

/// The answers to `get PATH` in the documents: which document, the path, the answer.
fn samples() -> Vec<(&'static str, String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut samples = vec![];
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            let asked = pair[0].strip_prefix("$ get ").map(|path| path.trim_matches('\''));
            let answer = serde_json::from_str(pair[1]).ok().filter(|_| pair[1].starts_with('{'));
            if let (Some(path), Some(answer)) = (asked, answer) {
                samples.push((document, path.to_owned(), answer));
            }
        }
    }
    samples
}

/// The schema of the answer to `GET path`.
fn schema_of<'d>(openapi: &'d Value, path: &str) -> &'d Value {
    let parts: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').collect();
    let is_of = |template: &String| {
        let template: Vec<&str> = template.trim_start_matches("/api/v1/").split('/').collect();
        template.len() == parts.len()
            && template.iter().zip(&parts).all(|(one, part)| one.starts_with('{') || one == part)
    };
    let paths = openapi["paths"].as_object().expect("paths");
    let (_, item) = paths.iter().find(|(template, _)| is_of(template)).unwrap_or_else(|| panic!("{path}"));
    &item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
}

/// A schema with its reference followed, and without the alternative that it is null.
fn resolved<'d>(openapi: &'d Value, schema: &'d Value) -> &'d Value {
    let alternatives = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    let of = alternatives.and_then(|all| all.iter().find(|of| of["type"] != "null")).unwrap_or(schema);
    match of["$ref"].as_str() {
        Some(name) => resolved(openapi, openapi.pointer(&name[1..]).expect("a schema")),
        None => of,
    }
}

/// The properties of an object's schema, and which of them it must have.
fn fields<'d>(openapi: &'d Value, schema: &'d Value) -> (Vec<(&'d str, &'d Value)>, BTreeSet<&'d str>) {
    let (mut properties, mut required) = (vec![], BTreeSet::new());
    let parts = schema["allOf"].as_array().map_or_else(|| vec![schema], |all| all.iter().collect());
    for part in parts.into_iter().map(|part| resolved(openapi, part)) {
        properties
            .extend(part["properties"].as_object().into_iter().flatten().map(|(name, of)| (&**name, of)));
        required.extend(part["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    }
    (properties, required)
}

/// Checks that a sample has the fields of its schema, all the way down. Free objects, such as payloads, have none.
fn assert_fields(openapi: &Value, schema: &Value, sample: &Value, at: &str) {
    let schema = resolved(openapi, schema);
    match sample {
        Value::Array(items) => {
            for item in items {
                assert_fields(openapi, &schema["items"], item, at);
            }
        }
        Value::Object(object) => {
            let (properties, required) = fields(openapi, schema);
            if properties.is_empty() {
                return;
            }
            let missing: Vec<_> = required.iter().filter(|name| !object.contains_key(**name)).collect();
            assert!(missing.is_empty(), "{at} lacks {missing:?}");
            for (name, value) in object {
                let of = properties.iter().find(|(known, _)| known == name);
                let (_, of) =
                    of.unwrap_or_else(|| panic!("{at} has {name}, which openapi.json does not know"));
                assert_fields(openapi, of, value, &format!("{at}.{name}"));
            }
        }
        _ => {}
    }
}

#[test]
fn a_sample_of_an_answer_has_the_fields_that_the_program_answers_with() {
    let openapi: Value = serde_json::from_str(include_str!("../../openapi.json")).expect("JSON");
    let samples = samples();
    assert!(samples.len() >= 6, "{}", samples.len());
    for (document, path, answer) in samples {
        assert_fields(&openapi, schema_of(&openapi, &path), &answer, &format!("{document}, get {path}:"));
    }
}
