//! Whether values that are fine alone are fine together.
//!
//! What it is        rules between keys, and between keys and the memory that there is.
//! Invariants        1. a fault names the key whose value has to give way.

use kafka_lite::limits::PARTITIONS_PER_TOPIC_MAX;
use kafka_lite::topic_config::{ConfigLayers, ConfigMap};

use super::Config;
use crate::shard::budgets::ShardPlan;

/// A value that does not fit another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub key: &'static str,
    /// Continues "group.min.session.timeout.ms in its default: ".
    pub reason: String,
}

/// Checks the values against each other.
///
/// # Errors
/// The first [`Fault`].
pub fn check_together(config: &Config) -> Result<(), Fault> {
    let nothing = ConfigMap::new();
    let layers = ConfigLayers {
        dynamic_broker: &nothing,
        dynamic_default: &nothing,
        static_broker: &config.broker_configs,
    };
    let request_max = i64::from(config.socket_request_max_bytes);
    at_most(
        &layers,
        "message.max.bytes",
        "socket.request.max.bytes",
        request_max,
    )?;
    let longest = layers.broker_number("group.max.session.timeout.ms");
    let (min, max) = (
        "group.min.session.timeout.ms",
        "group.max.session.timeout.ms",
    );
    at_most(&layers, min, max, longest)?;
    let partitions = i64::try_from(PARTITIONS_PER_TOPIC_MAX).unwrap_or(i64::MAX);
    for key in ["num.partitions", "offsets.topic.num.partitions"] {
        at_most(&layers, key, "the partitions of a topic", partitions)?;
    }
    check_mqtt_access(config)?;
    let shards = config.shards.unwrap_or(1);
    match config.memory_bytes {
        Some(memory_bytes) => check_memory(config, memory_bytes, shards),
        None => Ok(()),
    }
}

/// Whoever reaches a listener may publish: off the loopback interface that has to be wanted.
fn check_mqtt_access(config: &Config) -> Result<(), Fault> {
    let listeners = [
        ("mqtt.listen", &config.mqtt_listen),
        ("mqtt.websocket.listen", &config.mqtt_websocket_listen),
    ];
    let is_open = config.mqtt_anonymous.is_none() && config.allows_anonymous_mqtt();
    for (key, listen) in listeners {
        if let Some(listen) = listen.as_ref().filter(|one| is_open && !one.is_loopback()) {
            return Err(Fault {
                key,
                reason: format!(
                    "clients of other machines could connect to {listen} without a password; name \
                     an mqtt.password.file, or say mqtt.anonymous = true"
                ),
            });
        }
    }
    if !config.serves_mqtt() {
        return Ok(());
    }
    if config.mqtt_anonymous == Some(false) && config.mqtt_password_file.is_none() {
        return Err(Fault {
            key: "mqtt.anonymous",
            reason: "without an mqtt.password.file nobody could connect".to_owned(),
        });
    }
    Ok(())
}

/// Checks what the shards and the largest request need against the memory of the process.
///
/// # Errors
/// [`Fault`] for `shards` or `socket.request.max.bytes`.
pub fn check_memory(config: &Config, memory_bytes: u64, shards: u16) -> Result<(), Fault> {
    let memory_bytes = memory_bytes.saturating_sub(config.mqtt_bridge_bytes());
    let fitting = ShardPlan::shards_max(memory_bytes);
    if u64::from(shards) > fitting {
        return Err(Fault {
            key: "shards",
            reason: format!(
                "{memory_bytes} bytes of memory are enough for {fitting}, not {shards}"
            ),
        });
    }
    let largest =
        ShardPlan::new(memory_bytes, shards, !config.mirrors.is_empty()).request_bytes_max();
    let wanted = u64::from(config.socket_request_max_bytes);
    if wanted > largest {
        return Err(Fault {
            key: "socket.request.max.bytes",
            reason: format!(
                "{memory_bytes} bytes of memory on {shards} shard(s) have room for requests of \
                 {largest} bytes, not {wanted}"
            ),
        });
    }
    Ok(())
}

fn at_most(
    layers: &ConfigLayers<'_>,
    key: &'static str,
    what: &str,
    most: i64,
) -> Result<(), Fault> {
    let value = layers.broker_number(key);
    if value <= most {
        return Ok(());
    }
    Err(Fault {
        key,
        reason: format!("{value} is more than {what} ({most})"),
    })
}
