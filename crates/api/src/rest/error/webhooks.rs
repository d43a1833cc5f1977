//! The errors of webhooks.

use fleetlog_webhooks::{Delivery, Error as Failed, Refused, Webhook};
use http::StatusCode;

use super::Error;

impl From<Failed> for Error {
    fn from(error: Failed) -> Self {
        match error {
            Failed::Database(error) => error.into(),
            Failed::Sealed(_) | Failed::Unreadable(..) => Self::internal(error),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Unknown => Self::missing::<Webhook>(),
            Refused::UnknownDelivery => Self::missing::<Delivery>(),
            Refused::TooMany => Self::conflict("limit_reached", detail),
            Refused::BadUrl(_) => Self::field("url", detail),
            Refused::NotBehind(_) => Self::field("from", detail),
            Refused::IsTest => Self::conflict("is_test", detail),
            Refused::Busy => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).soon(),
            Refused::Failed(error) => error.into(),
        }
    }
}
