//! What is kept of a client between its connections, and its form in `__mqtt_sessions`.
//!
//! Layout            `docs/formats/mqtt-sessions.md`.
//! Invariants        1. what encodes decodes to the same. 2. bytes of a later version are refused.
//! Source            MQTT 5.0 §4.1.

use kafka_lite::wall_clock::elapsed_ms;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::filter::is_shared;
use crate::message::Qos;

/// First byte of every value.
const VERSION: u8 = 1;

/// First byte of the key of a session.
const SESSION: u8 = b'S';

/// First byte of the key of an intent.
const INTENT: u8 = b'I';

/// First byte of the key of a group.
const GROUP: u8 = b'G';

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Seconds that it outlives its connection; `u32::MAX` is for ever.
    pub expiry_seconds: u32,
    /// When the last connection ended, ms since 1970; `None` while there is one.
    pub ended_at_ms: Option<i64>,
    /// What the client has subscribed to.
    pub subscriptions: Vec<Subscription>,
    /// Where its messages go on.
    pub cursors: Vec<Cursor>,
    /// Messages that were sent and not acknowledged.
    pub in_flight: Vec<InFlight>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The filter.
    pub filter: String,
    /// Granted quality: 0 or 1.
    pub qos: u8,
    /// Own messages are not wanted.
    pub no_local: bool,
    /// The retain flag is kept as published.
    pub retain_as_published: bool,
    /// Identifier of MQTT 5.
    pub identifier: Option<u32>,
}

impl Subscription {
    /// Granted quality.
    #[must_use]
    pub fn quality(&self) -> Qos {
        Qos::from_level(self.qos).unwrap_or_default()
    }

    /// Whether it is shared with other clients: `$share/GROUP/FILTER`.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        is_shared(&self.filter)
    }
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionName {
    /// Topic id.
    pub topic_id: [u8; 16],
    /// Partition number.
    pub partition: i32,
}

/// The first offset of a partition that the client does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The partition.
    pub name: PartitionName,
    /// First offset not delivered and acknowledged.
    pub offset: i64,
}

/// A message on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Packet identifier.
    pub packet_id: u16,
    /// Where the message stands.
    pub name: PartitionName,
    /// Its offset.
    pub offset: i64,
}

/// A message with QoS 2 that is about to be appended, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Where it goes.
    pub name: PartitionName,
    /// The record stands at this offset or behind it, or nowhere.
    pub offset: i64,
    /// What stands in its header `mqtt.delivery`.
    pub delivery: [u8; 16],
}

/// A group of clients that share a subscription, of which a session has one member at least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where its messages go on.
    pub cursors: Vec<Cursor>,
}

/// Key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionKey {
    /// Of a session.
    Session(String),
    /// Of an intent: client identifier and packet identifier.
    Intent(String, u16),
    /// Of a group: its filter, `$share/GROUP/FILTER`.
    Group(String),
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionFormatError {
    /// The key is none of ours.
    #[error("the key is none of a session")]
    Key,
    /// Written by a later version.
    #[error("version {0} is not known")]
    Version(u8),
    /// The value does not parse.
    #[error("the value does not parse")]
    Value,
}

impl SessionKey {
    /// The name whose owner keeps it: a client identifier, or the filter of a group.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Session(name) | Self::Intent(name, _) | Self::Group(name) => name,
        }
    }

    /// The bytes of the key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Session(client_id) => [&[SESSION], client_id.as_bytes()].concat(),
            Self::Intent(client_id, packet_id) => {
                let packet_id = packet_id.to_be_bytes();
                [&[INTENT][..], &packet_id, client_id.as_bytes()].concat()
            }
            Self::Group(filter) => [&[GROUP], filter.as_bytes()].concat(),
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`SessionFormatError::Key`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionFormatError> {
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|_| SessionFormatError::Key);
            text.map(str::to_owned)
        };
        match bytes {
            [SESSION, client_id @ ..] => Ok(Self::Session(text(client_id)?)),
            [INTENT, high, low, client_id @ ..] => {
                let packet_id = u16::from_be_bytes([*high, *low]);
                Ok(Self::Intent(text(client_id)?, packet_id))
            }
            [GROUP, filter @ ..] => Ok(Self::Group(text(filter)?)),
            _ => Err(SessionFormatError::Key),
        }
    }
}

impl Session {
    /// Whether it is over at `now_ms` since 1970.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        let Some(ended_at_ms) = self.ended_at_ms else {
            return false;
        };
        let lives_ms = i64::from(self.expiry_seconds).saturating_mul(1000);
        let is_over = elapsed_ms(ended_at_ms, now_ms).is_some_and(|passed| passed >= lives_ms);
        self.expiry_seconds != u32::MAX && is_over
    }

    /// Lets the session end now if it ended before the clock was set, so that its time counts from
    /// here.
    pub fn begin_anew_after_setting(&mut self, now_ms: i64) {
        let is_unknown = |ended_at_ms: &i64| elapsed_ms(*ended_at_ms, now_ms).is_none();
        if self.ended_at_ms.as_ref().is_some_and(is_unknown) {
            self.ended_at_ms = Some(now_ms);
        }
    }

    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`SessionFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionFormatError> {
        decode(bytes)
    }
}

impl Group {
    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`SessionFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionFormatError> {
        decode(bytes)
    }
}

