//! Retention, room on the disk, and logs that fell silent.
//!
//! What it is        one task that rolls what has grown and settles silent logs every ten seconds,
//!                   makes room then and whenever it is wanted, and removes what is too old or too
//!                   much every `log.retention.check.interval.ms`.
//! Invariants        1. a byte budget makes room by removing the oldest records; a disk that fills
//!                      up does not: acknowledged records survive it, and appends are refused.
//!                   2. as with Kafka, a record older than the retention lives until the next
//!                      check: a client that writes old timestamps reads back what it wrote.
//! Source            Kafka 4.3 `LogManager.cleanupLogs`; `storage::retention`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_lite::catalog::Catalog;
use storage::disk::Clock;
use storage::disk_budget::DeviceSpace;
use storage::retention::{LogFacts, RetentionRules, RollRules, is_roll_due, plan_retention};
use storage::{ChangeError, DiskError, LogKey};
use tracing::{info, warn};

use super::room::RoomMaker;
use super::{is_kept_whole, is_sound, log_facts, wall_clock};
use crate::limits::{HOUSEKEEPING_INTERVAL, HOUSEKEEPING_INTERVAL_FULL, SETTLE_AFTER};
use crate::partition::Partition;
use crate::shard::Shard;

/// Runs until the broker stops.
pub(super) async fn run(shard: Rc<Shard>) {
    let mut keeper = Keeper {
        check_interval: check_interval(&shard),
        room: RoomMaker::new(&shard),
        shard,
        memos: BTreeMap::new(),
        full_round_at: Duration::ZERO,
        is_device_short: false,
    };
    keeper.full_round_at = keeper.shard.clock().now() + keeper.check_interval;
    keeper.measure().await;
    loop {
        keeper.pause().await;
        if keeper.shard.is_stopping() {
            return;
        }
        keeper.round().await;
    }
}

fn check_interval(shard: &Shard) -> Duration {
    let catalog = Catalog::new();
    let layers = catalog
        .view()
        .layers(shard.node_id(), shard.static_configs());
    let interval_ms = layers.broker_number("log.retention.check.interval.ms");
    Duration::from_millis(u64::try_from(interval_ms).unwrap_or(1))
}

/// What was seen of a log at the last look.
struct Memo {
    end_offset: i64,
    changed_at: Duration,
    is_settled: bool,
    /// The active segment, and when it was seen first.
    segment: Option<(i64, Duration)>,
}

struct Keeper {
    shard: Rc<Shard>,
    check_interval: Duration,
    memos: BTreeMap<LogKey, Memo>,
    full_round_at: Duration,
    room: RoomMaker,
    /// The device was short of room at the last look.
    is_device_short: bool,
}

impl Keeper {
    /// Waits for the next round; meanwhile makes room as soon as it is wanted.
    async fn pause(&self) {
        let is_full = self.shard.state().engine().stats().disk_full;
        let interval = match is_full {
            true => HOUSEKEEPING_INTERVAL_FULL,
            false => HOUSEKEEPING_INTERVAL.min(self.check_interval),
        };
        let round_at = self.shard.clock().now() + interval;
        loop {
            let left = round_at.saturating_sub(self.shard.clock().now());
            monoio::select! {
                () = monoio::time::sleep(left) => return,
                () = self.room.wait_wanted() => {}
            }
            if self.shard.is_stopping() {
                return;
            }
            self.room.make().await;
        }
    }

    async fn round(&mut self) {
        let now = self.shard.clock().now();
        let is_full_round = now >= self.full_round_at;
        if is_full_round {
            self.full_round_at = now + self.check_interval;
            self.shard.state().engine().expire_producers();
        }
        let partitions = self.shard.state().partitions().all();
        for partition in &partitions {
            if self.shard.is_stopping() {
                return;
            }
            if !is_sound(partition) {
                continue;
            }
            match self.look_at(partition, now, is_full_round).await {
                // The log engine tells of a shortage that lasts; the next round does what is left.
                Ok(()) | Err(ChangeError::Disk(DiskError::Full { .. })) => {}
                Err(error) => warn!(?partition, %error, "housekeeping of a log failed"),
            }
        }
        if self.memos.len() > partitions.len() {
            let here = |key: &LogKey| partitions.iter().any(|one| one.log().key() == *key);
            self.memos.retain(|key, _| here(key));
        }
        self.measure().await;
        self.tell_short_device().await;
        self.room.make().await;
    }

