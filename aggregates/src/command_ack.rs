//! Decodes a `command_ack` payload into the device's answer, or says why it is not one.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::command::Ack;
use crate::json_text::JsonText;
use crate::metrics::lenient;
use crate::telemetry::Reason;

/// The largest acknowledgement, in bytes. It is bounded because its result or error is kept for ever.
pub const MAX_ACK: usize = 64 << 10;

/// The JSON that a device sends.
#[derive(Deserialize)]
struct Wire<'a> {
    cmd_id: Uuid,
    status: Status,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ack,
    Failed,
}

/// Decodes an acknowledgement into the command's id and the device's answer. The error is a reason for programs and a
/// text for people. Unknown fields are ignored: devices may send more than the contract asks. Numbers that JSON does not have,
/// such as NaN, are null.
pub fn decode(payload: &[u8]) -> Result<(Uuid, Ack), (Reason, String)> {
    if payload.len() > MAX_ACK {
        return Err((Reason::TooLarge, format!("{} bytes; at most {MAX_ACK}", payload.len())));
    }
    let text = std::str::from_utf8(payload).map_err(|error| (Reason::NotUtf8, error.to_string()))?;
    read(text).or_else(|refused| match lenient::object(text) {
        Some(object) => read(&object),
        None => Err(refused),
    })
}

/// The command that an acknowledgement names which cannot be read as one.
#[must_use]
pub fn named_command(payload: &[u8]) -> Option<Uuid> {
    const KEY: &[u8] = b"\"cmd_id\"";
    let at = payload.windows(KEY.len()).position(|bytes| bytes == KEY)? + KEY.len();
    let value =
        payload[at..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = value.iter().position(|&byte| byte == b'"')?;
    Uuid::try_parse_ascii(&value[..end]).ok()
}

fn read(text: &str) -> Result<(Uuid, Ack), (Reason, String)> {
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| {
        (Reason::BadAck, format!("not {{\"cmd_id\", \"status\": \"ack\"|\"failed\", …}}: {error}"))
    })?;
    let value = |raw: Option<&RawValue>| {
        // Only kept as text, but read once: what nests too deep or counts too far for JSON readers is refused.
        let value: Option<Value> = raw.map(|raw| serde_json::from_str(raw.get())).transpose()?;
        Ok(raw.filter(|_| value.is_some_and(|value| !value.is_null())).map(JsonText::from))
    };
    let ack = match wire.status {
        Status::Ack => value(wire.result).map(|result| Ack::Ack { result }),
        Status::Failed => value(wire.error).map(|error| Ack::Failed { error }),
    };
    let ack = ack.map_err(|error: serde_json::Error| (Reason::BadAck, error.to_string()))?;
    Ok((wire.cmd_id, ack))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "019a0000-0000-7000-8000-000000000001";

    fn decoded(rest: &str) -> Result<Ack, Reason> {
        let payload = format!(r#"{{"cmd_id":"{ID}",{rest}}}"#);
        let (id, ack) = decode(payload.as_bytes()).map_err(|(reason, _)| reason)?;
        assert_eq!(id.to_string(), ID);
        Ok(ack)
    }

    #[test]
    fn an_answer_is_an_ack_with_a_result_or_a_failure_with_an_error() {
        assert_eq!(decoded(r#""status":"ack""#), Ok(Ack::Ack { result: None }));
        assert_eq!(decoded(r#""status":"ack","result":null"#), Ok(Ack::Ack { result: None }));
        assert_eq!(
            decoded(r#""status":"ack","result":{"ms":12},"error":"no","more":1"#),
            Ok(Ack::Ack { result: Some(json!({"ms": 12}).into()) })
        );
        assert_eq!(
            decoded(r#""status":"failed","error":"hot""#),
            Ok(Ack::Failed { error: Some(json!("hot").into()) })
        );
    }

    #[test]
    fn a_result_is_kept_as_the_device_wrote_it_now_and_when_it_is_read_again() {
        let exact = r#"{"n":123456789012345678901234567890.123, "n":1.0,"z":1,"a":2}"#;
        for (status, field) in [("ack", "result"), ("failed", "error")] {
            let ack = decoded(&format!(r#""status":"{status}","{field}":{exact}"#)).expect("an ack");
            let stored = serde_json::to_string(&ack).expect("JSON");
            assert_eq!(stored, format!(r#"{{"status":"{status}","{field}":{exact}}}"#));
            assert_eq!(serde_json::from_str::<Ack>(&stored).ok(), Some(ack));
        }
    }

    #[test]
    fn an_answer_with_numbers_that_json_does_not_have_is_one() {
        let result = decoded(r#""status":"ack","result":{"t":NaN,"u":[1e400,-Infinity],"n":1.50}"#);
        let expected = RawValue::from_string(r#"{"t":null,"u":[null,null],"n":1.50}"#.into()).expect("JSON");
        assert_eq!(result, Ok(Ack::Ack { result: Some(JsonText::from(&*expected)) }));
        let terminated = format!("{{\"cmd_id\":\"{ID}\",\"status\":\"ack\"}}\0");
        assert!(decode(terminated.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_answer_may_still_name_its_command() {
        let id = Some(ID.parse().expect("an id"));
        for (payload, named) in [
            (format!(r#"{{"cmd_id":"{ID}","status":"done"}}"#), id),
            (format!("{{\"status\":\"ack\", \"cmd_id\" : \"{ID}\", \"result\":"), id),
            (r#"{"cmd_id":"7"}"#.to_owned(), None),
            (r#"{"cmd_id":"#.to_owned(), None),
            (format!(r#"{{"id":"{ID}"}}"#), None),
            (String::new(), None),
        ] {
            assert_eq!(named_command(payload.as_bytes()), named, "{payload}");
        }
    }

    #[test]
    fn whatever_else_comes_is_no_answer() {
        for bad in
            [r#""status":"done""#, r#""status":1"#, r#""result":1"#, r#""status":"ack","status":"ack""#]
        {
            assert_eq!(decoded(bad), Err(Reason::BadAck), "{bad}");
        }
        for (payload, reason) in [
            (&b""[..], Reason::BadAck),
            (b"[]", Reason::BadAck),
            (br#"{"cmd_id":"7","status":"ack"}"#, Reason::BadAck),
            (b"\xff", Reason::NotUtf8),
            (&vec![b' '; MAX_ACK + 1], Reason::TooLarge),
        ] {
            assert_eq!(decode(payload).map_err(|(reason, _)| reason), Err(reason));
        }
        let deep = format!(r#""status":"ack","result":{}1{}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(decoded(&deep), Err(Reason::BadAck));
    }
}
