//! Which values of a reading are metrics, and how they are named.

use std::collections::HashMap;

use fleetlog_aggregates::metrics::MAX_METRIC_NAME;

use super::names::Sink;
use crate::formats::Format;
use crate::formats::lenient;
use crate::invalid::{Findings, Why};
use crate::limits::{MAX_ENTRIES, MAX_PLACES};
use crate::path::{Path, Place, Taken};
use crate::source::{Names, paths};
use crate::spec::{Lists, Many, MetricsSpec, Words};
use crate::template::{Scope, Template};
use crate::tree::Node;

/// What a number or word that stands alone is called.
const ALONE: &str = "value";

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MetricsRule {
    /// Of several, the first that is there counts. Empty for all of the reading.
    from: Vec<Path>,
    prefix: Option<Template>,
    takes_quoted: bool,
    words: Option<WordValues>,
    lists: ListNames,
    except: Vec<Path>,
}

#[derive(Debug, Clone, PartialEq)]
enum WordValues {
    Usual,
    These(HashMap<String, f64>),
}

#[derive(Debug, Clone, Default, PartialEq)]
enum ListNames {
    #[default]
    ByPlace,
    By {
        name: Path,
        value: Option<Path>,
    },
    LeftOut,
}

impl MetricsRule {
    pub(crate) fn compile_all(
        specs: Option<&Many<MetricsSpec>>,
        format: &Format,
        names: &Names<'_>,
        at: &str,
        findings: &mut Findings,
    ) -> Option<Vec<Self>> {
        let Some(specs) = specs else { return Some(vec![Self::of_all(format)]) };
        findings.count(at, specs.as_slice().len(), "rules", 1, MAX_PLACES);
        specs.placed(at).map(|(at, spec)| Self::compile(spec, format, names, &at, findings)).collect()
    }

    /// Everything that was measured.
    fn of_all(format: &Format) -> Self {
        let values = format.is_pack().then(|| Path::parse("$.values").ok()).flatten();
        Self { from: values.into_iter().collect(), ..Self::default() }
    }

    fn compile(
        spec: &MetricsSpec,
        format: &Format,
        names: &Names<'_>,
        at: &str,
        findings: &mut Findings,
    ) -> Option<Self> {
        let from = match &spec.from {
            None => Some(Self::of_all(format).from),
            Some(from) => paths(from, &format!("{at}/from"), findings),
        };
        // The login is not on the record, so no metric can depend on it.
        let prefix = match &spec.prefix {
            None => Some(None),
            Some(text) => names.template_with(text, &["key"], &format!("{at}/prefix"), findings).map(Some),
        };
        let words =
            spec.words.as_ref().map(|words| WordValues::compile(words, &format!("{at}/words"), findings));
        let lists = ListNames::compile(spec.lists.as_ref(), &format!("{at}/lists/by"), findings);
        findings.count(&format!("{at}/except"), spec.except.len(), "paths", 0, MAX_ENTRIES);
        let except = spec.except.iter().enumerate();
        let except: Option<Vec<_>> = except
            .map(|(nth, text)| findings.keep(&format!("{at}/except/{nth}"), Path::parse(text)))
            .collect();
        Some(Self {
            from: from?,
            prefix: prefix?,
            takes_quoted: spec.quoted_numbers,
            words,
            lists: lists?,
            except: except?,
        })
    }

    /// The paths that are followed for each reading.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let prefix = self.prefix.iter().flat_map(Template::paths);
        self.from.iter().chain(&self.except).chain(prefix)
    }

    pub(crate) fn measure(
        &self,
        scope: &Scope<'_, '_>,
        reading: &Node<'_>,
        headers: &[*const ()],
        sink: &mut Sink,
    ) {
        let mut name = String::with_capacity(MAX_METRIC_NAME);
        if let Some(prefix) = &self.prefix {
            let Some(filled) = prefix.fill(scope) else { return sink.unnamed() };
            // Of a topic's levels, the name has the points that separate names.
            name.push_str(&filled.text.replace('/', "."));
        }
        let mut except: Vec<*const ()> = headers.to_vec();
        except
            .extend(self.except.iter().flat_map(|path| path.all(reading)).map(|place| place.node.address()));
        except.sort_unstable();
        let mut walk = Walk { rule: self, except, name, is_alone: false, is_listed: false, sink };
        if self.from.is_empty() {
            return walk.start(reading);
        }
        let found = self.from.iter().map(|path| path.all(reading)).find(|places| !places.is_empty());
        for place in found.unwrap_or_default() {
            walk.place(&place);
        }
    }
}

impl WordValues {
    fn compile(words: &Words, at: &str, findings: &mut Findings) -> Self {
        let Words::These(these) = words else { return Self::Usual };
        let at = format!("{at}/these");
        findings.count(&at, these.len(), "words", 1, MAX_ENTRIES);
        if these.values().any(|value| !value.is_finite()) {
            findings.note(&at, Why::Form("expected numbers".to_owned()));
        }
        Self::These(these.iter().map(|(word, value)| (word.to_lowercase(), *value)).collect())
    }

