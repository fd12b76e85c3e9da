//! The log engine's figures in `/metrics`.
//!
//! What it is        a collector that reads the engine's own counters when somebody asks.

use std::rc::Rc;

use crate::metrics::{Collector, Family, Kind};
use crate::partition::LogEngine;
use crate::shard::Shard;

/// Shows the engine of this shard from now on.
pub(crate) fn register(shard: &Rc<Shard>, engine: &LogEngine) {
    let engine = engine.clone();
    shard.register_collector(move |collector| collect(&engine, collector));
}

fn collect(engine: &LogEngine, collector: &mut Collector) {
    let stats = engine.stats();
    let journal = &stats.journal;
    collector.number(&COMMITS, &[], journal.commits);
    collector.number(&COMMIT_MICROSECONDS, &[], micros(journal.commit_time));
    collector.number(&COMMIT_MAXIMUM, &[], micros(journal.commit_time_maximum));
    collector.number(&JOURNAL_BYTES, &[], journal.bytes);
    collector.number(&JOURNAL_ENTRY_BYTES, &[], journal.entry_bytes);
    collector.number(&QUEUE_DEPTH, &[], wide(stats.queue_depth));
    collector.number(&RING_FREE, &[], stats.ring_free_bytes);
    collector.number(&CHECKPOINT_BYTES, &[], stats.checkpoint_bytes);
    collector.number(&SEGMENT_BYTES, &[], stats.segment_bytes);
    collector.number(&LOGS, &[], wide(stats.logs));
    collector.number(&REFUSED, &[], engine.disk_budget().refused_count());
    collector.number(&CACHE_HITS, &[], stats.cache.hits);
    collector.number(&CACHE_MISSES, &[], stats.cache.misses);
    let (index_bytes, index_bytes_max) = stats.index_cache_bytes;
    let memory = [
        ("append", wide(stats.append_buffer_bytes)),
        ("bulk", wide(stats.bulk_bytes)),
        ("cache", stats.cache.bytes),
        ("index", index_bytes),
        ("journal", wide(stats.journal_buffer_bytes)),
    ];
    for (name, bytes) in memory {
        collector.number(&MEMORY, &[("budget", name)], bytes);
    }
    let high_water = [
        ("append", wide(stats.append_buffer_bytes_maximum)),
        ("cache", stats.cache.bytes_max),
        ("index", index_bytes_max),
    ];
    for (name, bytes) in high_water {
        collector.number(&MEMORY_HIGH_WATER, &[("budget", name)], bytes);
    }
    let limits = [
        ("append", wide(stats.append_buffer_budget_bytes)),
        ("bulk", wide(stats.bulk_budget_bytes)),
    ];
    for (name, bytes) in limits {
        collector.number(&MEMORY_LIMIT, &[("budget", name)], bytes);
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Defines the families.
macro_rules! families {
    ($($name:ident: $kind:ident $text:literal, $help:literal;)*) => {
        $(static $name: Family = Family {
            name: concat!("sluice_storage_", $text),
            help: $help,
            kind: Kind::$kind,
        };)*
    };
}

families! {
    COMMITS: Counter "journal_commits_total", "Flushes of the journal.";
    COMMIT_MICROSECONDS: Counter "journal_commit_microseconds_total",
        "Time of all flushes of the journal; see sluice_disk_durable_write_seconds for the spread.";
    COMMIT_MAXIMUM: Gauge "journal_commit_microseconds_max", "The longest flush of the journal.";
    JOURNAL_BYTES: Counter "journal_bytes_total", "Bytes written to the journal, padding included.";
    JOURNAL_ENTRY_BYTES: Counter "journal_entry_bytes_total", "Bytes of entries in the journal.";
    QUEUE_DEPTH: Gauge "journal_queue_depth", "Flushes that wait or are in flight.";
    RING_FREE: Gauge "journal_free_bytes", "Bytes that the journal's ring can still take.";
    CHECKPOINT_BYTES: Counter "checkpoint_bytes_total", "Bytes of checkpoints written.";
    SEGMENT_BYTES: Gauge "segment_bytes", "Bytes of segments on the disk, preallocated rests included.";
    LOGS: Gauge "logs", "Logs of the shard.";
    REFUSED: Counter "space_refused_total", "How often a log was refused room on the disk.";
    CACHE_HITS: Counter "cache_hits_total", "Reads that found a batch in the cache.";
    CACHE_MISSES: Counter "cache_misses_total", "Reads that found no batch in the cache.";
    MEMORY: Gauge "memory_bytes", "Memory of the log engine by budget.";
    MEMORY_HIGH_WATER: Gauge "memory_high_water_bytes", "The most memory a budget held at once.";
    MEMORY_LIMIT: Gauge "memory_limit_bytes", "Memory that a budget may hold.";
}
