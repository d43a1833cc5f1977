//! Payloads without brackets: one number or text, or lines.

use super::{Csv, Seen, Unreadable, lenient, syntax, utf8};
use crate::tree::{Budget, Node};

/// A number, or else a text.
pub(crate) fn text(payload: &[u8]) -> Result<Node<'_>, Unreadable> {
    let text = utf8(payload)?.trim();
    // Some send the word as JSON.
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Ok(lenient::number(text).unwrap_or_else(|| Node::text(bare)))
}

pub(crate) fn number(payload: &[u8]) -> Result<Node<'_>, Unreadable> {
    let text = utf8(payload)?.trim();
    lenient::number(text).map_or_else(|| syntax("expected a number"), Ok)
}

/// A document on each line. A line that cannot be read is skipped and noted.
pub(crate) fn ndjson<'a>(
    payload: &'a [u8],
    budget: &mut Budget,
    seen: &mut Seen,
) -> Result<Node<'a>, Unreadable> {
    budget.enter()?;
    let mut elements = Vec::new();
    for line in utf8(payload)?.lines().filter(|line| !line.trim().is_empty()) {
        budget.take()?;
        let mut own = Budget::new();
        match lenient::read(line.as_bytes(), &mut own) {
            Ok(node) => elements.push(node),
            Err(Unreadable::Spent(spent)) => return Err(spent.into()),
            Err(Unreadable::Syntax(_)) => {
                seen.is_broken = true;
                elements.push(Node::Null);
            }
        }
        budget.pay(&own)?;
    }
    budget.leave();
    if elements.is_empty() { syntax("no line") } else { Ok(Node::List(elements)) }
}

/// Values between separators. Each line is a map from the columns' names.
pub(crate) fn csv<'a>(csv: &Csv, payload: &'a [u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    budget.enter()?;
    let mut lines = Vec::new();
    for line in utf8(payload)?.lines().filter(|line| !line.trim().is_empty()) {
        let mut members = Vec::new();
        let mut rest = Some(line);
        for column in &csv.columns {
            let Some(text) = rest else { break };
            budget.take()?;
            let (value, after) = cell(text, csv.separator);
            rest = after;
            if !column.is_empty() && value != Node::Null {
                members.push((column.clone().into(), value));
            }
        }
        budget.take()?;
        lines.push(budget.map(members));
    }
    budget.leave();
    if lines.is_empty() { syntax("no line") } else { Ok(Node::List(lines)) }
}

/// The first value of a line, and what comes behind its separator.
fn cell(text: &str, separator: char) -> (Node<'_>, Option<&str>) {
    if let Some(inner) = text.trim_start_matches(' ').strip_prefix('"')
        && let Some(end) = closing_quote(inner)
    {
        let value = Node::text(inner[..end].replace("\"\"", "\""));
        let after = inner[end + 1..].split_once(separator).map(|(_, after)| after);
        return (value, after);
    }
    let (value, after) =
        text.split_once(separator).map_or((text, None), |(value, after)| (value, Some(after)));
    let value = value.trim();
    let node = if value.is_empty() {
        Node::Null
    } else {
        lenient::number(value).unwrap_or_else(|| Node::text(value))
    };
    (node, after)
}

/// Where a text in quotes ends. Two quotes stand for one.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_a_number_if_it_can_be() {
        for (payload, expected) in [
            ("21.50", json!(21.5)),
            (" -3\n", json!(-3)),
            ("007", json!(7)),
            ("ON", json!("ON")),
            ("\"ON\"\0", json!("ON")),
            ("nan", json!(null)),
            ("", json!("")),
            ("12 V", json!("12 V")),
        ] {
            assert_eq!(text(payload.as_bytes()).expect(payload).to_json(), expected, "{payload}");
        }
        assert!(text(b"\xb0C").is_err());
        assert!(number(b"ON").is_err());
        assert_eq!(number(b"1e400"), Ok(Node::NotFinite));
    }

    #[test]
    fn each_line_is_a_reading_and_a_broken_one_spoils_no_other() {
        let mut seen = Seen::default();
        let node =
            ndjson(b"{\"t\":1}\n\n{\"t\":\n{\"t\":NaN}\r\n", &mut Budget::new(), &mut seen).expect("lines");
        assert_eq!(node.to_json(), json!([{"t": 1}, null, {"t": null}]));
        assert!(seen.is_broken);
        assert!(ndjson(b"\n", &mut Budget::new(), &mut seen).is_err());
        let many = "[1,1,1,1,1,1,1,1]\n".repeat(10_000);
        assert!(matches!(ndjson(many.as_bytes(), &mut Budget::new(), &mut seen), Err(Unreadable::Spent(_))));
    }

    #[test]
    fn a_line_is_taken_apart_by_its_columns() {
        let columns = ["time", "t", "", "note", "more"].map(str::to_owned).to_vec();
        let line = Csv { columns, separator: ';' };
        let node = csv(&line, b"2026-11-28 14:27:46; 21.5 ;x;\"a;\"\"b\"\n;22;;", &mut Budget::new())
            .expect("lines");
        let expected = json!([
            {"time": "2026-11-28 14:27:46", "t": 21.5, "note": "a;\"b"},
            {"t": 22},
        ]);
        assert_eq!(node.to_json(), expected);
    }
}
