//! Scalars that `GraphQL` has none of.

use async_graphql::{InputValueError, InputValueResult, Number, Scalar, ScalarType, Value};
use fleetlog_event_log::event::Json as StoredJson;

/// A whole number of up to 64 bits, such as a position. `Int` ends at 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Long(pub(super) i64);

#[Scalar]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => {
                number.as_i64().map(Self).ok_or_else(|| InputValueError::expected_type(value))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(Number::from(self.0))
    }
}

/// Any JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Json(pub(super) StoredJson);

#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        // The library's own text of a value is GraphQL's, which leaves the names in objects bare.
        Ok(Self(StoredJson(value.into_json()?.to_string())))
    }

    fn to_value(&self) -> Value {
        // What is stored is JSON; were it none, its text is still worth more than an error.
        serde_json::from_str(&self.0.0).unwrap_or_else(|_| Value::String(self.0.0.clone()))
    }
}
