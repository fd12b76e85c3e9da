//! Names of topics.
//!
//! What it is        Kafka's rules for names, and the names that belong to the broker.
//! What it is not    a look into the catalog.
//! Source            Kafka 4.3 `org.apache.kafka.common.internals.Topic`.

/// The topic of committed offsets and group metadata.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Name of the topic that holds the progress of the mirrors.
pub const MIRROR_TOPIC: &str = "__sluice_mirror";

/// The topic of MQTT sessions, with one partition.
pub const MQTT_SESSIONS_TOPIC: &str = "__mqtt_sessions";

/// The topic of retained MQTT messages, with one partition.
pub const MQTT_RETAINED_TOPIC: &str = "__mqtt_retained";

pub(super) const TRANSACTIONS_TOPIC: &str = "__transaction_state";
const NAME_BYTES_MAX: usize = 249;

/// Checks a topic name.
///
/// # Errors
/// Kafka's sentence; the error code is INVALID_TOPIC_EXCEPTION.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let is_legal = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '_' | '-');
    if name.is_empty() {
        Err("Topic name is invalid: the empty string is not allowed".to_owned())
    } else if name == "." || name == ".." {
        Err("Topic name is invalid: '.' or '..' is not allowed".to_owned())
    } else if name.len() > NAME_BYTES_MAX {
        Err(format!(
            "Topic name is invalid: the length of {} bytes is longer than the max allowed {NAME_BYTES_MAX}",
            name.len()
        ))
    } else if !name.chars().all(is_legal) {
        Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'"
        ))
    } else {
        Ok(())
    }
}

/// Returns whether the topic belongs to the broker: clients do not create, delete or write it.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        OFFSETS_TOPIC
            | TRANSACTIONS_TOPIC
            | MIRROR_TOPIC
            | MQTT_SESSIONS_TOPIC
            | MQTT_RETAINED_TOPIC
    )
}

/// Returns whether the topic holds the positions of those who read, and no data of users: on a
/// full disk it is still written, out of what data leaves free.
#[must_use]
pub fn is_bookkeeping(name: &str) -> bool {
    matches!(
        name,
        OFFSETS_TOPIC | TRANSACTIONS_TOPIC | MIRROR_TOPIC | MQTT_SESSIONS_TOPIC
    )
}

/// Returns what two names have in common that differ only in '.' and '_', when the name has either.
///
/// Metric names do not tell such topics apart, so the second is refused.
#[must_use]
pub fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
