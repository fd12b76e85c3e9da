//! A message: topic, payload and what travels with them, in any version.

use std::sync::Arc;

use bytes::Bytes;

/// Quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl Qos {
    /// The number on the wire.
    #[must_use]
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The quality of a number, if it is one.
    #[must_use]
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// Topic name; aliases are resolved.
    pub topic: Arc<str>,
    /// Payload as it came.
    pub payload: Bytes,
    /// Quality it was published with.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// Properties of MQTT 5; `None` when there are none.
    pub properties: Option<Box<MessageProperties>>,
}

/// What an MQTT 5 publisher says of its message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MessageProperties {
    /// Whether the payload is UTF-8 text.
    pub payload_is_utf8: Option<bool>,
    /// Seconds from publishing after which it is not delivered any more.
    pub expiry_seconds: Option<u32>,
    /// MIME type.
    pub content_type: Option<Arc<str>>,
    /// Topic for an answer.
    pub response_topic: Option<Arc<str>>,
    /// Correlates an answer.
    pub correlation_data: Option<Bytes>,
    /// Names and values, in order; names may repeat.
    pub user_properties: Vec<(Arc<str>, Arc<str>)>,
}

impl MessageProperties {
    /// In a box, or nothing when all is empty.
    #[must_use]
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}
