//! What a client is told: acknowledgements, grants, messages, and why its connection ends.

use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    MessageExpiryInterval, Packet, Qos, SubscriptionIdentifier, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    MqttError, PubackReasonCode, PubrecReasonCode, SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};

use super::{Ack, Grant, Outcome, Outgoing, Protocol, Reason, UNDER_WAY, Unsent, Version, frame, send};

impl Protocol {
    /// Acknowledges a publish. MQTT 3.1.1 has no word for anything but [`Outcome::Stored`].
    pub fn acknowledge(&mut self, ack: Ack, outcome: Outcome, out: &mut Vec<u8>) {
        let refused = self.version == Version::V5 && outcome != Outcome::Stored;
        match (ack, self.version) {
            (Ack::Puback(id), Version::V3) => {
                self.answer(v3_1_1::Puback::builder().packet_id(id).build(), out);
            }
            (Ack::Puback(id), Version::V5) => {
                let puback = v5_0::Puback::builder().packet_id(id);
                let reason = match outcome {
                    Outcome::NotAuthorized => PubackReasonCode::NotAuthorized,
                    _ => PubackReasonCode::QuotaExceeded,
                };
                let puback = if refused { puback.reason_code(reason) } else { puback };
                self.answer(puback.build(), out);
            }
            (Ack::Pubrec(id), version) => {
                self.storing.retain(|storing| *storing != id);
                if version == Version::V3 {
                    return self.answer(v3_1_1::Pubrec::builder().packet_id(id).build(), out);
                }
                let pubrec = v5_0::Pubrec::builder().packet_id(id);
                let reason = match outcome {
                    Outcome::NotAuthorized => PubrecReasonCode::NotAuthorized,
                    _ => PubrecReasonCode::QuotaExceeded,
                };
                let pubrec = if refused {
                    self.unreleased.remove(&id);
                    pubrec.reason_code(reason)
                } else {
                    pubrec
                };
                self.answer(pubrec.build(), out);
            }
        }
    }

    /// Answers an [`Incoming::Release`](super::Incoming::Release).
    pub fn complete(&mut self, id: u16, out: &mut Vec<u8>) {
        match self.version {
            Version::V3 => self.answer(v3_1_1::Pubcomp::builder().packet_id(id).build(), out),
            Version::V5 => self.answer(v5_0::Pubcomp::builder().packet_id(id).build(), out),
        }
    }

    /// Answers a [`Incoming::Subscribe`](super::Incoming::Subscribe), in the order of what it asked for.
    pub fn grant(&mut self, id: u16, grants: &[Grant], out: &mut Vec<u8>) {
        match self.version {
            Version::V3 => {
                let code = |grant: &Grant| match grant {
                    Grant::Granted(0) => SubackReturnCode::SuccessMaximumQos0,
                    Grant::Granted(1) => SubackReturnCode::SuccessMaximumQos1,
                    Grant::Granted(_) => SubackReturnCode::SuccessMaximumQos2,
                    _ => SubackReturnCode::Failure,
                };
                let codes = grants.iter().map(code).collect();
                self.answer(v3_1_1::Suback::builder().packet_id(id).return_codes(codes).build(), out);
            }
            Version::V5 => {
                let code = |grant: &Grant| match grant {
                    Grant::Granted(0) => SubackReasonCode::GrantedQos0,
                    Grant::Granted(1) => SubackReasonCode::GrantedQos1,
                    Grant::Granted(_) => SubackReasonCode::GrantedQos2,
                    Grant::NotAuthorized => SubackReasonCode::NotAuthorized,
                    Grant::TooMany => SubackReasonCode::QuotaExceeded,
                    Grant::Invalid => SubackReasonCode::TopicFilterInvalid,
                };
                let codes = grants.iter().map(code).collect();
                self.answer(v5_0::Suback::builder().packet_id(id).reason_codes(codes).build(), out);
            }
        }
    }

    /// Answers an [`Incoming::Unsubscribe`](super::Incoming::Unsubscribe): whether there was such a subscription, in the order of the request.
    pub fn end(&mut self, id: u16, existed: &[bool], out: &mut Vec<u8>) {
        match self.version {
            Version::V3 => self.answer(v3_1_1::Unsuback::builder().packet_id(id).build(), out),
            Version::V5 => {
                let code = |existed: &bool| match existed {
                    true => UnsubackReasonCode::Success,
                    false => UnsubackReasonCode::NoSubscriptionExisted,
                };
                let codes = existed.iter().map(code).collect();
                self.answer(v5_0::Unsuback::builder().packet_id(id).reason_codes(codes).build(), out);
            }
        }
    }

    /// Sends a message, and returns its packet id if the client acknowledges it.
    pub fn send(&mut self, message: Outgoing<'_>, out: &mut Vec<u8>) -> Result<Option<u16>, Unsent> {
        if frame::publish_len(self.version, &message) > self.most {
            return Err(Unsent::TooLarge);
        }
        let (qos, id) = if message.acknowledged {
            if self.sent.len() >= usize::from(UNDER_WAY)
                || self.books.get_receive_maximum_vacancy_for_send() == Some(0)
            {
                return Err(Unsent::NoRoom);
            }
            (Qos::AtLeastOnce, Some(self.books.acquire_packet_id().map_err(|_| Unsent::NoRoom)?))
        } else {
            (Qos::AtMostOnce, None)
        };
        let packet: Result<Packet, MqttError> = match self.version {
            Version::V3 => {
                let publish = v3_1_1::Publish::builder().topic_name(message.topic);
                publish.and_then(|publish| {
                    let publish = publish.qos(qos).payload(message.payload);
                    let publish = if let Some(id) = id { publish.packet_id(id) } else { publish };
                    publish.build().map(Into::into)
                })
            }
            Version::V5 => {
                let publish = v5_0::Publish::builder().topic_name(message.topic);
                publish.and_then(|publish| {
                    let mut properties = vec![MessageExpiryInterval::new(message.expires_in_s)?.into()];
                    if let Some(number) = message.number {
                        properties.push(SubscriptionIdentifier::new(number)?.into());
                    }
                    let publish = publish.qos(qos).payload(message.payload).props(properties);
                    let publish = if let Some(id) = id { publish.packet_id(id) } else { publish };
                    publish.build().map(Into::into)
                })
            }
        };
        self.sent.extend(id);
        self.answer(packet, out);
        Ok(id)
    }

    /// Tells the client that and why the connection ends. MQTT 3.1.1 has no word for it.
    pub fn disconnect(&mut self, reason: Reason, out: &mut Vec<u8>) {
        if self.version == Version::V5 {
            self.answer(v5_0::Disconnect::builder().reason_code(reason).build(), out);
        }
    }

    /// Whether there was an answer that the client does not take, because of its size. There is nothing left to say then.
    #[must_use]
    pub fn is_speechless(&self) -> bool {
        self.is_speechless
    }

    /// Enters a packet of ours into the books, and adds it to what is sent.
    pub(super) fn answer<T: Into<Packet>>(&mut self, packet: Result<T, MqttError>, out: &mut Vec<u8>) {
        let before = out.len();
        let events = packet.map(|packet| self.books.send(packet.into()));
        for event in events.into_iter().flatten() {
            if let Event::RequestSendPacket { packet, .. } = event {
                send(&packet, out);
            }
        }
        self.is_speechless |= out.len() == before;
    }
}
