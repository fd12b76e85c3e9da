//! How the memory limit of the process is split.
//!
//! What it is        one table of named parts. The fixed part is for code, stacks, rings, the
//!                   allocator's own waste and the control thread; the rest belongs to the shards
//!                   in equal parts, each split by the shares below.
//! Invariants        1. fixed part and budgets together never exceed the limit.
//!                   2. with 130 MB on one shard every budget is large enough for one request of
//!                      the default size.
//! Source            design §3 "Memory".

use std::rc::Rc;

use super::memory_budget::MemoryBudget;
use crate::metrics::{Collector, Family, Kind};

/// Bytes for the process itself: code 6 MiB, control thread, logs, allocator waste.
const FIXED_PROCESS_BYTES: u64 = 20 * 1024 * 1024;

/// Bytes for each shard's thread, ring, journal buffers and helper threads.
const FIXED_SHARD_BYTES: u64 = 6 * 1024 * 1024;

/// Least bytes for the budgets of a shard. Fewer: the start is refused.
const SHARD_BUDGETS_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Part of the requests' budget that is kept for small ones: an eighth.
const SMALL_REQUESTS_SHIFT: u32 = 3;

/// Share of each budget in per cent of a shard's part, with what happens when it is used up.
const REQUESTS_PERCENT: u64 = 17; // sockets are not read
const RESPONSES_PERCENT: u64 = 9; // fetches return less
const APPEND_BUFFERS_PERCENT: u64 = 12; // buffers are written back early, produce waits
const BATCH_CACHE_PERCENT: u64 = 4; // the oldest is evicted
const INDEXES_PERCENT: u64 = 2; // closed segments' indexes are read from disk
const PARTITIONS_PERCENT: u64 = 30; // topic creation is refused
const CONNECTIONS_PERCENT: u64 = 4; // new connections are refused
const GROUPS_PERCENT: u64 = 2; // joining is refused
const PRODUCERS_PERCENT: u64 = 1; // the least recently used producer id is forgotten
const MQTT_PERCENT: u64 = 17; // new MQTT connections are refused
const COMPACTION_PERCENT: u64 = 2; // the key map slides over the log in more rounds

const _: () = assert!(
    REQUESTS_PERCENT
        + RESPONSES_PERCENT
        + APPEND_BUFFERS_PERCENT
        + BATCH_CACHE_PERCENT
        + INDEXES_PERCENT
        + PARTITIONS_PERCENT
        + CONNECTIONS_PERCENT
        + GROUPS_PERCENT
        + PRODUCERS_PERCENT
        + MQTT_PERCENT
        + COMPACTION_PERCENT
        == 100
);

/// What mirrors get of a shard's part before the others share the rest, in per cent. Only where the
/// configuration has a mirror: others pay nothing for it.
const MIRROR_PERCENT: u64 = 23;

/// Share of each purpose in per cent of the mirrors' part, with what happens when it is used up.
const MIRROR_KEPT_PERCENT: u64 = 25; // lanes read no further until the centre acknowledges
const MIRROR_READS_PERCENT: u64 = 15; // reads of the source wait for one another
const MIRROR_RESPONSES_PERCENT: u64 = 36; // sockets to the centre are not read
const MIRROR_LANES_PERCENT: u64 = 24; // further partitions are kept and not forwarded, and said

const _: () = assert!(
    MIRROR_KEPT_PERCENT + MIRROR_READS_PERCENT + MIRROR_RESPONSES_PERCENT + MIRROR_LANES_PERCENT
        == 100
);

/// Where a shard has more memory than a gateway, partitions get this much and
/// [`MORE_PARTITIONS_PERCENT`] of the shard's part; the rest of their share goes to the cache.
const PARTITIONS_BYTES: u64 = 64 * 1024 * 1024;
const MORE_PARTITIONS_PERCENT: u64 = 10;

