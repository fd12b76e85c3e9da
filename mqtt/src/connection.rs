//! One connection of a client, from its first byte to its last.
//!
//! What it is        the order of packets, versions, keep-alive, topic aliases, and what is
//!                   acknowledged when. The owner gives it whole frames and carries out what it
//!                   asks for.
//! What it is not    a socket, a session store, a log.
//! Invariants        1. nothing is acknowledged before [`Connection::handle_published`].
//!                   2. between CONNECT and [`Connection::handle_opened`] no packet is taken.
//!                   3. after [`Output::Close`] there is no further output.
//! Source            MQTT 5.0 §3, §4; MQTT 3.1.1.
//! Reading order     [`Connection::handle_frame`], [`Connection::poll_output`].

use std::collections::VecDeque;
use std::sync::Arc;

use crate::encode::{self, Acknowledgement, ConnackProperties, Delivery};
use crate::framing::{FramingError, decode, version_of_connect};
use crate::inbound::{Admission, Inbound, PublishToken};
use crate::limits::{
    CLIENT_ID_BYTES_MAX, CONNECT_BYTES_MAX, CONNECT_TIMEOUT_MS, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAX,
};
use crate::message::{Message, Qos};
use crate::packet::{Connect, Disconnect, Incoming, Publish, Subscribe, Unsubscribe, Version};
use crate::reason::ReasonCode;

/// What a connection may be told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// Largest packet in bytes after CONNECT.
    pub packet_bytes_max: usize,
    /// Longest keep-alive in seconds; a longer one, or none, becomes this. 0 leaves the choice to
    /// the client.
    pub keep_alive_seconds_max: u16,
    /// Largest quality that is taken.
    pub qos_max: Qos,
}

/// What the owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Check who it is and open the session; then [`Connection::handle_opened`] or
    /// [`Connection::handle_refused`].
    Open(Box<Connect>),
    /// Append the message. With a token [`Connection::handle_published`] is to follow.
    Publish {
        /// `None` with QoS 0.
        token: Option<PublishToken>,
        /// Packet identifier with QoS 2.
        exactly_once_id: Option<u16>,
        /// The message.
        message: Message,
    },
    /// Store that the identifier is free; then [`Connection::handle_released`].
    Release(u16),
    /// Take the subscriptions; then [`Connection::handle_subscribed`].
    Subscribe(Subscribe),
    /// Drop subscriptions; then [`Connection::handle_unsubscribed`].
    Unsubscribe(Unsubscribe),
    /// The client has a message that was delivered with QoS 1.
    Delivered(u16),
    /// Close the socket when what was sent is written.
    Close(Closing),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Whether the last will is to be published.
    pub publishes_will: bool,
    /// A session expiry in seconds that takes the place of the one of CONNECT.
    pub session_expiry_seconds: Option<u32>,
    /// Why, for the log.
    pub reason: ReasonCode,
}

/// What is known of a session that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenedSession {
    /// There was one.
    pub is_present: bool,
    /// Identifiers that were received with QoS 2 and not released.
    pub received_ids: Vec<u16>,
    /// The client identifier that was chosen for a client without one.
    pub assigned_client_id: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No CONNECT yet.
    New,
    /// CONNECT is being answered.
    Opening,
    Open,
    Closed,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    options: ConnectionOptions,
    state: State,
    version: Version,
    inbound: Inbound,
    aliases: Vec<Option<Arc<str>>>,
    keep_alive_ms: u64,
    last_heard_ms: u64,
    client_receive_maximum: u16,
    client_packet_bytes_max: u32,
    /// Of CONNECT: whether the session outlives the connection.
    keeps_session: bool,
    out: Vec<u8>,
    outputs: VecDeque<Output>,
}

