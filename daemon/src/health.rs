//! What is wrong with a shard, for `/readyz` and `/metrics`.
//!
//! What it is not    a cure: a full disk is tried again by the log engine, a failed one ends the
//!                   process (`shard::failure`), a damaged log halts and is counted here.

use std::rc::Rc;

use storage::disk::Shortage;

use crate::metrics::{Collector, Family, Kind};
use crate::shard::Shard;

/// A sentence for the operator if the shard cannot take records now.
pub(crate) fn trouble(shard: &Shard) -> Option<String> {
    if let Some(reason) = shard.process().failure.reason() {
        return Some(reason.to_owned());
    }
    let shortage = shard.state().engine().stats().shortage?;
    let id = shard.id();
    let what = match shortage {
        Shortage::Device | Shortage::AboveReserve => "the disk is full",
        Shortage::ByteBudget => "the byte budget (storage.bytes.max) is used up",
        Shortage::FileSize => "the limit of file sizes is reached (ulimit -f)",
    };
    Some(format!(
        "shard {id}: {what}, appends are refused until there is room"
    ))
}

/// Shows the shard's troubles in `/metrics`; called once, when the engine is open.
pub(crate) fn register(shard: &Rc<Shard>) {
    let weak = Rc::downgrade(shard);
    shard.register_collector(move |collector: &mut Collector| {
        let Some(shard) = weak.upgrade() else { return };
        let state = shard.state();
        let engine = state.engine();
        let stopped = u64::try_from(state.partitions().stopped_count()).unwrap_or(u64::MAX);
        collector.number(&DISK_FULL, &[], u64::from(engine.stats().disk_full));
        let is_failed = engine.journal_failure().is_some();
        collector.number(&JOURNAL_FAILED, &[], u64::from(is_failed));
        collector.number(&STOPPED, &[], stopped);
    });
}

static DISK_FULL: Family = Family {
    name: "sluice_disk_full",
    help: "1 while the disk has no room and appends are refused.",
    kind: Kind::Gauge,
};
static JOURNAL_FAILED: Family = Family {
    name: "sluice_journal_failed",
    help: "1 after a failure of the disk that stopped the journal; the broker ends soon.",
    kind: Kind::Gauge,
};
static STOPPED: Family = Family {
    name: "sluice_partitions_stopped",
    help: "Partitions that take no records, because of damage or a failed disk.",
    kind: Kind::Gauge,
};
