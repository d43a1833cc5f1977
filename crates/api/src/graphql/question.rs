//! A question before it is answered: parsed, and measured.

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType, Selection};
use async_graphql::{Name, Request, Variables};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::order::Order;
use super::{cost, price};

/// A question in `GraphQL`, and the values of its variables.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Ask {
    /// The question, in `GraphQL`.
    #[schema(example = "{ devices(first: 10) { nodes { uid status } } }")]
    pub(super) query: String,
    /// The values of its variables.
    #[schema(value_type = Option<Object>)]
    pub(super) variables: Option<Map<String, Value>>,
    /// The name of the operation to carry out, if the question holds several.
    pub(super) operation_name: Option<String>,
    /// Accepted for compatibility, and ignored.
    #[serde(rename = "extensions")]
    #[schema(value_type = Option<Object>)]
    pub(super) _extensions: Option<Map<String, Value>>,
}

/// A question that is within the limits.
pub(super) struct Question {
    /// The question, for the library.
    pub(super) request: Request,
    /// What is to be done; `None` if the library is to say which operation it misses.
    pub(super) operation: Option<OperationType>,
    /// The order of the answer's fields.
    pub(super) order: Order,
    /// Whether the question asks for the schema only.
    pub(super) about_types: bool,
}

impl TryFrom<Ask> for Question {
    /// Why the question is not answered.
    type Error = String;

    fn try_from(Ask { query, variables, operation_name, .. }: Ask) -> Result<Self, String> {
        let cost::Question { document, about_types } =
            cost::read(&query).map_err(|refused| refused.to_string())?;
        let variables = variables.unwrap_or_default();
        let (mut order, mut kind) = (Order::default(), None);
        // The library refuses a name that no operation has.
        if let Some(operation) = operation(&document, operation_name.as_deref()) {
            if let Some(missing) = missing_variable(operation, &variables) {
                return Err(format!("the variable ${missing} needs a value"));
            }
            if operation.ty == OperationType::Subscription && !has_one_field(operation) {
                return Err(
                    "a subscription has exactly one field, without a directive, and no fragment".to_owned()
                );
            }
            price::check(&document, operation, &variables).map_err(|dear| dear.to_string())?;
            order = Order::of(&operation.selection_set.node, &document);
            kind = Some(operation.ty);
        }
        let mut request = Request::new(query).variables(Variables::from_json(Value::Object(variables)));
        request.operation_name = operation_name;
        request.set_parsed_query(document);
        Ok(Self { request, operation: kind, order, about_types })
    }
}

/// Whether a subscription has one field to follow. The library follows each field that it finds, and passes over fragments.
fn has_one_field(operation: &OperationDefinition) -> bool {
    match &*operation.selection_set.node.items {
        [only] => match &only.node {
            Selection::Field(field) => {
                field.node.directives.is_empty() && !field.node.name.node.starts_with("__")
            }
            Selection::FragmentSpread(_) | Selection::InlineFragment(_) => false,
        },
        _ => false,
    }
}

/// A variable that must not be null, and has neither a value nor a default. The library would notice it in the first
/// field that uses it, after others have been carried out.
fn missing_variable<'d>(
    operation: &'d OperationDefinition,
    variables: &Map<String, Value>,
) -> Option<&'d Name> {
    let mut defined = operation.variable_definitions.iter().map(|definition| &definition.node);
    let missing = defined.find(|defined| {
        let given = variables.get(defined.name.node.as_str());
        let is_null = given.map_or(defined.default_value.is_none(), Value::is_null);
        !defined.var_type.node.nullable && is_null
    });
    missing.map(|defined| &defined.name.node)
}

/// The operation to carry out: the only one, or the one of that name.
fn operation<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<&'d OperationDefinition> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(own, _)| own.is_some_and(|own| own == name)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    found.map(|(_, operation)| &operation.node)
}
