//! What follows from a webhook's answer: the next batch, another attempt after a pause, or the end. Pure: it reads no clock.

use std::time::Duration;

/// For how long a receiver may ask to be left alone.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// When a batch that was refused is sent again, and when that is given up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The pauses after the first refusal, the second and so on. The last one is repeated.
    pub pauses: Vec<Duration>,
    /// How long after the first refusal the webhook is suspended.
    pub give_up: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        let (second, minute, hour) = (Duration::from_secs, Duration::from_mins, Duration::from_hours);
        let pauses = vec![second(5), second(30), minute(2), minute(10), minute(30), hour(1)];
        Self { pauses, give_up: hour(72) }
    }
}

/// What a webhook said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It answered with this status, and may have asked to be left alone for a while.
    Status(u16, Option<Duration>),
    /// It did not answer, and why.
    Nothing(String),
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The batch was taken.
    Delivered,
    /// The batch is sent again after this pause.
    Again(Duration),
    /// Nothing is sent any more until somebody resumes the webhook.
    Suspend(String),
}

impl Said {
    /// Whether the request was taken.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Status(200..=299, _))
    }

    /// The status of the answer.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(code, _) => Some(*code),
            Self::Nothing(_) => None,
        }
    }

    /// What is wrong, for people; `None` after a success.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Status(200..=299, _) => None,
            Self::Status(code @ 300..=399, _) => {
                Some(format!("it answered {code}, and redirects are not followed"))
            }
            Self::Status(code, _) => Some(format!("it answered {code}")),
            Self::Nothing(why) => Some(why.clone()),
        }
    }
}

impl Plan {
    /// Decides. `failures`: how often this batch was refused before. `failing`: for how long it has been. `spread` is random, from 0
    /// to 1: receivers that were down together are not asked together.
    #[must_use]
    pub fn next(&self, said: &Said, failures: u32, failing: Duration, spread: f64) -> Next {
        let Some(trouble) = said.trouble() else { return Next::Delivered };
        if said.code() == Some(410) {
            return Next::Suspend("it answered 410: it wants no more events".to_owned());
        }
        if failing >= self.give_up {
            let hours = self.give_up.as_secs() / 3600;
            return Next::Suspend(format!("it took nothing for {hours} h; at last, {trouble}"));
        }
        let last = self.pauses.len().saturating_sub(1);
        let pause = self.pauses.get(last.min(failures as usize)).copied().unwrap_or(MAX_RETRY_AFTER);
        let asked = match said {
            Said::Status(_, Some(asked)) => (*asked).min(MAX_RETRY_AFTER),
            _ => Duration::ZERO,
        };
        Next::Again(pause.mul_f64(1.0 + spread.clamp(0.0, 1.0) / 10.0).max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(failures: u32) -> Next {
        Plan::default().next(&Said::Status(500, None), failures, Duration::ZERO, 0.0)
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let seconds = |failures| match after(failures) {
            Next::Again(pause) => pause.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 70].map(seconds), [5, 30, 120, 600, 1800, 3600, 3600, 3600]);
        let spread = Plan::default().next(&Said::Status(500, None), 5, Duration::ZERO, 1.0);
        assert_eq!(spread, Next::Again(Duration::from_mins(66)));
    }

    #[test]
    fn any_answer_but_2xx_is_a_refusal() {
        let next = |said| Plan::default().next(&said, 0, Duration::ZERO, 0.0);
        for code in [200, 201, 204, 299] {
            assert_eq!(next(Said::Status(code, None)), Next::Delivered, "{code}");
        }
        for code in [199, 300, 301, 302, 304, 307, 400, 401, 404, 429, 500, 503, 600] {
            assert_eq!(next(Said::Status(code, None)), Next::Again(Duration::from_secs(5)), "{code}");
        }
        assert_eq!(next(Said::Nothing("gone".into())), Next::Again(Duration::from_secs(5)));
    }

    #[test]
    fn a_receiver_may_ask_to_be_left_alone_for_an_hour_and_never_for_less_than_the_pause() {
        let asked = |seconds| {
            let said = Said::Status(503, Some(Duration::from_secs(seconds)));
            Plan::default().next(&said, 1, Duration::ZERO, 0.0)
        };
        assert_eq!(asked(90), Next::Again(Duration::from_secs(90)));
        assert_eq!(asked(1), Next::Again(Duration::from_secs(30)));
        assert_eq!(asked(u64::MAX), Next::Again(MAX_RETRY_AFTER));
    }

    #[test]
    fn a_webhook_is_suspended_after_three_days_or_when_it_is_gone_for_good() {
        let next = |code, hours| {
            Plan::default().next(&Said::Status(code, None), 80, Duration::from_hours(hours), 0.0)
        };
        assert!(matches!(next(500, 71), Next::Again(_)));
        assert_eq!(next(500, 72), Next::Suspend("it took nothing for 72 h; at last, it answered 500".into()));
        assert!(matches!(next(410, 0), Next::Suspend(_)));
        assert_eq!(next(200, 100), Next::Delivered);
    }
}
