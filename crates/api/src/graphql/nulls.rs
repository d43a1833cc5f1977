//! Failed fields are null. Where the schema allows no null, the field around them is null instead, up to `data` itself
//! (specification, 6.4.4).
//!
//! The library leaves every failed field out of its object, whatever its type is.

use std::collections::{BTreeMap, HashMap};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, Type, TypeKind, TypeSystemDefinition};
use async_graphql::{Name, PathSegment, Response, Value};

use super::order::Order;

/// The fields of each object type, and what type each field has.
#[derive(Debug)]
pub(super) struct Types(HashMap<Name, HashMap<Name, Type>>);

impl Types {
    /// Reads the object types of a schema. Of a text that is no schema: none.
    pub(super) fn of(sdl: &str) -> Self {
        let definitions = parse_schema(sdl).map(|schema| schema.definitions).unwrap_or_default();
        let objects = definitions.into_iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) => match definition.node.kind {
                TypeKind::Object(object) => Some((definition.node.name.node, object.fields)),
                _ => None,
            },
            _ => None,
        });
        let typed = objects.map(|(name, fields)| {
            let fields = fields.into_iter().map(|field| (field.node.name.node, field.node.ty.node));
            (name, fields.collect())
        });
        Self(typed.collect())
    }

    /// Puts the nulls into an answer that its errors call for. `root`: the type of the operation.
    pub(super) fn settle(&self, response: &mut Response, order: &Order, root: &str) {
        let mut failed = Failed::default();
        response.errors.iter().for_each(|error| failed.add(&error.path));
        let root = Type { base: BaseType::Named(Name::new(root)), nullable: true };
        response.data = self.settled(std::mem::take(&mut response.data), &failed, &root, order);
    }

    fn settled(&self, value: Value, failed: &Failed<'_>, of: &Type, order: &Order) -> Value {
        if failed.0.is_empty() {
            return value;
        }
        match (&of.base, value) {
            (BaseType::List(of), Value::List(mut items)) => {
                for (step, failed) in &failed.0 {
                    let Step::Item(nth) = step else { continue };
                    let Some(item) = items.get_mut(*nth) else { continue };
                    *item = self.settled(std::mem::take(item), failed, of, order);
                    if *item == Value::Null && !of.nullable {
                        return Value::Null;
                    }
                }
                Value::List(items)
            }
            (BaseType::List(_), _) => Value::Null,
            (BaseType::Named(object), value) => {
                let mut fields = match value {
                    Value::Object(fields) => fields,
                    // The library makes an object null once all its fields have failed.
                    _ => async_graphql::indexmap::IndexMap::new(),
                };
                for (step, failed) in &failed.0 {
                    let Step::Field(key) = step else { continue };
                    let Some(asked) = order.0.get(*key) else { continue };
                    let Some(of) = self.0.get(object).and_then(|fields| fields.get(&asked.field)) else {
                        continue;
                    };
                    let value = fields.swap_remove(*key).unwrap_or_default();
                    let value = self.settled(value, failed, of, &asked.within);
                    if value == Value::Null && !of.nullable {
                        return Value::Null;
                    }
                    fields.insert(Name::new(key), value);
                }
                Value::Object(fields)
            }
        }
    }
}

/// Where fields have failed: the steps from here to each of them.
#[derive(Debug, Default)]
struct Failed<'e>(BTreeMap<Step<'e>, Failed<'e>>);

/// One step of an error's path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'e> {
    Field(&'e str),
    Item(usize),
}

impl<'e> Failed<'e> {
    fn add(&mut self, path: &'e [PathSegment]) {
        let Some((step, rest)) = path.split_first() else { return };
        let step = match step {
            PathSegment::Field(name) => Step::Field(name),
            PathSegment::Index(nth) => Step::Item(*nth),
        };
        self.0.entry(step).or_default().add(rest);
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::{ServerError, value};

    use super::*;
    use crate::graphql::Schemas;

    const SDL: &str = "type Query { a: A, b: A!, list: [A!], gaps: [A]! }
        type A { may: Int, must: Int!, a: A!, all: [A!]! }";

    /// The data of an answer whose fields at these paths have failed: `/` separates their steps.
    fn settled(question: &str, data: Value, failed: &[&str]) -> Value {
        let document = parse_query(question).expect("a question");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let order = Order::of(&operation.node.selection_set.node, &document);
        let step = |step: &str| {
            step.parse().map_or_else(|_| PathSegment::Field(step.to_owned()), PathSegment::Index)
        };
        let mut response = Response::new(data);
        response.errors = failed
            .iter()
            .map(|path| ServerError {
                path: path.split('/').map(step).collect(),
                ..ServerError::new("failed", None)
            })
            .collect();
        Types::of(SDL).settle(&mut response, &order, "Query");
        response.data
    }

    #[test]
    fn a_failed_field_is_null_and_its_siblings_stay() {
        let question = "{ first: a { may } second: a { may } }";
        let data = value!({ "first": { "may": 1 } });
        assert_eq!(settled(question, data, &["second"]), value!({ "first": { "may": 1 }, "second": null }));
        let none = settled(question, Value::Null, &["first", "second"]);
        assert_eq!(none, value!({ "first": null, "second": null }), "the library left nothing at all");
        let inner = settled(question, value!({ "second": { "may": 1 } }), &["first/may"]);
        assert_eq!(inner, value!({ "first": { "may": null }, "second": { "may": 1 } }));
    }

    #[test]
    fn what_may_not_be_null_makes_the_nearest_field_null_that_may() {
        let question = "{ a { must a { must } } b { may must } }";
        let data = || value!({ "a": { "must": 1 }, "b": { "may": 2, "must": 3 } });
        let wanted = value!({ "a": null, "b": { "may": 2, "must": 3 } });
        assert_eq!(settled(question, data(), &["a/a/must"]), wanted);
        assert_eq!(settled(question, data(), &["a/a", "a/must"]), wanted);
        assert_eq!(settled(question, value!({ "a": { "must": 1 } }), &["b/must"]), Value::Null);
    }

    #[test]
    fn a_list_is_null_if_its_items_may_not_be() {
        let question = "{ list { must } gaps { must all { must } } }";
        let data = || value!({ "list": [{ "must": 1 }, null], "gaps": [{ "must": 2 }, { "must": 3 }] });
        assert_eq!(
            settled(question, data(), &["list/1/must", "gaps/0/all/4/must"]),
            value!({ "list": null, "gaps": [null, { "must": 3 }] })
        );
    }

    #[test]
    fn a_field_that_a_directive_leaves_out_is_not_there() {
        let question = "{ a { may @skip(if: true) must } b { may } }";
        let data = value!({ "a": { "must": 1 }, "b": null });
        assert_eq!(
            settled(question, data.clone(), &["b/may"]),
            value!({ "a": { "must": 1 }, "b": { "may": null } })
        );
        assert_eq!(settled(question, data.clone(), &[]), data);
    }

    #[test]
    fn the_types_of_the_schema_are_known() {
        let Types(types) = Types::of(&Schemas::new(false).sdl());
        let nullable = |object: &str, field: &str| types[object][field].nullable;
        assert!(nullable("Query", "device") && !nullable("Query", "devices"));
        assert!(!nullable("Device", "commands") && nullable("Device", "name"));
        assert!(types["Mutation"].values().all(|of| of.nullable), "a write that failed hides no other");
    }
}
