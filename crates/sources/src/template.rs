//! Text with places to fill in, such as `{model}-{$.id}`: from the topic's levels, from the payload, from the login.

use std::fmt;
use std::fmt::Write;

use crate::invalid::Why;
use crate::limits::MAX_TEXT;
use crate::path::Path;
use crate::pattern::Levels;
use crate::tree::Node;

/// A template, or a JSONPath alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(Box<str>),
    /// A level of the topic, or another name that is known where the template is filled in.
    Name(Box<str>),
    Path(Path),
}

/// What a template is filled in from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'s, 'a> {
    pub(crate) levels: &'s Levels<'s>,
    /// The name under which the reading stands in the message.
    pub(crate) key: Option<&'s str>,
    /// The device that the sender's login names.
    pub(crate) login: Option<&'s str>,
    /// The reading. `None` where the payload could not be read.
    pub(crate) reading: Option<&'s Node<'a>>,
    /// The message that the reading is a part of.
    pub(crate) message: Option<&'s Node<'a>>,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// Where a path leads: in the reading, or else in the message around it, which is said.
    pub(crate) fn find(&self, path: &Path) -> Option<(&'s Node<'a>, bool)> {
        let there = self.reading.and_then(|reading| path.first(reading)).filter(|node| **node != Node::Null);
        if let Some(node) = there {
            return Some((node, false));
        }
        let is_whole = match (self.reading, self.message) {
            (Some(reading), Some(message)) => std::ptr::eq(reading, message),
            _ => true,
        };
        // A search through the message for each of its readings would take their number times its size.
        if is_whole || path.is_search() {
            return None;
        }
        let around = self.message.and_then(|message| path.first(message)).filter(|node| **node != Node::Null);
        around.map(|node| (node, true))
    }

    fn name(&self, name: &str) -> Option<&'s str> {
        match name {
            "key" => self.key,
            "login" => self.login,
            _ => self.levels.get(name),
        }
    }
}

/// What a template became.
pub(crate) struct Filled {
    pub(crate) text: String,
    /// Some of it stands in the message around the reading, so it may be the same for other readings.
    pub(crate) is_shared: bool,
}

impl Template {
    /// Reads a template. Text that begins with `$` is a JSONPath alone.
    pub(crate) fn parse(text: &str) -> Result<Self, Why> {
        if text.starts_with('$') {
            return Ok(Self { text: text.into(), parts: vec![Part::Path(Path::parse(text)?)] });
        }
        Self::parse_text(text)
    }

    /// Reads a template that is never a JSONPath alone, such as a topic.
    pub(crate) fn parse_text(text: &str) -> Result<Self, Why> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(Why::Template("expected 1 to 256 bytes".to_owned()));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once('{') {
            push_literal(&mut parts, before)?;
            let Some(end) = closing(inside) else {
                return Err(Why::Template("a { is not closed".to_owned()));
            };
            let (inside, after) = (&inside[..end], &inside[end + 1..]);
            parts.push(if inside.starts_with('$') {
                Part::Path(Path::parse(inside)?)
            } else {
                Part::Name(inside.into())
            });
            rest = after;
        }
        push_literal(&mut parts, rest)?;
        Ok(Self { text: text.into(), parts })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| if let Part::Name(name) = part { Some(&**name) } else { None })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| if let Part::Path(path) = part { Some(path) } else { None })
    }

    /// The only level that the template consists of.
    pub(crate) fn only_name(&self) -> Option<&str> {
        if let [Part::Name(name)] = &*self.parts { Some(name) } else { None }
    }

    /// The only path that the template consists of.
    pub(crate) fn only_path(&self) -> Option<&Path> {
        if let [Part::Path(path)] = &*self.parts { Some(path) } else { None }
    }

    /// Fills it in. `None` if something that it names is not there.
    pub(crate) fn fill(&self, scope: &Scope<'_, '_>) -> Option<Filled> {
        let mut filled = Filled { text: String::new(), is_shared: false };
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.text.push_str(text),
                Part::Name(name) => filled.text.push_str(scope.name(name)?),
                Part::Path(path) => {
                    let (node, is_shared) = scope.find(path)?;
                    filled.text.push_str(&node.as_text()?);
                    filled.is_shared |= is_shared;
                }
            }
        }
        Some(filled)
    }

    /// Fills it in with values by their names only.
    pub(crate) fn fill_with<'v>(
        &self,
        value: impl Fn(&str) -> Option<std::borrow::Cow<'v, str>>,
    ) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Name(name) => text.push_str(&value(name).ok_or_else(|| name.to_string())?),
                Part::Path(path) => return Err(path.to_string()),
            }
        }
        Ok(text)
    }

    /// The template as a topic pattern: each level with a place to fill in may become any text.
    pub(crate) fn as_pattern(&self) -> String {
        let mut pattern = String::new();
        for (nth, level) in self.levels().enumerate() {
            let separator = if nth == 0 { "" } else { "/" };
            // Writing to a string does not fail.
            let _ = match level {
                Some(literal) => write!(pattern, "{separator}{literal}"),
                None => write!(pattern, "{separator}+"),
            };
        }
        pattern
    }

    fn levels(&self) -> impl Iterator<Item = Option<String>> {
        let mut levels = vec![Some(String::new())];
        for part in &self.parts {
            let Part::Literal(text) = part else {
                levels.pop();
                levels.push(None);
                continue;
            };
            for (nth, piece) in text.split('/').enumerate() {
                if nth > 0 {
                    levels.push(Some(String::new()));
                }
                if let Some(Some(level)) = levels.last_mut() {
                    level.push_str(piece);
                }
            }
        }
        levels.into_iter()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) -> Result<(), Why> {
    if text.contains('}') {
        return Err(Why::Template("a } without a {".to_owned()));
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text.into()));
    }
    Ok(())
}

/// Where the placeholder ends that text begins with: at the first `}` that is not in quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '}' => return Some(at),
            None if text.starts_with('$') && matches!(c, '\'' | '"') => quote = Some(c),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_from_the_topic_and_the_payload() {
        let message = Node::Map(vec![
            ("model".into(), Node::text("A-1")),
            ("id".into(), Node::Int(-112)),
            ("}".into(), Node::Bool(true)),
            ("none".into(), Node::Null),
        ]);
        let pattern = crate::pattern::Pattern::parse("rtl/{host}").expect("a pattern");
        let levels = pattern.matches("rtl/pi").expect("its levels");
        let scope = Scope {
            levels: &levels,
            key: None,
            login: Some("gw"),
            reading: Some(&message),
            message: Some(&message),
        };
        let fill = |text: &str| Template::parse(text).expect(text).fill(&scope).map(|filled| filled.text);
        assert_eq!(fill("$.model").as_deref(), Some("A-1"));
        assert_eq!(fill("{host}.{$.model}.{$.id}").as_deref(), Some("pi.A-1.-112"));
        assert_eq!(fill("{login}{$['}']}").as_deref(), Some("gwtrue"));
        for text in ["{other}", "{$.none}", "{$.nothing}x", "{key}"] {
            assert_eq!(fill(text), None, "{text}");
        }
        for text in ["", "a{b", "a}b", "{$.a b}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_of_a_topic_is_a_pattern_too() {
        for (text, pattern) in
            [("cmnd/{uid}/{cmd}", "cmnd/+/+"), ("shelly{id}/rpc", "+/rpc"), ("a/{x}-{y}z/b", "a/+/b")]
        {
            assert_eq!(Template::parse(text).expect(text).as_pattern(), pattern);
        }
    }
}