/// Bytes of each budget of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    /// All budgets together.
    pub shard_bytes: u64,
    /// Requests from the socket until their answer is written.
    pub requests_bytes: u64,
    /// Answers that handlers build.
    pub responses_bytes: u64,
    /// What is not in a segment yet.
    pub append_buffers_bytes: u64,
    /// Recent batches for consumers at the end of the log.
    pub batch_cache_bytes: u64,
    /// Offset and time indexes.
    pub indexes_bytes: u64,
    /// State of partitions that are open.
    pub partitions_bytes: u64,
    /// Sockets with their buffers.
    pub connections_bytes: u64,
    /// Groups and their members.
    pub groups_bytes: u64,
    /// Producer ids.
    pub producers_bytes: u64,
    /// MQTT connections and their sessions.
    pub mqtt_bytes: u64,
    /// The key map of compaction.
    pub compaction_bytes: u64,
    /// Everything of the mirrors; 0 where there is none.
    pub mirror_bytes: u64,
}

impl ShardPlan {
    /// The part of one of `shards` shards in a process of `process_bytes`, with or without
    /// mirrors.
    pub fn new(process_bytes: u64, shards: u16, has_mirrors: bool) -> Self {
        let shards = u64::from(shards.max(1));
        let fixed = FIXED_PROCESS_BYTES + shards * FIXED_SHARD_BYTES;
        let shard_bytes = process_bytes.saturating_sub(fixed).div_euclid(shards);
        let mirror_bytes = match has_mirrors {
            true => percent_of(shard_bytes, MIRROR_PERCENT),
            false => 0,
        };
        let share = |percent: u64| percent_of(shard_bytes - mirror_bytes, percent);
        let partitions_share = share(PARTITIONS_PERCENT);
        let partitions_bytes =
            partitions_share.min(PARTITIONS_BYTES + share(MORE_PARTITIONS_PERCENT));
        Self {
            shard_bytes,
            requests_bytes: share(REQUESTS_PERCENT),
            responses_bytes: share(RESPONSES_PERCENT),
            append_buffers_bytes: share(APPEND_BUFFERS_PERCENT),
            batch_cache_bytes: share(BATCH_CACHE_PERCENT) + partitions_share - partitions_bytes,
            indexes_bytes: share(INDEXES_PERCENT),
            partitions_bytes,
            connections_bytes: share(CONNECTIONS_PERCENT),
            groups_bytes: share(GROUPS_PERCENT),
            producers_bytes: share(PRODUCERS_PERCENT),
            mqtt_bytes: share(MQTT_PERCENT),
            compaction_bytes: share(COMPACTION_PERCENT),
            mirror_bytes,
        }
    }

    /// Shards that a process of `process_bytes` has room for; 0 if not even one.
    pub fn shards_max(process_bytes: u64) -> u64 {
        process_bytes
            .saturating_sub(FIXED_PROCESS_BYTES)
            .div_euclid(FIXED_SHARD_BYTES + SHARD_BUDGETS_BYTES_MIN)
    }

    /// Largest request that a shard may let in, in bytes: one that exceeds its budget is served
    /// alone, and then the shard's other budgets leave it half of the whole.
    pub fn request_bytes_max(&self) -> u64 {
        (self.shard_bytes - self.mirror_bytes).div_euclid(2)
    }

    /// Bytes of batches that all mirrors of the shard keep until the centre acknowledges them.
    pub fn mirror_kept_bytes(&self) -> u64 {
        percent_of(self.mirror_bytes, MIRROR_KEPT_PERCENT)
    }

    /// Lanes that fit the mirrors' part: [`LANE_BYTES`] each.
    pub fn mirror_lanes_max(&self) -> u64 {
        percent_of(self.mirror_bytes, MIRROR_LANES_PERCENT).div_euclid(LANE_BYTES)
    }

    /// Connections that fit their budget: [`CONNECTION_BYTES`] each.
    pub fn connections_max(&self) -> u64 {
        self.connections_bytes.div_euclid(CONNECTION_BYTES)
    }

