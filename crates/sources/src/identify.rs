//! At ingest: which device a message is from, when its readings were taken, and under which id. Metrics are no business of
//! this module: they follow from the stored bytes.

use std::fmt;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_aggregates::metrics::MAX_DEPTH;
use fleetlog_aggregates::telemetry::{Flags, LATE_AFTER, MAX_AHEAD, MAX_MSG_ID, MAX_PAYLOAD};

use crate::aliases::Aliases;
use crate::formats::{Document, Unreadable};
use crate::limits::{MAX_NODES, MAX_READINGS};
use crate::readings::{Part, Reading, readings};
use crate::source::{Rule, Source};
use crate::template::Scope;
use crate::tree::Spent;
use crate::uid::uid_of;

/// A message as a broker delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// Its payload.
    pub payload: &'m [u8],
    /// When the server received it.
    pub received_at: DateTime<Utc>,
    /// The device that the sender's login names, for topics that name none. `None` where nobody has logged in as a device.
    pub login: Option<&'m str>,
}

/// One reading of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified<'s> {
    /// The device.
    pub uid: Uid,
    /// The definition's words for where the uid was found.
    pub uid_from: &'s str,
    /// When the reading was taken: the arrival, where the message does not say it, or says what cannot be.
    pub occurred_at: DateTime<Utc>,
    /// The definition's words for where the time was found. `None` for the arrival.
    pub time_from: Option<&'s str>,
    /// The message's own id. `None` where it has none that can be used: then it is never taken for a repeat.
    pub msg_id: Option<String>,
    /// The definition's words for where the id was found.
    pub id_from: Option<&'s str>,
    /// Which of the message's readings it is.
    pub part: Part,
    /// What there is to say about it.
    pub flags: Flags,
}

/// A message that cannot be put on the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The source does not take messages on this topic.
    #[error("the source takes no messages on this topic")]
    OtherTopic,
    /// The payload is larger than [`MAX_PAYLOAD`].
    #[error("{0} bytes; at most {MAX_PAYLOAD} are stored")]
    TooLarge(usize),
    /// The payload is nested too deep.
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The payload has too many values.
    #[error("more than {MAX_NODES} values")]
    TooManyValues,
    /// The payload has too many readings.
    #[error("{0} readings; at most {MAX_READINGS} are taken from one message")]
    TooManyReadings(usize),
    /// A reading does not say which device it is from.
    #[error("reading {0}: {1}")]
    NoUid(u32, NoUid),
}

/// Why a reading has no uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoUid {
    /// There is nothing where the source says that the uid is.
    Missing(String),
    /// What is there cannot be one.
    Bad(String),
    /// The payload could not be read.
    Unreadable(String),
}

impl fmt::Display for NoUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(place) => write!(f, "there is no uid at {place}"),
            Self::Bad(why) => f.write_str(why),
            Self::Unreadable(why) => write!(f, "the payload, which names the device, cannot be read: {why}"),
        }
    }
}

impl Source {
    /// Says of each reading of a message which device it is from, when it was taken, and under which id. What cannot be read
    /// leaves the reading with the time of its arrival, without an id, and with a flag; only a message without a device, or
    /// beyond the bounds, is refused.
    ///
    /// # Errors
    ///
    /// [`Refused`], with the reason.
    pub fn identify<'s>(&'s self, message: Message<'s>) -> Result<Vec<Identified<'s>>, Refused> {
        let Message { topic, payload, received_at, login } = message;
        let (rule, levels) = self.rule(topic).ok_or(Refused::OtherTopic)?;
        if payload.len() > MAX_PAYLOAD {
            return Err(Refused::TooLarge(payload.len()));
        }
        // Who, when and under which id does not depend on what an alias stands for.
        let none = Aliases::default();
        let read = rule.needs_payload().then(|| rule.read(payload, &none));
        let (document, why) = match read {
            None => (None, None),
            Some(Ok(document)) => (Some(document), None),
            Some(Err(Unreadable::Spent(Spent::Depth))) => return Err(Refused::TooDeep),
            Some(Err(Unreadable::Spent(Spent::Nodes))) => return Err(Refused::TooManyValues),
            Some(Err(Unreadable::Syntax(why))) => (None, Some(why)),
        };
        let root = document.as_ref().map(|document| &document.root);
        let readings = match root {
            None => vec![Reading::whole(None)],
            Some(root) => readings(rule.each.as_ref(), root).map_err(Refused::TooManyReadings)?,
        };
        let of = readings.len() as u32;
        let identified = readings.into_iter().enumerate().map(|(nth, reading)| {
            let scope =
                Scope { levels: &levels, key: reading.key, login, reading: reading.node, message: root };
            let part = Part { nth: nth as u32, of };
            rule.identify(&scope, part, received_at, why.as_deref())
        });
        identified.collect()
    }
}

