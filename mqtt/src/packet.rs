//! Packets of a client, in the terms of all versions together.
//!
//! What it is        the conversion from `mqtt-proto`, with the rules of the specification that it
//!                   does not check.
//! Invariants        1. what is here was checked against `limits.rs`.
//! Source            MQTT 5.0 §3; MQTT 3.1.1 §3.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_proto::{Pid, QoS, QosPid, v3, v5};

use crate::filter::{is_shared, is_topic_filter, is_topic_name, split_shared};
use crate::framing::FramingError;
use crate::limits::{FILTERS_PER_PACKET_MAX, USER_PROPERTIES_MAX};
use crate::message::{Message, MessageProperties, Qos};
use crate::reason::ReasonCode;

/// Protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    V31,
    /// MQTT 3.1.1 (level 4).
    V311,
    /// MQTT 5 (level 5).
    V5,
}

impl Version {
    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// A packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// CONNECT.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK.
    Puback(u16),
    /// PUBREC.
    Pubrec(u16),
    /// PUBREL.
    Pubrel(u16),
    /// PUBCOMP.
    Pubcomp(u16),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// PINGREQ.
    Pingreq,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// AUTH: enhanced authentication.
    Auth,
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Client identifier; may be empty.
    pub client_id: Arc<str>,
    /// Start without the state of an earlier session.
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive_seconds: u16,
    /// Seconds that the session outlives its connection; `u32::MAX` is for ever.
    pub session_expiry_seconds: u32,
    /// Publishes that the client takes at once without acknowledging.
    pub receive_maximum: u16,
    /// Largest packet in bytes that the client takes.
    pub packet_bytes_max: Option<u32>,
    /// Whether reason strings are wanted.
    pub wants_problem_information: bool,
    /// Enhanced authentication is asked for.
    pub authentication_method: Option<Arc<str>>,
    /// User name.
    pub user_name: Option<Arc<str>>,
    /// Password.
    pub password: Option<Bytes>,
    /// Last will.
    pub will: Option<Will>,
}

/// Last will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What is published.
    pub message: Message,
    /// Seconds between the end of the connection and the will.
    pub delay_seconds: u32,
}

/// PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The message; its topic is empty if only an alias was sent.
    pub message: Message,
    /// Sent before.
    pub dup: bool,
    /// Packet identifier; `None` with QoS 0.
    pub packet_id: Option<u16>,
    /// Alias of the topic.
    pub topic_alias: Option<u16>,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet identifier.
    pub packet_id: u16,
    /// Subscription identifier of MQTT 5.
    pub identifier: Option<u32>,
    /// The filters in their order.
    pub filters: Vec<FilterRequest>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRequest {
    /// As it came, `$share` included.
    pub filter: Arc<str>,
    /// Largest quality wanted.
    pub qos: Qos,
    /// Own messages are not wanted.
    pub no_local: bool,
    /// The retain flag is kept as published.
    pub retain_as_published: bool,
    /// Which retained messages are wanted.
    pub retain_handling: RetainHandling,
}

/// Which retained messages a subscription wants at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    /// All.
    Send,
    /// All, if the subscription is new.
    SendIfNew,
    /// None.
    Never,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet identifier.
    pub packet_id: u16,
    /// The filters in their order.
    pub filters: Vec<Arc<str>>,
}

/// DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The will is published all the same (0x04), or the client ends with an error.
    pub publishes_will: bool,
    /// A new session expiry interval in seconds.
    pub session_expiry_seconds: Option<u32>,
}

