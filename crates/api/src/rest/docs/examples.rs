//! Examples of bodies and answers, put together from the examples of their fields.
//!
//! A field may carry an example of its own. The others take the one that belongs to their name: one name means one thing
//! in all of the document.

use serde_json::{Map, Value, json};

use crate::rest::problem::CONTENT_TYPE;

/// The id in every example.
pub(super) const ID: &str = "0199e2a4-7c11-7b9e-8a5a-3f0d4c1b2a69";
/// The time in every example.
const TIME: &str = "2026-03-01T08:30:00Z";

/// Adds an example to every body and answer in JSON that has none.
pub(super) fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].take();
    for operation in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in operation.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(content) = operation.pointer_mut("/requestBody/content/application~1json") {
                content["example"] = filled(example(&schemas, &content["schema"], ""));
            }
            for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                // An answer by reference has no content of its own, and indexing would add one that is null.
                let content = response.get_mut("content").and_then(Value::as_object_mut);
                for (kind, content) in content.into_iter().flatten() {
                    if kind.ends_with("json") && kind != CONTENT_TYPE {
                        content["example"] = example(&schemas, &content["schema"], "");
                    }
                }
            }
        }
    }
    document["components"]["schemas"] = schemas;
}

/// A body without its nulls: who copies it would clear what was set.
fn filled(example: Value) -> Value {
    match example {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

fn example(schemas: &Value, schema: &Value, name: &str) -> Value {
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(known) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return example(schemas, &schemas[known], name);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().filter_map(|part| match example(schemas, part, name) {
            Value::Object(fields) => Some(fields),
            _ => None,
        });
        return Value::Object(parts.flatten().collect());
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let first = either.iter().find(|one| one["type"] != "null");
        return first.map_or(Value::Null, |first| example(schemas, first, name));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.first().cloned().unwrap_or_default();
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect::<Vec<_>>(),
    };
    match kinds.iter().find(|kind| **kind != "null") {
        Some(&"object") if schema["properties"].is_object() => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            fields.map(|(name, field)| (name.clone(), example(schemas, field, name))).collect()
        }
        Some(&"array") => named(name)
            .filter(Value::is_array)
            .unwrap_or_else(|| json!([example(schemas, &schema["items"], name)])),
        kind => named(name).filter(|value| is_of(value, kind)).unwrap_or_else(|| match kind {
            _ if kinds.contains(&"null") => Value::Null,
            Some(&"object") => json!({}),
            Some(&"integer") => {
                schema.get("minimum").filter(|least| **least != 0).cloned().unwrap_or(json!(1))
            }
            Some(&"number") => json!(21.5),
            Some(&"boolean") => json!(true),
            Some(&"string") if schema["format"] == "uuid" => json!(ID),
            Some(&"string") if schema["format"] == "date-time" => json!(TIME),
            Some(&"string") => json!(name),
            _ => Value::Null,
        }),
    }
}

fn is_of(value: &Value, kind: Option<&&str>) -> bool {
    match kind {
        Some(&"object") => value.is_object(),
        Some(&"integer" | &"number") => value.is_number(),
        Some(&"boolean") => value.is_boolean(),
        Some(&"string") => value.is_string(),
        _ => true,
    }
}

/// The example of a field by its name.
fn named(name: &str) -> Option<Value> {
    Some(match name {
        "access_token" => json!("eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9.eyJzaWQiOiIwMTk5ZTJhNCJ9.c2lnbmF0dXJl"),
        "actor" | "correlation_id" | "created_by" | "requested_by" | "updated_by" => json!(ID),
        "address" => json!("192.0.2.17"),
        "aggregate_id" => json!("t0/dev-01"),
        "aggregate_type" => json!("Device"),
        "broker" | "database" | "projections" => json!("up"),
        "cmd" => json!("set_interval"),
        "current" => json!("correct horse battery"),
        "description" => json!("How often the device sends a reading"),
        "detail" => json!("the topic names no device"),
        "device_uid" | "uid" => json!("dev-01"),
        "devices" => json!(["dev-01", "dev-02"]),
        "email" => json!("jo@example.com"),
        "event_type" => json!("CommandSent"),
        "excerpt" => json!("{\"temperature\":21.5}"),
        "expires_in" => json!(900),
        "flags" => json!([]),
        "has_more" | "replayed" | "revoked" => json!(false),
        "key" => json!("flk_0199e2a47c117b9e8a5a3f0d4c1b2a69_c2VjcmV0"),
        "labels" => json!({ "site": "hanoi" }),
        "lane" => json!("control"),
        "last_used_at" => json!(TIME),
        "max_attempts" => json!(3),
        "metric" => json!("temperature"),
        "msg_id" => json!("a1"),
        "name" => json!("Hall 3"),
        "new" | "password" => json!("violet turbine ladder"),
        "params" => json!({ "seconds": 5 }),
        "payload" => json!({ "msg_id": "a1", "temperature": 21.5 }),
        "projection" => json!("devices"),
        "rate_per_s" => json!(10),
        "reason" => json!("no longer needed"),
        "refresh_token" => json!("flr_c2VjcmV0"),
        "registered_via" => json!("api"),
        "source" => json!("forbid (principal, action == Action::\"commands.write\", resource is Device);"),
        "tenant" => json!("t0"),
        "tier" => json!("free"),
        "timeout_s" => json!(30),
        "token" => json!("flv_c2VjcmV0"),
        "token_type" => json!("bearer"),
        "topic" => json!("t0/devices/dev-01/telemetry"),
        "user_agent" => json!("curl/8.14.1"),
        "variables" => json!({}),
        "version" => json!(crate::rest::VERSION),
        _ => return None,
    })
}
