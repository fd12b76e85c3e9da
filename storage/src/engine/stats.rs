//! Figures of one engine for metrics.

use std::time::Duration;

use crate::cache::CacheFigures;
use crate::disk::{Clock, Disk, DiskError, Shortage};
use crate::engine::Engine;
use crate::journal::JournalStats;

/// A snapshot of an engine's counters; counts and bytes since the start, the rest as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineStats {
    /// Commits, their bytes and times.
    pub journal: JournalStats,
    /// Commits that wait or are in flight.
    pub queue_depth: usize,
    /// Bytes that the ring can still take.
    pub ring_free_bytes: u64,
    /// Bytes in append buffers.
    pub append_buffer_bytes: usize,
    /// The most there ever were.
    pub append_buffer_bytes_maximum: usize,
    /// What they may hold.
    pub append_buffer_budget_bytes: usize,
    /// Bytes of large appends that wait or are in flight, and what they may take.
    pub bulk_bytes: usize,
    /// Bound of `bulk_bytes`.
    pub bulk_budget_bytes: usize,
    /// Bytes of checkpoints written.
    pub checkpoint_bytes: u64,
    /// Bytes of segments on the disk, preallocated tails included.
    pub segment_bytes: u64,
    /// The cache of batches.
    pub cache: CacheFigures,
    /// Bytes of cached indexes now, and the most there ever were.
    pub index_cache_bytes: (u64, u64),
    /// There is no room; appends are refused until a write succeeds again.
    pub disk_full: bool,
    /// What has run out then.
    pub shortage: Option<Shortage>,
    /// Memory of the journal's commit buffers.
    pub journal_buffer_bytes: usize,
    /// Logs.
    pub logs: usize,
}

impl<D: Disk, C: Clock> Engine<D, C> {
    /// The engine's figures now.
    pub fn stats(&self) -> EngineStats {
        let shared = &self.shared;
        let (bytes, maximum) = shared.buffered();
        EngineStats {
            journal: shared.journal.stats(),
            queue_depth: shared.journal.depth(),
            ring_free_bytes: shared.journal.with_ring(|ring| ring.free_bytes()),
            append_buffer_bytes: bytes,
            append_buffer_bytes_maximum: maximum,
            append_buffer_budget_bytes: shared.options.append_buffer_bytes,
            bulk_bytes: shared.bulk_bytes(),
            bulk_budget_bytes: shared.options.bulk_bytes,
            checkpoint_bytes: shared.checkpoint_bytes.get(),
            segment_bytes: shared.store.budget().used_bytes(),
            cache: shared.cache.borrow().figures(),
            index_cache_bytes: shared.store.index_cache_bytes(),
            disk_full: shared.shortages.is_any(),
            shortage: shared.shortages.current(),
            journal_buffer_bytes: shared.journal.memory_bytes(),
            logs: shared.logs.borrow().len(),
        }
    }

    /// Why nothing is acknowledged any more: the failure of the disk that stopped the journal.
    pub fn journal_failure(&self) -> Option<DiskError> {
        self.shared.journal.poisoned()
    }

    /// Sets a function that is told the duration of each journal commit (for a histogram).
    pub fn set_commit_hook(&self, hook: fn(Duration)) {
        self.shared.journal.set_commit_hook(hook);
    }
}
