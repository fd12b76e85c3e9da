//! The table of configuration keys.
//!
//! What it is        name, default, words and meaning of every key, once. The flag is the name with
//!                   dashes (`--kafka-listen`) unless the table says otherwise, the variable is the
//!                   name in capitals (`SLUICE_KAFKA_LISTEN`).
//! Invariants        1. the default of every key is accepted by its own parser (a test reads them
//!                      all).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kafka_lite::limits::{FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST, FRAME_BYTES_MAX_DEFAULT};
use kafka_lite::topic_config::broker_config;
use tracing_subscriber::EnvFilter;

use super::{Config, HostPort, LogFormat};
use crate::limits::{MEMORY_BYTES_MIN, SHARDS_MAX};

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Name in files, with dots.
    pub name: &'static str,
    /// Flag without dashes, where it is not the name with dashes.
    flag: Option<&'static str>,
    /// Default as text; `auto` and `off` where the key knows them.
    pub default: &'static str,
    /// What a value looks like, for the help.
    pub value: &'static str,
    /// What it does, for the help.
    pub help: &'static str,
    /// Takes a value as text. The error continues "kafka.listen: ".
    pub apply: fn(&mut Config, &str) -> Result<(), String>,
}

impl Key {
    /// The flag without its two dashes.
    pub fn flag(&self) -> String {
        self.flag
            .map_or_else(|| self.name.replace('.', "-"), str::to_owned)
    }

    /// Whether the values are true and false.
    pub fn is_boolean(&self) -> bool {
        self.value == "true|false"
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        let name = self.name.replace(['.', '-'], "_");
        format!("SLUICE_{}", name.to_uppercase())
    }
}

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

