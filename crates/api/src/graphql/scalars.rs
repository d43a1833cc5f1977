//! Scalars that `GraphQL` itself does not have.

use async_graphql::{InputValueError, InputValueResult, Number, Scalar, ScalarType, Value};
use fleetlog_event_log::event::Json as StoredJson;

/// A whole number of up to 64 bits, such as a position. `Int` has 32 bits only.
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

/// Any JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Json(pub(super) StoredJson);

#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        // The library's own text form of a value is GraphQL syntax, which does not quote the names in objects.
        Ok(Self(StoredJson(value.into_json()?.to_string())))
    }

    fn to_value(&self) -> Value {
        // Stored text is JSON. If it ever were not, the client still gets the text instead of an error.
        serde_json::from_str(&self.0.0).unwrap_or_else(|_| Value::String(self.0.0.clone()))
    }
}