impl Rule {
    fn needs_payload(&self) -> bool {
        self.status.is_some() || self.each.is_some() || self.headers().next().is_some()
    }

    pub(crate) fn read<'p>(
        &self,
        payload: &'p [u8],
        aliases: &'p Aliases,
    ) -> Result<Document<'p>, Unreadable> {
        let is_object = || payload.trim_ascii_start().starts_with(b"{");
        if self.status.is_some() && self.format == crate::Format::Text && is_object() {
            return crate::Format::LenientJson.read(payload, aliases);
        }
        self.format.read(payload, aliases)
    }

    fn identify<'s>(
        &'s self,
        scope: &Scope<'_, '_>,
        part: Part,
        received_at: DateTime<Utc>,
        unreadable: Option<&str>,
    ) -> Result<Identified<'s>, Refused> {
        let uid = self.find_uid(scope, unreadable).map_err(|why| Refused::NoUid(part.nth, why))?;
        let mut flags = Flags::default();
        let (occurred_at, time_from) = self.find_time(scope, received_at, &mut flags);
        let (msg_id, id_from) = self.find_id(scope, part, &mut flags);
        if let Some(status) = &self.status {
            use fleetlog_aggregates::device_status::Statement;
            flags = match status.read(scope.reading) {
                Some(Statement::Online) => flags.with(Flags::ONLINE),
                Some(Statement::Offline) => flags.with(Flags::OFFLINE),
                None => flags,
            };
        }
        Ok(Identified {
            uid,
            uid_from: self.uid.as_str(),
            occurred_at,
            time_from,
            msg_id,
            id_from,
            part,
            flags,
        })
    }

    fn find_uid(&self, scope: &Scope<'_, '_>, unreadable: Option<&str>) -> Result<Uid, NoUid> {
        let other = self.other_characters;
        if let Some(level) = self.uid.only_name().and_then(|name| scope.levels.get(name)) {
            return uid_of(level, other).map_err(NoUid::Bad);
        }
        match (self.uid.fill(scope), unreadable) {
            (Some(filled), _) => uid_of(filled.text.trim_end_matches([':', '/']), other).map_err(NoUid::Bad),
            (None, Some(why)) => Err(NoUid::Unreadable(why.to_owned())),
            (None, None) => Err(NoUid::Missing(self.uid.to_string())),
        }
    }

    /// The time of a reading. One that is ahead of the server's clock says nothing but that the clock is wrong, so the arrival
    /// stands for it.
    fn find_time(
        &self,
        scope: &Scope<'_, '_>,
        received_at: DateTime<Utc>,
        flags: &mut Flags,
    ) -> (DateTime<Utc>, Option<&str>) {
        let Some(rule) = &self.time else {
            *flags = flags.with(Flags::NO_TS);
            return (received_at, None);
        };
        let mut is_there = false;
        for place in &rule.places {
            let time = match place.only_path() {
                Some(path) => match scope.find(path) {
                    Some((node, _)) => rule.clock.read(node, received_at),
                    None => continue,
                },
                None => match place.fill(scope) {
                    Some(filled) => rule.clock.read(&crate::tree::Node::text(filled.text), received_at),
                    None => continue,
                },
            };
            is_there = true;
            let Some(time) = time else { continue };
            if time > received_at + MAX_AHEAD {
                *flags = flags.with(Flags::CLOCK_AHEAD);
                return (received_at, None);
            }
            if time < received_at - LATE_AFTER {
                *flags = flags.with(Flags::LATE);
            }
            return (time, Some(place.as_str()));
        }
        *flags = flags.with(if is_there { Flags::BAD_TS } else { Flags::NO_TS });
        (received_at, None)
    }

    fn find_id(
        &self,
        scope: &Scope<'_, '_>,
        part: Part,
        flags: &mut Flags,
    ) -> (Option<String>, Option<&str>) {
        let mut id = String::new();
        let mut is_shared = false;
        for (nth, template) in self.id.iter().enumerate() {
            let Some(filled) = template.fill(scope) else {
                *flags = flags.with(Flags::NO_MSG_ID);
                return (None, None);
            };
            if nth > 0 {
                id.push(':');
            }
            id.push_str(&filled.text);
            is_shared |= filled.is_shared;
        }
        if self.id.is_empty() {
            *flags = flags.with(Flags::NO_MSG_ID);
            return (None, None);
        }
        if is_shared && part.of > 1 {
            // The message's id stands for all of its readings, so their places tell them apart.
            id.push('#');
            id.push_str(&part.nth.to_string());
        }
        if !(1..=MAX_MSG_ID).contains(&id.chars().count()) || id.contains('\0') {
            *flags = flags.with(Flags::BAD_MSG_ID);
            return (None, None);
        }
        (Some(id), Some(&self.id_text))
    }
}
