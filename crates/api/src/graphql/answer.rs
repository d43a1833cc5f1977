//! Writes an answer as JSON text. Values that resolvers have already written as text are copied as they are.

use async_graphql::{Response, Value};
use axum::response::IntoResponse;
use http::header;
use serde::Serialize;

/// The HTTP answer to a question.
pub(super) struct Answer(pub(super) Response);

impl IntoResponse for Answer {
    fn into_response(self) -> axum::response::Response {
        ([(header::CONTENT_TYPE, "application/json")], self.text()).into_response()
    }
}

impl Answer {
    fn text(&self) -> Vec<u8> {
        let mut text = br#"{"data":"#.to_vec();
        write(&self.0.data, &mut text);
        if !self.0.errors.is_empty() {
            text.extend_from_slice(br#","errors":"#);
            plain(&self.0.errors, &mut text);
        }
        text.push(b'}');
        text
    }
}

/// Writes one value. No type of the schema has byte values, so bytes are JSON text that a resolver has already written.
fn write(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Binary(written) => text.extend_from_slice(written),
        Value::List(items) => {
            text.push(b'[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    text.push(b',');
                }
                write(item, text);
            }
            text.push(b']');
        }
        Value::Object(fields) => {
            text.push(b'{');
            for (nth, (name, value)) in fields.iter().enumerate() {
                if nth > 0 {
                    text.push(b',');
                }
                plain(name.as_str(), text);
                text.push(b':');
                write(value, text);
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
    use async_graphql::{ServerError, value};

    use super::*;

    fn text(response: Response) -> String {
        String::from_utf8(Answer(response).text()).expect("text")
    }

    #[test]
    fn an_answer_reads_as_the_library_writes_it() {
        let data = value!({ "a": [1, 2.5, null, true, "\"\n"], "b": { "c": [], "d": {} } });
        let good = Response::new(data);
        assert_eq!(text(Response::new(good.data.clone())), serde_json::to_string(&good).expect("text"));
        let bad = || Response::from_errors(vec![ServerError::new("no", None)]);
        assert_eq!(text(bad()), serde_json::to_string(&bad()).expect("text"));
    }

    #[test]
    fn what_is_written_already_is_taken_as_it_is() {
        let written = Value::Binary(b"[{\"n\":1}]".as_slice().into());
        assert_eq!(text(Response::new(Value::List(vec![written]))), r#"{"data":[[{"n":1}]]}"#);
    }
}
