//! The `OpenAPI` document: as it is committed, complete, and kept.

use fleetlog_access::Resource;
use fleetlog_access::{Action, Role, action::PLATFORM_TENANT, authorize};
use fleetlog_api::rest;
use fleetlog_api::rest::docs::ACTION;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::document::Document;
use crate::support::Api;
use crate::support::api::{answer, user_id};

/// What answers without a login.
const PUBLIC: &[&str] = &[
    "POST /api/login",
    "POST /api/logout",
    "POST /api/v1/auth/invitation/accept",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/password/forgot",
    "POST /api/v1/auth/password/reset",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/verify",
    // The login is in its first message, if it is nowhere else.
    "GET /api/v1/graphql/ws",
    "GET /healthz",
    "GET /readyz",
];
/// What answers without a login, but wants a token of another kind.
const OTHER_TOKEN: &[&str] = &["POST /api/v1/auth/refresh"];

/// Compares a committed file with what the code builds. `UPDATE=1` writes it.
pub(crate) fn assert_committed(file: &str, built: &str) {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, built).expect("written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == built, "{file} is not what the code builds; run the tests with UPDATE=1");
}

struct Operation {
    method: Method,
    path: String,
    action: Option<Action>,
    description: Value,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with a device, a command or a command type in it.
    fn concrete(&self) -> String {
        let id = "019a0000-0000-7000-8000-000000000001";
        self.path
            .replace("{uid}", "dev-01")
            .replace("{id}", id)
            .replace("{name}", "ping")
            .replace("{tier}", "free")
            .replace("{tenant}", "t0")
    }
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&rest::docs::text(&rest::document())).expect("JSON");
    let mut operations = vec![];
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, description) in item.as_object().expect("operations") {
            let action = description[ACTION].as_str().map(|action| action.parse().expect("an action"));
            let method = method.to_uppercase().parse().expect("a method");
            operations.push(Operation {
                method,
                path: path.clone(),
                action,
                description: description.clone(),
            });
        }
    }
    operations
}

#[test]
fn the_committed_document_is_what_the_code_builds() {
    assert_committed("openapi.json", &rest::docs::text(&rest::document()));
}

/// Where a member of the document is null. An example may hold nulls: it is an answer.
fn nulls(node: &Value, path: &str, found: &mut Vec<String>) {
    match node {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "example") {
                nulls(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| nulls(item, path, found)),
        Value::Null => found.push(path.to_owned()),
        _ => {}
    }
}

#[test]
fn no_member_of_the_document_is_null_and_every_response_has_the_form_of_openapi_3_1() {
    let document = Document::read();
    let mut found = vec![];
    nulls(&document.whole, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
    // The parts of the published schema (3.1, `#/$defs/responses`) that say what an answer is.
    let schema = json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^(default|[1-5](?:[0-9]{2}|XX))$" },
        "additionalProperties": {
            "if": { "required": ["$ref"] },
            "then": {
                "properties": {
                    "$ref": { "type": "string" },
                    "summary": { "type": "string" },
                    "description": { "type": "string" },
                },
                "additionalProperties": false,
            },
            "else": {
                "properties": {
                    "description": { "type": "string" },
                    "headers": { "type": "object", "additionalProperties": { "type": "object" } },
                    "content": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "propertyNames": { "enum": ["schema", "encoding", "example", "examples"] },
                        },
                    },
                    "links": { "type": "object" },
                },
                "required": ["description"],
                "additionalProperties": false,
            },
        },
    });
    for operation in document.operations() {
        let fits = document.fits(&schema, &operation.described["responses"]);
        assert_eq!(fits, Ok(()), "{}", operation.name());
    }
}

#[test]
fn every_operation_is_described_with_its_action_and_its_problems() {
    let document = Document::read();
    let mut ids = std::collections::HashSet::new();
    for operation in operations() {
        let name = operation.name();
        assert_eq!(operation.action.is_none(), PUBLIC.contains(&name.as_str()), "{name}");
        let logins = operation.description["security"].as_array().expect("said of every operation");
        assert_eq!(logins.is_empty(), operation.action.is_none(), "{name}");
        assert!(operation.description["summary"].is_string(), "{name}");
        assert!(operation.description["description"].is_string(), "{name}");
        assert!(ids.insert(operation.description["operationId"].to_string()), "{name}");
        let default = document.resolve(&operation.description["responses"]["default"]);
        assert!(default["content"]["application/problem+json"].is_object(), "{name}");
    }
}

