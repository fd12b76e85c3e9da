//! A message as a Kafka record, and back.
//!
//! What it is        the value is the payload as it came; what MQTT knows beside it stands in
//!                   headers whose names begin with `mqtt.`; user properties are headers under
//!                   their own names.
//! What it is not    the choice of topic and key: that is the mapping's.
//! Layout            `docs/mqtt.md`, "A message as a record".

use std::sync::Arc;

use bytes::Bytes;
use kafka_lite::record_batch::{Record, RecordHeader};
use kafka_lite::wall_clock::elapsed_ms;

use crate::filter::is_topic_name;
use crate::message::{Message, MessageProperties, Qos};

/// Full MQTT topic.
pub const TOPIC: &[u8] = b"mqtt.topic";
/// Client identifier of the publisher.
pub const CLIENT: &[u8] = b"mqtt.client";
/// Quality of service: `0`, `1` or `2`.
pub const QOS: &[u8] = b"mqtt.qos";
/// `true`; absent otherwise.
pub const RETAIN: &[u8] = b"mqtt.retain";
/// Name of the exactly-once publish, for recovery.
pub const DELIVERY: &[u8] = b"mqtt.delivery";
const CONTENT_TYPE: &[u8] = b"mqtt.content_type";
const RESPONSE_TOPIC: &[u8] = b"mqtt.response_topic";
const CORRELATION: &[u8] = b"mqtt.correlation";
const EXPIRY: &[u8] = b"mqtt.expiry";
const UTF8: &[u8] = b"mqtt.utf8";

/// Names of our own headers begin with this; a user property of such a name is not taken over.
const RESERVED: &[u8] = b"mqtt.";

/// Headers of a record, each a name and a value that live as long as the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(Bytes, Bytes)>,
}

impl Headers {
    /// Headers of a message that `client_id` published.
    #[must_use]
    pub fn of(message: &Message, client_id: &str) -> Self {
        let mut headers = Self::default();
        headers.put(TOPIC, message.topic.as_bytes());
        headers.put(CLIENT, client_id.as_bytes());
        headers.put(QOS, &[b'0' + message.qos.level()]);
        if message.retain {
            headers.put(RETAIN, b"true");
        }
        if let Some(properties) = &message.properties {
            headers.put_properties(properties);
        }
        headers
    }

    fn put_properties(&mut self, properties: &MessageProperties) {
        let fields = [
            (
                CONTENT_TYPE,
                properties.content_type.as_deref().map(str::as_bytes),
            ),
            (
                RESPONSE_TOPIC,
                properties.response_topic.as_deref().map(str::as_bytes),
            ),
            (CORRELATION, properties.correlation_data.as_deref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                self.put(name, value);
            }
        }
        if let Some(seconds) = properties.expiry_seconds {
            self.put(EXPIRY, seconds.to_string().as_bytes());
        }
        if let Some(is_utf8) = properties.payload_is_utf8 {
            self.put(UTF8, if is_utf8 { b"true" } else { b"false" });
        }
        for (name, value) in &properties.user_properties {
            if !name.as_bytes().starts_with(RESERVED) {
                self.put(name.as_bytes(), value.as_bytes());
            }
        }
    }

    /// Adds a header behind the others.
    pub fn put(&mut self, name: &[u8], value: &[u8]) {
        let field = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
        self.fields.push(field);
    }

    /// The headers in the form that a batch is built from.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'_>> {
        self.fields.iter().map(|(name, value)| RecordHeader {
            key: name,
            value: Some(value),
        })
    }
}

/// A message read from a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// Who published it; `None` for a record of a Kafka client.
    pub client_id: Option<Arc<str>>,
    /// When it was published, ms since 1970.
    pub timestamp_ms: i64,
}

impl StoredMessage {
    /// Reads the message of a record that MQTT wrote; `None` for any other record.
    #[must_use]
    pub fn read(record: &Record<'_>) -> Option<Self> {
        let stored = Self::collect(record);
        (!stored.message.topic.is_empty()).then_some(stored)
    }

    /// The message that a record of a Kafka client becomes under this topic; its headers are user
    /// properties, or the properties of their `mqtt.` names. A record without value has an empty
    /// payload.
    #[must_use]
    pub fn of_kafka(record: &Record<'_>, topic: Arc<str>, qos: Qos) -> Self {
        let mut stored = Self::collect(record);
        stored.client_id = None;
        stored.message = Message {
            topic,
            qos,
            retain: false,
            ..stored.message
        };
        stored
    }

    /// Everything that a record says; the topic is empty when it names none.
    fn collect(record: &Record<'_>) -> Self {
        let mut stored = Self {
            message: Message {
                payload: Bytes::copy_from_slice(record.value.unwrap_or_default()),
                ..Message::default()
            },
            client_id: None,
            timestamp_ms: record.timestamp,
        };
        let mut properties = MessageProperties::default();
        for header in record.headers {
            let value = header.value.unwrap_or_default();
            if header.key == TOPIC {
                let topic = std::str::from_utf8(value).ok();
                let topic = topic.filter(|topic| is_topic_name(topic));
                stored.message.topic = topic.unwrap_or_default().into();
            } else {
                stored.read_header(&mut properties, header.key, value);
            }
        }
        stored.message.properties = properties.boxed();
        stored
    }

