//! The client of a bridge: `rumqttc` in the words of the core.
//!
//! What it is        its options, its events, its errors as sentences.
//! What it is not    kept over a connection: what `rumqttc` remembers of an earlier one is stale.
//! Invariants        1. manual acknowledgements, a session that stays (`clean_session=false`), QoS
//!                      0 and 1 only.
//!                   2. a payload that is held does not keep the read buffer that it came in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt::bridge::BridgeFilter;
use mqtt::limits::CLIENT_ID_BYTES_MAX;
use mqtt::message::{Message, Qos};
use rumqttc::{
    ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet,
    PubAck, Publish, QoS, StateError, Subscribe, SubscribeFilter, SubscribeReasonCode,
    TlsConfiguration, Transport,
};

use crate::config::mqtt_bridge::BridgeConfig;
use crate::limits::MQTT_BRIDGE_CONNECT_SECONDS;
use crate::mirror_service::security::{TlsFiles, read_password, tls};

/// An event of the client.
#[derive(Debug)]
pub(super) enum Received {
    /// The broker has accepted the connection.
    Connected { session_present: bool },
    /// The broker has answered the subscription: for each filter whether it was granted.
    Subscribed(Vec<bool>),
    /// A message, with its packet identifier if it is to be acknowledged.
    Published(Option<u16>, Message),
    /// What the broker may not send.
    Fault(String),
    /// Nothing that the bridge has to know.
    Nothing,
}

/// The client identifier: what is configured, or the name of the machine and of the bridge.
pub(super) fn client_id(config: &BridgeConfig) -> String {
    let made = || {
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy().into_owned();
        let mut id = format!("sluice-{machine}-{}", config.name);
        while id.len() > CLIENT_ID_BYTES_MAX {
            id.pop();
        }
        id
    };
    config.client_id.clone().unwrap_or_else(made)
}

/// Options of the client; reads the files that the configuration names.
///
/// Errors: a line that begins with the key and names the file.
pub(super) fn options(
    config: &BridgeConfig,
    client_id: &str,
    packet_bytes: usize,
) -> Result<MqttOptions, String> {
    let address = &config.address;
    let host = match address.host.contains(':') {
        true => format!("[{}]", address.host),
        false => address.host.clone(),
    };
    let mut options = MqttOptions::new(client_id, host, address.port);
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(config.keep_alive)
        .set_max_packet_size(packet_bytes, packet_bytes);
    if let Some(username) = &config.username {
        let password = match &config.password_file {
            Some(file) => read_password(file)
                .map_err(|reason| format!("password.file {}: {reason}", file.display()))?,
            None => String::new(),
        };
        options.set_credentials(username, password);
    }
    if config.has_tls {
        let files = TlsFiles {
            authorities: config.ssl_ca_location.as_deref(),
            certificate: config.ssl_certificate_location.as_deref(),
            key: config.ssl_key_location.as_deref(),
        };
        let tls = TlsConfiguration::Rustls(Arc::new(tls(&files)?));
        options.set_transport(Transport::Tls(tls));
    }
    Ok(options)
}

/// Options of its socket.
pub(super) fn network_options() -> NetworkOptions {
    let mut options = NetworkOptions::new();
    options.set_tcp_nodelay(true);
    options.set_connection_timeout(MQTT_BRIDGE_CONNECT_SECONDS);
    options
}

/// Subscribes to all filters at once.
pub(super) fn subscribe(filters: &[BridgeFilter]) -> Packet {
    let all = filters.iter().map(|one| {
        let qos = match one.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce | Qos::ExactlyOnce => QoS::AtLeastOnce,
        };
        SubscribeFilter::new(one.filter.clone(), qos)
    });
    let mut subscribe = Subscribe::new_many(all);
    // The only packet of ours that has an identifier.
    subscribe.pkid = 1;
    Packet::Subscribe(subscribe)
}

/// Acknowledges the message with QoS 1 of this packet identifier.
pub(super) fn acknowledge(packet_id: u16) -> Packet {
    Packet::PubAck(PubAck::new(packet_id))
}

