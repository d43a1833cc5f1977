//! What devices send and take for JSON. Read strictly first; only where that fails, this reader takes over. It differs in what
//! it lets pass: `NaN` and infinities (as no number), numbers such as `007`, `+1`, `.5`, `1.` and `1e400`, a comma before a
//! closing bracket, and control characters in texts.

use std::borrow::Cow;

use super::{Unreadable, json, syntax, utf8};
use crate::tree::{Budget, Node};

pub(crate) fn read<'a>(payload: &'a [u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    match json::read(payload, budget) {
        Err(Unreadable::Syntax(_)) => {}
        read => return read,
    }
    *budget = Budget::new();
    let mut reader = Reader { rest: utf8(payload)?, budget };
    let node = reader.value()?;
    reader.space();
    if reader.rest.is_empty() { Ok(node) } else { syntax("something behind the document") }
}

struct Reader<'a, 'b> {
    rest: &'a str,
    budget: &'b mut Budget,
}

impl<'a> Reader<'a, '_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: char) -> bool {
        self.space();
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn value(&mut self) -> Result<Node<'a>, Unreadable> {
        self.budget.take()?;
        self.space();
        match self.rest.chars().next() {
            Some('{') => self.object(),
            Some('[') => self.array(),
            Some('"') => Ok(Node::Text(self.text()?)),
            Some(_) => self.word(),
            None => syntax("the document ends too early"),
        }
    }

    fn object(&mut self) -> Result<Node<'a>, Unreadable> {
        self.budget.enter()?;
        self.take('{');
        let mut members = Vec::new();
        while !self.take('}') {
            self.space();
            if !self.rest.starts_with('"') {
                return syntax("expected a key in quotes");
            }
            let key = self.text()?;
            if !self.take(':') {
                return syntax("expected : behind a key");
            }
            members.push((key, self.value()?));
            self.comma('}')?;
        }
        self.budget.leave();
        Ok(self.budget.map(members))
    }

    fn array(&mut self) -> Result<Node<'a>, Unreadable> {
        self.budget.enter()?;
        self.take('[');
        let mut elements = Vec::new();
        while !self.take(']') {
            elements.push(self.value()?);
            self.comma(']')?;
        }
        self.budget.leave();
        Ok(Node::List(elements))
    }

    /// A comma, or the bracket that closes.
    fn comma(&mut self, closing: char) -> Result<(), Unreadable> {
        if self.take(',') || self.rest.starts_with(closing) {
            return Ok(());
        }
        syntax(format!("expected , or {closing}"))
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        let inner = &self.rest[1..];
        let Some(end) = inner.find(['"', '\\']) else { return syntax("a text is not closed") };
        if inner.as_bytes()[end] == b'"' {
            self.rest = &inner[end + 1..];
            return Ok(Cow::Borrowed(&inner[..end]));
        }
        let mut text = String::new();
        let mut rest = inner;
        loop {
            let Some(end) = rest.find(['"', '\\']) else { return syntax("a text is not closed") };
            text.push_str(&rest[..end]);
            if rest.as_bytes()[end] == b'"' {
                self.rest = &rest[end + 1..];
                return Ok(Cow::Owned(text));
            }
            let (c, after) =
                escaped(&rest[end + 1..]).map_or_else(|| syntax("an escape that is none"), Ok)?;
            text.push(c);
            rest = after;
        }
    }

    fn word(&mut self) -> Result<Node<'a>, Unreadable> {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r', ':', '"', '{', '[']);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match word.to_ascii_lowercase().as_str() {
            "true" => Ok(Node::Bool(true)),
            "false" => Ok(Node::Bool(false)),
            "null" | "none" => Ok(Node::Null),
            _ => number(word).map_or_else(|| syntax("a word that is neither a number nor in quotes"), Ok),
        }
    }
}

