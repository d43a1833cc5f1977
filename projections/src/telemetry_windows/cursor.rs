//! Where the next page of a device's metrics begins. Pages are sorted by name.

use std::fmt;
use std::str::FromStr;

use crate::paging::{self, BadCursor};

/// The last metric of a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// The cursor of a page that ends with this metric.
    #[must_use]
    pub fn after(metric: &str) -> Self {
        Self(metric.to_owned())
    }

    /// The name of the metric.
    pub(super) fn metric(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&paging::encode(&(&self.0,)))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (metric,): (String,) = paging::decode(text)?;
        // No stored name holds U+0000, and Postgres takes no text that does.
        if metric.contains('\0') { Err(BadCursor::Malformed) } else { Ok(Self(metric)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_last_metric_and_no_text_that_is_none() {
        let longest = "\u{1}".repeat(fleetlog_aggregates::metrics::MAX_METRIC_NAME);
        for metric in ["motor.rpm", "", "độ ẩm", &longest] {
            let text = Cursor::after(metric).to_string();
            assert_eq!(text.parse(), Ok(Cursor::after(metric)), "{metric}");
        }
        for forged in [paging::encode(&("a\0b",)), paging::encode(&7), "t".to_owned(), String::new()] {
            assert_eq!(forged.parse::<Cursor>(), Err(BadCursor::Malformed), "{forged}");
        }
    }
}
