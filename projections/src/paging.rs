//! Pages of a list, and the cursors between them.
//!
//! A cursor names the last item of a page by the key that the list is sorted by, so a page never repeats or skips an
//! item because others came or went. To clients a cursor is opaque. A cursor that a client sends is checked like any
//! other input.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
pub use fleetlog_event_log::page::Page;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the cursors' format, as their first character. Other versions are refused.
const VERSION: char = '1';
/// The longest cursor that is accepted, in bytes.
const MAX_CURSOR: usize = 2048;

/// Why a cursor was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    /// The text is not a cursor of this service, or was altered.
    #[error("the cursor is not one that this service has given out")]
    Malformed,
    /// The cursor belongs to a list that was sorted differently.
    #[error("the cursor belongs to a list with another sort order")]
    OtherSort,
    /// The cursor belongs to a list as of another moment, or as it is now.
    #[error("the cursor belongs to a list as of another moment: go on as of the moment of that list")]
    OtherMoment,
    /// The cursor goes on at positions up to which no answer as of its moment speaks.
    #[error("the cursor names positions that its moment does not have: begin again without a cursor")]
    OtherPositions,
    /// The cursor belongs to the list of an earlier rebuild.
    #[error("the cursor belongs to an earlier rebuild: begin again without a cursor")]
    OtherRebuild,
}

/// Writes a cursor as text of `A-Z a-z 0-9 _ -`.
pub fn encode<T: Serialize>(cursor: &T) -> String {
    // Cursors are plain structs of names and numbers, so they always serialize.
    let json = serde_json::to_vec(cursor).unwrap_or_default();
    format!("{VERSION}{}", BASE64_URL_SAFE_NO_PAD.encode(json))
}

/// Reads a cursor. Any other text is an error.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, BadCursor> {
    let encoded = text.strip_prefix(VERSION).filter(|_| text.len() <= MAX_CURSOR);
    let json = BASE64_URL_SAFE_NO_PAD.decode(encoded.ok_or(BadCursor::Malformed)?);
    let json = json.map_err(|_| BadCursor::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| BadCursor::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_cursor_comes_back_as_it_went(name in ".{0,64}", number in any::<i64>()) {
            let text = encode(&(&name, number));
            prop_assert!(text.len() <= MAX_CURSOR);
            prop_assert_eq!(decode::<(String, i64)>(&text), Ok((name, number)));
        }

        #[test]
        fn any_text_is_a_cursor_or_malformed(text in "1?[A-Za-z0-9_-]{0,40}|.{0,40}") {
            if let Ok(cursor) = decode::<(String, i64)>(&text) {
                prop_assert!(decode::<(String, i64)>(&encode(&cursor)) == Ok(cursor));
            }
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let text = encode(&("dev-01", 17));
        assert_eq!(decode::<(String, i32)>(&text), Ok(("dev-01".to_owned(), 17)));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{text}");
    }

    #[test]
    fn whatever_else_a_client_sends_is_refused() {
        let good = encode(&("dev-01", 17));
        for forged in
            ["", "1", "2", "é", "1!!!!", "1bnVsbA", &good[1..], &good[..good.len() - 2], &"1".repeat(3000)]
        {
            assert_eq!(decode::<(String, i32)>(forged), Err(BadCursor::Malformed), "{forged}");
        }
    }

    #[test]
    fn a_page_knows_whether_there_is_more() {
        assert_eq!(Page::cut(vec![1, 2, 3], 2), Page { items: vec![1, 2], has_more: true });
        assert_eq!(Page::cut(vec![1, 2], 2), Page { items: vec![1, 2], has_more: false });
    }
}
