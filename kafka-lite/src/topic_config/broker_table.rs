//! The table of broker configs.
//!
//! What it is        the broker configs that tools read (DescribeConfigs on a broker), and those
//!                   that give topics their defaults.
//! What it is not    all of Kafka's broker configs: what has no meaning here is not shown.
//! Source            Kafka 4.3 `KafkaConfig`, `ServerLogConfigs`, `GroupCoordinatorConfig`. The
//!                   daemon's static layer overrides defaults (for example log.segment.bytes on
//!                   gateways).

use super::definition::{ConfigDefinition, ConfigKind, ConfigRule};

/// Returns the broker config with this name.
#[must_use]
pub fn broker_config(name: &str) -> Option<&'static ConfigDefinition> {
    BROKER_CONFIGS
        .iter()
        .find(|definition| definition.name == name)
}

/// Can be changed while the broker runs.
const fn dynamic(
    name: &'static str,
    kind: ConfigKind,
    default: Option<&'static str>,
    rule: ConfigRule,
    documentation: &'static str,
) -> ConfigDefinition {
    let is_read_only = false;
    ConfigDefinition {
        name,
        kind,
        default,
        rule,
        synonyms: &[],
        is_read_only,
        documentation,
    }
}

/// Is set by the process configuration only.
const fn fixed(
    name: &'static str,
    kind: ConfigKind,
    default: Option<&'static str>,
    rule: ConfigRule,
    documentation: &'static str,
) -> ConfigDefinition {
    let is_read_only = true;
    ConfigDefinition {
        name,
        kind,
        default,
        rule,
        synonyms: &[],
        is_read_only,
        documentation,
    }
}

const fn at_least(min: i64) -> ConfigRule {
    ConfigRule::Range { min, max: i64::MAX }
}

const FOREVER: Option<&str> = Some("9223372036854775807");
const TOPIC_DEFAULT: &str = "Default of the topic config of the same meaning.";
const COMPATIBILITY: &str =
    "Taken for compatibility; batches are stored as producers compressed them.";

