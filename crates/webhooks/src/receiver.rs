//! Sends a request to a webhook, and says what came back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleetlog_http_client::{Client, Limits};
use http::{HeaderMap, Method, Request, Uri, header};

use crate::schedule::Said;
use crate::secret::{WebhookSecret, signatures};

/// How long a request may take, from the connection to the last byte that is read of the answer.
pub(crate) const TIME: Duration = Duration::from_secs(15);
/// How many bytes of an answer's body are read. Nothing is made of them: they keep the connection open for the next request.
pub(crate) const ANSWER: usize = 64 << 10;
/// Names the sender.
const USER_AGENT: &str = concat!("fleetlog/", env!("CARGO_PKG_VERSION"));

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) said: Said,
    pub(crate) took: Duration,
}

impl Reply {
    /// The status of the answer, as it is stored.
    pub(crate) fn code(&self) -> Option<i32> {
        self.said.code().map(i32::from)
    }

    /// How long it took, as it is stored.
    pub(crate) fn milliseconds(&self) -> i32 {
        i32::try_from(self.took.as_millis()).unwrap_or(i32::MAX)
    }
}

/// Sends a body, signed with each of the secrets.
pub(crate) async fn send(
    client: &Client,
    (url, secrets): (&Uri, &[WebhookSecret]),
    (id, body): (&str, Vec<u8>),
    (now, time): (DateTime<Utc>, Duration),
) -> Reply {
    let timestamp = now.timestamp();
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures(secrets, id, timestamp, &body))
        .body(Bytes::from(body));
    let began = Instant::now();
    let said = match request {
        Ok(request) => match client.tell(request, Limits { time, bytes: ANSWER }).await {
            Ok(answer) => Said::Status(answer.status().as_u16(), retry_after(answer.headers(), now)),
            Err(error) => Said::Nothing(error.to_string()),
        },
        Err(error) => Said::Nothing(error.to_string()),
    };
    Reply { said, took: began.elapsed() }
}

/// For how long a receiver asks to be left alone: a number of seconds, or a time.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    (at.with_timezone(&Utc) - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_for_a_pause_in_seconds_or_until_a_time() {
        let now = DateTime::from_timestamp(784_111_777, 0).expect("a time");
        let asked = |text: &str| {
            let headers = [(header::RETRY_AFTER, text.parse().expect("a header"))];
            retry_after(&headers.into_iter().collect(), now)
        };
        assert_eq!(asked("90"), Some(Duration::from_secs(90)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_mins(1)));
        for nothing in ["Sun, 06 Nov 1994 08:48:37 GMT", "-1", "soon", "1.5", ""] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }
}