impl Incoming {
    /// Converts a packet of MQTT 3.1 or 3.1.1.
    pub(crate) fn from_v3(packet: v3::Packet) -> Result<Self, FramingError> {
        Ok(match packet {
            v3::Packet::Connect(connect) => Self::Connect(Box::new(Connect::from_v3(connect)?)),
            v3::Packet::Publish(publish) => Self::Publish(Publish::from_v3(publish)?),
            v3::Packet::Puback(id) => Self::Puback(id.value()),
            v3::Packet::Pubrec(id) => Self::Pubrec(id.value()),
            v3::Packet::Pubrel(id) => Self::Pubrel(id.value()),
            v3::Packet::Pubcomp(id) => Self::Pubcomp(id.value()),
            v3::Packet::Subscribe(subscribe) => Self::Subscribe(Subscribe::from_v3(&subscribe)?),
            v3::Packet::Unsubscribe(unsubscribe) => {
                Self::Unsubscribe(Unsubscribe::new(unsubscribe.pid, &unsubscribe.topics)?)
            }
            v3::Packet::Pingreq => Self::Pingreq,
            v3::Packet::Disconnect => Self::Disconnect(Disconnect {
                publishes_will: false,
                session_expiry_seconds: None,
            }),
            v3::Packet::Connack(_)
            | v3::Packet::Suback(_)
            | v3::Packet::Unsuback(_)
            | v3::Packet::Pingresp => return Err(WRONG_WAY),
        })
    }

    /// Converts a packet of MQTT 5.
    pub(crate) fn from_v5(packet: v5::Packet) -> Result<Self, FramingError> {
        Ok(match packet {
            v5::Packet::Connect(connect) => Self::Connect(Box::new(Connect::from_v5(connect)?)),
            v5::Packet::Publish(publish) => Self::Publish(Publish::from_v5(publish)?),
            v5::Packet::Puback(puback) => Self::Puback(puback.pid.value()),
            v5::Packet::Pubrec(pubrec) => Self::Pubrec(pubrec.pid.value()),
            v5::Packet::Pubrel(pubrel) => Self::Pubrel(pubrel.pid.value()),
            v5::Packet::Pubcomp(pubcomp) => Self::Pubcomp(pubcomp.pid.value()),
            v5::Packet::Subscribe(subscribe) => Self::Subscribe(Subscribe::from_v5(&subscribe)?),
            v5::Packet::Unsubscribe(unsubscribe) => {
                check_user_properties(unsubscribe.properties.user_properties.len())?;
                Self::Unsubscribe(Unsubscribe::new(unsubscribe.pid, &unsubscribe.topics)?)
            }
            v5::Packet::Pingreq => Self::Pingreq,
            v5::Packet::Disconnect(disconnect) => Self::Disconnect(Disconnect {
                publishes_will: disconnect.reason_code
                    != v5::DisconnectReasonCode::NormalDisconnect,
                session_expiry_seconds: disconnect.properties.session_expiry_interval,
            }),
            v5::Packet::Auth(_) => Self::Auth,
            v5::Packet::Connack(_)
            | v5::Packet::Suback(_)
            | v5::Packet::Unsuback(_)
            | v5::Packet::Pingresp => return Err(WRONG_WAY),
        })
    }
}

const WRONG_WAY: FramingError =
    FramingError::Rule("only a server sends this packet", ReasonCode::ProtocolError);

impl Connect {
    fn from_v3(connect: v3::Connect) -> Result<Self, FramingError> {
        let will = connect.last_will.map(|will| {
            let message = Message {
                topic: (*will.topic_name).into(),
                payload: will.message,
                qos: quality(will.qos),
                retain: will.retain,
                properties: None,
            };
            check_name(&message.topic).map(|()| Will {
                message,
                delay_seconds: 0,
            })
        });
        // A session that is not clean has no end of its own [MQTT 3.1.1 §3.1.2.4].
        let expiry = if connect.clean_session { 0 } else { u32::MAX };
        Ok(Self {
            client_id: connect.client_id,
            clean_start: connect.clean_session,
            keep_alive_seconds: connect.keep_alive,
            session_expiry_seconds: expiry,
            receive_maximum: u16::MAX,
            packet_bytes_max: None,
            wants_problem_information: false,
            authentication_method: None,
            user_name: connect.username,
            password: connect.password,
            will: will.transpose()?,
        })
    }

