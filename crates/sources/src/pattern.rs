//! Topic patterns with named levels, what they match, and whether two of them match one topic.

use std::fmt;

use crate::invalid::Why;
use crate::limits::{MAX_LEVELS, MAX_TEXT};

/// A topic with placeholders, such as `tele/{uid}/SENSOR`. A level is literal, `+` (any), or has a name between what it
/// begins and ends with, as `shelly{id}`, or a name and what it may be, as `{kind:SENSOR|STATE}`. `{*name}` at the end takes
/// all levels from there on, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    Any,
    Named {
        before: Box<str>,
        name: Box<str>,
        after: Box<str>,
    },
    OneOf {
        name: Box<str>,
        texts: Vec<Box<str>>,
    },
    /// The rest of the topic.
    Rest(Box<str>),
}

/// What the named levels of a pattern stand for in a topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Levels<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Levels<'t> {
    pub(crate) fn get(&self, name: &str) -> Option<&'t str> {
        self.0.iter().find(|(named, _)| *named == name).map(|(_, text)| *text)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'t str, &'t str)> + '_ {
        self.0.iter().copied()
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`Why::Pattern`], with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Why> {
        let bad = |why: &str| Err(Why::Pattern(why.to_owned()));
        if text.is_empty() || text.len() > MAX_TEXT {
            return bad("expected 1 to 256 bytes");
        }
        let texts: Vec<&str> = text.split('/').collect();
        if texts.len() > MAX_LEVELS {
            return bad("expected at most 32 levels");
        }
        let levels: Vec<Level> = texts.iter().map(|text| Level::parse(text)).collect::<Result<_, _>>()?;
        if levels[..levels.len() - 1].iter().any(|level| matches!(level, Level::Rest(_))) {
            return bad("{*name} takes all that follows, so it comes last");
        }
        let pattern = Self { text: text.into(), levels };
        let names: Vec<&str> = pattern.names().collect();
        if let Some(twice) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return bad(&format!("{{{}}} comes twice", names[twice]));
        }
        Ok(pattern)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its levels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(Level::name)
    }

    /// The MQTT topic filter to subscribe to. It may match more topics than the pattern does.
    #[must_use]
    pub fn filter(&self) -> String {
        let filter = |level: &Level| match level {
            Level::Literal(text) => text.to_string(),
            Level::Any | Level::Named { .. } | Level::OneOf { .. } => "+".to_owned(),
            Level::Rest(_) => "#".to_owned(),
        };
        self.levels.iter().map(filter).collect::<Vec<_>>().join("/")
    }

    /// Whether a topic is of this pattern.
    #[must_use]
    pub fn is_of(&self, topic: &str) -> bool {
        self.matches(topic).is_some()
    }

    /// What the named levels stand for. `None` if the topic is not of this pattern. As in MQTT, a pattern that begins with a
    /// placeholder does not match topics that begin with `$`.
    pub(crate) fn matches<'t>(&'t self, topic: &'t str) -> Option<Levels<'t>> {
        if topic.starts_with('$') && !matches!(self.levels[0], Level::Literal(_)) {
            return None;
        }
        let mut found = Levels(Vec::new());
        let mut rest = Some(topic);
        for level in &self.levels {
            let all = rest?;
            let (text, after) = match all.split_once('/') {
                Some((text, after)) => (text, Some(after)),
                None => (all, None),
            };
            rest = after;
            match level {
                Level::Literal(literal) if **literal != *text => return None,
                Level::Literal(_) | Level::Any => {}
                Level::Named { before, name, after } => {
                    let named = text.strip_prefix(&**before)?.strip_suffix(&**after)?;
                    if named.is_empty() {
                        return None;
                    }
                    found.0.push((name, named));
                }
                Level::OneOf { name, texts } if texts.iter().any(|one| **one == *text) => {
                    found.0.push((name, text));
                }
                Level::OneOf { .. } => return None,
                Level::Rest(name) => {
                    if all.is_empty() {
                        return None;
                    }
                    found.0.push((name, all));
                    return Some(found);
                }
            }
        }
        rest.is_none().then_some(found)
    }

    /// Whether every topic of the other pattern is one of this pattern, as far as can be told level by level.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if other.levels[0].may_begin_with_dollar() && !self.levels[0].may_begin_with_dollar() {
            return false;
        }
        for (at, level) in self.levels.iter().enumerate() {
            let Some(theirs) = other.levels.get(at) else { return false };
            match level {
                Level::Rest(_) => return true,
                _ if matches!(theirs, Level::Rest(_)) || !level.covers(theirs) => return false,
                _ => {}
            }
        }
        self.levels.len() == other.levels.len()
    }
}

