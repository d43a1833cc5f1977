//! The order of an answer's fields: that of the question, as the specification says (7.2.2).
//!
//! The library puts fields in the order in which their resolvers end, which varies.

use async_graphql::Name;
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

/// The fields of an object, by the names that the answer gives them. Without fields: a scalar.
#[derive(Debug, Default)]
pub(super) struct Order(pub(super) IndexMap<Name, Asked>);

/// A field that is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The field's name in the schema.
    pub(super) field: Name,
    /// The order within the field.
    pub(super) within: Order,
}

impl Order {
    /// The order in which a selection asks. The document is within the limits of [`cost`](super::cost).
    pub(super) fn of(set: &SelectionSet, document: &ExecutableDocument) -> Self {
        let mut order = Self::default();
        order.add(set, document);
        order
    }

    /// Fields that are asked for twice are one field, at the first place.
    fn add(&mut self, set: &SelectionSet, document: &ExecutableDocument) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    let asked = || Asked { field: field.name.node.clone(), within: Self::default() };
                    let asked = self.0.entry(field.response_key().node.clone()).or_insert_with(asked);
                    asked.within.add(&field.selection_set.node, document);
                }
                Selection::InlineFragment(fragment) => self.add(&fragment.node.selection_set.node, document),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                        self.add(&fragment.node.selection_set.node, document);
                    }
                }
            }
        }
    }
}