    fn from_v5(connect: v5::Connect) -> Result<Self, FramingError> {
        let properties = connect.properties;
        check_user_properties(properties.user_properties.len())?;
        if properties.receive_max == Some(0) || properties.max_packet_size == Some(0) {
            return Err(FramingError::Rule(
                "receive maximum and maximum packet size are not zero",
                ReasonCode::ProtocolError,
            ));
        }
        let will = connect.last_will.map(will_from_v5).transpose()?;
        Ok(Self {
            client_id: connect.client_id,
            clean_start: connect.clean_start,
            keep_alive_seconds: connect.keep_alive,
            session_expiry_seconds: properties.session_expiry_interval.unwrap_or(0),
            receive_maximum: properties.receive_max.unwrap_or(u16::MAX),
            packet_bytes_max: properties.max_packet_size,
            wants_problem_information: properties.request_problem_info.unwrap_or(true),
            authentication_method: properties.auth_method,
            user_name: connect.username,
            password: connect.password,
            will,
        })
    }
}

fn will_from_v5(will: v5::LastWill) -> Result<Will, FramingError> {
    let properties = will.properties;
    check_user_properties(properties.user_properties.len())?;
    check_name(&will.topic_name)?;
    let message_properties = MessageProperties {
        payload_is_utf8: properties.payload_is_utf8,
        expiry_seconds: properties.message_expiry_interval,
        content_type: properties.content_type,
        response_topic: properties.response_topic.map(|topic| (*topic).into()),
        correlation_data: properties.correlation_data,
        user_properties: user_properties(&properties.user_properties),
    };
    Ok(Will {
        message: Message {
            topic: (*will.topic_name).into(),
            payload: will.payload,
            qos: quality(will.qos),
            retain: will.retain,
            properties: message_properties.boxed(),
        },
        delay_seconds: properties.delay_interval.unwrap_or(0),
    })
}

impl Publish {
    fn from_v3(publish: v3::Publish) -> Result<Self, FramingError> {
        check_name(&publish.topic_name)?;
        check_dup(publish.dup, publish.qos_pid)?;
        Ok(Self {
            message: Message {
                topic: (*publish.topic_name).into(),
                payload: publish.payload,
                qos: quality(publish.qos_pid.qos()),
                retain: publish.retain,
                properties: None,
            },
            dup: publish.dup,
            packet_id: publish.qos_pid.pid().map(Pid::value),
            topic_alias: None,
        })
    }

    fn from_v5(publish: v5::Publish) -> Result<Self, FramingError> {
        let properties = publish.properties;
        check_dup(publish.dup, publish.qos_pid)?;
        check_user_properties(properties.user_properties.len())?;
        if !publish.topic_name.is_empty() || properties.topic_alias.is_none() {
            check_name(&publish.topic_name)?;
        }
        if properties.subscription_id.is_some() {
            return Err(FramingError::Rule(
                "a client sends no subscription identifier in PUBLISH",
                ReasonCode::ProtocolError,
            ));
        }
        if let Some(topic) = &properties.response_topic {
            check_name(topic)?;
        }
        let message_properties = MessageProperties {
            payload_is_utf8: properties.payload_is_utf8,
            expiry_seconds: properties.message_expiry_interval,
            content_type: properties.content_type,
            response_topic: properties.response_topic.map(|topic| (*topic).into()),
            correlation_data: properties.correlation_data,
            user_properties: user_properties(&properties.user_properties),
        };
        Ok(Self {
            message: Message {
                topic: (*publish.topic_name).into(),
                payload: publish.payload,
                qos: quality(publish.qos_pid.qos()),
                retain: publish.retain,
                properties: message_properties.boxed(),
            },
            dup: publish.dup,
            packet_id: publish.qos_pid.pid().map(Pid::value),
            topic_alias: properties.topic_alias,
        })
    }
}

impl Subscribe {
    fn from_v3(subscribe: &v3::Subscribe) -> Result<Self, FramingError> {
        check_filter_count(subscribe.topics.len())?;
        let filters = subscribe.topics.iter().map(|(filter, qos)| {
            check_filter(filter)?;
            Ok(FilterRequest {
                filter: (**filter).into(),
                qos: quality(*qos),
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            })
        });
        Ok(Self {
            packet_id: subscribe.pid.value(),
            identifier: None,
            filters: filters.collect::<Result<_, FramingError>>()?,
        })
    }

