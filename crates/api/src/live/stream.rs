//! A stream, as its client asked for it: of events, or of the minutes that readings change.

use fleetlog_access::Principal;
use fleetlog_access::action::ActionType;
use fleetlog_access::callers::Credential;
use fleetlog_live::Places;

use super::feed::{Feed, Message};
use super::follow::Follow;
use super::minutes::Minutes;
use crate::door::May;
use crate::rest::Error;

/// A stream.
pub enum Stream {
    /// Of events, as they are.
    Events(Box<Feed>),
    /// Of windows.
    Minutes(Box<Minutes>),
}

impl Stream {
    /// Opens a stream for a caller who may follow.
    pub async fn open<A: ActionType>(
        door: &May<A>,
        credential: Credential,
        follow: &Follow,
        last: Option<&str>,
    ) -> Result<Self, Error> {
        if follow.windows.is_some() && follow.max_rate.is_some() {
            return Err(Error::field("max_rate", "windows count every reading: leave it out"));
        }
        let feed = Feed::open(door, credential, follow, last).await?;
        if follow.windows.is_none() {
            return Ok(Self::Events(Box::new(feed)));
        }
        let minutes = Minutes::of(feed, door.app.clone(), follow.selection()?.metrics)?;
        Ok(Self::Minutes(Box::new(minutes)))
    }

    /// How far the client was told.
    #[must_use]
    pub fn told(&self) -> &Places {
        match self {
            Self::Events(feed) => feed.told(),
            Self::Minutes(minutes) => minutes.told(),
        }
    }

    /// Who follows, as of the last time that the database was asked.
    #[must_use]
    pub fn caller(&self) -> &Principal {
        match self {
            Self::Events(feed) => feed.caller(),
            Self::Minutes(minutes) => minutes.caller(),
        }
    }

    /// What the client is told next: at least one message, or none after the end. A stream whose call is dropped is
    /// of no more use.
    pub async fn next(&mut self) -> Vec<Message> {
        match self {
            Self::Events(feed) => feed.next().await,
            Self::Minutes(minutes) => minutes.next().await,
        }
    }
}