/// Whether some topic matches both patterns. Two sources of a tenant may not overlap: a message would have two meanings.
#[must_use]
pub fn overlaps(one: &Pattern, other: &Pattern) -> bool {
    let (dollar, others) = (one.levels[0].may_begin_with_dollar(), other.levels[0].may_begin_with_dollar());
    let is_dollar = |pattern: &Pattern| pattern.text.starts_with('$');
    if (is_dollar(one) && !others) || (is_dollar(other) && !dollar) {
        return false;
    }
    for at in 0.. {
        match (one.levels.get(at), other.levels.get(at)) {
            (None, Some(_)) | (Some(_), None) => return false,
            (None, None) | (Some(Level::Rest(_)), Some(_)) | (Some(_), Some(Level::Rest(_))) => return true,
            (Some(level), Some(theirs)) if !level.meets(theirs) => return false,
            _ => {}
        }
    }
    false
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Level {
    fn parse(text: &str) -> Result<Self, Why> {
        let bad = |why: String| Err(Why::Pattern(why));
        if text == "+" {
            return Ok(Self::Any);
        }
        let Some((before, rest)) = text.split_once('{') else {
            return match text.chars().find(|c| matches!(c, '+' | '#' | '}' | '\0')) {
                Some('#') => bad("write {*name} for the rest of a topic, not #".to_owned()),
                Some(c) => bad(format!("{c:?} cannot be part of a level")),
                None => Ok(Self::Literal(text.into())),
            };
        };
        let Some((name, after)) = rest.split_once('}') else {
            return bad(format!("the {{ in {text:?} is not closed"));
        };
        if before.chars().chain(after.chars()).any(|c| matches!(c, '+' | '#' | '{' | '}' | '\0')) {
            return bad(format!("expected one name in the level {text:?}"));
        }
        let (name, texts) = match name.split_once(':') {
            Some((name, texts)) => (name, Some(texts)),
            None => (name, None),
        };
        let (is_rest, name) = name.strip_prefix('*').map_or((false, name), |name| (true, name));
        if !is_name(name) {
            return bad(format!("{name:?} is no name: a name is a-z, 0-9 and _, and begins with a letter"));
        }
        if RESERVED.contains(&name) {
            return bad(format!("{{{name}}} has a meaning of its own; choose another name"));
        }
        let is_alone = before.is_empty() && after.is_empty();
        match (is_rest, texts) {
            (true, Some(_)) => {
                bad(format!("{{*{name}}} is several levels, so it cannot be one of some texts"))
            }
            (true, None) if is_alone => Ok(Self::Rest(name.into())),
            (false, None) => {
                Ok(Self::Named { before: before.into(), name: name.into(), after: after.into() })
            }
            (false, Some(texts)) if is_alone => Self::one_of(name, texts),
            _ => bad(format!("{{{name}}} is a level of its own")),
        }
    }

    fn one_of(name: &str, texts: &str) -> Result<Self, Why> {
        let texts: Vec<Box<str>> = texts.split('|').map(Into::into).collect();
        if texts.iter().any(|text| text.is_empty() || text.contains(['+', '#', '{', '\0'])) {
            return Err(Why::Pattern(format!("expected texts that {{{name}}} may be, with | between them")));
        }
        Ok(Self::OneOf { name: name.into(), texts })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Named { name, .. } | Self::OneOf { name, .. } | Self::Rest(name) => Some(name),
            Self::Literal(_) | Self::Any => None,
        }
    }

    fn may_begin_with_dollar(&self) -> bool {
        matches!(self, Self::Literal(text) if text.starts_with('$'))
    }

    /// Whether some text fits both levels, neither of which takes the rest of the topic.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Rest(_), _) | (_, Self::Any | Self::Rest(_)) => true,
            (Self::OneOf { texts, .. }, level) | (level, Self::OneOf { texts, .. }) => {
                texts.iter().any(|text| level.takes(text))
            }
            (Self::Literal(text), level) | (level, Self::Literal(text)) => level.takes(text),
            (
                Self::Named { before, after, .. },
                Self::Named { before: their_before, after: their_after, .. },
            ) => {
                (before.starts_with(&**their_before) || their_before.starts_with(&**before))
                    && (after.ends_with(&**their_after) || their_after.ends_with(&**after))
            }
        }
    }

    /// Whether the level may be this text.
    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Any | Self::Rest(_) => true,
            Self::Literal(literal) => **literal == *text,
            Self::Named { before, after, .. } => fits(text, before, after),
            Self::OneOf { texts, .. } => texts.iter().any(|one| **one == *text),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Rest(_), _) => true,
            (_, Self::Literal(text)) => self.takes(text),
            (_, Self::OneOf { texts, .. }) => texts.iter().all(|text| self.takes(text)),
            (
                Self::Named { before, after, .. },
                Self::Named { before: their_before, after: their_after, .. },
            ) => their_before.starts_with(&**before) && their_after.ends_with(&**after),
            _ => false,
        }
    }
}

/// Names that stand for something else than a level of the topic.
const RESERVED: [&str; 6] = ["key", "login", "cmd", "cmd_id", "params", "attempt"];

/// Whether text is what `before` and `after` enclose, with something between them.
fn fits(text: &str, before: &str, after: &str) -> bool {
    text.strip_prefix(before).and_then(|text| text.strip_suffix(after)).is_some_and(|name| !name.is_empty())
}

