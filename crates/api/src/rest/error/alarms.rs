//! The errors of alarms and of the rules that raise them.

use fleetlog_aggregates::{alarm, alarm_rule};
use fleetlog_engine::alarms::{people, preview, rules};
use fleetlog_projections::alarms::{self, Alarm, Rule};

use super::Error;

impl From<alarms::Error> for Error {
    fn from(error: alarms::Error) -> Self {
        match error {
            alarms::Error::Database(error) => error.into(),
            corrupt @ alarms::Error::Corrupt(_) => Self::internal(corrupt),
        }
    }
}

impl From<people::Error> for Error {
    fn from(error: people::Error) -> Self {
        match error {
            people::Error::Alarm(error) => error.into(),
            people::Error::Conflict => Self::changing(),
            people::Error::Log(error) => error.into(),
        }
    }
}

impl From<alarm::Error> for Error {
    fn from(error: alarm::Error) -> Self {
        match error {
            alarm::Error::Unknown => Self::missing::<Alarm>(),
            alarm::Error::AlreadyAcknowledged => Self::conflict("already_acknowledged", error.to_string()),
            alarm::Error::AlreadyCleared => Self::conflict("already_cleared", error.to_string()),
            alarm::Error::Invalid { field, why } => Self::field(field, why),
            // Only the evaluator raises alarms.
            alarm::Error::AlreadyRaised => Self::changing(),
        }
    }
}

impl From<rules::Error> for Error {
    fn from(error: rules::Error) -> Self {
        match error {
            rules::Error::Rule(error) => error.into(),
            rules::Error::TooMany => {
                let detail = "the tenant has 200 alarm rules, which is the most: remove one, or let one be about more devices";
                Self::conflict("too_many_rules", detail)
            }
            rules::Error::UnknownUser => Self::field("mail", "expected ids of the tenant's users"),
            rules::Error::Conflict => Self::changing(),
            rules::Error::Log(error) => error.into(),
        }
    }
}

impl From<alarm_rule::Error> for Error {
    fn from(error: alarm_rule::Error) -> Self {
        match error {
            alarm_rule::Error::Unknown => Self::missing::<Rule>(),
            alarm_rule::Error::OtherVersion(_) => {
                Self::conflict("other_version", format!("{error}: read it again, and decide anew"))
            }
            alarm_rule::Error::Invalid { field, why } => Self::field(field, why),
        }
    }
}

impl From<preview::Error> for Error {
    fn from(error: preview::Error) -> Self {
        match error {
            preview::Error::Rule(error) => error.into(),
            preview::Error::Span => {
                Self::field("from", "expected a span of at most 31 days that ends after it begins")
            }
            preview::Error::Log(error) => error.into(),
        }
    }
}