/// Every key, in the order of the help.
pub static KEYS: &[Key] = &[
    Key {
        name: "data.dir",
        flag: None,
        default: "./sluice-data",
        value: "DIR",
        help: "Where the broker keeps everything",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a directory is expected".to_owned());
            }
            config.data_dir = PathBuf::from(text);
            Ok(())
        },
    },
    Key {
        name: "kafka.listen",
        flag: None,
        default: "127.0.0.1:9092",
        value: "HOST:PORT",
        help: "Where Kafka clients connect",
        apply: |config, text| set(&mut config.kafka_listen, host_port(text)),
    },
    Key {
        name: "kafka.advertise",
        flag: Some("advertise"),
        default: "auto",
        value: "HOST:PORT",
        help: "The address that Kafka clients are told to use; auto is kafka.listen",
        apply: |config, text| set(&mut config.kafka_advertise, unless("auto", text, reachable)),
    },
    Key {
        name: "mqtt.listen",
        flag: None,
        default: "127.0.0.1:1883",
        value: "HOST:PORT|off",
        help: "Where MQTT clients connect",
        apply: |config, text| set(&mut config.mqtt_listen, unless("off", text, host_port)),
    },
    Key {
        name: "mqtt.rules",
        flag: None,
        default: "auto",
        value: "RULES",
        help: "Which MQTT topic goes to which Kafka topic: `FILTER -> TOPIC key=TEMPLATE`, one rule per \
               line; auto sends everything to the topic mqtt",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a rule `FILTER -> TOPIC` is expected".to_owned());
            }
            let rules = if text == "auto" { "" } else { text };
            config.mqtt_rules =
                mqtt::mapping::Mapping::parse(rules).map_err(|error| error.to_string())?;
            Ok(())
        },
    },
    Key {
        name: "mqtt.topics.max",
        flag: None,
        default: "1000",
        value: "N",
        help: "Rules make no further topic when there are so many; messages go to the topic mqtt then",
        apply: |config, text| set(&mut config.mqtt_topics_max, number(text, 0, 1_000_000)),
    },
    Key {
        name: "mqtt.packet.max.bytes",
        flag: None,
        default: "262144",
        value: "BYTES",
        help: "Largest MQTT packet; a larger one closes the connection",
        apply: |config, text| {
            let parsed = size(text, 1024, 1 << 20);
            set(
                &mut config.mqtt_packet_max_bytes,
                parsed.and_then(|bytes| u32::try_from(bytes).map_err(|error| error.to_string())),
            )
        },
    },
    Key {
        name: "mqtt.connections.max",
        flag: None,
        default: "auto",
        value: "N",
        help: "MQTT connections open at once; auto is what the memory has room for",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 1, 1_000_000));
            set(&mut config.mqtt_connections_max, parsed)
        },
    },
    Key {
        name: "admin.listen",
        flag: None,
        default: "127.0.0.1:9644",
        value: "HOST:PORT|off",
        help: "Where /healthz, /readyz and /metrics are served",
        apply: |config, text| set(&mut config.admin_listen, unless("off", text, host_port)),
    },
    Key {
        name: "node.id",
        flag: None,
        default: "1",
        value: "N",
        help: "Number of this broker in its cluster",
        apply: |config, text| set(&mut config.node_id, number(text, 0, 0x7fff_ffff)),
    },
    Key {
        name: "memory",
        flag: None,
        default: "auto",
        value: "SIZE",
        help: "Memory limit of the whole process, for example 130M or 2G; auto is a quarter of the \
               machine's memory, at most four fifths of the cgroup's limit and at most 4 GiB",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| size(text, MEMORY_BYTES_MIN, u64::MAX));
            set(&mut config.memory_bytes, parsed)
        },
    },
    Key {
        name: "shards",
        flag: None,
        default: "auto",
        value: "N",
        help: "Threads that share the work; auto is one, or one per processor from 512 MiB of memory on",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 1, SHARDS_MAX));
            set(&mut config.shards, parsed)
        },
    },
    Key {
        name: "socket.request.max.bytes",
        flag: None,
        default: "8388608",
        value: "BYTES",
        help: "Largest request; a larger one closes the connection",
        apply: |config, text| {
            let least = u64::try_from(FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST).unwrap_or(0);
            let parsed = size(text, least, 1 << 30);
            set(
                &mut config.socket_request_max_bytes,
                parsed.and_then(|bytes| u32::try_from(bytes).map_err(|error| error.to_string())),
            )
        },
    },
    Key {
        name: "max.connections",
        flag: None,
        default: "auto",
        value: "N",
        help: "Connections open at once; auto is what the memory has room for",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 1, 1_000_000));
            set(&mut config.max_connections, parsed)
        },
    },
    Key {
        name: "max.connections.per.ip",
        flag: None,
        default: "0",
        value: "N",
        help: "Connections open at once from one address; 0 is no limit",
        apply: |config, text| {
            set(
                &mut config.max_connections_per_ip,
                number(text, 0, 1_000_000),
            )
        },
    },
    Key {
        name: "connections.max.idle.ms",
        flag: None,
        default: "600000",
        value: "MS",
        help: "A connection that is silent for longer is closed; 0 is never",
        apply: |config, text| {
            let parsed = number(text, 0, u64::from(u32::MAX));
            set(&mut config.connections_max_idle_ms, parsed)
        },
    },
    Key {
        name: "storage.direct.io",
        flag: None,
        default: "true",
        value: "true|false",
        help: "Bypass the page cache where the file system can; otherwise every write is flushed by fdatasync",
        apply: |config, text| set(&mut config.storage_direct_io, boolean(text)),
    },
    Key {
        name: "storage.commit.interval.ms",
        flag: None,
        default: "auto",
        value: "MS",
        help: "Least time between two flushes of the journal, 0 to 1000: longer wears flash less and \
               answers later; auto is 5 on SD cards and eMMC, else 0",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 0, 1000));
            let interval = parsed.map(|ms| ms.map(Duration::from_millis));
            set(&mut config.storage_commit_interval, interval)
        },
    },
    Key {
        name: "storage.bytes.max",
        flag: None,
        default: "off",
        value: "SIZE|off",
        help: "Bytes that records may take on the disk; beyond it the oldest are removed, whatever the \
               topics say",
        apply: |config, text| {
            let parsed = unless("off", text, |text| size(text, 1 << 20, u64::MAX));
            set(&mut config.storage_bytes_max, parsed)
        },
    },
    Key {
        name: "storage.reserve.bytes",
        flag: None,
        default: "auto",
        value: "SIZE",
        help: "Bytes of the disk that records leave free; auto is 2 %, at least 64 MiB, at most a quarter",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| size(text, 0, u64::MAX));
            set(&mut config.storage_reserve_bytes, parsed)
        },
    },
    Key {
        name: "storage.scrub.interval.ms",
        flag: None,
        default: "604800000",
        value: "MS|off",
        help: "Time in which everything stored is read once to find damage",
        apply: |config, text| {
            let parsed = unless("off", text, |text| number(text, 1000, u64::MAX));
            let interval = parsed.map(|ms| ms.map(Duration::from_millis));
            set(&mut config.storage_scrub_interval, interval)
        },
    },
    Key {
        name: "storage.discard",
        flag: None,
        default: "false",
        value: "true|false",
        help: "For benchmarks only: acknowledge records and keep nothing",
        apply: |config, text| set(&mut config.storage_discard, boolean(text)),
    },
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
    Key {
        name: "threads.pin",
        flag: None,
        default: "true",
        value: "true|false",
        help: "Keep each shard on one processor when there are several shards",
        apply: |config, text| set(&mut config.threads_pin, boolean(text)),
    },
    Key {
        name: "memory.lock",
        flag: Some("lock-memory"),
        default: "false",
        value: "true|false",
        help: "Lock the memory of the process, so that it is never swapped out",
        apply: |config, text| set(&mut config.memory_lock, boolean(text)),
    },
    Key {
        name: "log.level",
        flag: None,
        default: "info",
        value: "LEVEL",
        help: "error, warn, info, debug or trace, or a filter such as info,daemon::connection=debug",
        apply: |config, text| {
            check_log_filter(text)?;
            text.clone_into(&mut config.log_level);
            Ok(())
        },
    },
    Key {
        name: "log.format",
        flag: None,
        default: "text",
        value: "text|json",
        help: "How log lines on standard error look",
        apply: |config, text| {
            config.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("text or json is expected, not `{text}`")),
            };
            Ok(())
        },
    },
];

