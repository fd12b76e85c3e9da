//! The table of topic configs.
//!
//! What it is        every topic config of Kafka 4.3, in the order of its name.
//! What it is not    broker configs: see `broker_table`.
//! Source            Kafka 4.3 `TopicConfig`, `LogConfig`, `ServerTopicConfigSynonyms`. Where a
//!                   default or a limit differs from Kafka's, the documentation text says so.

use super::definition::{ConfigDefinition, ConfigKind, ConfigRule, Synonym, SynonymUnit};

/// Returns the topic config with this name.
#[must_use]
pub fn topic_config(name: &str) -> Option<&'static ConfigDefinition> {
    TOPIC_CONFIGS
        .iter()
        .find(|definition| definition.name == name)
}

const fn row(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: ConfigRule,
    synonyms: &'static [Synonym],
    documentation: &'static str,
) -> ConfigDefinition {
    let default = Some(default);
    ConfigDefinition {
        name,
        kind,
        default,
        rule,
        synonyms,
        is_read_only: false,
        documentation,
    }
}

const fn same(name: &'static str) -> Synonym {
    Synonym {
        name,
        unit: SynonymUnit::Same,
    }
}

const fn minutes(name: &'static str) -> Synonym {
    Synonym {
        name,
        unit: SynonymUnit::Minutes,
    }
}

const fn hours(name: &'static str) -> Synonym {
    Synonym {
        name,
        unit: SynonymUnit::Hours,
    }
}

const fn at_least(min: i64) -> ConfigRule {
    ConfigRule::Range { min, max: i64::MAX }
}

const FOREVER: &str = "9223372036854775807";
const NO_TIERS: &str = "records are kept on local storage, there is no remote tier";
/// Smallest segment: below it, files would outnumber records.
const SEGMENT_BYTES_MIN: i64 = 64 << 10;