/// Sends packets on the open connection.
///
/// Errors: why the connection cannot be used any more.
pub(super) async fn send(events: &mut EventLoop, packets: Vec<Packet>) -> Result<(), String> {
    let Some(network) = events.network.as_mut().filter(|_| !packets.is_empty()) else {
        return Ok(());
    };
    let sent = async {
        for packet in packets {
            network.write(packet).await?;
        }
        network.flush().await
    };
    let limit = Duration::from_secs(MQTT_BRIDGE_CONNECT_SECONDS);
    match tokio::time::timeout(limit, sent).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("the broker does not take what is sent".to_owned()),
    }
}

/// What an event means; `prefix` stands in front of the topic of a message.
pub(super) fn received(event: Event, prefix: &str) -> Received {
    match event {
        Event::Incoming(Packet::ConnAck(answer)) => Received::Connected {
            session_present: answer.session_present,
        },
        Event::Incoming(Packet::SubAck(answer)) => {
            let granted = |code: &SubscribeReasonCode| *code != SubscribeReasonCode::Failure;
            Received::Subscribed(answer.return_codes.iter().map(granted).collect())
        }
        Event::Incoming(Packet::Publish(publish)) => published(&publish, prefix),
        Event::Incoming(_) | Event::Outgoing(_) => Received::Nothing,
    }
}

fn published(publish: &Publish, prefix: &str) -> Received {
    let (packet_id, qos) = match publish.qos {
        QoS::AtMostOnce => (None, Qos::AtMostOnce),
        QoS::AtLeastOnce => (Some(publish.pkid), Qos::AtLeastOnce),
        QoS::ExactlyOnce => {
            // Left in the session by another client that had the same identifier.
            let reason = "a message came with QoS 2, which was not subscribed to: delete the session \
                          of this client identifier at the broker";
            return Received::Fault(reason.to_owned());
        }
    };
    if publish.topic.is_empty() || publish.topic.contains(['+', '#', '\0']) {
        return Received::Fault(format!("`{}` is no topic name", publish.topic));
    }
    Received::Published(
        packet_id,
        Message {
            topic: [prefix, &publish.topic].concat().into(),
            payload: Bytes::copy_from_slice(&publish.payload),
            qos,
            retain: publish.retain,
            properties: None,
        },
    )
}

/// What may be behind a connection that the broker ends before it has accepted it: one that wants a
/// certificate may just reset it.
pub(super) fn hint(config: &BridgeConfig) -> Option<&'static str> {
    let lacks = config.has_tls && config.ssl_certificate_location.is_none();
    lacks.then_some("; the broker may want a certificate of this gateway: ssl.certificate.location")
}

/// Why a connection ended, as a sentence for the operator.
pub(super) fn describe(error: &ConnectionError, options: &MqttOptions) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code).to_owned(),
        ConnectionError::NetworkTimeout => {
            format!("no answer within {MQTT_BRIDGE_CONNECT_SECONDS} s")
        }
        ConnectionError::MqttState(StateError::Deserialization(
            rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
        )) => format!(
            "a packet of {bytes} bytes is larger than mqtt.packet.max.bytes ({}): raise it, or lower \
             what the broker takes",
            options.max_packet_size()
        ),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker has closed the connection".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker does not answer PINGREQ".to_owned()
        }
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::Tls(error) => format!("TLS: {error}"),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::mqttbytes::Error::Io(
            error,
        ))) => error.to_string(),
        ConnectionError::MqttState(error) => error.to_string(),
        ConnectionError::FlushTimeout
        | ConnectionError::NotConnAck(_)
        | ConnectionError::RequestsDone => error.to_string(),
    }
}

fn refused(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::BadUserNamePassword => "the broker refuses user name or password",
        ConnectReturnCode::NotAuthorized => {
            "the broker refuses this client: user name, password or certificate (not authorized)"
        }
        ConnectReturnCode::BadClientId => "the broker refuses the client identifier",
        ConnectReturnCode::RefusedProtocolVersion => "the broker does not speak MQTT 3.1.1",
        ConnectReturnCode::ServiceUnavailable => "the broker says that it is not available",
        ConnectReturnCode::Success => "the broker has accepted and refused the connection",
    }
}
