//! JSONPath (RFC 9535) over a [`Node`]. A path of names, indices and `[*]` is followed on the tree itself; any other is left
//! to `serde_json_path`, on a copy as JSON.

use std::fmt;

use serde_json_path::{JsonPath, PathElement};

use crate::invalid::Why;
use crate::limits::{MAX_SEARCHED, MAX_STEPS, MAX_TEXT};
use crate::tree::Node;

/// A JSONPath.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    text: Box<str>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Steps(Vec<Step>),
    Query(Box<JsonPath>),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(Box<str>),
    Index(i64),
    Any,
}

/// A value that a path leads to, and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Place<'n, 'a> {
    pub(crate) node: &'n Node<'a>,
    pub(crate) way: Vec<Taken<'n, 'a>>,
    /// How many steps of the way the path names itself: names and indices before the first choice.
    pub(crate) fixed: usize,
}

/// A step into a list or map: which of its values was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'n, 'a> {
    pub(crate) parent: &'n Node<'a>,
    pub(crate) at: usize,
}

impl<'n> Taken<'n, '_> {
    /// The name of the member that was taken.
    pub(crate) fn name(&self) -> Option<&'n str> {
        let Node::Map(members) = self.parent else { return None };
        members.get(self.at).map(|(key, _)| &**key)
    }
}

impl Path {
    pub(crate) fn parse(text: &str) -> Result<Self, Why> {
        if text.len() > MAX_TEXT {
            return Err(Why::Path(format!("expected at most {MAX_TEXT} bytes")));
        }
        let steps = steps(text);
        if steps.as_ref().is_some_and(|steps| steps.len() > MAX_STEPS) {
            return Err(Why::Costly("it has more than 16 steps"));
        }
        if steps.is_none() {
            // The parser goes into each bracket of a filter several times, so it is asked last.
            bounded(text)?;
        }
        let query = JsonPath::parse(text).map_err(|error| Why::Path(error.to_string()))?;
        let kind = steps.map_or_else(|| Kind::Query(Box::new(query)), Kind::Steps);
        Ok(Self { text: text.into(), kind })
    }

    /// Whether following the path means to look through many values.
    pub(crate) fn is_search(&self) -> bool {
        match &self.kind {
            Kind::Steps(steps) => steps.contains(&Step::Any),
            Kind::Query(_) => true,
        }
    }

    /// The first value that the path leads to.
    pub(crate) fn first<'n, 'a>(&self, root: &'n Node<'a>) -> Option<&'n Node<'a>> {
        match &self.kind {
            Kind::Steps(steps) if !steps.contains(&Step::Any) => {
                steps.iter().try_fold(root, |node, step| match step {
                    Step::Name(name) => node.member(name),
                    Step::Index(index) => node.element(*index),
                    Step::Any => None,
                })
            }
            _ => self.all(root).first().map(|place| place.node),
        }
    }