    async fn look_at(
        &mut self,
        partition: &Rc<Partition>,
        now: Duration,
        is_full_round: bool,
    ) -> Result<(), ChangeError> {
        let end_offset = partition.log().log_end_offset();
        let memo = self
            .memos
            .entry(partition.log().key())
            .or_insert_with(|| Memo {
                end_offset: -1,
                changed_at: now,
                is_settled: false,
                segment: None,
            });
        let has_grown = memo.end_offset != end_offset;
        if has_grown {
            (memo.end_offset, memo.changed_at, memo.is_settled) = (end_offset, now, false);
        }
        let is_idle = now.saturating_sub(memo.changed_at) >= SETTLE_AFTER;
        if is_idle && !memo.is_settled {
            memo.is_settled = true;
            partition.log().settle().await?;
        }
        if is_kept_whole(partition) {
            return Ok(());
        }
        if has_grown || is_full_round {
            self.roll_if_due(partition, now).await?;
        }
        if is_full_round {
            self.remove_expired(partition).await?;
        }
        Ok(())
    }

    /// `segment.ms`, from when the segment was first seen here.
    async fn roll_if_due(
        &mut self,
        partition: &Partition,
        now: Duration,
    ) -> Result<(), ChangeError> {
        let segments = partition.log().segments();
        let facts = log_facts(&self.shard, partition, &segments);
        let Some(memo) = self.memos.get_mut(&partition.log().key()) else {
            return Ok(());
        };
        if facts.active_size_bytes == 0 {
            memo.segment = None;
            return Ok(());
        }
        let base_offset = facts.active_base_offset;
        let (_, since) = *memo
            .segment
            .filter(|(base, _)| *base == base_offset)
            .get_or_insert((base_offset, now));
        memo.segment = Some((base_offset, since));
        let config = partition.config();
        let rules = RollRules {
            segment_bytes: config.segment_bytes,
            segment_ms: u64::try_from(config.segment_ms).unwrap_or(u64::MAX),
        };
        let age_ms = u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        let size_bytes = u32::try_from(facts.active_size_bytes).unwrap_or(u32::MAX);
        if size_bytes >= rules.segment_bytes {
            // Too much only with the append buffer; segments roll while it is written.
            return partition.log().write_back().await;
        }
        if is_roll_due(&rules, size_bytes, age_ms, 0) {
            partition.log().roll().await?;
        }
        Ok(())
    }

    /// Time and bytes, by the topic's configuration.
    async fn remove_expired(&self, partition: &Partition) -> Result<(), ChangeError> {
        let config = partition.config();
        let rules = RetentionRules {
            delete: config.cleanup_policy.is_delete,
            retention_ms: config.retention_ms.and_then(|ms| u64::try_from(ms).ok()),
            retention_bytes: config.retention_bytes,
        };
        // A segment that was active is looked at again once it is closed.
        for _ in 0..2 {
            let segments = partition.log().segments();
            let mirrors = self.shard.state().mirrors();
            let facts = LogFacts {
                hold_from: mirrors.keep_from(&self.shard, partition),
                ..log_facts(&self.shard, partition, &segments)
            };
            let plan = plan_retention(&facts, &rules, wall_clock(&self.shard));
            if plan.log_start_offset > facts.log_start_offset || !plan.remove.is_empty() {
                let removed = plan.remove.len();
                let start = plan.log_start_offset;
                partition.set_log_start_offset(start).await?;
                self.shard.state().engine().handle_space_freed();
                info!(
                    ?partition,
                    segments = removed,
                    log_start_offset = start,
                    "retention"
                );
            }
            if !plan.roll_active {
                break;
            }
            partition.log().roll().await?;
        }
        Ok(())
    }

    /// Tells the budget what the device has; the shards of the broker share what is free.
    async fn measure(&self) {
        match self.device_space().await {
            Ok(space) => {
                let engine = self.shard.state().engine();
                engine.disk_budget().set_device_space(space);
                if engine.stats().disk_full && engine.disk_budget().available_bytes() > 0 {
                    engine.handle_space_freed();
                }
            }
            Err(error) => warn!(%error, "the free space is not known"),
        }
    }

    async fn device_space(&self) -> Result<DeviceSpace, DiskError> {
        let (free_bytes, total_bytes) = self.shard.disk().space().await?;
        let mut space = DeviceSpace {
            free_bytes,
            total_bytes,
            reserve: self.shard.config().storage_reserve_bytes,
        };
        let reserve = space.reserve_bytes();
        let shards = u64::from(self.shard.shard_count()).max(1);
        let own = free_bytes.saturating_sub(reserve).div_euclid(shards);
        space.free_bytes = free_bytes.min(reserve) + own;
        Ok(space)
    }

    /// Says once that the device is nearly full; one shard speaks for all.
    async fn tell_short_device(&mut self) {
        if self.shard.id() != 0 {
            return;
        }
        let Ok(space) = self.device_space().await else {
            return;
        };
        let ahead_bytes = space.reserve_bytes() + (space.reserve_bytes() >> 2);
        let is_short = space.free_bytes < ahead_bytes;
        if is_short && !self.is_device_short {
            warn!(
                reserve_bytes = space.reserve_bytes(),
                "the disk is nearly full; appends are refused when only the reserve is left"
            );
        }
        self.is_device_short = is_short;
    }
}
