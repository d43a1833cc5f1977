//! Adds to the `OpenAPI` document what holds for every operation alike: logins, the answers to errors, tags, the server.
//! What is particular to one operation is written beside its handler.
//!
//! The document is JSON here: a rule about all schemas is short to say about JSON, and long about the library's types.

use std::collections::BTreeSet;

use fleetlog_access::{Action, Role};
use serde_json::{Map, Value, json};

use super::examples;
use crate::door::action::ACTION;
use crate::rest::cookies;
use crate::rest::problem::CONTENT_TYPE;

/// The groups of operations.
const TAGS: [(&str, &str); 19] = [
    ("alarms", "Alarms, and the rules that raise and clear them."),
    ("api-keys", "Keys with which programs call the API without a login."),
    ("audit", "Proof that no event was changed, removed, added or moved, for those who trust nobody."),
    ("auth", "Logging in and out, sessions, and the caller's own account."),
    ("browser", "A browser's session, held in one cookie, for pages that keep no token themselves."),
    ("commands", "Commands to devices, batches of them, and the command types that a tenant allows."),
    ("devices", "Devices, and the credentials that they log in with."),
    ("graphql", "The same reads and writes as GraphQL."),
    ("live", "Streams of what happens, from the log, for as long as a client follows them."),
    ("log", "The log itself: its events, its heads, and the messages that could not become events."),
    ("platform", "Tenants, tiers and signing keys, for the users of the platform's own tenant."),
    ("policies", "Policies in Cedar, with which a tenant extends or restricts what roles and keys allow."),
    ("projections", "The read models, and how far each of them is."),
    ("service", "Health and metrics, for monitoring."),
    ("telemetry", "Readings of devices, and statistics of them by windows of time."),
    ("tenant", "The caller's own tenant and its settings."),
    ("sources", "What topics and payloads of other systems mean."),
    ("users", "The tenant's users. `/users/me` is the caller's own account."),
    (
        "webhooks",
        "Services of the tenant's own to which its events are sent: at least once, in order, signed.",
    ),
];

/// The paths that have no rate limit.
const UNLIMITED: [&str; 3] = ["/healthz", "/metrics", "/readyz"];

/// An error that many operations answer: its status, the name of the shared answer, its code, what it means.
type Shared = (&'static str, &'static str, &'static str, &'static str);

const MALFORMED: Shared = ("400", "Malformed", "malformed", "The body is not JSON.");
const UNAUTHENTICATED: Shared =
    ("401", "Unauthenticated", "unauthenticated", "No valid access token, API key or session cookie.");
const FORBIDDEN: Shared =
    ("403", "Forbidden", "forbidden", "The caller's role, key or policies do not allow it.");
const TOO_LARGE: Shared = ("413", "TooLarge", "too_large", "The body is over 1 MiB.");
const MEDIA_TYPE: Shared =
    ("415", "UnsupportedMediaType", "unsupported_media_type", "The content type is not `application/json`.");
const INVALID: Shared = ("422", "Invalid", "invalid", "A field or a parameter is wrong, unknown or missing.");
const TOO_MANY: Shared = (
    "429",
    "TooManyRequests",
    "too_many_requests",
    "Too many requests; `Retry-After` says when to try again.",
);
const UNAVAILABLE: Shared = (
    "503",
    "Unavailable",
    "unavailable",
    "Not possible right now: the database is away, the time is up, or `min_position` or `as_of` has not been reached (`not_yet`).",
);
const ANY: Shared = ("default", "AnyProblem", "internal", "Any other error, with the same form.");
const SHARED: [Shared; 9] =
    [MALFORMED, UNAUTHENTICATED, FORBIDDEN, TOO_LARGE, MEDIA_TYPE, INVALID, TOO_MANY, UNAVAILABLE, ANY];

/// Completes a document that lists operations and schemas.
pub(super) fn complete(document: &mut Value) {
    document["servers"] = json!([{ "url": "/", "description": "The server that this document comes from" }]);
    document["tags"] =
        TAGS.iter().map(|(name, description)| json!({ "name": name, "description": description })).collect();
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "An access token of `POST /auth/login`, or an API key.",
        },
        "cookie": {
            "type": "apiKey", "in": "cookie", "name": cookies::NAME,
            "description": format!(
                "The cookie of a browser's session. Over TLS it is named `{}`. It changes nothing unless the request \
                 comes from a page of the service's own origin.",
                cookies::SECURE_NAME
            ),
        },
    });
    document["components"]["responses"] =
        SHARED.iter().map(|shared| (shared.1.to_owned(), answer(shared))).collect();
    spell_wildcards(document);
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            describe(operation);
            complete_body(operation);
            add_errors(operation, path);
        }
    }
    name_variants(document);
    name_items(document);
    open_free_objects(document);
    examples::add(document);
    drop_unused(document);
}

/// Spells a variable that takes the rest of a path, slashes included, like any other: the document has no word for it.
fn spell_wildcards(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    *paths = std::mem::take(paths).into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
}

