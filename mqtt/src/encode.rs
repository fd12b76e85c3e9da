//! Packets of the server as bytes.
//!
//! What it is        one function per packet; each appends a whole packet to a buffer.
//! What it is not    a general encoder: it writes what this server says. The tests read it back
//!                   with `mqtt-proto`.
//! Source            MQTT 5.0 §2, §3.

use std::sync::Arc;

use crate::message::{Message, Qos};
use crate::packet::Version;
use crate::reason::ReasonCode;

/// What a CONNACK of MQTT 5 says beside the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnackProperties {
    /// Session expiry in seconds, where it is not what the client asked for.
    pub session_expiry_seconds: Option<u32>,
    /// Receive Maximum of the server.
    pub receive_maximum: Option<u16>,
    /// Largest quality that the server takes; 2 is not said.
    pub qos_max: Option<Qos>,
    /// Largest packet in bytes that the server takes.
    pub packet_bytes_max: Option<u32>,
    /// Client identifier that the server chose.
    pub assigned_client_id: Option<Arc<str>>,
    /// Topic Alias Maximum of the server.
    pub topic_alias_maximum: Option<u16>,
    /// Keep-alive in seconds, where it is not what the client asked for.
    pub server_keep_alive_seconds: Option<u16>,
    /// A sentence for the operator of the client.
    pub reason_string: Option<String>,
}

/// The four packets that acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// PUBACK.
    Puback,
    /// PUBREC.
    Pubrec,
    /// PUBREL.
    Pubrel,
    /// PUBCOMP.
    Pubcomp,
}

/// How a message is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Quality for this subscriber.
    pub qos: Qos,
    /// Packet identifier with QoS 1.
    pub packet_id: u16,
    /// Sent before.
    pub dup: bool,
    /// Retain flag for this subscriber.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub identifiers: Vec<u32>,
    /// Seconds of message expiry that are left.
    pub expiry_seconds: Option<u32>,
}

/// CONNACK. Before MQTT 5 a reason without a return code says "server unavailable".
pub fn connack(
    out: &mut Vec<u8>,
    version: Version,
    session_present: bool,
    reason: ReasonCode,
    properties: &ConnackProperties,
) {
    let mut body = vec![u8::from(session_present)];
    if version == Version::V5 {
        body.push(reason.code());
        put_properties(&mut body, |body| put_connack_properties(body, properties));
    } else {
        // MQTT 3.1 has no session present flag.
        if version == Version::V31 {
            body = vec![0];
        }
        body.push(reason.connect_return_code().unwrap_or(3));
    }
    put_packet(out, 0x20, &body);
}

fn put_connack_properties(body: &mut Vec<u8>, properties: &ConnackProperties) {
    if let Some(seconds) = properties.session_expiry_seconds {
        body.push(0x11);
        body.extend_from_slice(&seconds.to_be_bytes());
    }
    if let Some(count) = properties.receive_maximum {
        body.push(0x21);
        body.extend_from_slice(&count.to_be_bytes());
    }
    if let Some(qos) = properties.qos_max.filter(|qos| *qos != Qos::ExactlyOnce) {
        body.extend_from_slice(&[0x24, qos.level()]);
    }
    if let Some(bytes) = properties.packet_bytes_max {
        body.push(0x27);
        body.extend_from_slice(&bytes.to_be_bytes());
    }
    if let Some(client_id) = &properties.assigned_client_id {
        body.push(0x12);
        put_string(body, client_id.as_bytes());
    }
    if let Some(count) = properties.topic_alias_maximum {
        body.push(0x22);
        body.extend_from_slice(&count.to_be_bytes());
    }
    if let Some(reason) = &properties.reason_string {
        body.push(0x1f);
        put_string(body, reason.as_bytes());
    }
    if let Some(seconds) = properties.server_keep_alive_seconds {
        body.push(0x13);
        body.extend_from_slice(&seconds.to_be_bytes());
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP. Older versions have no reason.
pub fn acknowledgement(
    out: &mut Vec<u8>,
    version: Version,
    kind: Acknowledgement,
    packet_id: u16,
    reason: ReasonCode,
) {
    let first = match kind {
        Acknowledgement::Puback => 0x40,
        Acknowledgement::Pubrec => 0x50,
        Acknowledgement::Pubrel => 0x62,
        Acknowledgement::Pubcomp => 0x70,
    };
    let [high, low] = packet_id.to_be_bytes();
    if version == Version::V5 && reason != ReasonCode::Success {
        out.extend_from_slice(&[first, 3, high, low, reason.code()]);
    } else {
        out.extend_from_slice(&[first, 2, high, low]);
    }
}

/// SUBACK.
pub fn suback(out: &mut Vec<u8>, version: Version, packet_id: u16, reasons: &[ReasonCode]) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    let code = |reason: &ReasonCode| match version {
        Version::V31 | Version::V311 if reason.is_error() => 0x80,
        Version::V31 | Version::V311 | Version::V5 => reason.code(),
    };
    body.extend(reasons.iter().map(code));
    put_packet(out, 0x90, &body);
}

/// UNSUBACK.
pub fn unsuback(out: &mut Vec<u8>, version: Version, packet_id: u16, reasons: &[ReasonCode]) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
        body.extend(reasons.iter().map(|reason| reason.code()));
    }
    put_packet(out, 0xb0, &body);
}

/// PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// DISCONNECT; only MQTT 5 has one from the server.
pub fn disconnect(out: &mut Vec<u8>, version: Version, reason: ReasonCode) {
    if version == Version::V5 {
        out.extend_from_slice(&[0xe0, 1, reason.code()]);
    }
}

/// PUBLISH.
pub fn publish(out: &mut Vec<u8>, version: Version, message: &Message, delivery: &Delivery) {
    let first = 0x30
        | (u8::from(delivery.dup) << 3)
        | (delivery.qos.level() << 1)
        | u8::from(delivery.retain);
    let mut head = Vec::with_capacity(message.topic.len() + 16);
    put_string(&mut head, message.topic.as_bytes());
    if delivery.qos != Qos::AtMostOnce {
        head.extend_from_slice(&delivery.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        put_properties(&mut head, |body| {
            put_publish_properties(body, message, delivery)
        });
    }
    out.push(first);
    put_variable(out, head.len() + message.payload.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(&message.payload);
}

fn put_publish_properties(body: &mut Vec<u8>, message: &Message, delivery: &Delivery) {
    if let Some(seconds) = delivery.expiry_seconds {
        body.push(0x02);
        body.extend_from_slice(&seconds.to_be_bytes());
    }
    for identifier in &delivery.identifiers {
        body.push(0x0b);
        put_variable(body, usize::try_from(*identifier).unwrap_or(0));
    }
    let Some(properties) = &message.properties else {
        return;
    };
    if let Some(is_utf8) = properties.payload_is_utf8 {
        body.extend_from_slice(&[0x01, u8::from(is_utf8)]);
    }
    let strings = [
        (0x03, properties.content_type.as_deref().map(str::as_bytes)),
        (
            0x08,
            properties.response_topic.as_deref().map(str::as_bytes),
        ),
        (0x09, properties.correlation_data.as_deref()),
    ];
    for (id, value) in strings {
        if let Some(value) = value {
            body.push(id);
            put_string(body, value);
        }
    }
    for (name, value) in &properties.user_properties {
        body.push(0x26);
        put_string(body, name.as_bytes());
        put_string(body, value.as_bytes());
    }
}

fn put_packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    put_variable(out, body.len());
    out.extend_from_slice(body);
}

fn put_properties(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    put(&mut body);
    put_variable(out, body.len());
    out.extend_from_slice(&body);
}

fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Two bytes of length and the bytes; longer ones are cut, which their limits do not allow.
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
}

#[cfg(test)]
mod tests {
    use super::{Acknowledgement, ConnackProperties, Delivery};
    use crate::message::{Message, MessageProperties, Qos};
    use crate::packet::Version;
    use crate::reason::ReasonCode;
    use mqtt_proto::{v3, v5};

    fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn read3(out: &[u8]) -> v3::Packet {
        v3::Packet::decode(out).unwrap().unwrap()
    }

    fn read5(out: &[u8]) -> v5::Packet {
        v5::Packet::decode(out).unwrap().unwrap()
    }

