//! Limits on the size of a question, checked before the library walks it.
//!
//! The library checks depth by walking the question with every fragment expanded, and that walk itself
//! can be endless: thirty fragments that each use the next one twice make a billion fields. Its parser also recurses
//! once per bracket. So this module bounds both first, in one pass each.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::parser::{Error as ParseError, parse_query};

/// How deep fields may be nested.
pub(super) const DEPTH: usize = 10;
/// How deep fields may be nested in an introspection query.
pub(super) const TYPES_DEPTH: usize = 15;
/// The most directives on one field.
pub(super) const DIRECTIVES: usize = 10;
/// How deep brackets may be nested.
const BRACKETS: usize = 64;
/// The most fields of a question with all fragments expanded, each counted once.
const SELECTIONS: usize = 5_000;
/// The reason why a question is refused before it is carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("brackets are nested deeper than {BRACKETS}")]
    Nested,
    #[error("the question is not valid GraphQL: {0}")]
    Malformed(#[from] ParseError),
    #[error("a fragment contains itself")]
    Circular,
    #[error("the question has more than {SELECTIONS} fields")]
    TooLarge,
    #[error("the types are asked for within each other")]
    TypesWithinTypes,
}

/// A parsed question that is within the limits.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) document: ExecutableDocument,
    /// Whether the question asks for the schema only.
    pub(super) about_types: bool,
}

/// Parses a question and checks its size.
pub(super) fn read(text: &str) -> Result<Question, Refused> {
    check_brackets(text)?;
    let document = parse_query(text)?;
    let mut measure = Measure { document: &document, fragments: HashMap::new() };
    let mut size = Size::default();
    for (_, operation) in document.operations.iter() {
        size.add(measure.set(&operation.node.selection_set.node)?)?;
    }
    let mut roots =
        document.operations.iter().flat_map(|(_, operation)| &operation.node.selection_set.node.items);
    let is_about_types = |selection: &Selection| match selection {
        Selection::Field(field) => matches!(field.node.name.node.as_str(), "__schema" | "__type"),
        Selection::FragmentSpread(_) | Selection::InlineFragment(_) => false,
    };
    let about_types = roots.all(|root| is_about_types(&root.node));
    if about_types && size.lists_of_fields > 1 {
        return Err(Refused::TypesWithinTypes);
    }
    Ok(Question { document, about_types })
}

/// Checks how deep brackets are nested, outside strings and comments.
fn check_brackets(text: &str) -> Result<(), Refused> {
    let mut rest = text.as_bytes();
    let mut depth = 0_usize;
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'#' => after(tail, |rest| matches!(rest, [b'\n' | b'\r', ..])),
            b'"' => match tail {
                [b'"', b'"', block @ ..] => after_block_string(block),
                _ => after_string(tail),
            },
            b'{' | b'(' | b'[' => {
                depth += 1;
                if depth > BRACKETS {
                    return Err(Refused::Nested);
                }
                tail
            }
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                tail
            }
            _ => tail,
        };
    }
    Ok(())
}

fn after(mut rest: &[u8], is_end: impl Fn(&[u8]) -> bool) -> &[u8] {
    while !rest.is_empty() && !is_end(rest) {
        rest = &rest[1..];
    }
    rest
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b'"', tail @ ..] => return tail,
            // A string must end on its line, so the parser refuses this one.
            [] | [b'\n' | b'\r', ..] => return rest,
            [b'\\', _, tail @ ..] | [_, tail @ ..] => tail,
        };
    }
}

fn after_block_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b'"', b'"', b'"', tail @ ..] => return tail,
            [] => return rest,
            [b'\\', b'"', b'"', b'"', tail @ ..] | [_, tail @ ..] => tail,
        };
    }
}

/// The size of a part of a question, with all fragments expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    selections: usize,
    /// How deep the introspection field `fields` is nested. Types refer to each other in circles through it.
    lists_of_fields: usize,
}

impl Size {
    fn add(&mut self, other: Self) -> Result<(), Refused> {
        self.selections += other.selections;
        self.lists_of_fields = self.lists_of_fields.max(other.lists_of_fields);
        if self.selections > SELECTIONS { Err(Refused::TooLarge) } else { Ok(()) }
    }
}

