//! Every bound of the log engine: unit, reason, and what happens at the bound.
//!
//! Invariants        relations between limits are checked at compile time at the end of the file.

use std::time::Duration;

// --- Segments and their indexes -------------------------------------------------------------

/// Largest segment file in bytes; Kafka's indexes hold positions as a signed 32-bit number. An
/// append beyond it is refused, the partition rolls first.
pub const SEGMENT_BYTES_MAX: u32 = i32::MAX as u32;

/// First preallocation of a segment in bytes; it doubles from here. 64 MiB for each of 1,000
/// partitions filled a disk once.
pub const PREALLOCATION_BYTES_MIN: u32 = 256 * 1024;

/// Largest single preallocation in bytes: a reservation of 32 MiB and more was measured to take
/// half a second on some file systems.
pub const PREALLOCATION_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Window of the streaming readers (tail scan, index rebuild, scrub) in bytes; the whole memory of
/// such a reader.
pub const SCAN_WINDOW_BYTES: u32 = 128 * 1024;

/// Window of the forward search from an index entry to a batch in bytes; a few index intervals.
pub const SEARCH_WINDOW_BYTES: u32 = 16 * 1024;

/// Entries that one offset or time index may have, in memory and in its file. At the bound every
/// second entry is dropped and the interval doubles: 16,384 entries are 320 KiB for both indexes of
/// a segment.
pub const INDEX_ENTRIES_MAX: usize = 16_384;

/// Shortest record batch in bytes: the header with no record (an emptied batch after compaction).
pub const BATCH_BYTES_MIN: u32 = 61;

/// Largest decompressed size of one batch in bytes that a lookup by timestamp or compaction
/// accepts; beyond it the batch is kept as it is and treated as opaque.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;

// --- Disk budget ----------------------------------------------------------------------------

/// Free bytes on the device that data never takes, at least: Raft, cursors and checkpoints still
/// write when the disk is full.
pub const DISK_RESERVE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Share of the device that data never takes, as a divisor: 50 is 2 %.
pub const DISK_RESERVE_DIVISOR: u64 = 50;

// --- Journal, append buffers, checkpoint -----------------------------------------------------

/// Largest commit of the journal in bytes on any device; a bigger one only delays the next.
pub const COMMIT_BYTES_MAXIMUM: u32 = 1024 * 1024;

/// Smallest setting for the largest commit in bytes: side entries and cursors fit several times.
pub const COMMIT_BYTES_MINIMUM: u32 = 16 * 1024;

/// Commits that may wait behind the ones in flight; beyond it appends are refused
/// ([`crate::AppendError::NoRoom`]) and the caller stops reading its sockets.
pub const COMMITS_SEALED_MAXIMUM: usize = 4;

/// Commits in flight at once; more gains nothing measurable and costs buffers.
pub const COMMITS_IN_FLIGHT_MAXIMUM: usize = 2;

/// Buffers that the journal keeps for reuse; the rest is given back to the allocator.
pub const COMMIT_BUFFERS_KEPT: usize = 3;

/// Longest time that records of a topic with `flush.messages` above 1 stay unflushed, whatever
/// `flush.ms` says: one write per second costs little, and the process's memory is no page cache
/// that outlives it.
pub const UNFLUSHED_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes of one shared block of append buffers: large enough that one allocation serves hundreds of
/// small batches, small enough that a block pinned by one batch costs little.
pub const APPEND_BLOCK_BYTES: usize = 64 * 1024;

/// Pieces shorter than this are copied out of the append buffer on a read, so that a slow reader
/// does
/// not pin a whole block.
pub const READ_COPY_BYTES: usize = 4 * 1024;

/// Pieces shorter than this are copied out of the buffer that a segment was read into: the buffer
/// is up to 20 KiB longer than the piece.
pub const READ_OWNED_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one write while a ring file is filled with zeros; bounds the delay of a commit behind
/// it.
pub const ZERO_CHUNK_BYTES: u32 = 1024 * 1024;

/// Logs whose segments are looked at together at start; each has one scan window.
pub const RECOVERY_WIDTH: usize = 16;

/// Bytes of one read while the journal is scanned at start.
pub const SCAN_CHUNK_BYTES: u32 = 1024 * 1024;