    #[test]
    fn another_implementation_reads_what_is_written() {
        let properties = ConnackProperties {
            session_expiry_seconds: Some(7),
            receive_maximum: Some(64),
            qos_max: Some(Qos::AtLeastOnce),
            packet_bytes_max: Some(1000),
            assigned_client_id: Some("auto".into()),
            topic_alias_maximum: Some(8),
            server_keep_alive_seconds: Some(60),
            reason_string: Some("because".to_owned()),
        };
        let connack =
            |version, reason| bytes(|out| super::connack(out, version, true, reason, &properties));
        let v5::Packet::Connack(found) = read5(&connack(Version::V5, ReasonCode::Success)) else {
            panic!("CONNACK");
        };
        assert!(found.session_present);
        assert_eq!(found.properties.receive_max, Some(64));
        assert_eq!(found.properties.max_qos, Some(mqtt_proto::QoS::Level1));
        assert_eq!(found.properties.max_packet_size, Some(1000));
        assert_eq!(found.properties.assigned_client_id.as_deref(), Some("auto"));
        assert_eq!(found.properties.topic_alias_max, Some(8));
        assert_eq!(found.properties.server_keep_alive, Some(60));
        assert_eq!(found.properties.reason_string.as_deref(), Some("because"));
        assert_eq!(found.properties.session_expiry_interval, Some(7));
        let refused = connack(Version::V31, ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(refused, [0x20, 2, 0, 1]);
        assert_eq!(connack(Version::V311, ReasonCode::Success), [0x20, 2, 1, 0]);
    }

    #[test]
    fn acknowledgements_have_reasons_where_the_version_has_them() {
        for kind in [
            Acknowledgement::Puback,
            Acknowledgement::Pubrec,
            Acknowledgement::Pubcomp,
            Acknowledgement::Pubrel,
        ] {
            let write = |version, reason| {
                bytes(|out| super::acknowledgement(out, version, kind, 513, reason))
            };
            let old = write(Version::V311, ReasonCode::QuotaExceeded);
            assert_eq!(old.len(), 4);
            read3(&old);
            read5(&write(Version::V5, ReasonCode::Success));
        }
        let refused = bytes(|out| {
            let kind = Acknowledgement::Puback;
            super::acknowledgement(out, Version::V5, kind, 1, ReasonCode::QuotaExceeded);
        });
        let v5::Packet::Puback(puback) = read5(&refused) else {
            panic!("PUBACK");
        };
        assert_eq!(puback.reason_code, v5::PubackReasonCode::QuotaExceeded);
    }

    #[test]
    fn a_delivered_message_is_whole_in_every_version() {
        let message = Message {
            topic: "a/b".into(),
            payload: vec![b'x'; 300].into(),
            properties: MessageProperties {
                payload_is_utf8: Some(true),
                content_type: Some("text/plain".into()),
                response_topic: Some("back".into()),
                correlation_data: Some(vec![1, 2].into()),
                user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
                ..MessageProperties::default()
            }
            .boxed(),
            ..Message::default()
        };
        let delivery = Delivery {
            qos: Qos::AtLeastOnce,
            packet_id: 9,
            dup: true,
            retain: true,
            identifiers: vec![200],
            expiry_seconds: Some(5),
        };
        let write = |version| bytes(|out| super::publish(out, version, &message, &delivery));
        let v3::Packet::Publish(old) = read3(&write(Version::V311)) else {
            panic!("PUBLISH");
        };
        assert_eq!((old.dup, old.retain, &*old.topic_name), (true, true, "a/b"));
        assert_eq!(old.payload.len(), 300);
        let v5::Packet::Publish(new) = read5(&write(Version::V5)) else {
            panic!("PUBLISH");
        };
        assert_eq!(new.properties.user_properties.len(), 2);
        assert_eq!(new.properties.message_expiry_interval, Some(5));
        assert_eq!(
            new.properties.subscription_id.map(v5::VarByteInt::value),
            Some(200)
        );
        assert_eq!(new.properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(new.properties.payload_is_utf8, Some(true));
        assert_eq!(new.payload.len(), 300);
    }

    #[test]
    fn subscribers_hear_what_was_granted() {
        let reasons = [ReasonCode::GrantedQos1, ReasonCode::QuotaExceeded];
        for version in [Version::V311, Version::V5] {
            let out = bytes(|out| super::suback(out, version, 3, &reasons));
            let last = if version == Version::V5 { 0x97 } else { 0x80 };
            assert_eq!(out.last(), Some(&last));
            match version {
                Version::V5 => drop(read5(&out)),
                Version::V31 | Version::V311 => drop(read3(&out)),
            }
        }
        assert_eq!(
            bytes(|out| super::unsuback(out, Version::V311, 3, &reasons)).len(),
            4
        );
        let out = bytes(|out| {
            super::unsuback(out, Version::V5, 3, &[ReasonCode::NoSubscriptionExisted]);
        });
        drop(read5(&out));
        drop(read5(&bytes(super::pingresp)));
        let out = bytes(|out| super::disconnect(out, Version::V5, ReasonCode::SessionTakenOver));
        drop(read5(&out));
        assert!(bytes(|out| super::disconnect(out, Version::V311, ReasonCode::Success)).is_empty());
    }
}