    /// All values that the path leads to, in the tree's order. They are no more than the tree has values.
    pub(crate) fn all<'n, 'a>(&self, root: &'n Node<'a>) -> Vec<Place<'n, 'a>> {
        match &self.kind {
            Kind::Steps(steps) => {
                let fixed = steps.iter().position(|step| *step == Step::Any).unwrap_or(steps.len());
                let start = vec![Place { node: root, way: Vec::new(), fixed }];
                steps
                    .iter()
                    .fold(start, |places, step| places.iter().flat_map(|place| place.step(step)).collect())
            }
            Kind::Query(query) => {
                let Some(json) = root.to_json_within(&mut { MAX_SEARCHED }) else { return Vec::new() };
                let located = query.query_located(&json);
                located.locations().filter_map(|way| resolve(root, way.iter())).collect()
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'n, 'a> Place<'n, 'a> {
    fn take(&self, at: usize, node: &'n Node<'a>) -> Self {
        let way = self.way.iter().copied().chain([Taken { parent: self.node, at }]).collect();
        Self { node, way, fixed: self.fixed }
    }

    fn step(&self, step: &Step) -> Vec<Self> {
        match (step, self.node) {
            (Step::Name(name), Node::Map(members)) => {
                let found = members.iter().enumerate().find(|(_, (key, _))| *key == **name);
                found.map(|(at, (_, node))| self.take(at, node)).into_iter().collect()
            }
            (Step::Index(index), Node::List(elements)) => {
                let at = if *index < 0 { index + elements.len() as i64 } else { *index };
                let at = usize::try_from(at).ok();
                at.and_then(|at| Some(self.take(at, elements.get(at)?))).into_iter().collect()
            }
            (Step::Any, Node::Map(members)) => {
                members.iter().enumerate().map(|(at, (_, node))| self.take(at, node)).collect()
            }
            (Step::Any, Node::List(elements)) => {
                elements.iter().enumerate().map(|(at, node)| self.take(at, node)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The place that `serde_json_path` found in a copy, in the tree itself.
fn resolve<'n, 'a, 'p>(
    root: &'n Node<'a>,
    way: impl Iterator<Item = &'p PathElement<'p>>,
) -> Option<Place<'n, 'a>> {
    let mut place = Place { node: root, way: Vec::new(), fixed: 0 };
    for element in way {
        let (at, node) = match (element, place.node) {
            (PathElement::Name(name), Node::Map(members)) => {
                let (at, (_, node)) = members.iter().enumerate().find(|(_, (key, _))| key == name)?;
                (at, node)
            }
            (PathElement::Index(at), Node::List(elements)) => (*at, elements.get(*at)?),
            _ => return None,
        };
        place.way.push(Taken { parent: place.node, at });
        place.node = node;
    }
    // What a filter or `..` found is named by its last step.
    place.fixed = place.way.len().saturating_sub(1);
    Some(place)
}

/// A path of names, indices and wildcards. `None` for any other, also for names with escapes.
fn steps(text: &str) -> Option<Vec<Step>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            if let Some(after) = after.strip_prefix('*') {
                steps.push(Step::Any);
                rest = after;
                continue;
            }
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                return None;
            }
            steps.push(Step::Name(name.into()));
            rest = after;
        } else {
            let inner = rest.strip_prefix('[')?;
            let (step, after) = match inner.chars().next()? {
                quote @ ('\'' | '"') => {
                    let (name, after) = inner[1..].split_once(quote)?;
                    if name.contains('\\') {
                        return None;
                    }
                    (Step::Name(name.into()), after)
                }
                '*' => (Step::Any, &inner[1..]),
                _ => {
                    let end = inner.find(']')?;
                    (Step::Index(inner[..end].parse().ok()?), &inner[end..])
                }
            };
            steps.push(step);
            rest = after.strip_prefix(']')?;
        }
    }
    Some(steps)
}

/// Refuses paths whose result, or whose work, could be more than a few times the payload.
fn bounded(text: &str) -> Result<(), Why> {
    let costly = |why| Err(Why::Costly(why));
    let mut plain = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(_) if c == '\\' => {
                chars.next();
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None => plain.push(c),
        }
    }
    if plain.matches("..").count() > 1 {
        return costly("it has more than one ..");
    }
    if plain.matches('?').count() > 1 {
        return costly("it has more than one filter");
    }
    if plain.contains(',') {
        return costly("it selects several things at once; name several paths instead");
    }
    let Some((before, filter)) = plain.split_once('?') else { return Ok(()) };
    // The filter is decided for each value, so a query in it must be a plain one.
    if filter.contains('$') || filter.contains('*') || filter.contains("..") || filter.contains(':') {
        return costly("its filter looks further than one value");
    }
    if filter.matches('(').count() > 4 {
        return costly("its filter has more than four brackets");
    }
    if before.contains("..") && filter.contains('(') {
        return costly("a filter behind .. calls a function");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::json;
    use crate::tree::Budget;
    use proptest::prelude::*;

    const DOCUMENT: &str = r#"{"a":{"b":[1,2,{"c":3}],"x y":"t"},"l":[[1,2],[3]],"*":5,"é":6,"0":7}"#;

    /// The values that a path leads to, as JSON.
    fn found(path: &str) -> Vec<serde_json::Value> {
        let path = Path::parse(path).unwrap_or_else(|why| panic!("{path}: {why}"));
        let root = json::read(DOCUMENT.as_bytes(), &mut Budget::new()).expect("JSON");
        let all: Vec<_> = path.all(&root).iter().map(|place| place.node.to_json()).collect();
        assert_eq!(path.first(&root).map(Node::to_json), all.first().cloned(), "{path}");
        all
    }

    #[test]
    fn a_path_that_is_followed_here_leads_where_the_standard_says() {
        let json: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
        for path in [
            "$",
            "$.a",
            "$.a.b",
            "$.a.b[0]",
            "$.a.b[-1].c",
            "$.a['x y']",
            "$[\"a\"].b",
            "$.l[*]",
            "$.l[*][0]",
            "$.*",
            "$.l[*].*",
            "$['*']",
            "$.é",
            "$['0']",
            "$.a.nothing",
            "$.a.b[9]",
            "$.l[0].x",
        ] {
            assert!(steps(path).is_some(), "{path}");
            let expected: Vec<_> =
                JsonPath::parse(path).expect(path).query(&json).all().into_iter().cloned().collect();
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn any_other_path_is_followed_as_the_standard_says() {
        let json: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
        for path in ["$..c", "$.a.b[?@.c>2]", "$.l[0:1]", "$.a['\\u0078 y']"] {
            assert!(steps(path).is_none(), "{path}");
            let expected: Vec<_> =
                JsonPath::parse(path).expect(path).query(&json).all().into_iter().cloned().collect();
            assert!(!expected.is_empty(), "{path}");
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_could_cost_more_than_the_payload_is_refused() {
        for path in
            ["$..*..*", "$.a[?@.b[?@.c]]", "$.a[0,1]", "$.a[?$.b==@.c]", "$.a[?@.*]", "$..a[?length(@.b)>1]"]
        {
            assert!(matches!(Path::parse(path), Err(Why::Costly(_))), "{path}");
        }
        let long = format!("${}", ".a".repeat(MAX_STEPS + 1));
        assert!(matches!(Path::parse(&long), Err(Why::Costly(_))));
        for path in ["a", "$.", "$[", "$.a b", "", "$.a[?]"] {
            assert!(matches!(Path::parse(path), Err(Why::Path(_))), "{path}");
        }
    }

    #[test]
    fn a_payload_that_is_too_large_to_search_has_nothing_in_it() {
        let of = |n: usize| format!("[{}1]", "1,".repeat(n - 2));
        let path = Path::parse("$[?@==1]").expect("a path");
        for (n, expected) in [(MAX_SEARCHED, MAX_SEARCHED - 1), (MAX_SEARCHED + 1, 0)] {
            let text = of(n);
            let root = json::read(text.as_bytes(), &mut Budget::new()).expect("JSON");
            assert_eq!(path.all(&root).len(), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_taken_for_a_plain_path_means_the_same_to_the_standard(
            pieces in prop::collection::vec(
                prop::sample::select(vec![".a", ".b", "[0]", "[-1]", "[*]", ".*", "['x y']", "[\"l\"]", ".l", ".c", "..c", ".é"]),
                0..5,
            ),
        ) {
            let path = format!("${}", pieces.concat());
            let json: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
            let expected: Vec<_> = JsonPath::parse(&path).expect("a path").query(&json).all().into_iter().cloned().collect();
            if pieces.iter().filter(|piece| piece.starts_with("..")).count() <= 1 {
                prop_assert_eq!(found(&path), expected);
            }
        }
    }
}
