//! What the owner of an engine chooses.

use std::time::Duration;

use kafka_lite::producer::ProducerTableOptions;

use crate::limits;
use crate::segment::StoreOptions;

/// Settings of one engine (one shard); sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of this shard, from 0.
    pub shard: u32,
    /// Files of the journal's ring.
    pub ring_files: usize,
    /// Length of one file of the ring.
    pub ring_file_bytes: u64,
    /// Largest commit; at most [`limits::COMMIT_BYTES_MAXIMUM`].
    pub commit_bytes: u32,
    /// Commits in flight at once, 1 or 2.
    pub commits_in_flight: usize,
    /// Minimum pause between the starts of two commits; zero for none.
    pub commit_interval: Duration,
    /// Batches of at least this size go straight into the segment.
    pub direct_bytes: usize,
    /// Bytes of direct appends that may wait or be in flight.
    pub bulk_bytes: usize,
    /// Bytes that all append buffers of the shard may hold.
    pub append_buffer_bytes: usize,
    /// Bytes at which one log's append buffer is written back.
    pub log_buffer_bytes: usize,
    /// Segment writers that work at the same time.
    pub segment_writers: usize,
    /// Memory for batches that were read or appended lately.
    pub cache_bytes: u64,
    /// Memory for indexes of closed segments.
    pub index_cache_bytes: u64,
    /// Open handles of closed segments.
    pub open_files: u64,
    /// This shard's share of the byte budget of the data directory; `None` is bounded by the
    /// device.
    pub disk_limit_bytes: Option<u64>,
    /// Idempotent producers remembered over all logs of the shard; at the bound an eighth is
    /// forgotten, the least recently used first.
    pub producers_maximum: usize,
    /// Time without an append after which a producer is forgotten (`producer.id.expiration.ms`);
    /// time during which the broker is down does not count.
    pub producer_expiration: Duration,
    /// Acknowledge at once and store nothing: the control of the benchmark.
    pub store_nothing: bool,
}

impl Options {
    /// The settings of a gateway with an SD card or eMMC.
    pub fn gateway(shard: u32) -> Self {
        Self {
            shard,
            ring_files: 4,
            ring_file_bytes: 4 * 1024 * 1024,
            commit_bytes: 256 * 1024,
            commits_in_flight: 1,
            commit_interval: Duration::ZERO,
            direct_bytes: 64 * 1024,
            bulk_bytes: 8 * 1024 * 1024,
            append_buffer_bytes: 16 * 1024 * 1024,
            log_buffer_bytes: 256 * 1024,
            segment_writers: 4,
            cache_bytes: 8 * 1024 * 1024,
            index_cache_bytes: 1024 * 1024,
            open_files: 512,
            disk_limit_bytes: None,
            producers_maximum: limits::PRODUCERS_GATEWAY,
            producer_expiration: limits::PRODUCER_EXPIRATION,
            store_nothing: false,
        }
    }

    /// The settings of a server with NVMe disks.
    pub fn server(shard: u32) -> Self {
        Self {
            ring_file_bytes: 64 * 1024 * 1024,
            commit_bytes: limits::COMMIT_BYTES_MAXIMUM,
            commits_in_flight: 2,
            bulk_bytes: 64 * 1024 * 1024,
            append_buffer_bytes: 128 * 1024 * 1024,
            log_buffer_bytes: 1024 * 1024,
            segment_writers: 16,
            cache_bytes: 256 * 1024 * 1024,
            index_cache_bytes: 32 * 1024 * 1024,
            open_files: 8192,
            producers_maximum: limits::PRODUCERS_SERVER,
            ..Self::gateway(shard)
        }
    }

    /// Brings settings into the bounds that the engine relies on.
    pub(crate) fn checked(mut self) -> Self {
        self.commit_bytes = self
            .commit_bytes
            .clamp(limits::COMMIT_BYTES_MINIMUM, limits::COMMIT_BYTES_MAXIMUM);
        self.commits_in_flight = self
            .commits_in_flight
            .clamp(1, limits::COMMITS_IN_FLIGHT_MAXIMUM);
        self.ring_files = self.ring_files.max(2);
        let file_bytes = self.ring_file_bytes.max(u64::from(self.commit_bytes) * 2);
        self.ring_file_bytes = file_bytes.next_multiple_of(4096);
        self.direct_bytes = self.direct_bytes.min(self.commit_bytes as usize >> 1);
        self.segment_writers = self.segment_writers.max(1);
        self.producers_maximum = self.producers_maximum.max(8);
        self
    }

    /// Bounds of one log's producers.
    pub(crate) fn producer_options(&self) -> ProducerTableOptions {
        ProducerTableOptions {
            // One more, so that the bound over all logs is what acts.
            producers_max: self.producers_maximum + 1,
            expiration_ms: i64::try_from(self.producer_expiration.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Bounds of the shard's segments.
    pub(crate) fn store_options(&self) -> StoreOptions {
        StoreOptions {
            staging_buffer_bytes: limits::STAGING_BUFFER_BYTES,
            staging_buffer_count: self.segment_writers,
            open_files_max: self.open_files,
            index_cache_bytes: self.index_cache_bytes,
            ..StoreOptions::default()
        }
    }

    /// The directory of this shard's journal, relative to the data directory.
    pub(crate) fn journal_directory(&self) -> String {
        format!("journal/shard-{:03}", self.shard)
    }
}

/// Settings of one log, from the topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it grows beyond this.
    pub segment_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `flush.messages`: 1 acknowledges a batch when it is on stable storage. Above, batches are
    /// acknowledged at once as long as fewer records than this are not flushed; a crash may lose
    /// those, never others. Side entries, term and vote are always strict.
    pub flush_messages: u64,
    /// `flush.ms`: longest time that acknowledged records stay unflushed, at most
    /// [`limits::UNFLUSHED_TIME_MAX`].
    pub flush_interval: Duration,
    /// The log may take the last bytes of the device, of the append buffers and of the ring, which
    /// data leaves alone: it holds what others need to go on when the disk is full.
    pub uses_reserve: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            index_interval_bytes: 4096,
            flush_messages: 1,
            flush_interval: limits::UNFLUSHED_TIME_MAX,
            uses_reserve: false,
        }
    }
}