    /// Partitions that fit their budget: [`PARTITION_BYTES`] each.
    pub fn partitions_max(&self) -> u64 {
        self.partitions_bytes.div_euclid(PARTITION_BYTES)
    }

    /// MQTT connections that fit their budget: [`MQTT_CONNECTION_BYTES`] each.
    pub fn mqtt_connections_max(&self) -> u64 {
        self.mqtt_bytes.div_euclid(MQTT_CONNECTION_BYTES)
    }
}

/// Memory of one connection in bytes while nothing is in flight, tables included.
pub const CONNECTION_BYTES: u64 = 8 * 1024;

/// Memory of one partition in bytes: 1,930 were measured for one without records (its Raft group,
/// log, places in tables, catalog), the rest is for its active segment and the copy of its state
/// that a checkpoint makes.
pub const PARTITION_BYTES: u64 = 3 * 1024;

/// Memory of one lane of a mirror in bytes while nothing is in flight: its state, the watch on its
/// partition, and its progress and marks in the table of the state topic.
pub const LANE_BYTES: u64 = 1792;

fn percent_of(bytes: u64, percent: u64) -> u64 {
    (bytes * percent).div_euclid(100)
}

/// Memory of one MQTT connection in bytes while nothing is in flight. Measured with 4,500 of them:
/// 2,060 after CONNECT, 2,690 after a publish, 2,510 with a subscription, 3,250 with a subscription
/// and a session that outlives the connection.
pub const MQTT_CONNECTION_BYTES: u64 = 3_300;

/// The budgets of one shard.
#[derive(Debug)]
pub struct ShardBudgets {
    /// The numbers, for rooms that keep their own account.
    pub plan: ShardPlan,
    /// Requests from the socket until their answer is written. Used up: sockets are not read.
    pub requests: Rc<MemoryBudget>,
    /// What requests that fit a read buffer may take beyond that: clients that send large ones
    /// slowly must not keep heartbeats and small records waiting.
    pub small_requests: Rc<MemoryBudget>,
    /// Answers that handlers build. Used up: fetches wait or return less.
    pub responses: Rc<MemoryBudget>,
    /// Source batches that mirrors read, and what is built of them. Used up: the next read waits.
    pub mirror_reads: Rc<MemoryBudget>,
    /// Large answers of the centre. Used up: the next one stays in its socket.
    pub mirror_responses: Rc<MemoryBudget>,
}

impl ShardBudgets {
    /// Budgets with nothing used.
    pub fn new(plan: ShardPlan) -> Self {
        let small_bytes = plan.requests_bytes >> SMALL_REQUESTS_SHIFT;
        Self {
            plan,
            requests: MemoryBudget::new("requests", plan.requests_bytes - small_bytes),
            small_requests: MemoryBudget::new("small_requests", small_bytes),
            responses: MemoryBudget::new("responses", plan.responses_bytes),
            mirror_reads: MemoryBudget::new(
                "mirror_reads",
                percent_of(plan.mirror_bytes, MIRROR_READS_PERCENT),
            ),
            mirror_responses: MemoryBudget::new(
                "mirror_responses",
                percent_of(plan.mirror_bytes, MIRROR_RESPONSES_PERCENT),
            ),
        }
    }

    /// Adds limits, use and high-water marks.
    pub fn collect(&self, collector: &mut Collector) {
        let all = [
            &self.requests,
            &self.small_requests,
            &self.responses,
            &self.mirror_reads,
            &self.mirror_responses,
        ];
        for budget in all.into_iter().filter(|budget| budget.limit_bytes() > 0) {
            let labels = [("budget", budget.name())];
            collector.number(&LIMIT, &labels, budget.limit_bytes());
            collector.number(&USED, &labels, budget.used_bytes());
            collector.number(&HIGH_WATER, &labels, budget.high_water_bytes());
            collector.number(&WAITS, &labels, budget.waits());
        }
    }
}

