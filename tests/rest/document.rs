//! The `OpenAPI` document as a test reads it: its operations, and whether a value fits a schema.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fleetlog_api::rest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Answer;

/// The document.
pub(crate) struct Document {
    pub(crate) whole: Value,
    built: Mutex<HashMap<String, Arc<jsonschema::Validator>>>,
}

/// One operation of the document.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) described: Value,
}

impl Document {
    pub(crate) fn read() -> Self {
        Self { whole: rest::document(), built: Mutex::default() }
    }

    /// All operations; at last those that remove something, parts before what they are parts of.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        let mut operations = vec![];
        for (path, item) in self.whole["paths"].as_object().expect("paths") {
            for (method, described) in item.as_object().expect("operations") {
                let method = method.to_uppercase().parse().expect("a method");
                operations.push(Operation { method, path: path.clone(), described: described.clone() });
            }
        }
        let (mut removing, mut others): (Vec<_>, Vec<_>) =
            operations.into_iter().partition(|operation: &Operation| operation.method == Method::DELETE);
        removing.reverse();
        others.append(&mut removing);
        others
    }

    /// Follows a reference within the document.
    pub(crate) fn resolve<'d>(&'d self, node: &'d Value) -> &'d Value {
        match node["$ref"].as_str() {
            Some(reference) => self.resolve(self.whole.pointer(&reference[1..]).expect(reference)),
            None => node,
        }
    }

    /// The validator of a schema, built once.
    pub(crate) fn validator(&self, schema: &Value) -> Arc<jsonschema::Validator> {
        let mut built = self.built.lock().expect("no panic while it is locked");
        let validator = built.entry(schema.to_string()).or_insert_with(|| {
            let whole = json!({ "allOf": [schema], "components": self.whole["components"] });
            let options = jsonschema::options().should_validate_formats(true);
            Arc::new(options.build(&whole).expect("a schema"))
        });
        Arc::clone(validator)
    }

    /// Whether a value fits a schema; if not, why.
    pub(crate) fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        self.validator(schema)
            .validate(value)
            .map_err(|error| format!("{error} at {}", error.instance_path()))
    }

    /// What an answer does that the document does not say.
    pub(crate) fn fault(&self, operation: &Operation, answer: &Answer) -> Option<String> {
        let declared = self.resolve(&operation.described["responses"][answer.status.as_str()]);
        if !declared.is_object() {
            return Some("the status is not declared".to_owned());
        }
        if answer.status.is_server_error() && answer.refusal() != "503 not_yet" {
            return Some("the server is at fault".to_owned());
        }
        let Some(content) = declared["content"].as_object() else {
            return (!answer.text.is_empty()).then(|| "no body is declared".to_owned());
        };
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        let Some(content) = content.get(kind) else { return Some(format!("{kind} is not declared")) };
        if !kind.ends_with("json") {
            return None;
        }
        let body = answer.json();
        self.fits(&content["schema"], &body).err().or_else(|| {
            let is_error = !answer.status.is_success();
            is_error.then(|| inner_name(&body)).flatten().map(|inner| format!("an inner name, {inner}"))
        })
    }
}

impl Operation {
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The query string with the examples of the parameters that are needed, and with these others.
    pub(crate) fn query(&self, others: &[(&str, &str)]) -> String {
        let parameters = self.described["parameters"].as_array().into_iter().flatten();
        let needed =
            parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
        let mut query = vec![];
        for parameter in needed {
            let name = parameter["name"].as_str().expect("a name");
            let example = parameter["example"].as_str().expect("an example of what is needed");
            let text = form_urlencoded::byte_serialize(example.as_bytes()).collect::<String>();
            query.extend((others.iter().all(|(other, _)| *other != name)).then(|| format!("{name}={text}")));
        }
        query.extend(others.iter().map(|(name, value)| format!("{name}={value}")));
        query.join("&")
    }

    /// The schema and the example of the operation's body.
    pub(crate) fn body(&self) -> Option<(&Value, &Value)> {
        let content = self.described.pointer("/requestBody/content/application~1json")?;
        Some((&content["schema"], &content["example"]))
    }
}

/// A word of this program's own in an error, which speaks of the caller's things only.
fn inner_name(problem: &Value) -> Option<&'static str> {
    const PARTS: [&str; 9] =
        ["struct ", "enum ", "tuple", "variant", "newtype", "visitor", "Option", "::", "serde"];
    const WORDS: [&str; 12] =
        ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "isize", "f32", "f64", "str", "bool"];
    let reasons = problem["errors"].as_array().into_iter().flatten().map(|error| &error["reason"]);
    reasons.chain([&problem["detail"]]).filter_map(Value::as_str).find_map(|text| {
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let part = PARTS.into_iter().find(|part| text.contains(part));
        part.or_else(|| WORDS.into_iter().find(|word| words.contains(word)))
    })
}
