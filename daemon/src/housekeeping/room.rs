//! Room: the oldest segments of all topics go while the byte budget is short.
//!
//! What it is not    the choice of what goes: that is `storage::room`.
//! Invariants        1. without `storage.bytes.max` nothing goes: somebody else may have filled the
//!                   disk. 2. when nothing more may go it is tried again with the next round only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use storage::SegmentFacts;
use storage::disk::Clock;
use storage::room::{BudgetLog, BudgetPlan, bytes_to_free, plan_budget};
use tracing::warn;

use super::{is_kept_whole, is_sound, log_facts};
use crate::limits::ROOM_TOLD_INTERVAL;
use crate::mirror_service::MirrorService;
use crate::partition::Partition;
use crate::shard::Shard;

/// Plans in a row: what is closed by one goes with the next.
const PLANS_MAX: usize = 3;

/// Makes room on one shard.
pub(super) struct RoomMaker {
    shard: Rc<Shard>,
    /// The last attempt could not make enough room.
    is_short: Cell<bool>,
    told: RefCell<Told>,
}

/// What went since the log said so.
#[derive(Default)]
struct Told {
    at: Option<Duration>,
    records: u64,
    unmirrored: u64,
}

impl RoomMaker {
    pub(super) fn new(shard: &Rc<Shard>) -> Self {
        Self {
            shard: Rc::clone(shard),
            is_short: Cell::new(false),
            told: RefCell::default(),
        }
    }

    /// Waits until somebody wants room that can perhaps be made.
    pub(super) async fn wait_wanted(&self) {
        if self.is_short.get() {
            return std::future::pending().await;
        }
        let engine = self.shard.state().engine();
        engine.disk_budget().wait_room_wanted().await;
    }

    /// Makes room, a little more than is wanted now.
    pub(super) async fn make(&self) {
        let ahead_bytes = self.shard.state().engine().disk_budget();
        let ahead_bytes = ahead_bytes.take_room_ahead_bytes();
        let mut unmet_bytes = 0;
        for _ in 0..PLANS_MAX {
            let plan = self.plan(ahead_bytes);
            unmet_bytes = plan.unmet_bytes;
            if plan.remove.is_empty() && plan.roll.is_empty() {
                break;
            }
            self.carry_out(&plan).await;
        }
        if unmet_bytes > 0 && !self.is_short.get() {
            warn!(
                bytes = unmet_bytes,
                "the byte budget is short and nothing more may be removed; appends are refused when it is used up"
            );
        }
        self.is_short.set(unmet_bytes > 0);
    }

    fn plan(&self, ahead_bytes: u64) -> BudgetPlan {
        let shard = &self.shard;
        let used_bytes = shard.state().engine().disk_budget().used_bytes();
        let shards = u64::from(shard.shard_count()).max(1);
        let limit = shard.config().storage_bytes_max;
        let limit = limit.map(|bytes| bytes.div_euclid(shards));
        let bytes = bytes_to_free(used_bytes.saturating_add(ahead_bytes), limit, None);
        if bytes == 0 {
            return BudgetPlan::default();
        }
        let partitions = shard.state().partitions().all();
        let segments: Vec<SegmentFacts> =
            partitions.iter().map(|one| one.log().segments()).collect();
        let logs: Vec<BudgetLog<'_>> = partitions
            .iter()
            .zip(&segments)
            .map(|(partition, segments)| BudgetLog {
                slot: partition.log().slot(),
                facts: log_facts(shard, partition, segments),
                delete: partition.config().cleanup_policy.is_delete
                    && !is_kept_whole(partition)
                    && is_sound(partition),
                unmirrored: MirrorService::unmirrored(shard, partition),
            })
            .collect();
        plan_budget(&logs, bytes)
    }

    async fn carry_out(&self, plan: &BudgetPlan) {
        for partition in self.shard.state().partitions().all() {
            let slot = partition.log().slot();
            if let Some(start) = plan.log_start_offsets.get(&slot) {
                self.remove(&partition, *start).await;
            }
            if plan.roll.contains(&slot)
                && let Err(error) = partition.log().close_segment().await
            {
                warn!(?partition, %error, "a segment was not closed to make room");
            }
        }
        if !plan.remove.is_empty() {
            self.shard.state().engine().handle_space_freed();
        }
    }

    async fn remove(&self, partition: &Rc<Partition>, start: i64) {
        let mirrors = self.shard.state().mirrors();
        let hold_from = mirrors.hold_from(&self.shard, partition);
        let before = partition.log().log_start_offset();
        let unmirrored = start.saturating_sub(hold_from.unwrap_or(start).max(before));
        self.tell(
            u64::try_from(start - before).unwrap_or(0),
            u64::try_from(unmirrored).unwrap_or(0),
        );
        if let Err(error) = partition.set_log_start_offset(start).await {
            warn!(?partition, %error, "no room was made");
        }
    }

    /// Says what goes, once in a while: a log that grows with the records would fill the disk too.
    fn tell(&self, records: u64, unmirrored: u64) {
        let now = self.shard.clock().now();
        let mut told = self.told.borrow_mut();
        told.records += records;
        told.unmirrored += unmirrored;
        if told
            .at
            .is_some_and(|at| now.saturating_sub(at) < ROOM_TOLD_INTERVAL)
        {
            return;
        }
        warn!(
            records = told.records,
            unmirrored = told.unmirrored,
            "the byte budget is used up: the oldest records go"
        );
        *told = Told {
            at: Some(now),
            ..Told::default()
        };
    }
}
