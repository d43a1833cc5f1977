//! CBOR (RFC 8949), header by header with `ciborium-ll`. `ciborium` itself takes no state along, and so no budget.

use std::borrow::Cow;

use ciborium_ll::{Decoder, Header, simple};

use super::json::hexadecimal;
use super::{Unreadable, syntax};
use crate::tree::{Budget, Node};

/// How many bytes of a text are taken at once.
const CHUNK: usize = 256;

pub(crate) fn read<'a>(payload: &[u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    let mut reader = Reader { decoder: Decoder::from(payload), budget };
    let header = reader.pull()?;
    let node = reader.value(header)?;
    let end = reader.decoder.offset();
    if end < payload.len() {
        return syntax(format!("{} bytes behind the value", payload.len() - end));
    }
    Ok(node)
}

struct Reader<'p, 'b> {
    decoder: Decoder<&'p [u8]>,
    budget: &'b mut Budget,
}

/// What `ciborium-ll` fails with: all of it is about the bytes.
#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
fn broken<E>(error: ciborium_ll::Error<E>) -> Unreadable {
    match error {
        ciborium_ll::Error::Syntax(at) => Unreadable::Syntax(format!("no CBOR at byte {at}")),
        ciborium_ll::Error::Io(_) => Unreadable::Syntax("the CBOR ends too early".to_owned()),
    }
}

impl Reader<'_, '_> {
    fn pull(&mut self) -> Result<Header, Unreadable> {
        self.decoder.pull().map_err(broken)
    }

    fn value<'a>(&mut self, header: Header) -> Result<Node<'a>, Unreadable> {
        self.budget.take()?;
        Ok(match header {
            Header::Positive(value) => Node::unsigned(value),
            // The value has all its bits turned.
            Header::Negative(value) => i64::try_from(value)
                .map_or_else(|_| Node::float(-1.0 - value as f64), |value| Node::Int(!value)),
            Header::Float(value) => Node::float(value),
            Header::Simple(simple::FALSE) => Node::Bool(false),
            Header::Simple(simple::TRUE) => Node::Bool(true),
            Header::Simple(_) => Node::Null,
            Header::Bytes(length) => Node::text(hexadecimal(&self.bytes(length)?)),
            Header::Text(length) => Node::text(self.text(length)?),
            // A tag says what the value behind it stands for. The value itself is taken.
            Header::Tag(_) => {
                self.budget.enter()?;
                let header = self.pull()?;
                let node = self.value(header)?;
                self.budget.leave();
                node
            }
            Header::Array(length) => self.list(length)?,
            Header::Map(length) => self.map(length)?,
            Header::Break => return syntax("a break outside of a list"),
        })
    }

    fn list<'a>(&mut self, length: Option<usize>) -> Result<Node<'a>, Unreadable> {
        self.budget.enter()?;
        // Nothing is set aside for the length that is promised.
        let mut elements = Vec::new();
        while let Some(header) = self.next(length, elements.len())? {
            elements.push(self.value(header)?);
        }
        self.budget.leave();
        Ok(Node::List(elements))
    }

    fn map<'a>(&mut self, length: Option<usize>) -> Result<Node<'a>, Unreadable> {
        self.budget.enter()?;
        let mut members = Vec::new();
        while let Some(header) = self.next(length, members.len())? {
            let key = self.key(header)?;
            let header = self.pull()?;
            members.push((key, self.value(header)?));
        }
        self.budget.leave();
        Ok(self.budget.map(members))
    }

    /// The header of the next of `length` values, or of as many as there are until the break.
    fn next(&mut self, length: Option<usize>, read: usize) -> Result<Option<Header>, Unreadable> {
        if length.is_some_and(|length| read >= length) {
            return Ok(None);
        }
        let header = self.pull()?;
        Ok((length.is_some() || header != Header::Break).then_some(header))
    }

    /// A key as text: numbers and bytes, which CBOR allows, too.
    fn key<'a>(&mut self, header: Header) -> Result<Cow<'a, str>, Unreadable> {
        Ok(Cow::Owned(match header {
            Header::Text(length) => self.text(length)?,
            Header::Bytes(length) => hexadecimal(&self.bytes(length)?),
            Header::Positive(value) => value.to_string(),
            Header::Negative(value) => (-1 - i128::from(value)).to_string(),
            _ => return syntax("a key that is neither text nor a number"),
        }))
    }

    fn text(&mut self, length: Option<usize>) -> Result<String, Unreadable> {
        let mut text = String::new();
        let mut segments = self.decoder.text(length);
        while let Some(mut segment) = segments.pull().map_err(broken)? {
            let mut chunk = [0; CHUNK];
            while let Some(piece) = segment.pull(&mut chunk).map_err(broken)? {
                text.push_str(piece);
            }
        }
        Ok(text)
    }

    fn bytes(&mut self, length: Option<usize>) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = Vec::new();
        let mut segments = self.decoder.bytes(length);
        while let Some(mut segment) = segments.pull().map_err(broken)? {
            let mut chunk = [0; CHUNK];
            while let Some(piece) = segment.pull(&mut chunk).map_err(broken)? {
                bytes.extend_from_slice(piece);
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tree::Spent;

    fn cbor(payload: &[u8]) -> Result<serde_json::Value, Unreadable> {
        read(payload, &mut Budget::new()).map(|node| node.to_json())
    }

    #[test]
    fn cbor_is_read_like_the_json_that_it_stands_for() {
        for (payload, expected) in [
            (&b"\xa2at\xfb@5\x80\0\0\0\0\0ah\x187"[..], json!({"t": 21.5, "h": 55})),
            // Keys that are numbers, a tag, bytes, and NaN in two bytes.
            (
                b"\xa4\x01\xc1\xf9\x3e\x00\x20\xf6ab\x42\xca\xfe\x61n\xf9\x7e\x00",
                json!({"1": 1.5, "-1": null, "b": "cafe", "n": null}),
            ),
            // Of unknown length: a list, and a text in two pieces.
            (b"\x9f\x01\x7f\x61a\x61b\xff\xff", json!([1, "ab"])),
            (b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", json!(-18_446_744_073_709_551_616.0)),
        ] {
            assert_eq!(cbor(payload), Ok(expected));
        }
        let long = [&b"\x79\x01\x2c"[..], "é".repeat(150).as_bytes()].concat();
        assert_eq!(cbor(&long), Ok(json!("é".repeat(150))));
    }

    #[test]
    fn what_is_no_cbor_is_refused_whatever_length_it_promises() {
        for payload in [
            &b""[..],
            b"\xfa",
            b"\x01\x01",
            b"\xff",
            b"\x61",
            b"\x62\xc3\xc3",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xa1\x80\x01",
        ] {
            assert!(matches!(cbor(payload), Err(Unreadable::Syntax(_))), "{payload:x?}");
        }
        for deep in [[0x81; 1000], [0xc1; 1000], [0x9f; 1000]] {
            assert_eq!(cbor(&deep), Err(Unreadable::Spent(Spent::Depth)));
        }
        let many = [&[0x9f][..], &vec![0xf6; crate::limits::MAX_NODES], &[0xff]].concat();
        assert_eq!(cbor(&many), Err(Unreadable::Spent(Spent::Nodes)));
    }
}
