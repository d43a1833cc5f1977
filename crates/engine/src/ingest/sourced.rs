//! Messages on foreign topics: a source of the tenant says which devices they are from, when and under which id. What was
//! measured is left to the folds, so the bytes are stored as they came.

use std::sync::Arc;

use fleetlog_aggregates::identity::{Tenant, aggregate_id};
use fleetlog_aggregates::telemetry::{Flags, Reason, Recorded};
use fleetlog_event_log::sources::Sources;
use fleetlog_sources::{Identified, Kept, Refused};
use uuid::Uuid;

use super::handle::Message;

/// The most bytes that one message may become on the record: each of its readings is stored with the whole message.
pub(super) const SOURCED_BYTES: usize = 4 << 20;

/// Why a message, or one reading of it, is refused.
pub(super) type Fault = (Reason, String);

/// The readings of a message: each an event, or the reason why it is none.
pub(super) fn readings(
    tenant: &Tenant,
    sources: &Arc<Sources>,
    message: &Message,
) -> Result<Vec<Result<Recorded, Fault>>, Fault> {
    let topic: &str = &message.topic;
    let Some((known, source)) = sources.taking(topic) else {
        return Err((Reason::BadTopic, format!("no source takes the topic {topic}")));
    };
    let received = fleetlog_sources::Message {
        topic,
        payload: &message.payload,
        received_at: message.received().received_at,
        login: message.sender.as_ref().and_then(|sender| sender.login()),
    };
    let identified = source.identify(received).map_err(|why| (reason(&why), why.to_string()))?;
    let (of, bytes) = (identified.len(), message.payload.len());
    if of > 1 && of * bytes > SOURCED_BYTES {
        let detail = format!(
            "{of} readings in {bytes} bytes: each is stored with the whole message, {SOURCED_BYTES} bytes at most in all"
        );
        return Err((Reason::TooLarge, detail));
    }
    let reading = |reading: Identified<'_>| {
        let is_heard = message.sender.as_ref().is_none_or(|sender| sender.speaks_for(&reading.uid));
        if !is_heard {
            let login = message.sender.as_ref().and_then(|sender| sender.login()).unwrap_or_default();
            let detail = format!("the login is {login}'s, which does not speak for {}", reading.uid);
            return Err((Reason::OtherDevice, detail));
        }
        if message.is_will && !reading.flags.contains(Flags::OFFLINE) {
            return Err((Reason::BadTopic, "a will is a status that says offline".to_owned()));
        }
        let mut flags = reading.flags.with(Flags::SOURCED);
        if message.is_will {
            flags = flags.with(Flags::WILL);
        }
        let kept = Kept {
            source: known.name.as_str().into(),
            topic: topic.into(),
            payload: (&*message.payload).into(),
            part: reading.part,
        };
        Ok(Recorded {
            tenant: tenant.clone(),
            aggregate_id: aggregate_id(tenant, &reading.uid),
            msg_id: msg_id(message, &reading),
            occurred_at: reading.occurred_at,
            payload: kept.to_stored(),
            flags,
            uid: reading.uid,
        })
    };
    Ok(identified.into_iter().map(reading).collect())
}

/// The reading's own id, or else the one by which the sender knows the message, or a new one. Where a message has several
/// readings, a new one follows from the message: if some of them are refused and the message is taken in again, the others
/// are known.
fn msg_id(message: &Message, reading: &Identified<'_>) -> String {
    if let Some(own) = &reading.msg_id {
        return own.clone();
    }
    if reading.part.is_whole() {
        return message.msg_id();
    }
    let known_as = message.known_as().unwrap_or_else(|| {
        // To the microsecond, which is what quarantine keeps of it.
        let received_at = message.received().received_at.timestamp_micros().to_be_bytes();
        let content = [message.topic.as_bytes(), &received_at, &message.payload];
        format!("auto-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, &content.concat()))
    });
    format!("{known_as}#{}", reading.part.nth)
}

fn reason(why: &Refused) -> Reason {
    match why {
        Refused::OtherTopic => Reason::BadTopic,
        Refused::TooLarge(_) => Reason::TooLarge,
        Refused::TooDeep => Reason::TooDeep,
        Refused::TooManyValues | Refused::TooManyReadings(_) => Reason::TooMany,
        Refused::NoUid(..) => Reason::NoUid,
    }
}