const _: () = assert!(FRAME_BYTES_MAX_DEFAULT == 8_388_608);

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key that is most like `name`, if any is at all.
pub fn most_similar(name: &str) -> Option<&'static Key> {
    let (distance, key) = KEYS
        .iter()
        .map(|key| (edit_distance(name, key.name), key))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 4 && distance * 2 < key.name.len()).then_some(key)
}

/// Reads a size in bytes: `130M` and `130MB` are 130,000,000; `130MiB` is 136,314,880.
///
/// # Errors
/// What is expected, for the operator.
pub fn size(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let digits_end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1_000),
        "m" | "mb" => Some(1_000_000),
        "g" | "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let parsed = digits.parse::<u64>().ok().zip(factor);
    let bytes = parsed
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| format!("a size such as 130M or 2G is expected, not `{text}`"))?;
    if bytes < least || bytes > most {
        let most = if most == u64::MAX {
            String::new()
        } else {
            format!(" and at most {most}")
        };
        return Err(format!(
            "at least {least}{most} bytes are expected, not {bytes}"
        ));
    }
    Ok(bytes)
}

fn number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!(
            "a number from {least} to {most} is expected, not `{text}`"
        )),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("true or false is expected, not `{text}`")),
    }
}

fn host_port(text: &str) -> Result<HostPort, String> {
    let expected = || format!("HOST:PORT is expected, not `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match inner {
        Some(inner) => inner,
        None if host.contains(':') => return Err(expected()),
        None => host,
    };
    if host.is_empty() {
        return Err(expected());
    }
    let port = port.parse().map_err(|_| expected())?;
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

/// An address that a client can connect to.
fn reachable(text: &str) -> Result<HostPort, String> {
    let address = host_port(text)?;
    let host: Result<IpAddr, _> = address.host.parse();
    if address.port == 0 || host.is_ok_and(|host| host.is_unspecified()) {
        return Err(format!("clients cannot connect to `{text}`"));
    }
    Ok(address)
}

/// A word without `=` would be taken for the name of a module and silence all others.
fn check_log_filter(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(format!(
                "error, warn, info, debug or trace is expected, not `{level}`"
            ));
        }
    }
    let filter: Result<EnvFilter, _> = text.parse();
    filter.map(|_| ()).map_err(|error| error.to_string())
}