impl Intent {
    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`SessionFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionFormatError> {
        decode(bytes)
    }
}

#[expect(
    clippy::expect_used,
    reason = "postcard writes these types to a vector without failing"
)]
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("a vector takes everything")
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, SessionFormatError> {
    match bytes {
        [VERSION, rest @ ..] => postcard::from_bytes(rest).map_err(|_| SessionFormatError::Value),
        [version, ..] => Err(SessionFormatError::Version(*version)),
        [] => Err(SessionFormatError::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Cursor, Group, InFlight, Intent, PartitionName, Session, SessionFormatError, SessionKey,
        Subscription,
    };

    const NAME: PartitionName = PartitionName {
        topic_id: [7; 16],
        partition: 3,
    };

    fn session() -> Session {
        Session {
            expiry_seconds: 60,
            ended_at_ms: Some(1_000),
            subscriptions: vec![Subscription {
                filter: "a/+".to_owned(),
                qos: 1,
                no_local: true,
                retain_as_published: false,
                identifier: Some(9),
            }],
            cursors: vec![Cursor {
                name: NAME,
                offset: 77,
            }],
            in_flight: vec![InFlight {
                packet_id: 5,
                name: NAME,
                offset: 78,
            }],
        }
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let intent = Intent {
            name: NAME,
            offset: 4,
            delivery: [1; 16],
        };
        assert_eq!(Session::decode(&session().encode()), Ok(session()));
        assert_eq!(Intent::decode(&intent.encode()), Ok(intent));
        let group = Group {
            cursors: session().cursors,
        };
        assert_eq!(Group::decode(&group.encode()), Ok(group));
        for key in [
            SessionKey::Group("$share/g/a/#".to_owned()),
            SessionKey::Session("c".to_owned()),
            SessionKey::Session(String::new()),
            SessionKey::Intent("c".to_owned(), 0x5349),
        ] {
            assert_eq!(SessionKey::decode(&key.encode()), Ok(key));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_byte_table() {
        let intent = Intent {
            name: PartitionName {
                topic_id: [2; 16],
                partition: -1,
            },
            offset: 64,
            delivery: [3; 16],
        };
        let expected = [&[1][..], &[2; 16], &[1], &[0x80, 1], &[3; 16]].concat();
        assert_eq!(intent.encode(), expected);
        let key = SessionKey::Intent("c".to_owned(), 258);
        assert_eq!(key.encode(), b"I\x01\x02c");
        let key = SessionKey::Group("$share/g/a".to_owned());
        assert_eq!(key.encode(), b"G$share/g/a");
        let group = Group {
            cursors: vec![Cursor {
                name: NAME,
                offset: 64,
            }],
        };
        let expected = [&[1, 1][..], &[7; 16], &[6], &[0x80, 1]].concat();
        assert_eq!(group.encode(), expected);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let mut bytes = session().encode();
        bytes[0] = 2;
        assert_eq!(Session::decode(&bytes), Err(SessionFormatError::Version(2)));
        assert_eq!(Session::decode(&[]), Err(SessionFormatError::Value));
        assert_eq!(Session::decode(&[1, 0xff]), Err(SessionFormatError::Value));
        for bad in [&b""[..], b"X", b"I", b"I\x01", b"S\xff"] {
            assert_eq!(
                SessionKey::decode(bad),
                Err(SessionFormatError::Key),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_session_ends_its_time_after_its_connection() {
        let mut session = session();
        assert!(!session.is_expired(60_999) && session.is_expired(61_000));
        session.ended_at_ms = None;
        assert!(!session.is_expired(i64::MAX));
        session.ended_at_ms = Some(0);
        session.expiry_seconds = u32::MAX;
        assert!(!session.is_expired(i64::MAX));
        session.expiry_seconds = 0;
        assert!(session.is_expired(0));
    }

    #[test]
    fn a_session_that_ended_before_the_clock_was_set_lives_its_time_from_then_on() {
        let mut session = session();
        session.ended_at_ms = Some(1_000);
        let set_ms = 1_790_000_000_000;
        assert!(!session.is_expired(set_ms));
        session.begin_anew_after_setting(set_ms);
        session.begin_anew_after_setting(set_ms + 59_000);
        assert!(!session.is_expired(set_ms + 59_999) && session.is_expired(set_ms + 60_000));
    }
}