    fn read_header(&mut self, properties: &mut MessageProperties, name: &[u8], value: &[u8]) {
        let text = || std::str::from_utf8(value).ok();
        if name == CLIENT {
            self.client_id = text().map(Arc::from);
        } else if name == QOS {
            let level = value.first().map(|digit| digit.wrapping_sub(b'0'));
            self.message.qos = level.and_then(Qos::from_level).unwrap_or_default();
        } else if name == RETAIN {
            self.message.retain = true;
        } else if name == CONTENT_TYPE {
            properties.content_type = text().map(Arc::from);
        } else if name == RESPONSE_TOPIC {
            let topic = text().filter(|topic| is_topic_name(topic));
            properties.response_topic = topic.map(Arc::from);
        } else if name == CORRELATION {
            properties.correlation_data = Some(Bytes::copy_from_slice(value));
        } else if name == EXPIRY {
            properties.expiry_seconds = text().and_then(|text| text.parse().ok());
        } else if name == UTF8 {
            properties.payload_is_utf8 = Some(value == b"true");
        } else if !name.starts_with(RESERVED)
            && let (Ok(name), Some(value)) = (std::str::from_utf8(name), text())
        {
            properties.user_properties.push((name.into(), value.into()));
        }
    }

    /// Seconds of message expiry that are left at `now_ms`; `Err` when it is over.
    ///
    /// # Errors
    /// [`Expired`].
    pub fn expiry_left(&self, now_ms: i64) -> Result<Option<u32>, Expired> {
        let properties = self.message.properties.as_ref();
        let Some(seconds) = properties.and_then(|properties| properties.expiry_seconds) else {
            return Ok(None);
        };
        // What was stored before the clock was set has all its time.
        let passed_ms = elapsed_ms(self.timestamp_ms, now_ms).unwrap_or(0).max(0);
        let passed = u32::try_from(passed_ms.div_euclid(1000)).unwrap_or(u32::MAX);
        match seconds.checked_sub(passed) {
            Some(left) if left > 0 => Ok(Some(left)),
            _ => Err(Expired),
        }
    }
}

/// The message is not to be delivered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has expired")]
pub struct Expired;

#[cfg(test)]
mod tests {
    use super::{Expired, Headers, StoredMessage};
    use crate::message::{Message, MessageProperties, Qos};
    use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView, DecompressLimits};

    fn stored(message: &Message) -> StoredMessage {
        let headers = Headers::of(message, "sensor-1");
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let fields: Vec<_> = headers.iter().collect();
        builder
            .append(1_000, Some(b"key"), Some(&message.payload), &fields)
            .unwrap();
        let batch = builder.finish().unwrap();
        let (view, _) = BatchView::split_first(&batch).unwrap().unwrap();
        let mut scratch = Vec::new();
        let mut records = view
            .records(&DecompressLimits::default(), &mut scratch)
            .unwrap();
        StoredMessage::read(&records.next().unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_message_survives_the_log() {
        let message = Message {
            topic: "plant/7/temperature".into(),
            payload: b"21.5"[..].into(),
            qos: Qos::ExactlyOnce,
            retain: true,
            properties: MessageProperties {
                payload_is_utf8: Some(true),
                expiry_seconds: Some(10),
                content_type: Some("text/plain".into()),
                response_topic: Some("back".into()),
                correlation_data: Some(b"\0\x01"[..].into()),
                user_properties: vec![("site".into(), "7".into()), ("site".into(), "8".into())],
            }
            .boxed(),
        };
        let found = stored(&message);
        assert_eq!(found.message, message);
        assert_eq!(found.client_id.as_deref(), Some("sensor-1"));
        assert_eq!(found.expiry_left(1_500), Ok(Some(10)));
        assert_eq!(found.expiry_left(10_500), Ok(Some(1)));
        assert_eq!(found.expiry_left(11_000), Err(Expired));
        let is_set = found.expiry_left(1_790_000_000_000);
        assert_eq!(is_set, Ok(Some(10)), "stored before the clock was set");
    }

    #[test]
    fn a_user_property_cannot_pretend_to_be_ours() {
        let message = Message {
            topic: "a".into(),
            properties: MessageProperties {
                user_properties: vec![("mqtt.client".into(), "somebody".into())],
                ..MessageProperties::default()
            }
            .boxed(),
            ..Message::default()
        };
        let found = stored(&message);
        assert_eq!(found.client_id.as_deref(), Some("sensor-1"));
        assert_eq!(found.message.properties, None);
    }
}