    fn value(&self, word: &str) -> Option<f64> {
        const USUAL: [(&str, f64); 10] = [
            ("on", 1.0),
            ("open", 1.0),
            ("online", 1.0),
            ("true", 1.0),
            ("yes", 1.0),
            ("off", 0.0),
            ("closed", 0.0),
            ("offline", 0.0),
            ("false", 0.0),
            ("no", 0.0),
        ];
        match self {
            Self::Usual => {
                USUAL.iter().find(|(usual, _)| usual.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
            }
            Self::These(these) => these.get(&word.to_lowercase()).copied(),
        }
    }
}

impl ListNames {
    fn compile(spec: Option<&Lists>, at: &str, findings: &mut Findings) -> Option<Self> {
        let named = match spec {
            None => return Some(Self::ByPlace),
            Some(Lists::LeftOut) => return Some(Self::LeftOut),
            Some(Lists::By(named)) => named,
        };
        let mut member = |name: &str, text: &str| {
            let quoted = if text.starts_with('$') {
                text.to_owned()
            } else {
                format!("$[{}]", serde_json::json!(text))
            };
            findings.keep(&format!("{at}/{name}"), Path::parse(&quoted))
        };
        let name = member("name", &named.name);
        let value = match &named.value {
            None => Some(None),
            Some(text) => member("value", text).map(Some),
        };
        Some(Self::By { name: name?, value: value? })
    }
}

/// Goes through a reading, with the name of where it is.
struct Walk<'w> {
    rule: &'w MetricsRule,
    /// What is no metric, in order.
    except: Vec<*const ()>,
    /// Extended and cut back in place.
    name: String,
    /// The value where the walk began has no parts.
    is_alone: bool,
    is_listed: bool,
    sink: &'w mut Sink,
}

impl Walk<'_> {
    fn place(&mut self, place: &Place<'_, '_>) {
        let end = self.name.len();
        let was_listed = self.is_listed;
        // What the path names itself is the same for all, and no part of the name.
        for taken in &place.way[place.fixed.min(place.way.len())..] {
            self.enter(taken);
        }
        self.start(place.node);
        self.name.truncate(end);
        self.is_listed = was_listed;
    }

    fn start(&mut self, node: &Node<'_>) {
        self.is_alone = !matches!(node, Node::Map(_) | Node::List(_));
        self.value(node);
    }

    fn enter(&mut self, taken: &Taken<'_, '_>) {
        match taken.parent {
            Node::Map(members) => self.push(&members[taken.at].0),
            Node::List(elements) => {
                self.is_listed = true;
                self.push_element(taken.at, &elements[taken.at]);
            }
            _ => {}
        }
    }

    fn push(&mut self, segment: &str) {
        if !self.name.is_empty() {
            self.name.push('.');
        }
        self.name.push_str(segment);
    }

    /// Names an element, and says by which node.
    fn push_element<'n, 'a>(&mut self, at: usize, element: &'n Node<'a>) -> Option<&'n Node<'a>> {
        let named = match &self.rule.lists {
            ListNames::By { name, .. } => name.first(element),
            ListNames::ByPlace | ListNames::LeftOut => None,
        };
        match named.and_then(Node::as_text) {
            Some(text) => self.push(&text),
            None => self.push(&at.to_string()),
        }
        named
    }

    fn value(&mut self, node: &Node<'_>) {
        if self.except.binary_search(&node.address()).is_ok() {
            return;
        }
        match node {
            Node::Map(members) => {
                let end = self.name.len();
                for (key, value) in members {
                    self.push(key);
                    self.value(value);
                    self.name.truncate(end);
                }
            }
            Node::List(elements) if self.rule.lists != ListNames::LeftOut => self.list(elements),
            Node::List(_) | Node::Null => {}
            Node::NotFinite => self.sink.not_finite(),
            Node::Bool(value) => self.leaf(f64::from(*value)),
            Node::Int(_) | Node::Unsigned(_) | Node::Float(_) => {
                if let Some(value) = node.number() {
                    self.leaf(value);
                }
            }
            Node::Text(text) => self.text(text),
        }
    }

    fn list(&mut self, elements: &[Node<'_>]) {
        let end = self.name.len();
        let was_listed = std::mem::replace(&mut self.is_listed, true);
        for (at, element) in elements.iter().enumerate() {
            let named = self.push_element(at, element);
            let value = match (&self.rule.lists, named) {
                (ListNames::By { value: Some(value), .. }, Some(_)) => value.first(element),
                _ => Some(element),
            };
            match (value, named) {
                (Some(Node::Map(members)), Some(named)) => self.members_but(members, named),
                (Some(value), _) => self.value(value),
                (None, _) => {}
            }
            self.name.truncate(end);
        }
        self.is_listed = was_listed;
    }

    /// The members of an element, without the one that names it.
    fn members_but(&mut self, members: &[(std::borrow::Cow<'_, str>, Node<'_>)], named: &Node<'_>) {
        let end = self.name.len();
        for (key, value) in members.iter().filter(|(_, value)| !std::ptr::eq(value, named)) {
            self.push(key);
            self.value(value);
            self.name.truncate(end);
        }
    }

    fn text(&mut self, text: &str) {
        let text = text.trim();
        let word = self.rule.words.as_ref().and_then(|words| words.value(text));
        let number = || {
            let is_taken = self.rule.takes_quoted;
            is_taken.then(|| lenient::number(text)).flatten().and_then(|node| node.number())
        };
        if let Some(value) = word.or_else(number) {
            self.leaf(value);
        }
    }

    fn leaf(&mut self, value: f64) {
        let name = if self.is_alone && self.name.is_empty() { ALONE } else { &self.name };
        self.sink.add(name, value, self.is_listed);
    }
}
