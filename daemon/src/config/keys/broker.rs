//! Keys of Kafka's broker configs.

use kafka_lite::topic_config::broker_config;

use super::Key;
use crate::config::Config;

/// A broker config of Kafka: its name is the key, its check is Kafka's.
macro_rules! broker_key {
    ($name:literal, $default:literal, $value:literal, $help:literal) => {
        Key {
            name: $name,
            flag: None,
            default: $default,
            value: $value,
            help: $help,
            apply: |config, text| set_broker_config(config, $name, text),
        }
    };
}

/// In the order of the help.
pub(super) static KEYS: &[Key] = &[
    broker_key!(
        "auto.create.topics.enable",
        "true",
        "true|false",
        "Make a topic when a client asks for it by name"
    ),
    broker_key!(
        "num.partitions",
        "1",
        "N",
        "Partitions of a topic whose creator names no number"
    ),
    broker_key!(
        "message.max.bytes",
        "1048588",
        "BYTES",
        "Largest record batch, compressed; a topic's max.message.bytes wins"
    ),
    broker_key!(
        "log.retention.ms",
        "auto",
        "MS",
        "Age at which segments are removed; auto is 7 days, -1 is never; a topic's retention.ms wins"
    ),
    broker_key!(
        "log.retention.bytes",
        "-1",
        "BYTES",
        "Bytes of a partition beyond which its oldest segments are removed; -1 is no limit; a topic's \
         retention.bytes wins"
    ),
    broker_key!(
        "log.retention.check.interval.ms",
        "300000",
        "MS",
        "Pause between two looks for segments that are too old or too much"
    ),
    Key {
        name: "log.segment.bytes",
        flag: None,
        default: "auto",
        value: "BYTES|auto",
        help: "Size of a segment file at which the next one begins; auto is 16777216 on disks below \
               64 GB, else 134217728; a topic's segment.bytes wins",
        apply: |config, text| {
            config.segment_bytes_automatic = text == "auto";
            set_broker_config(config, "log.segment.bytes", text)
        },
    },
    broker_key!(
        "offsets.topic.num.partitions",
        "4",
        "N",
        "Partitions of __consumer_offsets when it is made"
    ),
    broker_key!(
        "offsets.retention.minutes",
        "10080",
        "MINUTES",
        "Time after which offsets of a group without members are forgotten"
    ),
    broker_key!(
        "group.initial.rebalance.delay.ms",
        "3000",
        "MS",
        "Time that the first rebalance of a group waits for further members"
    ),
    broker_key!(
        "group.min.session.timeout.ms",
        "6000",
        "MS",
        "Shortest session timeout that a member of a group may ask for"
    ),
    broker_key!(
        "group.max.session.timeout.ms",
        "1800000",
        "MS",
        "Longest session timeout that a member of a group may ask for"
    ),
];

fn set_broker_config(config: &mut Config, name: &str, text: &str) -> Result<(), String> {
    let definition = broker_config(name).ok_or("no broker config of that name")?;
    if text == "auto" {
        return Ok(());
    }
    definition.check(text)?;
    // Kafka shows only what was chosen as chosen: its own default is no entry.
    if definition.default == Some(text) {
        config.broker_configs.remove(name);
    } else {
        config.broker_configs.insert(name.into(), text.into());
    }
    Ok(())
}
