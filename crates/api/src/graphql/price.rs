//! What a question costs: the fields of its answer, and the database's work for them.
//!
//! The library can only multiply a list's whole selection by its length. Here an item's fields count once for each item,
//! and what is asked of the list itself (`pageInfo`, `totalCount`) counts once.

use async_graphql::parser::types::Selection;
use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, SelectionSet,
};
use async_graphql::{Name, Value};
use serde_json::{Map, Value as Json};

use crate::rest::parameters::MAX_LIMIT;

/// The most that a question may cost. A page of 1,000 devices with eight fields each is within it.
pub(super) const LIMIT: usize = 10_000;
/// The most that each message of a subscription may cost.
pub(super) const MESSAGE_LIMIT: usize = 500;
/// The cost of a database query, whatever it finds.
const QUERY: usize = 50;
/// The cost of an answer as of a moment of the past, which folds a part of the log. The question pays for the events as well,
/// once they are counted.
const FOLD: usize = 10 * QUERY;
/// The cost of a list that reads a part of the log into memory.
const IN_MEMORY: usize = 10;
/// The cost of a write: a few SQL statements, and a turn at the log.
const WRITE: usize = 10 * QUERY;
/// The cost of counting the items of all pages.
const COUNT: usize = 10 * QUERY;
/// How many steps a command is assumed to have: most have three or four.
const STEPS: usize = 5;
/// How many windows of a device cost as much as a field.
const WINDOWS_A_FIELD: usize = 2;
/// The most windows of one device and metric that an answer has.
const MOST_WINDOWS: usize = 1_000;
/// How many items a page of a connection has by default.
pub(super) const DEFAULT_FIRST: i32 = 20;

/// A question costs too much.
#[derive(Debug, thiserror::Error)]
#[error(
    "the question costs {cost}, and the most is {most}: ask for fewer items (`first`), or for fewer fields of each"
)]
pub(super) struct TooDear {
    cost: usize,
    most: usize,
}

/// Checks what an operation costs. The document is within the limits of [`cost`](super::cost), so it can be walked.
pub(super) fn check(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Map<String, Json>,
) -> Result<(), TooDear> {
    let cost = Prices { document, operation, variables }.of(&operation.selection_set.node, Within::default());
    let most = if operation.ty == OperationType::Subscription { MESSAGE_LIMIT } else { LIMIT };
    if cost <= most { Ok(()) } else { Err(TooDear { cost, most }) }
}

/// Where a field stands.
#[derive(Clone, Copy, Default)]
struct Within<'q> {
    /// The field that it is a part of; `None` at the root.
    parent: Option<&'q str>,
    /// How many items the page has that it is a part of.
    items: usize,
}

struct Prices<'q> {
    document: &'q ExecutableDocument,
    operation: &'q OperationDefinition,
    variables: &'q Map<String, Json>,
}

impl<'q> Prices<'q> {
    fn of(&self, set: &'q SelectionSet, within: Within<'q>) -> usize {
        let costs = set.items.iter().map(|selection| match &selection.node {
            Selection::Field(field) => self.field(&field.node, within),
            Selection::InlineFragment(fragment) => self.of(&fragment.node.selection_set.node, within),
            Selection::FragmentSpread(spread) => {
                let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                fragment.map_or(0, |fragment| self.of(&fragment.node.selection_set.node, within))
            }
        });
        costs.fold(0, usize::saturating_add)
    }

    fn field(&self, field: &'q Field, within: Within<'q>) -> usize {
        let name = field.name.node.as_str();
        let parts = |items| self.of(&field.selection_set.node, Within { parent: Some(name), items });
        let page = || {
            self.number(field, "first")
                .unwrap_or(usize::try_from(DEFAULT_FIRST).unwrap_or(1))
                .clamp(1, MAX_LIMIT)
        };
        let own = match (within.parent, name) {
            // What each message is made of is read for many of them at a time.
            (None, _) if self.operation.ty == OperationType::Subscription => QUERY + parts(1),
            (None, "devices" | "commands" | "alarms") => 4 * QUERY + parts(page()),
            (_, "commands" | "telemetry" | "alarms" | "metrics") => QUERY + parts(page()),
            (_, "nodes" | "edges") => within.items.saturating_mul(parts(1).saturating_add(1)),
            (_, "totalCount") => COUNT,
            (_, "archived")
            | (
                None,
                "device" | "command" | "alarm" | "alarmRules" | "projections" | "rebuild" | "webhooks",
            ) => QUERY + parts(1),
            // Of a proof: the checkpoint and the tiles. Of all logs: the trees and the checkpoints.
            (_, "proof") | (None, "audit") => 2 * QUERY + parts(1),
            (None, "logs") => IN_MEMORY + parts(1),
            (
                None,
                "sendCommand" | "cancelCommand" | "changeDevice" | "acknowledgeAlarm" | "clearAlarm"
                | "rebuildProjection" | "steerRebuild" | "rollBackProjection",
            ) => WRITE + parts(1),
            (_, "history") => QUERY + STEPS.saturating_mul(parts(1)),
            (parent, "windows") if parent != Some("series") => {
                let windows = self.number(field, "points").unwrap_or(MOST_WINDOWS).min(10 * MOST_WINDOWS);
                QUERY + windows / WINDOWS_A_FIELD + parts(1)
            }
            _ => parts(1),
        };
        let is_as_of = ["asOf", "asOfPosition"].iter().any(|name| field.get_argument(name).is_some());
        own.saturating_add(if is_as_of { 1 + FOLD } else { 1 })
    }