pub(crate) fn is_name(name: &str) -> bool {
    let is_begun = name.starts_with(|c: char| c.is_ascii_lowercase());
    is_begun && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn found(text: &str, topic: &str) -> Option<Vec<(String, String)>> {
        let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        pattern(text).matches(topic).map(|levels| levels.iter().map(owned).collect())
    }

    #[test]
    fn a_pattern_matches_level_by_level_and_names_what_it_finds() {
        let named = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(found("tele/{uid}/SENSOR", "tele/plug/SENSOR"), named(&[("uid", "plug")]));
        assert_eq!(found("shelly{id}/rpc", "shellyplus-1/rpc"), named(&[("id", "plus-1")]));
        assert_eq!(found("a/{k:x|y z}", "a/y z"), named(&[("k", "y z")]));
        assert_eq!(found("a/+/{*rest}", "a/b/c/d"), named(&[("rest", "c/d")]));
        assert_eq!(found("$aws/things/{uid}", "$aws/things/x"), named(&[("uid", "x")]));
        for (text, topic) in [
            ("tele/{uid}/SENSOR", "tele/plug/STATE"),
            ("tele/{uid}/SENSOR", "tele/plug"),
            ("tele/{uid}/SENSOR", "tele/plug/SENSOR/"),
            ("tele/{uid}/SENSOR", "tele//SENSOR"),
            ("shelly{id}/rpc", "shelly/rpc"),
            ("a/{k:x|y}", "a/z"),
            ("a/{*rest}", "a"),
            ("a/{*rest}", "a/"),
            ("{uid}/x", "$SYS/x"),
            ("+/{*rest}", "$SYS/broker/uptime"),
        ] {
            assert_eq!(found(text, topic), None, "{text} {topic}");
        }
    }

    #[test]
    fn a_pattern_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "1 to 256"),
            ("a/#", "not #"),
            ("a/b+", "'+'"),
            ("a/{uid", "not closed"),
            ("a/{Uid}", "no name"),
            ("a/{x}{y}", "one name"),
            ("{a}/{a}", "comes twice"),
            ("{*a}/b", "comes last"),
            ("x{*a}", "of its own"),
            ("a/{cmd}", "a meaning of its own"),
            ("a/{k:x|}", "with | between them"),
            ("a/{*k:x}", "several levels"),
            ("a/b{k:x}", "a level of its own"),
            (&"a/".repeat(40), "32 levels"),
        ] {
            let refused = Pattern::parse(text).expect_err(text).to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn two_patterns_overlap_if_one_topic_fits_both() {
        for (one, other, expected) in [
            ("tele/{uid}/SENSOR", "tele/{uid}/STATE", false),
            ("tele/{uid}/SENSOR", "tele/+/{kind}", true),
            ("zigbee2mqtt/{uid}", "zigbee2mqtt/{*uid}", true),
            ("zigbee2mqtt/{uid}", "zigbee2mqtt/{uid}/{*x}", false),
            ("shelly{id}/status/{c}", "owntracks/{user}/{uid}", false),
            ("{uid}/status/{c}", "owntracks/{user}/{uid}", true),
            ("a{x}/t", "ab{y}/t", true),
            ("a{x}/t", "b{y}/t", false),
            ("{x}a/t", "{y}b/t", false),
            ("a{x}/t", "ab/t", true),
            ("a{x}/t", "a/t", false),
            ("a/{k:x|y}", "a/{k:y|z}", true),
            ("a/{k:x|y}", "a/{k:z}", false),
            ("a/{k:x|y}", "a/z", false),
            ("a/{k:x|y}", "a/y", true),
            ("a/{k:bx|y}", "a/b{z}", true),
            ("$aws/{a}", "{b}/{c}", false),
            ("$aws/{a}", "$aws/things", true),
            ("+/{a}", "{b}/{c}", true),
            ("a", "a", true),
            ("a", "a/b", false),
        ] {
            let (one, other) = (pattern(one), pattern(other));
            assert_eq!(overlaps(&one, &other), expected, "{one} {other}");
            assert_eq!(overlaps(&other, &one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_pattern_covers_another_if_nothing_is_left_for_it() {
        for (one, other, expected) in [
            ("a/{x}", "a/b", true),
            ("a/b", "a/{x}", false),
            ("a/{*x}", "a/b/c", true),
            ("a/{x}", "a/{*y}", false),
            ("a{x}/t", "ab{y}/t", true),
            ("ab{x}/t", "a{y}/t", false),
            ("+/b", "$a/b", false),
            ("a/{k:x|y}", "a/{k:x}", true),
            ("a/{k:x}", "a/{k:x|y}", false),
            ("a/{k:x}", "a/x", true),
            ("a/{k}", "a/{k:x|y}", true),
            ("a/{x}", "a/{y}", true),
        ] {
            assert_eq!(pattern(one).covers(&pattern(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn a_filter_has_a_wildcard_for_each_placeholder() {
        for (text, filter) in
            [("tele/{uid}/SENSOR", "tele/+/SENSOR"), ("shelly{x}/+/{*y}", "+/+/#"), ("a/b", "a/b")]
        {
            assert_eq!(pattern(text).filter(), filter);
        }
    }
}
