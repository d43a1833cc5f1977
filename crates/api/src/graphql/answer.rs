//! Writes an answer as JSON text, its fields in the order of the question. Values that resolvers have already written as
//! text are copied as they are.

use async_graphql::{Response, Value};
use axum::Extension;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use super::order::Order;
use crate::rest::rate_limits::Further;

/// The content type of answers that GraphQL over HTTP defines. With it, a question that is not carried out is 400.
pub(super) const OWN_TYPE: &str = "application/graphql-response+json";
/// The content type of answers to clients that ask for no other. With it, every answer is 200.
const JSON: &str = "application/json";

/// The HTTP answer to a question.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) order: Order,
    /// Whether the client asks for [`OWN_TYPE`].
    pub(super) in_own_type: bool,
    /// What the question pays for besides its size.
    pub(super) further: Further,
}

impl IntoResponse for Answer {
    fn into_response(self) -> axum::response::Response {
        let (kind, status) = match (self.in_own_type, is_refused(&self.response)) {
            (true, true) => (OWN_TYPE, StatusCode::BAD_REQUEST),
            (true, false) => (OWN_TYPE, StatusCode::OK),
            (false, _) => (JSON, StatusCode::OK),
        };
        (status, [(header::CONTENT_TYPE, kind)], Extension(self.further), text(&self.response, &self.order))
            .into_response()
    }
}

/// Whether a question was not carried out: it does not parse, does not fit the schema, or costs too much.
fn is_refused(Response { data, errors, .. }: &Response) -> bool {
    *data == Value::Null && !errors.is_empty() && errors.iter().all(|error| error.path.is_empty())
}

/// An answer as JSON text, on one line.
pub(super) fn text(response: &Response, order: &Order) -> Vec<u8> {
    let mut text = b"{".to_vec();
    if !is_refused(response) {
        text.extend_from_slice(br#""data":"#);
        write(&response.data, order, &mut text);
    }
    if !response.errors.is_empty() {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(br#""errors":"#);
        plain(&response.errors, &mut text);
    }
    text.push(b'}');
    text
}

/// Whether a client would rather have an answer in [`OWN_TYPE`] than in plain JSON.
pub(super) fn asks_for_own_type(headers: &HeaderMap) -> bool {
    let ranges = || {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepted.flat_map(|text| text.split(','))
    };
    let quality = |kind: &str| {
        let named = ranges().filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_named = parts.next()?.eq_ignore_ascii_case(kind);
            let quality =
                parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            quality.filter(|_| is_named)
        });
        named.fold(0.0, f32::max)
    };
    let own = quality(OWN_TYPE);
    own > 0.0 && own >= quality(JSON)
}

/// Writes one value. No type of the schema has byte values, so bytes are JSON text that a resolver has already written.
fn write(value: &Value, order: &Order, text: &mut Vec<u8>) {
    match value {
        Value::Binary(written) => text.extend_from_slice(written),
        Value::List(items) => {
            text.push(b'[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    text.push(b',');
                }
                write(item, order, text);
            }
            text.push(b']');
        }
        Value::Object(fields) if !order.0.is_empty() => {
            // A field that a directive leaves out is not there.
            let asked = order.0.iter();
            let asked = asked.filter_map(|(name, asked)| Some((name, fields.get(name)?, &asked.within)));
            text.push(b'{');
            for (nth, (name, value, order)) in asked.enumerate() {
                if nth > 0 {
                    text.push(b',');
                }
                plain(name.as_str(), text);
                text.push(b':');
                write(value, order, text);
            }
            text.push(b'}');
        }
        simple => plain(simple, text),
    }
}

fn plain<T: Serialize + ?Sized>(value: &T, text: &mut Vec<u8>) {
    // Writing a number or a string into a `Vec<u8>` does not fail.
    let _ = serde_json::to_writer(text, value);
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::{ServerError, value};

    use super::*;

    fn text(response: &Response, question: &str) -> String {
        let document = parse_query(question).expect("a question");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let order = Order::of(&operation.node.selection_set.node, &document);
        String::from_utf8(super::text(response, &order)).expect("text")
    }

    #[test]
    fn fields_come_in_the_order_of_the_question() {
        let data = value!({ "d": [{ "y": 1, "x": "\"\n" }], "c": null, "a": { "p": 2.5, "q": true } });
        let question =
            "{ a { ...F q } c @skip(if: false) d { x } ... on Q { d { y } e } } fragment F on A { q p }";
        let written = text(&Response::new(data), question);
        assert_eq!(written, r#"{"data":{"a":{"q":true,"p":2.5},"c":null,"d":[{"x":"\"\n","y":1}]}}"#);
    }

    #[test]
    fn what_is_written_already_is_taken_as_it_is() {
        let written = Value::Binary(b"[{\"n\":1}]".as_slice().into());
        let data = value!({ "a": (Value::List(vec![written])) });
        assert_eq!(text(&Response::new(data), "{ a }"), r#"{"data":{"a":[[{"n":1}]]}}"#);
    }

    #[test]
    fn a_question_that_is_not_carried_out_has_no_data() {
        let refused = Response::from_errors(vec![ServerError::new("no", None)]);
        assert_eq!(text(&refused, "{ a }"), r#"{"errors":[{"message":"no"}]}"#);
    }

    #[test]
    fn the_own_type_is_for_those_who_ask_for_it() {
        let asks = |accept: &'static str| {
            let headers = [(header::ACCEPT, http::HeaderValue::from_static(accept))];
            asks_for_own_type(&headers.into_iter().collect())
        };
        for accept in [
            "application/graphql-response+json",
            "application/graphql-response+json,application/json;q=0.9",
            "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
        ] {
            assert!(asks(accept), "{accept}");
        }
        for accept in
            ["", "*/*", "application/json", "application/json, application/graphql-response+json;q=0.5"]
        {
            assert!(!asks(accept), "{accept}");
        }
    }
}