/// Measures each fragment once.
struct Measure<'d> {
    document: &'d ExecutableDocument,
    /// `None` while it is being measured.
    fragments: HashMap<&'d str, Option<Size>>,
}

impl<'d> Measure<'d> {
    fn set(&mut self, set: &'d SelectionSet) -> Result<Size, Refused> {
        let mut size = Size::default();
        for selection in &set.items {
            size.add(Size { selections: 1, lists_of_fields: 0 })?;
            size.add(match &selection.node {
                Selection::Field(field) => {
                    let mut inner = self.set(&field.node.selection_set.node)?;
                    inner.lists_of_fields += usize::from(field.node.name.node == "fields");
                    inner
                }
                Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            })?;
        }
        Ok(size)
    }

    fn fragment(&mut self, name: &'d str) -> Result<Size, Refused> {
        match self.fragments.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(Refused::Circular),
            None => {}
        }
        // The library refuses a fragment that does not exist.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Size::default()) };
        self.fragments.insert(name, None);
        let size = self.set(&fragment.node.selection_set.node)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tokens of a question, and the characters that may hide brackets.
    const WORDS: [&str; 24] = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "a",
        "fields",
        "__schema",
        "query",
        "fragment F on Q",
        "fragment G on Q",
        "...F",
        "...G",
        "... on Q",
        ":",
        "$v",
        "1",
        "\"",
        "\"\"\"",
        "\\",
        "#",
        "\n",
        "é",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_a_question_or_is_refused(
            words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..200),
        ) {
            let text = words.join(" ");
            if let Err(Refused::Malformed(error)) = read(&text) {
                prop_assert!(error.to_string().len() <= 2 * text.len() + 1_000, "{error}");
            }
        }

        #[test]
        fn brackets_in_a_comment_or_a_string_count_for_nothing(
            brackets in prop::collection::vec(prop::sample::select(vec!["{", "(", "[", "}", "é"]), 0..200),
        ) {
            let hidden = brackets.concat();
            for text in [format!("# {hidden}"), format!("\"{hidden}\""), format!("\"\"\"{hidden}\"\"\"")] {
                prop_assert!(check_brackets(&text).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn fragments_that_double_each_other_are_refused_at_once() {
        let fragment = |n| format!("fragment F{n} on Query {{ ...F{0} ...F{0} }} ", n + 1);
        let fragments = (0..40).map(fragment).collect::<Vec<_>>().concat();
        let text = format!("{{ ...F0 }} {fragments} fragment F40 on Query {{ __typename }}");
        assert!(matches!(read(&text), Err(Refused::TooLarge)));
    }

    #[test]
    fn circular_fragments_are_refused() {
        for text in [
            "{ ...A } fragment A on Query { ...A }",
            "{ ...A } fragment A on Query { devices { ...B } } fragment B on Query { ...A }",
        ] {
            assert!(matches!(read(text), Err(Refused::Circular)), "{text}");
        }
    }

    #[test]
    fn brackets_are_counted_where_they_are_brackets() {
        for [open, close] in [["{a", "}"], ["{a(b:", ")}"], ["{a(b:[", "])}"]] {
            let deep = open.repeat(100_000) + &close.repeat(100_000);
            assert!(matches!(read(&deep), Err(Refused::Nested)), "{open}");
        }
        let hidden = r#"{a(b:"]]]",c:""" \""" ]]""",d:["#.repeat(65);
        assert!(matches!(read(&hidden), Err(Refused::Nested)));
        let harmless =
            format!("{{ a(b: \"{0}\", c: \"\"\"{0} \\\"\"\" {0}\"\"\") # {0}\n }}", "[{(".repeat(50));
        assert!(read(&harmless).is_ok());
    }

    #[test]
    fn types_may_be_asked_for_but_not_within_each_other() {
        let once = read("{ __schema { types { fields { type { ofType { name } } } } } }").expect("allowed");
        assert!(once.about_types);
        let twice = "{ __schema { types { fields { type { fields { name } } } } } }";
        assert!(matches!(read(twice), Err(Refused::TypesWithinTypes)));
        assert!(!read("{ __typename devices { __typename } }").expect("allowed").about_types);
        assert!(
            !read("{ __schema { types { name } } devices { __typename } }").expect("allowed").about_types
        );
    }
}
