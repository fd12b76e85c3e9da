//! The configs of a topic as typed values.
//!
//! What it is        what partitions work with: resolved once when configs change.
//! What it is not    a place of defaults: they come from the table and the layers.
//! Invariants        1. resolution cannot fail.
//! Source            Kafka 4.3 `LogConfig`.

use super::ConfigMap;
use super::definition::{is_true, words_of};
use super::layers::ConfigLayers;
use super::topic_table::topic_config;
use crate::record_batch::TimestampType;

/// What happens to old records; both may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Segments go by retention.
    pub is_delete: bool,
    /// Only the last record per key stays.
    pub is_compact: bool,
}

/// Configs of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`: 1 acknowledges only what is on stable storage.
    pub flush_messages: i64,
    /// `flush.ms`: counts when `flush_messages` is larger than 1.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`: size of a whole batch, inclusive.
    pub max_message_bytes: u32,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `preallocate`.
    pub is_preallocated: bool,
    /// `retention.bytes`; `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is no limit.
    pub retention_ms: Option<i64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`.
    pub segment_ms: i64,
}

impl TopicConfig {
    /// Resolves the configs of a topic through the layers.
    #[must_use]
    pub fn resolve(topic: &ConfigMap, layers: &ConfigLayers<'_>) -> Self {
        let text = |name: &str| {
            topic_config(name)
                .map(|definition| layers.topic_value(definition, topic))
                .unwrap_or_default()
        };
        let long = |name: &str| text(name).trim().parse::<i64>().unwrap_or_default();
        let size = |name: &str| u32::try_from(long(name)).unwrap_or_default();
        let policy = text("cleanup.policy");
        let has_policy = |word: &str| words_of(&policy).any(|found| found == word);
        let is_append_time = text("message.timestamp.type").trim() == "LogAppendTime";
        Self {
            cleanup_policy: CleanupPolicy {
                is_delete: has_policy("delete"),
                is_compact: has_policy("compact"),
            },
            delete_retention_ms: long("delete.retention.ms"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: size("index.interval.bytes"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            max_message_bytes: size("max.message.bytes"),
            message_timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            message_timestamp_type: if is_append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")
                .trim()
                .parse()
                .unwrap_or_default(),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            min_insync_replicas: size("min.insync.replicas"),
            is_preallocated: is_true(&text("preallocate")),
            retention_bytes: u64::try_from(long("retention.bytes")).ok(),
            retention_ms: Some(long("retention.ms")).filter(|limit| *limit >= 0),
            segment_bytes: size("segment.bytes"),
            segment_index_bytes: size("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: long("segment.ms"),
        }
    }

    /// Returns whether an acknowledgement waits for stable storage (all topics that do not ask
    /// otherwise).
    #[must_use]
    pub fn is_durable_before_acknowledge(&self) -> bool {
        self.flush_messages <= 1
    }
}