/// A number as devices write it, `NaN` and infinities included. `None` for other text.
pub(crate) fn number<'a>(text: &str) -> Option<Node<'a>> {
    let word = text.trim_start_matches(['-', '+']);
    if ["nan", "inf", "infinity"].iter().any(|none| word.eq_ignore_ascii_case(none)) {
        return Some(Node::NotFinite);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !is_number {
        return None;
    }
    if let Ok(value) = text.parse::<i64>() {
        return Some(Node::Int(value));
    }
    if let Ok(value) = text.parse::<u64>() {
        return Some(Node::Unsigned(value));
    }
    text.parse().ok().map(Node::float)
}

/// The character that an escape stands for, without its backslash, and the text behind it.
fn escaped(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let c = match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            let unit = u32::from_str_radix(text.get(1..5)?, 16).ok()?;
            if !(0xd800..0xdc00).contains(&unit) {
                return Some((char::from_u32(unit).unwrap_or('\u{fffd}'), &text[5..]));
            }
            // The first half of a pair. One without the other is no character.
            let low = text.get(5..11).and_then(|pair| pair.strip_prefix("\\u"));
            let low = low.and_then(|low| u32::from_str_radix(low, 16).ok());
            return match low.filter(|low| (0xdc00..0xe000).contains(low)) {
                Some(low) => {
                    let pair = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    Some((char::from_u32(pair)?, &text[11..]))
                }
                None => Some(('\u{fffd}', &text[5..])),
            };
        }
        c @ ('"' | '\\' | '/') => c,
        _ => return None,
    };
    Some((c, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tree::Spent;

    fn lenient(payload: &str) -> Result<serde_json::Value, Unreadable> {
        read(payload.as_bytes(), &mut Budget::new()).map(|node| node.to_json())
    }

    /// Reads with the second reader, also what the first would take.
    fn second(text: &str) -> Result<Node<'_>, Unreadable> {
        Reader { rest: text, budget: &mut Budget::new() }.value()
    }

    #[test]
    fn what_devices_take_for_json_is_read() {
        for (text, expected) in [
            (r#"{"v":NaN,"t":1}"#, json!({"v": null, "t": 1})),
            (
                r#"{"a":nan,"b":-Infinity,"c":inf,"d":1e400}"#,
                json!({"a": null, "b": null, "c": null, "d": null}),
            ),
            (
                r#"{"a":007,"b":.5,"c":+1,"d":1.,"e":-.5}"#,
                json!({"a": 7, "b": 0.5, "c": 1, "d": 1.0, "e": -0.5}),
            ),
            (r#"{"a":[1,2,],}"#, json!({"a": [1, 2]})),
            ("{\"a\":\"tab\there\", \"b\":NaN}", json!({"a": "tab\there", "b": null})),
            (r#"{"s":"\ud83d\ude00 \ud800 \u00e9\n","t":1}"#, json!({"s": "😀 \u{fffd} é\n", "t": 1})),
            ("\u{feff}{\"t\":1}\0", json!({"t": 1})),
        ] {
            assert_eq!(lenient(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn what_nobody_could_mean_is_refused() {
        for text in [
            "",
            "{",
            "{t:1}",
            "{\"a\" 1}",
            "{\"a\":}",
            "[1 2]",
            "{\"a\":1}x",
            "\"a",
            "\"\\x\"",
            "0x10",
            "1-2",
            "--1",
            ".",
        ] {
            assert!(matches!(lenient(text), Err(Unreadable::Syntax(_))), "{text}");
        }
        assert_eq!(lenient(&"[nan,".repeat(70)), Err(Unreadable::Spent(Spent::Depth)));
        assert!(read(b"{\"unit\":\"\xb0C\"}", &mut Budget::new()).is_err());
    }

    fn documents() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            any::<u64>().prop_map(|value| json!(value)),
            // Of more digits, serde_json's last one may be another.
            (-1_000_000_000..1_000_000_000_i64).prop_map(|eighths| json!(eighths as f64 / 8.0)),
            "\\PC{0,8}|[\\\\\"\n\u{1}]{0,3}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list)),
                prop::collection::vec(("[a-z\"é]{0,4}", inner), 0..5)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn json_means_the_same_to_both_readers(document in documents()) {
            for text in [document.to_string(), format!("{document:#}")] {
                let strict = json::read(text.as_bytes(), &mut Budget::new());
                prop_assert_eq!(second(&text), strict);
            }
        }
    }
}