/// Every broker config.
#[rustfmt::skip]
pub static BROKER_CONFIGS: &[ConfigDefinition] = &[
    fixed("advertised.listeners", ConfigKind::String, None, ConfigRule::Any,
        "Where clients are told to connect."),
    fixed("auto.create.topics.enable", ConfigKind::Boolean, Some("true"), ConfigRule::Any,
        "Whether a topic is created when a client asks for the metadata of one that does not exist."),
    fixed("auto.leader.rebalance.enable", ConfigKind::Boolean, Some("true"), ConfigRule::Any,
        "Whether leadership returns to the first replica by itself."),
    fixed("broker.id", ConfigKind::Int, Some("-1"), at_least(-1), "Number of this broker."),
    fixed("broker.rack", ConfigKind::String, None, ConfigRule::Any, "Place of this broker."),
    dynamic("compression.gzip.level", ConfigKind::Int, Some("-1"), ConfigRule::Range { min: -1, max: 9 }, COMPATIBILITY),
    dynamic("compression.lz4.level", ConfigKind::Int, Some("9"), ConfigRule::Range { min: 1, max: 17 }, COMPATIBILITY),
    dynamic("compression.type", ConfigKind::String, Some("producer"),
        ConfigRule::Only { value: "producer", reason: "batches are stored as producers compressed them" },
        TOPIC_DEFAULT),
    dynamic("compression.zstd.level", ConfigKind::Int, Some("3"), ConfigRule::Range { min: -131_072, max: 22 }, COMPATIBILITY),
    fixed("connections.max.idle.ms", ConfigKind::Long, Some("600000"), ConfigRule::Any,
        "Time after which a silent connection is closed."),
    fixed("default.replication.factor", ConfigKind::Int, Some("1"), at_least(1),
        "Replicas of topics that do not say how many."),
    fixed("delete.topic.enable", ConfigKind::Boolean, Some("true"), ConfigRule::Any,
        "Whether topics can be deleted."),
    fixed("fetch.max.bytes", ConfigKind::Int, Some("57671680"), at_least(1024),
        "Largest Fetch response, whatever the client asks for."),
    fixed("group.initial.rebalance.delay.ms", ConfigKind::Int, Some("3000"), at_least(0),
        "Time that the first member of an empty group waits for others."),
    fixed("group.max.session.timeout.ms", ConfigKind::Int, Some("1800000"), at_least(1),
        "Longest session timeout that a member may ask for."),
    fixed("group.max.size", ConfigKind::Int, Some("2147483647"), at_least(1),
        "Members that a group may have."),
    fixed("group.min.session.timeout.ms", ConfigKind::Int, Some("6000"), at_least(1),
        "Shortest session timeout that a member may ask for."),
    fixed("listeners", ConfigKind::String, None, ConfigRule::Any, "Where the broker listens."),
    dynamic("log.cleaner.delete.retention.ms", ConfigKind::Long, Some("86400000"), at_least(0), TOPIC_DEFAULT),
    fixed("log.cleaner.enable", ConfigKind::Boolean, Some("true"),
        ConfigRule::Only { value: "true", reason: "consumer offsets need compaction" },
        "Whether compaction runs."),
    dynamic("log.cleaner.max.compaction.lag.ms", ConfigKind::Long, FOREVER, at_least(1), TOPIC_DEFAULT),
    dynamic("log.cleaner.min.cleanable.ratio", ConfigKind::Double, Some("0.5"), ConfigRule::Fraction, TOPIC_DEFAULT),
    dynamic("log.cleaner.min.compaction.lag.ms", ConfigKind::Long, Some("0"), at_least(0), TOPIC_DEFAULT),
    dynamic("log.cleanup.policy", ConfigKind::List, Some("delete"), ConfigRule::ListOf(&["compact", "delete"]), TOPIC_DEFAULT),
    fixed("log.dir", ConfigKind::String, None, ConfigRule::Any, "The data directory."),
    fixed("log.dirs", ConfigKind::String, None, ConfigRule::Any, "The data directory."),
    dynamic("log.flush.interval.messages", ConfigKind::Long, Some("1"), at_least(1), TOPIC_DEFAULT),
    dynamic("log.flush.interval.ms", ConfigKind::Long, None, at_least(0), TOPIC_DEFAULT),
    fixed("log.flush.scheduler.interval.ms", ConfigKind::Long, FOREVER, at_least(0), TOPIC_DEFAULT),
    dynamic("log.index.interval.bytes", ConfigKind::Int, Some("4096"), at_least(0), TOPIC_DEFAULT),
    dynamic("log.index.size.max.bytes", ConfigKind::Int, Some("10485760"), at_least(4), TOPIC_DEFAULT),
    dynamic("log.local.retention.bytes", ConfigKind::Long, Some("-2"), at_least(-2), TOPIC_DEFAULT),
    dynamic("log.local.retention.ms", ConfigKind::Long, Some("-2"), at_least(-2), TOPIC_DEFAULT),
    dynamic("log.message.timestamp.after.max.ms", ConfigKind::Long, Some("3600000"), at_least(0), TOPIC_DEFAULT),
    dynamic("log.message.timestamp.before.max.ms", ConfigKind::Long, FOREVER, at_least(0), TOPIC_DEFAULT),
    dynamic("log.message.timestamp.type", ConfigKind::String, Some("CreateTime"),
        ConfigRule::OneOf(&["CreateTime", "LogAppendTime"]), TOPIC_DEFAULT),
    dynamic("log.preallocate", ConfigKind::Boolean, Some("false"), ConfigRule::Any, TOPIC_DEFAULT),
    dynamic("log.retention.bytes", ConfigKind::Long, Some("-1"), at_least(-1), TOPIC_DEFAULT),
    fixed("log.retention.check.interval.ms", ConfigKind::Long, Some("300000"), at_least(1),
        "Pause between two looks for segments that are too old or too many."),
    fixed("log.retention.hours", ConfigKind::Int, Some("168"), at_least(-1), TOPIC_DEFAULT),
    fixed("log.retention.minutes", ConfigKind::Int, None, at_least(-1), TOPIC_DEFAULT),
    dynamic("log.retention.ms", ConfigKind::Long, None, at_least(-1), TOPIC_DEFAULT),
    fixed("log.roll.hours", ConfigKind::Int, Some("168"), at_least(1), TOPIC_DEFAULT),
    fixed("log.roll.jitter.hours", ConfigKind::Int, Some("0"), at_least(0), TOPIC_DEFAULT),
    dynamic("log.roll.jitter.ms", ConfigKind::Long, None, at_least(0), TOPIC_DEFAULT),
    dynamic("log.roll.ms", ConfigKind::Long, None, at_least(1), TOPIC_DEFAULT),
    dynamic("log.segment.bytes", ConfigKind::Int, Some("1073741824"), at_least(64 << 10), TOPIC_DEFAULT),
    dynamic("log.segment.delete.delay.ms", ConfigKind::Long, Some("60000"), at_least(0), TOPIC_DEFAULT),
    fixed("max.incremental.fetch.session.cache.slots", ConfigKind::Int, Some("1000"), at_least(0),
        "Fetch sessions that are kept."),
    dynamic("message.max.bytes", ConfigKind::Int, Some("1048588"), at_least(0), TOPIC_DEFAULT),
    dynamic("min.insync.replicas", ConfigKind::Int, Some("1"), at_least(1), TOPIC_DEFAULT),
    fixed("node.id", ConfigKind::Int, Some("-1"), at_least(-1), "Number of this broker."),
    fixed("num.partitions", ConfigKind::Int, Some("1"), at_least(1),
        "Partitions of topics that do not say how many."),
    fixed("offset.metadata.max.bytes", ConfigKind::Int, Some("4096"), at_least(0),
        "Largest metadata text of a committed offset."),
    fixed("offsets.commit.timeout.ms", ConfigKind::Int, Some("5000"), at_least(1),
        "Time that an offset commit may take."),
    fixed("offsets.retention.check.interval.ms", ConfigKind::Long, Some("600000"), at_least(1),
        "Pause between two looks for expired offsets."),
    fixed("offsets.retention.minutes", ConfigKind::Int, Some("10080"), at_least(1),
        "Time after which offsets of a group without members expire."),
    fixed("offsets.topic.num.partitions", ConfigKind::Int, Some("4"), at_least(1),
        "Partitions of __consumer_offsets; Kafka's default is 50."),
    fixed("offsets.topic.replication.factor", ConfigKind::Int, Some("1"), at_least(1),
        "Replicas of __consumer_offsets."),
    fixed("offsets.topic.segment.bytes", ConfigKind::Int, Some("16777216"), at_least(64 << 10),
        "Segment size of __consumer_offsets; Kafka's default is 100 MiB."),
    fixed("process.roles", ConfigKind::List, Some("broker,controller"), ConfigRule::Any,
        "What this process does."),
    fixed("producer.id.expiration.ms", ConfigKind::Int, Some("86400000"), at_least(1),
        "Time after its last write at which a producer is forgotten."),
    fixed("socket.request.max.bytes", ConfigKind::Int, Some("8388608"), at_least(1),
        "Largest request; Kafka's default is 100 MiB."),
    fixed("transaction.max.timeout.ms", ConfigKind::Int, Some("900000"), at_least(1),
        "Longest transaction that a producer may ask for."),
    fixed("transactional.id.expiration.ms", ConfigKind::Int, Some("604800000"), at_least(1),
        "Time after which an unused transactional id is forgotten."),
    dynamic("unclean.leader.election.enable", ConfigKind::Boolean, Some("false"),
        ConfigRule::Only { value: "false", reason: "a replica that lacks committed records never leads" },
        TOPIC_DEFAULT),
];
