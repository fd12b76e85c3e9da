//! What an operator may choose.
//!
//! What it is        one table of keys ([`keys::all`]); command line, environment, files and help
//!                   all come from it.
//! What it is not    limits of the program: those stand in `limits.rs` and the keys are checked
//!                   against them.
//! Reading order     [`keys`], then [`load`] and [`environment`], then [`check`] and [`memory`].

pub mod check;
pub mod downlink;
pub mod environment;
pub mod keys;
pub mod load;
pub mod memory;
pub mod mirror;
pub mod mqtt_bridge;
pub mod passwords;
mod tables;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::mqtt::limits::{BRIDGE_HELD_BYTES_MAX, BRIDGE_PACKETS_AHEAD};
use kafka_lite::topic_config::ConfigMap;

/// A host name or address, and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 0 lets the system choose where we listen.
    pub port: u16,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The configuration. [`load::load`] makes a complete and checked one; the `Default` is empty, not
/// usable.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, each a key of its own"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `data.dir`
    pub data_dir: PathBuf,
    /// `node.id`
    pub node_id: u32,
    /// `shards`; `None` chooses.
    pub shards: Option<u16>,
    /// `memory` in bytes; `None` chooses.
    pub memory_bytes: Option<u64>,
    /// `kafka.listen`
    pub kafka_listen: HostPort,
    /// `kafka.advertise`; `None` is where we listen.
    pub kafka_advertise: Option<HostPort>,
    /// `mqtt.listen`; `None` is off.
    pub mqtt_listen: Option<HostPort>,
    /// `mqtt.websocket.listen`; `None` is off.
    pub mqtt_websocket_listen: Option<HostPort>,
    /// `mqtt.websocket.origins`; `None` is any.
    pub mqtt_websocket_origins: Option<Arc<[String]>>,
    /// `mqtt.password.file`; `None` is off.
    pub mqtt_password_file: Option<PathBuf>,
    /// `mqtt.anonymous`; `None` chooses.
    pub mqtt_anonymous: Option<bool>,
    /// `mqtt.rules`
    pub mqtt_rules: mqtt::mapping::Mapping,
    /// `mqtt.publish.rules`
    pub mqtt_publish_rules: mqtt::mapping::Outgoing,
    /// `mqtt.topics.max`
    pub mqtt_topics_max: usize,
    /// `mqtt.packet.max.bytes`
    pub mqtt_packet_max_bytes: u32,
    /// `mqtt.connections.max`; `None` chooses by memory.
    pub mqtt_connections_max: Option<u64>,
    /// `admin.listen`; `None` is off.
    pub admin_listen: Option<HostPort>,
    /// `socket.request.max.bytes`
    pub socket_request_max_bytes: u32,
    /// `max.connections`; `None` chooses by memory.
    pub max_connections: Option<u64>,
    /// `max.connections.per.ip`; 0 is no limit.
    pub max_connections_per_ip: u32,
    /// `connections.max.idle.ms`; 0 is never.
    pub connections_max_idle_ms: u64,
    /// `storage.direct.io`
    pub storage_direct_io: bool,
    /// `storage.commit.interval.ms`; `None` chooses.
    pub storage_commit_interval: Option<Duration>,
    /// `storage.bytes.max`: bytes of all segments; `None` is bounded by the device alone.
    pub storage_bytes_max: Option<u64>,
    /// `storage.reserve.bytes`: bytes of the device left free; `None` chooses.
    pub storage_reserve_bytes: Option<u64>,
    /// `storage.scrub.interval.ms`; `None` is off.
    pub storage_scrub_interval: Option<Duration>,
    /// `log.segment.bytes` was not chosen: the size of the disk decides.
    pub segment_bytes_automatic: bool,
    /// `storage.discard`: acknowledge and keep nothing.
    pub storage_discard: bool,
    /// Kafka's broker configs, under Kafka's names.
    pub broker_configs: ConfigMap,
    /// The `[[mirror]]` tables.
    pub mirrors: Vec<mirror::MirrorConfig>,
    /// The `[[mqtt.bridge]]` tables.
    pub mqtt_bridges: Vec<mqtt_bridge::BridgeConfig>,
    /// `threads.pin`
    pub threads_pin: bool,
    /// `memory.lock`
    pub memory_lock: bool,
    /// `log.level`, in the form of a tracing filter.
    pub log_level: String,
    /// `log.format`
    pub log_format: LogFormat,
}

/// A configuration that cannot be used: one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl HostPort {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.parse();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }
}

impl Config {
    /// Whether MQTT clients are listened for.
    pub fn serves_mqtt(&self) -> bool {
        self.mqtt_listen.is_some() || self.mqtt_websocket_listen.is_some()
    }

    /// Bytes that the bridges hold on the control thread: what is not acknowledged, and what is
    /// read ahead of it.
    pub fn mqtt_bridge_bytes(&self) -> u64 {
        let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let packets = of(BRIDGE_PACKETS_AHEAD + 1) * u64::from(self.mqtt_packet_max_bytes);
        of(self.mqtt_bridges.len()) * (of(BRIDGE_HELD_BYTES_MAX) + packets)
    }

    /// Whether MQTT clients without a user name are let in.
    pub fn allows_anonymous_mqtt(&self) -> bool {
        self.mqtt_anonymous
            .unwrap_or_else(|| self.mqtt_password_file.is_none())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(formatter, "[{}]:{}", self.host, self.port);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}