impl Connection {
    /// A connection that was accepted at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64, options: ConnectionOptions) -> Self {
        Self {
            options,
            state: State::New,
            version: Version::V311,
            inbound: Inbound::default(),
            aliases: Vec::new(),
            keep_alive_ms: 0,
            last_heard_ms: now_ms,
            client_receive_maximum: u16::MAX,
            client_packet_bytes_max: u32::MAX,
            keeps_session: false,
            out: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one complete frame. Only when [`Connection::can_take`] says so.
    pub fn handle_frame(&mut self, now_ms: u64, frame: &[u8]) {
        self.last_heard_ms = now_ms;
        let packet = match self.state {
            State::New => version_of_connect(frame).and_then(|version| {
                self.version = version;
                decode(version, frame)
            }),
            State::Open => decode(self.version, frame),
            State::Opening | State::Closed => return,
        };
        match packet {
            Ok(packet) => self.handle_packet(packet),
            Err(error) => self.handle_framing_error(&error),
        }
    }

    /// The bytes are no packet that this client may send.
    pub fn handle_framing_error(&mut self, error: &FramingError) {
        match self.state {
            State::New if error.reason() == ReasonCode::UnsupportedProtocolVersion => {
                // The form that every version understands, Mosquitto's bridges among them.
                self.refuse(Version::V311, error.reason());
            }
            // Before a valid CONNECT it may be anything: nothing is said [MQTT-3.1.4-1].
            State::New | State::Opening => self.close(error.reason()),
            State::Open => self.disconnect(error.reason()),
            State::Closed => {}
        }
    }

    fn handle_packet(&mut self, packet: Incoming) {
        match (self.state, packet) {
            (State::New, Incoming::Connect(connect)) => self.handle_connect(connect),
            (State::New, _) => self.close(ReasonCode::ProtocolError),
            (_, Incoming::Connect(_)) => self.disconnect(ReasonCode::ProtocolError),
            (_, Incoming::Publish(publish)) => self.handle_publish(publish),
            (_, Incoming::Puback(id)) => self.outputs.push_back(Output::Delivered(id)),
            (_, Incoming::Pubrel(id)) => self.handle_pubrel(id),
            (_, Incoming::Subscribe(subscribe)) => {
                self.outputs.push_back(Output::Subscribe(subscribe));
            }
            (_, Incoming::Unsubscribe(unsubscribe)) => {
                self.outputs.push_back(Output::Unsubscribe(unsubscribe));
            }
            (_, Incoming::Pingreq) => encode::pingresp(&mut self.out),
            (_, Incoming::Disconnect(disconnect)) => self.handle_disconnect(disconnect),
            // Nothing is ever delivered with QoS 2, and enhanced authentication is not served.
            (_, Incoming::Pubrec(_) | Incoming::Pubcomp(_) | Incoming::Auth) => {
                self.disconnect(ReasonCode::ProtocolError);
            }
        }
    }

    fn handle_connect(&mut self, connect: Box<Connect>) {
        let is_empty = connect.client_id.is_empty();
        let needs_id = match self.version {
            Version::V31 => true,
            // A session that is kept needs a name [MQTT-3.1.3-8].
            Version::V311 => !connect.clean_start,
            Version::V5 => false,
        };
        let is_too_long = connect.client_id.len() > CLIENT_ID_BYTES_MAX;
        if (is_empty && needs_id) || is_too_long || connect.client_id.contains('\0') {
            return self.refuse(self.version, ReasonCode::ClientIdentifierNotValid);
        }
        if connect.authentication_method.is_some() {
            return self.refuse(self.version, ReasonCode::BadAuthenticationMethod);
        }
        self.client_receive_maximum = connect.receive_maximum;
        self.client_packet_bytes_max = connect.packet_bytes_max.unwrap_or(u32::MAX);
        self.keeps_session = connect.session_expiry_seconds > 0;
        self.keep_alive_ms = u64::from(self.keep_alive_of(&connect)) * 1500;
        self.state = State::Opening;
        self.outputs.push_back(Output::Open(connect));
    }

    fn keep_alive_of(&self, connect: &Connect) -> u16 {
        let (wanted, max) = (
            connect.keep_alive_seconds,
            self.options.keep_alive_seconds_max,
        );
        // Only MQTT 5 lets the server choose.
        let may_choose = self.version == Version::V5 && max > 0;
        if may_choose && (wanted == 0 || wanted > max) {
            max
        } else {
            wanted
        }
    }

    /// The session is open: CONNACK leaves, and packets are taken.
    pub fn handle_opened(&mut self, now_ms: u64, connect: &Connect, opened: OpenedSession) {
        if self.state != State::Opening {
            return;
        }
        self.state = State::Open;
        self.last_heard_ms = now_ms;
        self.inbound = Inbound::with_received(opened.received_ids);
        let keep_alive = self.keep_alive_of(connect);
        let properties = ConnackProperties {
            receive_maximum: Some(RECEIVE_MAXIMUM),
            qos_max: Some(self.options.qos_max),
            packet_bytes_max: u32::try_from(self.options.packet_bytes_max).ok(),
            assigned_client_id: opened.assigned_client_id,
            topic_alias_maximum: Some(TOPIC_ALIAS_MAX),
            server_keep_alive_seconds: (keep_alive != connect.keep_alive_seconds)
                .then_some(keep_alive),
            ..ConnackProperties::default()
        };
        let is_present = opened.is_present;
        let success = ReasonCode::Success;
        encode::connack(
            &mut self.out,
            self.version,
            is_present,
            success,
            &properties,
        );
    }

    /// The client is not let in.
    pub fn handle_refused(&mut self, reason: ReasonCode) {
        if self.state == State::Opening {
            self.refuse(self.version, reason);
        }
    }

    fn handle_publish(&mut self, publish: Publish) {
        let Publish {
            mut message,
            dup,
            packet_id,
            topic_alias,
        } = publish;
        if let Some(alias) = topic_alias
            && let Err(reason) = self.resolve_alias(alias, &mut message)
        {
            return self.disconnect(reason);
        }
        if message.qos > self.options.qos_max {
            return self.disconnect(ReasonCode::QosNotSupported);
        }
        let Some(packet_id) = packet_id else {
            return self.outputs.push_back(Output::Publish {
                token: None,
                exactly_once_id: None,
                message,
            });
        };
        let is_exact = message.qos == Qos::ExactlyOnce;
        let is_beyond = self.inbound.unfinished() >= usize::from(RECEIVE_MAXIMUM);
        if self.version == Version::V5 && is_beyond && !self.inbound.knows(packet_id) {
            return self.disconnect(ReasonCode::ReceiveMaximumExceeded);
        }
        let digest = digest(&message);
        match self
            .inbound
            .handle_publish(message.qos, packet_id, dup, digest)
        {
            Admission::Publish(token) => self.outputs.push_back(Output::Publish {
                token: Some(token),
                exactly_once_id: is_exact.then_some(packet_id),
                message,
            }),
            Admission::Waiting => {}
            Admission::Again => {
                self.acknowledge(message.qos, packet_id, ReasonCode::Success);
            }
            Admission::Exceeded => self.disconnect(ReasonCode::QuotaExceeded),
        }
    }

    fn resolve_alias(&mut self, alias: u16, message: &mut Message) -> Result<(), ReasonCode> {
        if alias == 0 || alias > TOPIC_ALIAS_MAX {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        let place = usize::from(alias - 1);
        if self.aliases.len() <= place {
            self.aliases.resize(place + 1, None);
        }
        let slot = self
            .aliases
            .get_mut(place)
            .ok_or(ReasonCode::TopicAliasInvalid)?;
        if message.topic.is_empty() {
            // An alias that was never set [MQTT 5.0 §3.3.2.3.4].
            message.topic = slot.clone().ok_or(ReasonCode::ProtocolError)?;
        } else {
            *slot = Some(Arc::clone(&message.topic));
        }
        Ok(())
    }

    /// The message is committed, or refused. A client before MQTT 5 cannot hear of a refusal: it is
    /// disconnected, and sends again.
    pub fn handle_published(&mut self, token: PublishToken, outcome: ReasonCode) {
        self.inbound.handle_outcome(token, outcome);
        while let Some(finished) = self.inbound.poll_finished() {
            if finished.reason.is_error() && self.version != Version::V5 {
                return self.disconnect(finished.reason);
            }
            self.acknowledge(finished.qos, finished.packet_id, finished.reason);
        }
    }

    fn acknowledge(&mut self, qos: Qos, packet_id: u16, reason: ReasonCode) {
        let kind = match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => Acknowledgement::Puback,
            Qos::ExactlyOnce => Acknowledgement::Pubrec,
        };
        if self.state == State::Open {
            encode::acknowledgement(&mut self.out, self.version, kind, packet_id, reason);
        }
    }

    fn handle_pubrel(&mut self, packet_id: u16) {
        match self.inbound.handle_pubrel(packet_id) {
            Some(true) => self.outputs.push_back(Output::Release(packet_id)),
            Some(false) => {}
            None => self.complete(packet_id, ReasonCode::PacketIdentifierNotFound),
        }
    }

    /// The identifier is free again, durably.
    pub fn handle_released(&mut self, packet_id: u16) {
        self.inbound.handle_released(packet_id);
        self.complete(packet_id, ReasonCode::Success);
    }

    fn complete(&mut self, packet_id: u16, reason: ReasonCode) {
        let kind = Acknowledgement::Pubcomp;
        if self.state == State::Open {
            encode::acknowledgement(&mut self.out, self.version, kind, packet_id, reason);
        }
    }

    /// The subscriptions are taken; one reason per filter.
    pub fn handle_subscribed(&mut self, packet_id: u16, reasons: &[ReasonCode]) {
        if self.state == State::Open {
            encode::suback(&mut self.out, self.version, packet_id, reasons);
        }
    }

    /// The subscriptions are dropped; one reason per filter.
    pub fn handle_unsubscribed(&mut self, packet_id: u16, reasons: &[ReasonCode]) {
        if self.state == State::Open {
            encode::unsuback(&mut self.out, self.version, packet_id, reasons);
        }
    }

    /// Sends a message to the client; whether it fits what the client takes. A message that is too
    /// large for the client is passed over, as if it had been delivered [MQTT-3.1.2-25].
    pub fn deliver(&mut self, message: &Message, delivery: &Delivery) -> bool {
        if self.state != State::Open {
            return false;
        }
        let start = self.out.len();
        encode::publish(&mut self.out, self.version, message, delivery);
        let written = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        if written > self.client_packet_bytes_max {
            self.out.truncate(start);
            return false;
        }
        true
    }

    fn handle_disconnect(&mut self, disconnect: Disconnect) {
        // What ends with its connection stays so [MQTT 5.0 §3.14.2.2.2].
        let wants_session = disconnect.session_expiry_seconds.is_some_and(|one| one > 0);
        if wants_session && !self.keeps_session {
            return self.disconnect(ReasonCode::ProtocolError);
        }
        self.finish(Closing {
            publishes_will: disconnect.publishes_will,
            session_expiry_seconds: disconnect.session_expiry_seconds,
            reason: ReasonCode::Success,
        });
    }

    /// The keep-alive or the time for CONNECT may be over.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.poll_timeout().is_some_and(|due_ms| due_ms <= now_ms) {
            match self.state {
                State::New => self.close(ReasonCode::KeepAliveTimeout),
                State::Open => self.disconnect(ReasonCode::KeepAliveTimeout),
                State::Opening | State::Closed => {}
            }
        }
    }

    /// The server ends the connection: take-over, stop, trouble.
    pub fn handle_end(&mut self, reason: ReasonCode) {
        match self.state {
            State::New => self.close(reason),
            State::Opening => self.refuse(self.version, reason),
            State::Open => self.disconnect(reason),
            State::Closed => {}
        }
    }

    /// The socket has ended without DISCONNECT.
    pub fn handle_lost(&mut self) {
        self.close(ReasonCode::Unspecified);
    }

    /// The client answers a PINGREQ that stands behind publishes that wait.
    pub fn handle_early_pingreq(&mut self, now_ms: u64) {
        if self.state == State::Open {
            self.last_heard_ms = now_ms;
            encode::pingresp(&mut self.out);
        }
    }

    fn refuse(&mut self, version: Version, reason: ReasonCode) {
        let properties = ConnackProperties::default();
        if version == Version::V5 || reason.connect_return_code().is_some() {
            encode::connack(&mut self.out, version, false, reason, &properties);
        }
        self.close(reason);
    }

    /// Says why, where the version can, and closes; the will is published.
    fn disconnect(&mut self, reason: ReasonCode) {
        if self.state == State::Open {
            encode::disconnect(&mut self.out, self.version, reason);
        }
        self.close(reason);
    }

    fn close(&mut self, reason: ReasonCode) {
        self.finish(Closing {
            publishes_will: true,
            session_expiry_seconds: None,
            reason,
        });
    }

    fn finish(&mut self, closing: Closing) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.outputs.push_back(Output::Close(closing));
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            // A client that is quiet keeps no memory for orders.
            self.outputs = VecDeque::new();
        }
        next
    }

    /// Bytes for the client; empty when there are none.
    pub fn poll_send(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// When [`Connection::handle_timeout`] is due at the earliest, ms.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.state {
            State::New => Some(self.last_heard_ms + CONNECT_TIMEOUT_MS),
            State::Open if self.keep_alive_ms > 0 => Some(self.last_heard_ms + self.keep_alive_ms),
            State::Opening | State::Open | State::Closed => None,
        }
    }

    /// Whether a frame that begins with this byte may be given now. A publish with QoS 1 or 2 waits
    /// while [`RECEIVE_MAXIMUM`] others are not acknowledged: clients that keep to no window, as
    /// mqtt.js, are slowed down. What waits for a PUBREL of the client is another matter.
    #[must_use]
    pub fn can_take(&self, first_byte: u8) -> bool {
        let is_acknowledged = first_byte & 0xf0 == 0x30 && first_byte & 0x06 != 0;
        match self.state {
            State::New => true,
            State::Open if is_acknowledged => self.inbound.waiting() < usize::from(RECEIVE_MAXIMUM),
            State::Open => true,
            State::Opening | State::Closed => false,
        }
    }

    /// Largest frame in bytes that is taken now.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        match self.state {
            State::New | State::Opening => CONNECT_BYTES_MAX.min(self.options.packet_bytes_max),
            State::Open | State::Closed => self.options.packet_bytes_max,
        }
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn send_bytes(&self) -> usize {
        self.out.len()
    }

    /// Publishes of the client whose outcome is not known.
    #[must_use]
    pub fn waiting_publishes(&self) -> usize {
        self.inbound.waiting()
    }

    /// Identifiers between PUBREC and PUBREL.
    pub fn received_ids(&self) -> impl Iterator<Item = u16> {
        self.inbound.received()
    }

    /// How many messages the client takes without acknowledging.
    #[must_use]
    pub fn client_receive_maximum(&self) -> u16 {
        self.client_receive_maximum
    }

    /// Version of the protocol; meaningful after CONNECT.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a CONNECT is being answered.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.state == State::Opening
    }

    /// Whether CONNACK said success and the end has not come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

/// Tells publishes with the same identifier apart.
fn digest(message: &Message) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(message.topic.as_bytes()), &message.payload)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