#[test]
fn every_body_has_an_example_and_every_tag_is_declared() {
    let document = Document::read();
    let tags = document.whole["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]);
    let tags: Vec<&Value> = tags.collect();
    for operation in document.operations() {
        let name = operation.name();
        assert!(tags.contains(&&operation.described["tags"][0]), "{name}");
        assert!(operation.body().is_none_or(|(_, example)| example.is_object()), "{name}");
        for (status, response) in operation.described["responses"].as_object().expect("responses") {
            let answered = &document.resolve(response)["content"]["application/json"];
            assert!(answered.is_null() || answered.get("example").is_some(), "{name} {status}");
        }
    }
}

#[test]
fn generators_find_no_required_default_no_closed_object_and_no_unused_schema() {
    let document = Document::read();
    let whole = document.whole.to_string();
    for (name, schema) in document.whole["components"]["schemas"].as_object().expect("schemas") {
        assert!(whole.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is not used");
        for (property, says) in schema["properties"].as_object().into_iter().flatten() {
            assert!(says.get("default").is_none(), "{name}.{property} would become required");
            let is_object = says["type"].to_string().contains("\"object\"");
            assert!(
                !is_object || says.get("additionalProperties").is_some(),
                "{name}.{property} would be empty"
            );
        }
    }
}

/// What a description of the document says, where it is not the value of a property of that name.
fn descriptions<'d>(node: &'d Value, path: &str, found: &mut Vec<(String, &'d str)>) {
    match node {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}/{name}");
                match value {
                    Value::String(text) if ["description", "summary"].contains(&name.as_str()) => {
                        found.push((path, text));
                    }
                    value => descriptions(value, &path, found),
                }
            }
        }
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                descriptions(item, &format!("{path}/{nth}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_description_has_three_words_or_more() {
    let document: Value = serde_json::from_str(&rest::docs::text(&rest::document())).expect("JSON");
    let mut found = vec![];
    descriptions(&document, "", &mut found);
    assert!(found.len() > 900, "{}", found.len());
    let short = found.iter().filter(|(_, text)| text.split_whitespace().count() < 3);
    assert_eq!(short.collect::<Vec<_>>(), Vec::<&(String, &str)>::new());
}

#[test]
fn every_property_and_every_parameter_is_described() {
    let document: Value = serde_json::from_str(&rest::docs::text(&rest::document())).expect("JSON");
    let mut bare = vec![];
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        let parts = schema["allOf"].as_array().map_or_else(|| vec![schema], |parts| parts.iter().collect());
        for (property, says) in parts.iter().filter_map(|part| part["properties"].as_object()).flatten() {
            if !says.to_string().contains("\"description\"") && !says["$ref"].is_string() {
                bare.push(format!("{name}.{property}"));
            }
        }
    }
    for operation in operations() {
        for parameter in operation.description["parameters"].as_array().into_iter().flatten() {
            if !parameter["description"].is_string() {
                bare.push(format!("{} {}", operation.name(), parameter["name"]));
            }
        }
    }
    assert_eq!(bare, Vec::<String>::new());
}

#[tokio::test]
async fn every_operation_needs_a_login_but_those_that_are_public() {
    let api = Api::start().await;
    for operation in operations() {
        let bare = operation.concrete().replace(rest::PREFIX, "");
        for path in [operation.concrete(), bare] {
            let answered = answer(api.request(operation.method.clone(), &path)).await;
            let refused = answered.status == StatusCode::UNAUTHORIZED;
            let expected = operation.action.is_some() || OTHER_TOKEN.contains(&operation.name().as_str());
            assert_eq!(refused, expected, "{} {path}: {}", operation.method, answered.text);
            assert_ne!(answered.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}

#[tokio::test]
async fn every_operation_is_open_to_exactly_the_roles_of_the_table() {
    let api = Api::start().await;
    let tenant = PLATFORM_TENANT.parse().expect("a tenant");
    for operation in operations() {
        let Some(action) = operation.action else { continue };
        for role in Role::ALL {
            let session = api.app.access.sessions.in_session(user_id(PLATFORM_TENANT, role)).await;
            let principal = session.expect("an answer").expect("a session");
            let allowed = authorize(&principal, action, &Resource::Tenant(&tenant)).is_ok();
            let answered = api.send_as(role, operation.method.clone(), &operation.concrete(), None).await;
            let forbidden = answered.status == StatusCode::FORBIDDEN;
            assert_eq!(forbidden, !allowed, "{role} {}: {}", operation.name(), answered.text);
        }
    }
}