/// Longest payload of a side entry in bytes (a voter set of dozens of nodes).
pub const SIDE_PAYLOAD_BYTES_MAXIMUM: usize = 4 * 1024;

/// Longest key or value of a cursor in bytes.
pub const CURSOR_BYTES_MAXIMUM: usize = 4 * 1024;

/// Longest name of a topic in bytes (Kafka's own limit).
pub const TOPIC_NAME_BYTES_MAXIMUM: usize = 249;

/// Largest checkpoint that is read, in bytes; one that claims more is damaged.
pub const CHECKPOINT_BYTES_MAXIMUM: u64 = 256 * 1024 * 1024;

/// Idempotent producers that a gateway's shard remembers; about 220 bytes each. Beyond it the least
/// recently used are forgotten; what they send next is taken with any sequence.
pub const PRODUCERS_GATEWAY: usize = 1_000;

/// Idempotent producers that a server's shard remembers: 22 MB at most.
pub const PRODUCERS_SERVER: usize = 100_000;

/// Kafka's default of `producer.id.expiration.ms`.
pub const PRODUCER_EXPIRATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest single append to a segment in bytes: the acknowledgement of its first batch waits for
/// it.
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one buffer that appends to segments are copied into: a whole large append and the kept
/// start of its first block. Four writes of a quarter cost 60 % more time and CPU than one.
pub const STAGING_BUFFER_BYTES: u32 = 1024 * 1024 + 4096;

/// Largest single read of a segment for one fetch in bytes; the fetch goes on with the next.
pub const READ_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Reads of at least this many bytes look the batch up first and then read exactly from it; a
/// shorter one reads from the index entry and skips.
pub const READ_EXACT_BYTES_MIN: u32 = 64 * 1024;

/// Positions that are remembered for readers that go on, over all logs of a shard; 100 bytes each.
/// The least recently used is forgotten, then the index is asked.
pub const READ_POINTS_MAX: u64 = 1024;

/// Smallest read buffer that is kept for reuse, in bytes; smaller ones are cheap to make.
pub const READ_POOL_BYTES_MIN: usize = 512 * 1024;

/// Bytes of read buffers that a thread keeps for reuse; more are freed.
pub const READ_POOL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Time that a stop spends on writing append buffers to segments; what is left stays in the
/// journal, and the next start replays it. Ten thousand partitions on a slow card take minutes.
pub const FINISH_TIME_MAX: Duration = Duration::from_secs(2);

/// Time that a stop spends on giving preallocated space back and writing the indexes of active
/// segments; what is left is done by the next stop.
pub const SETTLE_TIME_MAX: Duration = Duration::from_millis(1500);

/// Pause before a write that met a full disk is tried again.
pub const DISK_FULL_PAUSE: Duration = Duration::from_millis(500);

/// Least time between two lines that say that there is no room.
pub const SHORTAGE_TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Time in which whoever makes room in the byte budget has made it; a shortage that lasts longer is
/// told.
pub const ROOM_IS_MADE_WITHIN: Duration = Duration::from_secs(2);

const _: () = assert!(PREALLOCATION_BYTES_MIN <= PREALLOCATION_BYTES_MAX);
const _: () = assert!(PREALLOCATION_BYTES_MAX <= SEGMENT_BYTES_MAX);
const _: () = assert!(SEARCH_WINDOW_BYTES <= SCAN_WINDOW_BYTES);
const _: () = assert!(SCAN_WINDOW_BYTES.is_multiple_of(4096));
const _: () = assert!(SEARCH_WINDOW_BYTES.is_multiple_of(4096));
const _: () = assert!(SIDE_PAYLOAD_BYTES_MAXIMUM * 2 < COMMIT_BYTES_MINIMUM as usize);
const _: () = assert!(CURSOR_BYTES_MAXIMUM * 3 < COMMIT_BYTES_MINIMUM as usize);
const _: () = assert!(COMMIT_BYTES_MINIMUM <= COMMIT_BYTES_MAXIMUM);
const _: () = assert!(APPEND_BLOCK_BYTES >= 4 * READ_COPY_BYTES);
