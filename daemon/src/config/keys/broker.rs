//! Keys of Kafka's broker configs.

use kafka_lite::topic_config::broker_config;

use super::Key;
use crate::config::Config;

/// A broker config of Kafka: its name is the key, its check is Kafka's.
macro_rules! broker_key {
    ($name:literal, $default:literal, $value:literal) => {
        Key {
            name: $name,
            flag: None,
            default: $default,
            value: $value,
            help: concat!("Kafka's ", $name),
            apply: |config, text| set_broker_config(config, $name, text),
        }
    };
}

/// In the order of the help.
pub(super) static KEYS: &[Key] = &[
    broker_key!("auto.create.topics.enable", "true", "true|false"),
    broker_key!("num.partitions", "1", "N"),
    broker_key!("message.max.bytes", "1048588", "BYTES"),
    broker_key!("log.retention.ms", "auto", "MS"),
    broker_key!("log.retention.bytes", "-1", "BYTES"),
    broker_key!("log.retention.check.interval.ms", "300000", "MS"),
    Key {
        name: "log.segment.bytes",
        flag: None,
        default: "auto",
        value: "BYTES|auto",
        help: "Kafka's log.segment.bytes; auto is 16777216 on disks below 64 GB, else 134217728",
        apply: |config, text| {
            config.segment_bytes_automatic = text == "auto";
            set_broker_config(config, "log.segment.bytes", text)
        },
    },
    broker_key!("offsets.topic.num.partitions", "4", "N"),
    broker_key!("offsets.retention.minutes", "10080", "MINUTES"),
    broker_key!("group.initial.rebalance.delay.ms", "3000", "MS"),
    broker_key!("group.min.session.timeout.ms", "6000", "MS"),
    broker_key!("group.max.session.timeout.ms", "1800000", "MS"),
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
