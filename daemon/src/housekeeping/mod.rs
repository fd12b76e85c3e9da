//! Housekeeping of one shard: what nobody waits for.
//!
//! What it is        three tasks of low priority: [`retention`] (time, bytes, idle logs; with
//!                   [`room`]), [`compaction`] and [`scrub`]. They say when; the rules are
//!                   `storage`'s.
//! What it is not    on the way of any request.
//! Invariants        1. an idle broker wakes every ten seconds and touches no file. 2. the log of
//! the
//!                   controller never loses a record. 3. nothing goes by time while the wall clock
//!                   was never set.
//! Source            design §4 "Retention", "Compaction", "Scrub"; Kafka 4.3 `LogManager`.

mod compaction;
mod retention;
mod room;
mod scrub;

use std::rc::Rc;

use storage::SegmentFacts;
use storage::retention::{LogFacts, WallClock};

use crate::controller::METADATA_TOPIC;
use crate::limits::WALL_CLOCK_PLAUSIBLE_MS;
use crate::partition::Partition;
use crate::shard::Shard;

/// Starts the tasks of a shard that is open.
pub(crate) fn start(shard: &Rc<Shard>) {
    drop(monoio::spawn(retention::run(Rc::clone(shard))));
    drop(monoio::spawn(compaction::run(Rc::clone(shard))));
    if let Some(interval) = shard.config().storage_scrub_interval {
        drop(monoio::spawn(scrub::run(Rc::clone(shard), interval)));
    }
}

/// The wall clock, and whether it can be believed.
fn wall_clock(shard: &Shard) -> WallClock {
    let now_ms = shard.wall_clock_ms();
    WallClock {
        now_ms,
        is_synchronised: now_ms >= WALL_CLOCK_PLAUSIBLE_MS,
    }
}

/// Whether records of this partition may be removed at all.
fn is_kept_whole(partition: &Partition) -> bool {
    partition.topic().as_ref() == METADATA_TOPIC
}

/// Whether the partition's log can be worked on.
fn is_sound(partition: &Partition) -> bool {
    partition.failure().is_none() && !partition.is_deleted()
}

/// What `storage`'s rules want to know of a partition.
fn log_facts<'a>(shard: &Shard, partition: &Partition, segments: &'a SegmentFacts) -> LogFacts<'a> {
    let log_start_offset = partition.log().log_start_offset();
    let active = segments.active;
    let closed_end = segments.closed.last().map(|last| last.next_offset);
    let active_timestamp = active.and_then(|active| active.max_timestamp);
    LogFacts {
        closed: &segments.closed,
        active_base_offset: active
            .map(|active| active.base_offset)
            .or(closed_end)
            .unwrap_or(log_start_offset),
        active_size_bytes: segments.buffered_bytes
            + active.map_or(0, |active| u64::from(active.size_bytes)),
        active,
        active_max_timestamp: active_timestamp.max(segments.buffered_max_timestamp),
        log_start_offset,
        high_watermark: partition.high_watermark(),
        hold_from: shard.state().mirrors().hold_from(shard, partition),
    }
}
