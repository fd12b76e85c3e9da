//! What an operator may set for the group coordinator, and the clock that it is given.

use super::limits;

/// The time of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; timers use it. Its zero does not matter.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970 of the wall clock; it goes into records and decides retention.
    pub timestamp_ms: i64,
}

/// Settings of a [`Coordinator`](super::Coordinator), by Kafka's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `offsets.topic.num.partitions`; at least 1.
    pub partition_count: i32,
    /// `group.initial.rebalance.delay.ms`; 0 completes the first join at once.
    pub initial_rebalance_delay_ms: u64,
    /// `group.min.session.timeout.ms`, inclusive.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`, inclusive.
    pub session_timeout_max_ms: i32,
    /// `group.max.size`: members of one group.
    pub group_size_max: usize,
    /// `offset.metadata.max.bytes`, inclusive.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`; at least 1.
    pub offsets_retention_check_interval_ms: u64,
    /// How long a member that never completed a join may wait for one. Kafka's constant: 5 minutes.
    pub new_member_join_timeout_ms: u64,
    /// Groups of this coordinator; at most [`limits::GROUPS_MAX`].
    pub groups_max: usize,
    /// Members of all groups; at most [`limits::MEMBERS_MAX`].
    pub members_max: usize,
    /// Offsets of one group; at most [`limits::OFFSETS_PER_GROUP_MAX`].
    pub offsets_per_group_max: usize,
    /// Bytes of all groups; at most [`limits::MEMORY_BYTES_MAX`].
    pub memory_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partition_count: 50,
            initial_rebalance_delay_ms: 3_000,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            group_size_max: limits::MEMBERS_MAX,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
            new_member_join_timeout_ms: 300_000,
            groups_max: limits::GROUPS_MAX,
            members_max: limits::MEMBERS_MAX,
            offsets_per_group_max: limits::OFFSETS_PER_GROUP_MAX,
            memory_bytes_max: limits::MEMORY_BYTES_MAX,
        }
    }
}
