//! Publishes messages that a broker keeps, over a connection of their own: whoever subscribes later gets the last one of
//! each topic at once.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Packet, PubAckReason, Publish};
use uuid::Uuid;

use crate::client::{self, Reader, Writer};
use crate::url::Url;

/// How long the broker may take for all of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most messages that are on their way at once.
const WINDOW: usize = 100;

/// Why the messages are not all with the broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] client::Error),
    /// The broker does not take a message.
    #[error("the broker refused a message on {topic}: {reason:?}; check its access rules")]
    Refused {
        /// The message's topic.
        topic: String,
        /// What the broker says.
        reason: PubAckReason,
    },
}

/// Publishes messages, each a topic and a payload, and returns once the broker has acknowledged all of them.
///
/// # Errors
///
/// [`Error`]: some of the messages may be with the broker.
pub async fn publish(url: &Url, messages: &[(String, Bytes)]) -> Result<(), Error> {
    let published = tokio::time::timeout(PATIENCE, publish_all(url, messages)).await;
    published.map_err(|_| client::Error::Silent)?
}

async fn publish_all(url: &Url, messages: &[(String, Bytes)]) -> Result<(), Error> {
    let connect = Connect {
        keep_alive: 0,
        client_id: format!("fleetlog-{}", Uuid::now_v7().simple()),
        clean_start: true,
        properties: Some(ConnectProperties::new()),
    };
    let (mut reader, mut writer, granted) = client::open(url, connect).await?;
    let window = WINDOW.min(usize::from(granted.receive_maximum)).max(1);
    for messages in messages.chunks(window) {
        publish_at_once(&mut reader, &mut writer, messages).await?;
    }
    Ok(writer.disconnect().await?)
}

async fn publish_at_once(
    reader: &mut Reader,
    writer: &mut Writer,
    messages: &[(String, Bytes)],
) -> Result<(), Error> {
    for (number, (topic, payload)) in messages.iter().enumerate() {
        let mut publish = Publish::new(topic.clone(), QoS::AtLeastOnce, payload.clone(), None);
        publish.pkid = number as u16 + 1;
        publish.retain = true;
        writer.put(&Packet::Publish(publish))?;
    }
    writer.flush().await?;
    let mut waiting = vec![true; messages.len()];
    while waiting.contains(&true) {
        let Packet::PubAck(puback) = reader.next().await? else { continue };
        let nth = usize::from(puback.pkid).wrapping_sub(1);
        let Some((topic, _)) = messages.get(nth) else { continue };
        match puback.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => waiting[nth] = false,
            reason => return Err(Error::Refused { topic: topic.clone(), reason }),
        }
    }
    Ok(())
}
