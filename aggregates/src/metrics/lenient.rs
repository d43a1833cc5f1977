//! Reads what was measured from text that is not a JSON object: a number, a word, or an object with numbers that JSON does
//! not have.

use std::borrow::Cow;

/// The words that are taken for true, and those that are taken for false, in whatever case.
const WORDS: [(bool, [&str; 4]); 2] =
    [(true, ["true", "on", "open", "online"]), (false, ["false", "off", "closed", "offline"])];
/// How languages print NaN and infinity, in whatever case, with or without a sign.
const NO_NUMBERS: [&str; 3] = ["nan", "inf", "infinity"];

/// A text without a byte order mark before it, a NUL behind it, as the end of a string in C, and blanks around it.
pub(super) fn bare(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.strip_suffix('\0').unwrap_or(text).trim_matches([' ', '\t', '\r', '\n'])
}

/// The object that a text is meant to be, if it is one: numbers that JSON does not have, or that no double holds, are null.
#[must_use]
pub fn object(text: &str) -> Option<Cow<'_, str>> {
    let text = bare(text);
    text.starts_with('{').then(|| with_finite_numbers(text))
}

/// The value of a number, or of a word that is taken for one.
pub(super) fn value(text: &str) -> Option<f64> {
    let text = bare(text);
    let is_word = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if let Some((is_true, _)) = WORDS.iter().find(|(_, words)| is_word(words)) {
        return Some(f64::from(u8::from(*is_true)));
    }
    // Of the numbers, those that are JSON.
    serde_json::from_str(text).ok()
}

fn with_finite_numbers(text: &str) -> Cow<'_, str> {
    let mut repaired = String::new();
    let (mut kept, mut rest) = (0, text);
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let length = match rest.as_bytes()[0] {
            b'"' => string(rest),
            byte if is_of_a_word(byte) => rest.bytes().take_while(|&byte| is_of_a_word(byte)).count(),
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        let (token, after) = rest.split_at(length);
        if is_no_number(token) {
            repaired.push_str(&text[kept..at]);
            repaired.push_str("null");
            kept = at + length;
        }
        rest = after;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    repaired.push_str(&text[kept..]);
    Cow::Owned(repaired)
}

/// The length of the string that a text begins with.
fn string(text: &str) -> usize {
    let mut is_escaped = true;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 1)
}

fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}

fn is_no_number(token: &str) -> bool {
    let word = token.strip_prefix(['+', '-']).unwrap_or(token);
    let is_number =
        token.strip_prefix('-').unwrap_or(token).starts_with(|first: char| first.is_ascii_digit());
    NO_NUMBERS.iter().any(|no_number| no_number.eq_ignore_ascii_case(word))
        || (is_number && token.parse::<f64>().is_ok_and(f64::is_infinite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_null_and_strings_are_left_alone() {
        for (text, meant) in [
            (r#"{"t":NaN,"u":nan,"v":-Infinity,"w":+inf}"#, r#"{"t":null,"u":null,"v":null,"w":null}"#),
            (r#"{"t":1e400,"u":[-1E999,1e3]}"#, r#"{"t":null,"u":[null,1e3]}"#),
            (r#"{"nan":"NaN","\"nan":"a\\","nano":nano}"#, r#"{"nan":"NaN","\"nan":"a\\","nano":nano}"#),
            ("\u{feff} {\"é\":NaN}\r\n\0", "{\"é\":null}"),
            (r#"{"open":"#, r#"{"open":"#),
            (r#"{"open"#, r#"{"open"#),
        ] {
            assert_eq!(object(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["", "[NaN]", "NaN", "\0"] {
            assert_eq!(object(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_or_a_word_has_a_value() {
        for (text, expected) in [
            ("21.50", 21.5),
            (" -3\n\0", -3.0),
            ("\u{feff}1e3", 1000.0),
            ("ON", 1.0),
            ("open", 1.0),
            ("true", 1.0),
            ("Off", 0.0),
            ("closed", 0.0),
            ("offline", 0.0),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        for text in [
            "", "21,5", "21.5 C", ".5", "+1", "007", "0x10", "NaN", "1e400", "\"ON\"", "on off", "[1]",
            "null",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
