//! How a shard's part of the memory, the disk and the descriptors becomes the log engine's sizes.
//!
//! What it is        one function over figures; the split itself is `budgets`.
//! Invariants        1. what the engine may hold in memory stays in its budgets: append buffers,
//!                   journal and staging buffers, batch cache, indexes, producers.
//!                   2. the journals of all shards take at most a sixteenth of the disk, or
//!                   [`RING_FILE_BYTES_MIN`] per file.
//! Source            design §3 "Memory", §4 "Journal".

use storage::Options;

use super::budgets::ShardPlan;
use crate::limits::SMALL_MEMORY_BYTES;

/// Least bytes of one file of a journal's ring.
const RING_FILE_BYTES_MIN: u64 = 256 * 1024;

/// Share of the disk that all journals together may take, as a divisor.
const RING_DISK_DIVISOR: u64 = 16;

/// Least commit of the journal in bytes.
const COMMIT_BYTES_MIN: u64 = 64 * 1024;

/// Buffers of a commit's size that the journal may hold: one open, four sealed, two in flight,
/// three kept.
const COMMIT_BUFFERS: u64 = 10;

/// Journal and staging buffers that the fixed part of a shard has room for, in bytes.
const FIXED_BUFFERS_BYTES: u64 = 4 * 1024 * 1024;

/// Memory of one idempotent producer in bytes.
const PRODUCER_BYTES: u64 = 220;

/// Descriptors that are neither connections nor segments: rings, bells, journals, the rest.
const OTHER_DESCRIPTORS: u64 = 128;

/// Figures that the sizes follow from.
#[derive(Clone, Copy, Debug)]
pub struct EngineFacts {
    /// Number of the shard.
    pub shard: u16,
    /// Shards of the process.
    pub shards: u16,
    /// Memory limit of the process in bytes.
    pub memory_bytes: u64,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Descriptors that the process may open.
    pub open_files: u64,
    /// Connections of the process at most.
    pub connections_max: u64,
    /// Whether mirrors have a part of the memory.
    pub has_mirrors: bool,
}

/// The engine's sizes; intervals and the like are left as they are by default.
pub fn engine_sizes(facts: &EngineFacts) -> Options {
    let plan = ShardPlan::new(facts.memory_bytes, facts.shards, facts.has_mirrors);
    let id = u32::from(facts.shard);
    let base = if facts.memory_bytes <= SMALL_MEMORY_BYTES {
        Options::gateway(id)
    } else {
        Options::server(id)
    };
    let (ring_file_bytes, ring_commit_bytes) = ring(facts, &base);
    let half = plan.append_buffers_bytes.div_euclid(2);
    let commit_bytes = u64::from(base.commit_bytes)
        .min(half.div_euclid(COMMIT_BUFFERS + 4))
        .min(ring_commit_bytes)
        .max(COMMIT_BYTES_MIN);
    let writers = half
        .div_euclid(commit_bytes)
        .saturating_sub(COMMIT_BUFFERS)
        .clamp(2, base.segment_writers as u64);
    let buffers = (COMMIT_BUFFERS + writers) * commit_bytes;
    let append = plan
        .append_buffers_bytes
        .saturating_sub(buffers.saturating_sub(FIXED_BUFFERS_BYTES));
    Options {
        ring_file_bytes,
        commit_bytes: u32::try_from(commit_bytes).unwrap_or(base.commit_bytes),
        segment_writers: memory_length(writers),
        append_buffer_bytes: memory_length(append),
        // Large appends keep the frame that they came in: it belongs to the requests.
        bulk_bytes: base.bulk_bytes.min(memory_length(plan.requests_bytes) >> 1),
        cache_bytes: plan.batch_cache_bytes,
        index_cache_bytes: plan.indexes_bytes,
        open_files: open_files(facts).min(base.open_files),
        producers_maximum: memory_length(plan.producers_bytes.div_euclid(PRODUCER_BYTES)),
        ..base
    }
}

/// Bytes of a file of the ring, and of the longest commit in it.
fn ring(facts: &EngineFacts, base: &Options) -> (u64, u64) {
    let files = base.ring_files as u64 * u64::from(facts.shards.max(1));
    let share = facts.disk_bytes.div_euclid(RING_DISK_DIVISOR);
    let fitting = share.div_euclid(files).max(RING_FILE_BYTES_MIN);
    let file_bytes = fitting.min(base.ring_file_bytes);
    (file_bytes, file_bytes.div_euclid(4))
}

/// Descriptors for closed segments of one shard: as many again are left for segments that are
/// written.
fn open_files(facts: &EngineFacts) -> u64 {
    let shards = u64::from(facts.shards.max(1));
    let taken = facts.connections_max.min(facts.open_files >> 1) + OTHER_DESCRIPTORS * shards;
    let left = facts.open_files.saturating_sub(taken);
    left.div_euclid(2 * shards).max(16)
}

fn memory_length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{EngineFacts, engine_sizes};
    use crate::shard::budgets::ShardPlan;

    const GATEWAY: EngineFacts = EngineFacts {
        shard: 0,
        shards: 1,
        memory_bytes: 130_000_000,
        disk_bytes: 8 << 30,
        open_files: 1024,
        connections_max: 501,
        has_mirrors: true,
    };

    #[test]
    fn what_the_engine_holds_stays_in_its_budgets() {
        for (memory_bytes, shards) in [
            (48 << 20, 1),
            (130_000_000, 1),
            (2 << 30, 8),
            (64 << 30, 16),
        ] {
            let facts = EngineFacts {
                memory_bytes,
                shards,
                ..GATEWAY
            };
            let (plan, options) = (
                ShardPlan::new(memory_bytes, shards, facts.has_mirrors),
                engine_sizes(&facts),
            );
            let buffers = (10 + options.segment_writers as u64) * u64::from(options.commit_bytes);
            let held = options.append_buffer_bytes as u64 + buffers;
            let budget = plan.append_buffers_bytes + (4 << 20);
            assert!(held <= budget, "{facts:?}: {held} of {budget}");
            assert!(
                options.append_buffer_bytes >= 2 << 20,
                "{facts:?} {options:?}"
            );
            assert_eq!(options.cache_bytes, plan.batch_cache_bytes);
            assert_eq!(options.index_cache_bytes, plan.indexes_bytes);
            assert!(options.producers_maximum as u64 * 220 <= plan.producers_bytes);
            assert!(options.bulk_bytes as u64 <= plan.requests_bytes);
        }
    }

    #[test]
    fn journals_leave_a_small_disk_to_the_records() {
        for (disk_bytes, shards) in [(64 << 20, 1), (64 << 20, 2), (1 << 30, 2), (1 << 40, 4)] {
            let facts = EngineFacts {
                disk_bytes,
                shards,
                memory_bytes: 8 << 30,
                ..GATEWAY
            };
            let options = engine_sizes(&facts);
            let rings = options.ring_file_bytes * options.ring_files as u64 * u64::from(shards);
            assert!(rings * 16 <= disk_bytes, "{facts:?}: {rings}");
            assert!(u64::from(options.commit_bytes) * 2 <= options.ring_file_bytes);
        }
    }

    #[test]
    fn descriptors_are_left_for_connections_and_writing() {
        assert_eq!(engine_sizes(&GATEWAY).open_files, 197);
        let many = EngineFacts {
            open_files: 1 << 20,
            ..GATEWAY
        };
        assert_eq!(engine_sizes(&many).open_files, 512);
    }
}