/// Gives titled variants names of their own: generators lose some of those that are written inline.
fn name_variants(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let mut named = Map::new();
    for schema in schemas.values_mut() {
        for variant in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
            let title = variant.as_object_mut().and_then(|fields| fields.remove("title"));
            let Some(title) = title.as_ref().and_then(Value::as_str) else { continue };
            // The field that tells the variants apart is none of the type's own, so nothing describes it.
            if let Some(kind) = variant.pointer_mut("/properties/kind").and_then(Value::as_object_mut) {
                kind.insert("description".to_owned(), json!("Which of the kinds this is."));
            }
            let reference = json!({ "$ref": format!("#/components/schemas/{title}") });
            named.insert(title.to_owned(), std::mem::replace(variant, reference));
        }
    }
    schemas.extend(named);
}

/// The shared answer to an error.
fn answer((status, _, code, meaning): &Shared) -> Value {
    let status = status.parse().ok().and_then(|status| http::StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let example = json!({
        "type": format!("urn:fleetlog:problem:{code}"),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": meaning.trim_end_matches('.'),
        "request_id": examples::ID,
    });
    json!({
        "description": meaning,
        "content": { CONTENT_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" }, "example": example } },
    })
}

/// Says in the description who may call an operation, and in `security` how. The summary keeps the first sentence.
fn describe(operation: &mut Value) {
    let text =
        operation["summary"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let (summary, rest) = text.split_once(". ").unwrap_or((text.trim_end_matches('.'), ""));
    let action = operation[ACTION].as_str().and_then(|action| action.parse::<Action>().ok());
    let who = action.map_or_else(
        || "Needs no login.".to_owned(),
        |action| {
            let roles =
                Role::ALL.into_iter().filter(|role| role.may(action)).map(Role::as_str).collect::<Vec<_>>();
            format!("Needs the action `{}`, which these roles have: {}.", action.as_str(), roles.join(", "))
        },
    );
    let description = if rest.is_empty() { who } else { format!("{rest}\n\n{who}") };
    operation["summary"] = summary.into();
    operation["description"] = description.into();
    operation["security"] =
        if action.is_some() { json!([{ "bearer": [] }, { "cookie": [] }]) } else { json!([]) };
}

/// A body that may be left out is not required; a body that is there is never null.
fn complete_body(operation: &mut Value) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    let schema = &mut body["content"]["application/json"]["schema"];
    let optional =
        schema["oneOf"].as_array().and_then(|either| either.iter().find(|one| one["type"] != "null"));
    let optional = optional.cloned();
    let required = optional.is_none();
    if let Some(shape) = optional {
        *schema = shape;
    }
    body["required"] = required.into();
}

fn add_errors(operation: &mut Value, path: &str) {
    let mut shared = vec![ANY];
    if operation[ACTION].is_string() {
        shared.extend([UNAUTHENTICATED, FORBIDDEN, INVALID]);
    }
    if operation.get("requestBody").is_some() {
        shared.extend([MALFORMED, TOO_LARGE, MEDIA_TYPE, INVALID]);
    }
    if !UNLIMITED.contains(&path) {
        shared.extend([TOO_MANY, UNAVAILABLE]);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, name, ..) in shared {
        let shared = || json!({ "$ref": format!("#/components/responses/{name}") });
        responses.entry(status).or_insert_with(shared);
    }
    for (status, response) in responses {
        // An error's answer is a problem document, unless its handler declares another body.
        let is_bare = response.get("$ref").is_none() && response.get("content").is_none();
        if !status.starts_with('2') && is_bare {
            response["content"] =
                json!({ CONTENT_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        }
    }
}

/// Refers to the schema of a list's items by its name, as the library does everywhere but in a generic type.
fn name_items(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    for (name, list) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        let Some(item) = name.strip_prefix("List_") else { continue };
        if let Some(items) = list.pointer_mut("/properties/items/items")
            && *items == schemas[item]
        {
            *items = json!({ "$ref": format!("#/components/schemas/{item}") });
        }
    }
}

/// Says of objects without listed fields that any field may be there; without it generators make them empty.
fn open_free_objects(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            let is_object = |kind: &Value| {
                kind == "object" || kind.as_array().is_some_and(|any| any.contains(&json!("object")))
            };
            let is_free = fields.get("type").is_some_and(is_object)
                && !["properties", "additionalProperties"].iter().any(|key| fields.contains_key(*key));
            if is_free {
                fields.insert("additionalProperties".to_owned(), true.into());
            }
            fields.values_mut().for_each(open_free_objects);
        }
        Value::Array(items) => items.iter_mut().for_each(open_free_objects),
        _ => {}
    }
}

/// Drops the schemas that no operation refers to, directly or through another schema.
fn drop_unused(document: &mut Value) {
    let mut used = BTreeSet::new();
    let mut open = vec![&document["paths"], &document["components"]["responses"]];
    while let Some(node) = open.pop() {
        match node {
            Value::Object(fields) => {
                let name = fields.get("$ref").and_then(Value::as_str);
                if let Some(name) = name.and_then(|name| name.strip_prefix("#/components/schemas/"))
                    && used.insert(name.to_owned())
                {
                    open.push(&document["components"]["schemas"][name]);
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
    }
}