    /// An argument that is a number, or a variable with one.
    fn number(&self, field: &Field, argument: &str) -> Option<usize> {
        let given = field.get_argument(argument)?.node.clone();
        let number = given.into_const_with(|name| self.variable(&name).map(Value::from).ok_or(())).ok()?;
        Some(usize::try_from(number.into_json().ok()?.as_i64()?).unwrap_or(0))
    }

    fn variable(&self, name: &Name) -> Option<i64> {
        let given = self.variables.get(name.as_str()).map(Json::as_i64);
        given.unwrap_or_else(|| {
            let definitions = self.operation.variable_definitions.iter();
            let defined =
                definitions.map(|definition| &definition.node).find(|defined| defined.name.node == *name);
            let default = &defined?.default_value.as_ref()?.node;
            default.clone().into_json().ok()?.as_i64()
        })
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    fn cost(question: &str, variables: &Json) -> usize {
        let document = parse_query(question).expect("a question");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let variables = variables.as_object().cloned().unwrap_or_default();
        let prices = Prices { document: &document, operation: &operation.node, variables: &variables };
        prices.of(&operation.node.selection_set.node, Within::default())
    }

    #[test]
    fn what_is_asked_of_a_list_itself_counts_once() {
        let list = cost("{ devices { nodes { uid } } }", &Json::Null);
        assert_eq!(list, 1 + 4 * QUERY + (1 + 20 * 2));
        let counted =
            cost("{ devices { totalCount nodes { uid } pageInfo { endCursor hasNextPage } } }", &Json::Null);
        assert_eq!(counted, list + (1 + COUNT) + 3);
    }

    #[test]
    fn a_page_of_a_thousand_with_a_few_fields_is_within_the_limit() {
        let wide = "{ devices(first: 1000) { totalCount nodes { uid name status lastSeenAt messages } } }";
        assert!(cost(wide, &Json::Null) <= LIMIT);
        let deep = "{ devices(first: 100) { nodes { telemetry(first: 100) { nodes { ts } } } } }";
        assert!(cost(deep, &Json::Null) > LIMIT);
    }

    #[test]
    fn an_answer_as_of_a_moment_costs_what_it_folds() {
        let now = cost("{ device(uid: \"a\") { uid } }", &Json::Null);
        for as_of in ["asOf: \"2026-03-01T12:00:00Z\"", "asOfPosition: \"1:42\""] {
            let then = cost(&format!("{{ device(uid: \"a\", {as_of}) {{ uid }} }}"), &Json::Null);
            assert_eq!(then, now + FOLD, "{as_of}");
        }
    }

    #[test]
    fn a_number_counts_wherever_it_comes_from() {
        let question =
            "query ($n: Int = 30) { devices(first: $n) { nodes { ...D } } } fragment D on Device { uid }";
        let of = |n: usize| 1 + 4 * QUERY + (1 + n * 2);
        assert_eq!(cost(question, &json!({ "n": 500 })), of(500));
        assert_eq!(cost(question, &json!({ "n": null })), of(20));
        assert_eq!(cost(question, &Json::Null), of(30));
        assert_eq!(cost("{ devices(first: -1) { nodes { uid } } }", &Json::Null), of(1));
        assert_eq!(cost("{ devices(first: 2147483647) { nodes { uid } } }", &Json::Null), of(MAX_LIMIT));
    }

    #[test]
    fn a_message_of_a_subscription_has_a_limit_of_its_own() {
        let checked = |question: &str| {
            let document = parse_query(question).expect("a question");
            let (_, operation) = document.operations.iter().next().expect("an operation");
            check(&document, &operation.node, &Map::new()).map_err(|dear| dear.to_string())
        };
        let part = "device(uid: \"a\") { commands(first: 100) { nodes { id } } }";
        assert_eq!(checked(&format!("{{ {part} b: {part} }}")), Ok(()));
        assert_eq!(checked("subscription { telemetry { at reading { ts payload } } }"), Ok(()));
        assert_eq!(checked("subscription { windowChanged { changed { window { avg } } } }"), Ok(()));
        assert_eq!(
            checked("subscription { deviceChanged { device { commands(first: 20) { nodes { id } } } } }"),
            Ok(())
        );
        let dear =
            checked("subscription { deviceChanged { device { commands(first: 500) { nodes { id } } } } }");
        assert!(dear.is_err_and(|text| text.contains("the most is 500")));
    }
}