    fn from_v5(subscribe: &v5::Subscribe) -> Result<Self, FramingError> {
        check_filter_count(subscribe.topics.len())?;
        check_user_properties(subscribe.properties.user_properties.len())?;
        let identifier = subscribe
            .properties
            .subscription_id
            .map(v5::VarByteInt::value);
        if identifier == Some(0) {
            return Err(FramingError::Rule(
                "a subscription identifier is not zero",
                ReasonCode::ProtocolError,
            ));
        }
        let filters = subscribe.topics.iter().map(|(filter, options)| {
            check_filter(filter)?;
            if is_shared(filter) && options.no_local {
                return Err(FramingError::Rule(
                    "a shared subscription has no No Local",
                    ReasonCode::ProtocolError,
                ));
            }
            Ok(FilterRequest {
                filter: (**filter).into(),
                qos: quality(options.max_qos),
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                retain_handling: match options.retain_handling {
                    v5::RetainHandling::SendAtSubscribe => RetainHandling::Send,
                    v5::RetainHandling::SendAtSubscribeIfNotExist => RetainHandling::SendIfNew,
                    v5::RetainHandling::DoNotSend => RetainHandling::Never,
                },
            })
        });
        Ok(Self {
            packet_id: subscribe.pid.value(),
            identifier,
            filters: filters.collect::<Result<_, FramingError>>()?,
        })
    }
}

impl Unsubscribe {
    fn new(id: Pid, filters: &[mqtt_proto::TopicFilter]) -> Result<Self, FramingError> {
        check_filter_count(filters.len())?;
        let filters = filters.iter().map(|filter| {
            check_filter(filter)?;
            Ok(Arc::from(&**filter))
        });
        Ok(Self {
            packet_id: id.value(),
            filters: filters.collect::<Result<_, FramingError>>()?,
        })
    }
}

fn quality(qos: QoS) -> Qos {
    match qos {
        QoS::Level0 => Qos::AtMostOnce,
        QoS::Level1 => Qos::AtLeastOnce,
        QoS::Level2 => Qos::ExactlyOnce,
    }
}

fn user_properties(properties: &[v5::UserProperty]) -> Vec<(Arc<str>, Arc<str>)> {
    let pair = |one: &v5::UserProperty| (Arc::clone(&one.name), Arc::clone(&one.value));
    properties.iter().map(pair).collect()
}

fn check_name(name: &str) -> Result<(), FramingError> {
    if is_topic_name(name) {
        return Ok(());
    }
    Err(FramingError::Rule(
        "the topic name is not valid",
        ReasonCode::TopicNameInvalid,
    ))
}

fn check_filter(filter: &str) -> Result<(), FramingError> {
    let is_valid = split_shared(filter).is_ok_and(|(_, inner)| is_topic_filter(inner));
    if is_valid {
        return Ok(());
    }
    Err(FramingError::Rule(
        "the topic filter is not valid",
        ReasonCode::TopicFilterInvalid,
    ))
}

fn check_dup(dup: bool, qos: QosPid) -> Result<(), FramingError> {
    if dup && qos == QosPid::Level0 {
        return Err(FramingError::Rule(
            "DUP with QoS 0",
            ReasonCode::ProtocolError,
        ));
    }
    Ok(())
}

fn check_user_properties(count: usize) -> Result<(), FramingError> {
    if count > USER_PROPERTIES_MAX {
        return Err(FramingError::Rule(
            "too many user properties",
            ReasonCode::QuotaExceeded,
        ));
    }
    Ok(())
}

fn check_filter_count(count: usize) -> Result<(), FramingError> {
    if count > FILTERS_PER_PACKET_MAX {
        return Err(FramingError::Rule(
            "too many filters in a packet",
            ReasonCode::QuotaExceeded,
        ));
    }
    Ok(())
}