/// Every topic config.
#[rustfmt::skip]
pub static TOPIC_CONFIGS: &[ConfigDefinition] = &[
    row("cleanup.policy", ConfigKind::List, "delete", ConfigRule::ListOf(&["compact", "delete"]),
        &[same("log.cleanup.policy")],
        "What happens to old records: delete by retention, compact to the last per key, or both."),
    row("compression.gzip.level", ConfigKind::Int, "-1", ConfigRule::Range { min: -1, max: 9 },
        &[same("compression.gzip.level")],
        "Taken for compatibility; batches are stored as producers compressed them."),
    row("compression.lz4.level", ConfigKind::Int, "9", ConfigRule::Range { min: 1, max: 17 },
        &[same("compression.lz4.level")],
        "Taken for compatibility; batches are stored as producers compressed them."),
    row("compression.type", ConfigKind::String, "producer",
        ConfigRule::Only { value: "producer", reason: "batches are stored as producers compressed them" },
        &[same("compression.type")],
        "Codec of stored batches: always the one that the producer chose."),
    row("compression.zstd.level", ConfigKind::Int, "3", ConfigRule::Range { min: -131_072, max: 22 },
        &[same("compression.zstd.level")],
        "Taken for compatibility; batches are stored as producers compressed them."),
    row("delete.retention.ms", ConfigKind::Long, "86400000", at_least(0),
        &[same("log.cleaner.delete.retention.ms")],
        "How long tombstones stay after compaction, so that readers from the start see deletions."),
    row("file.delete.delay.ms", ConfigKind::Long, "60000", at_least(0),
        &[same("log.segment.delete.delay.ms")],
        "Pause between taking a segment out of the log and removing its files."),
    row("flush.messages", ConfigKind::Long, "1", at_least(1),
        &[same("log.flush.interval.messages")],
        "Records after which a flush is forced. 1, the default here, acknowledges only what is on \
         stable storage; with more, fewer acknowledged records than this can be lost from the end \
         when the broker or its machine crashes."),
    row("flush.ms", ConfigKind::Long, FOREVER, at_least(0),
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "Time after which a flush is forced when flush.messages is larger than 1; at most 1 s."),
    row("follower.replication.throttled.replicas", ConfigKind::List, "", ConfigRule::ReplicaList,
        &[], "Taken for compatibility; replication is not throttled by replica."),
    row("index.interval.bytes", ConfigKind::Int, "4096", at_least(0),
        &[same("log.index.interval.bytes")],
        "Bytes of log per entry of the offset index."),
    row("leader.replication.throttled.replicas", ConfigKind::List, "", ConfigRule::ReplicaList,
        &[], "Taken for compatibility; replication is not throttled by replica."),
    row("local.retention.bytes", ConfigKind::Long, "-2", at_least(-2),
        &[same("log.local.retention.bytes")],
        "Taken for compatibility; without a remote tier retention.bytes alone counts."),
    row("local.retention.ms", ConfigKind::Long, "-2", at_least(-2),
        &[same("log.local.retention.ms")],
        "Taken for compatibility; without a remote tier retention.ms alone counts."),
    row("max.compaction.lag.ms", ConfigKind::Long, FOREVER, at_least(1),
        &[same("log.cleaner.max.compaction.lag.ms")],
        "Longest time that a record stays out of compaction."),
    row("max.message.bytes", ConfigKind::Int, "1048588", at_least(0),
        &[same("message.max.bytes")],
        "Largest record batch, after compression, with its header."),
    row("message.timestamp.after.max.ms", ConfigKind::Long, "3600000", at_least(0),
        &[same("log.message.timestamp.after.max.ms")],
        "How far a record timestamp may lie after the broker's clock (CreateTime only)."),
    row("message.timestamp.before.max.ms", ConfigKind::Long, FOREVER, at_least(0),
        &[same("log.message.timestamp.before.max.ms")],
        "How far a record timestamp may lie before the broker's clock (CreateTime only)."),
    row("message.timestamp.type", ConfigKind::String, "CreateTime",
        ConfigRule::OneOf(&["CreateTime", "LogAppendTime"]),
        &[same("log.message.timestamp.type")],
        "Whose clock stamps records: the producer's or the broker's."),
    row("min.cleanable.dirty.ratio", ConfigKind::Double, "0.5", ConfigRule::Fraction,
        &[same("log.cleaner.min.cleanable.ratio")],
        "Share of a log not compacted yet from which compaction starts."),
    row("min.compaction.lag.ms", ConfigKind::Long, "0", at_least(0),
        &[same("log.cleaner.min.compaction.lag.ms")],
        "Shortest time that a record stays out of compaction."),
    row("min.insync.replicas", ConfigKind::Int, "1", at_least(1),
        &[same("min.insync.replicas")],
        "Replicas that must have a record for acks=all. A majority always must; more can be asked."),
    row("preallocate", ConfigKind::Boolean, "false", ConfigRule::Any,
        &[same("log.preallocate")],
        "Whether a new segment file takes its full size at once."),
    row("remote.log.copy.disable", ConfigKind::Boolean, "false",
        ConfigRule::Only { value: "false", reason: NO_TIERS }, &[],
        "Remote tier: not supported."),
    row("remote.log.delete.on.disable", ConfigKind::Boolean, "false",
        ConfigRule::Only { value: "false", reason: NO_TIERS }, &[],
        "Remote tier: not supported."),
    row("remote.storage.enable", ConfigKind::Boolean, "false",
        ConfigRule::Only { value: "false", reason: NO_TIERS }, &[],
        "Remote tier: not supported."),
    row("retention.bytes", ConfigKind::Long, "-1", at_least(-1),
        &[same("log.retention.bytes")],
        "Bytes of a partition beyond which old segments go; -1 is no limit."),
    row("retention.ms", ConfigKind::Long, "604800000", at_least(-1),
        &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
        "Age beyond which segments go; -1 is no limit."),
    row("segment.bytes", ConfigKind::Int, "1073741824", at_least(SEGMENT_BYTES_MIN),
        &[same("log.segment.bytes")],
        "Size of a segment file at which the next one starts; at least 64 KiB."),
    row("segment.index.bytes", ConfigKind::Int, "10485760", at_least(4),
        &[same("log.index.size.max.bytes")],
        "Largest offset index of a segment."),
    row("segment.jitter.ms", ConfigKind::Long, "0", at_least(0),
        &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")],
        "Random time taken off segment.ms, so that segments do not all roll together."),
    row("segment.ms", ConfigKind::Long, "604800000", at_least(1),
        &[same("log.roll.ms"), hours("log.roll.hours")],
        "Age of a segment at which the next one starts, even if it is not full."),
    row("unclean.leader.election.enable", ConfigKind::Boolean, "false",
        ConfigRule::Only { value: "false", reason: "a replica that lacks committed records never leads" },
        &[same("unclean.leader.election.enable")],
        "Whether a replica that lacks committed records may lead: never."),
];