/// `None` for the word, otherwise what the parser says.
fn unless<T>(
    word: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == word {
        return Ok(None);
    }
    parse(text).map(Some)
}

fn set<T>(target: &mut T, parsed: Result<T, String>) -> Result<(), String> {
    *target = parsed?;
    Ok(())
}

/// Insertions, deletions and replacements between two names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, character) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        let mut next = vec![previous];
        for (above, other) in row.iter().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(character != *other);
            previous = replaced.min(previous + 1).min(above + 1);
            diagonal = *above;
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

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

#[cfg(test)]
mod tests {
    use super::{KEYS, edit_distance, host_port, most_similar, size};
    use crate::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_is_accepted_and_every_flag_and_variable_is_its_own() {
        let mut config = Config::default();
        let mut names = BTreeSet::new();
        for key in KEYS {
            assert_eq!(
                (key.apply)(&mut config, key.default),
                Ok(()),
                "{}",
                key.name
            );
            assert!(names.insert(key.flag()), "{}", key.name);
            assert!(names.insert(key.variable()), "{}", key.name);
            assert!((key.apply)(&mut config, "").is_err(), "{}", key.name);
        }
    }

    #[test]
    fn the_operators_guide_lists_every_key() {
        let guide = include_str!("../../../docs/operations.md");
        let mut table = "| key | default | meaning |\n|---|---|---|\n".to_owned();
        for key in KEYS {
            let (name, default, value) = (key.name, key.default, key.value.replace('|', " or "));
            let flag = if key.flag() == name.replace('.', "-") {
                String::new()
            } else {
                format!(" Flag: `--{}`.", key.flag())
            };
            table.push_str(&format!(
                "| `{name}` | `{default}` | {}. {value}.{flag} |\n",
                key.help
            ));
        }
        assert!(
            guide.contains(&table),
            "docs/operations.md must have this table:\n{table}"
        );
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("130M", 0, u64::MAX), Ok(130_000_000));
        assert_eq!(size("2GiB", 0, u64::MAX), Ok(2 << 30));
        assert_eq!(size("77", 0, 100), Ok(77));
        for bad in ["", "M", "1.5G", "-1", "1T", "99999999999G"] {
            assert!(size(bad, 0, u64::MAX).is_err(), "{bad}");
        }
        assert!(size("10M", 48 << 20, u64::MAX).is_err());
    }

    #[test]
    fn addresses_may_be_names_and_six_byte_groups_need_brackets() {
        assert_eq!(host_port("[::1]:9092").unwrap().to_string(), "[::1]:9092");
        assert_eq!(host_port("gateway:0").unwrap().to_string(), "gateway:0");
        for bad in ["9092", ":9092", "::1:9092", "host:", "host:70000", "host:x"] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_filter_that_would_silence_everything_is_refused() {
        let apply = |text: &str| {
            let key = super::find("log.level").unwrap();
            (key.apply)(&mut Config::default(), text)
        };
        for good in ["info", "warn,daemon::connection=debug", "off", "DEBUG"] {
            assert_eq!(apply(good), Ok(()), "{good}");
        }
        for bad in ["nonsense", "daemon", "daemon=loud", "", "info,"] {
            apply(bad).unwrap_err();
        }
    }

    #[test]
    fn clients_are_not_sent_to_addresses_that_nobody_has() {
        for bad in ["0.0.0.0:9092", "[::]:9092", "gateway:0", "gateway"] {
            super::reachable(bad).unwrap_err();
        }
        super::reachable("10.0.0.1:9092").unwrap();
    }

    #[test]
    fn a_mistyped_key_finds_its_neighbour() {
        assert_eq!(
            most_similar("kafka.lisen").map(|key| key.name),
            Some("kafka.listen")
        );
        assert_eq!(
            most_similar("data-dir").map(|key| key.name),
            Some("data.dir")
        );
        assert!(most_similar("something.else.entirely").is_none());
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
