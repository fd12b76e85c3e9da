//! Every bound of the log engine: unit, reason, and what happens at the bound.
//!
//! Invariants        relations between limits are checked at compile time at the end of the file.

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

const _: () = assert!(PREALLOCATION_BYTES_MIN <= PREALLOCATION_BYTES_MAX);
const _: () = assert!(PREALLOCATION_BYTES_MAX <= SEGMENT_BYTES_MAX);
const _: () = assert!(SEARCH_WINDOW_BYTES <= SCAN_WINDOW_BYTES);
const _: () = assert!(SCAN_WINDOW_BYTES.is_multiple_of(4096));
const _: () = assert!(SEARCH_WINDOW_BYTES.is_multiple_of(4096));