static LIMIT: Family = Family {
    name: "sluice_memory_budget_limit_bytes",
    help: "Bytes that a memory budget may hold.",
    kind: Kind::Gauge,
};
static USED: Family = Family {
    name: "sluice_memory_budget_used_bytes",
    help: "Bytes that a memory budget holds now.",
    kind: Kind::Gauge,
};
static HIGH_WATER: Family = Family {
    name: "sluice_memory_budget_high_water_bytes",
    help: "The most bytes that a memory budget held at once.",
    kind: Kind::Gauge,
};
static WAITS: Family = Family {
    name: "sluice_memory_budget_waits_total",
    help: "How often somebody waited for room in a memory budget.",
    kind: Kind::Counter,
};

#[cfg(test)]
mod tests {
    use super::{ShardBudgets, ShardPlan};

    #[test]
    fn a_gateway_has_room_for_a_default_frame_and_five_hundred_connections() {
        let plan = ShardPlan::new(130 * 1000 * 1000, 1, false);
        assert!(plan.requests_bytes >= 2 * 8 * 1024 * 1024, "{plan:?}");
        assert!(plan.responses_bytes >= 8 * 1024 * 1024, "{plan:?}");
        assert!(plan.connections_max() >= 500, "{}", plan.connections_max());
        let mqtt = plan.mqtt_connections_max();
        assert!(mqtt >= 5_000, "{mqtt}");
        let partitions = plan.partitions_max();
        assert!(partitions >= 10_000, "{partitions}");
    }

    #[test]
    fn a_gateway_with_a_mirror_gives_it_24_megabytes_and_still_has_room() {
        let plan = ShardPlan::new(130 * 1000 * 1000, 1, true);
        assert!(plan.mirror_bytes <= 24_000_000, "{plan:?}");
        assert!(plan.mirror_kept_bytes() >= 5 << 20, "{plan:?}");
        assert!(plan.mirror_lanes_max() >= 3_000, "{plan:?}");
        assert!(plan.connections_max() >= 380, "{plan:?}");
        assert!(plan.partitions_max() >= 7_500, "{plan:?}");
        // One answer of the largest size that the mirror takes.
        let budgets = ShardBudgets::new(plan);
        assert!(budgets.mirror_responses.limit_bytes() >= 8 << 20);
        let none = ShardPlan::new(130 * 1000 * 1000, 1, false);
        assert_eq!((none.mirror_bytes, none.mirror_lanes_max()), (0, 0));
    }

    #[test]
    fn shards_and_requests_that_do_not_fit_are_known_beforehand() {
        assert_eq!(ShardPlan::shards_max(crate::limits::MEMORY_BYTES_MIN), 1);
        assert_eq!(ShardPlan::shards_max(130_000_000), 4);
        assert_eq!(ShardPlan::shards_max(0), 0);
        for (memory, shards) in [(crate::limits::MEMORY_BYTES_MIN, 1), (130_000_000, 4)] {
            let plan = ShardPlan::new(memory, shards, false);
            assert!(plan.request_bytes_max() >= 8 << 20, "{plan:?}");
        }
    }

    #[test]
    fn the_parts_of_all_shards_stay_inside_the_limit() {
        for (shards, has_mirrors) in [(1, false), (2, true), (16, false), (64, true)] {
            let limit = 4 << 30;
            let plan = ShardPlan::new(limit, shards, has_mirrors);
            let sum = plan.requests_bytes
                + plan.responses_bytes
                + plan.append_buffers_bytes
                + plan.batch_cache_bytes
                + plan.indexes_bytes
                + plan.partitions_bytes
                + plan.connections_bytes
                + plan.groups_bytes
                + plan.producers_bytes
                + plan.mqtt_bytes
                + plan.compaction_bytes
                + plan.mirror_bytes;
            assert!(sum * u64::from(shards) <= limit, "{shards}");
        }
    }
}
