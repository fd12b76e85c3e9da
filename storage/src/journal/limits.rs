//! Every bound of the log engine, with its unit, its reason and what happens when it is reached.

/// Largest commit of the journal in bytes on any device; a bigger one only delays the next.
pub const COMMIT_BYTES_MAXIMUM: u32 = 1024 * 1024;

/// Smallest setting for the largest commit in bytes: side entries and cursors fit several times.
pub const COMMIT_BYTES_MINIMUM: u32 = 128 * 1024;

/// Commits that may wait behind the ones in flight; beyond it appends are refused
/// ([`crate::AppendError::NoRoom`]) and the caller stops reading its sockets.
pub const COMMITS_SEALED_MAXIMUM: usize = 4;

/// Commits in flight at once; more gains nothing measurable and costs buffers.
pub const COMMITS_IN_FLIGHT_MAXIMUM: usize = 2;

/// Buffers that the journal keeps for reuse; the rest is given back to the allocator.
pub const COMMIT_BUFFERS_KEPT: usize = 3;

/// Bytes of one shared block of append buffers: large enough that one allocation serves hundreds of
/// small batches, small enough that a block pinned by one batch costs little.
pub const APPEND_BLOCK_BYTES: usize = 64 * 1024;

/// Pieces shorter than this are copied out of the append buffer on a read, so that a slow reader
/// does
/// not pin a whole block.
pub const READ_COPY_BYTES: usize = 4 * 1024;

/// Bytes of one write while a ring file is filled with zeros; bounds the delay of a commit behind
/// it.
pub const ZERO_CHUNK_BYTES: u32 = 1024 * 1024;

/// Bytes of one read while the journal is scanned at start.
pub const SCAN_CHUNK_BYTES: u32 = 1024 * 1024;

/// Longest payload of a side entry in bytes (a voter set of dozens of nodes).
pub const SIDE_PAYLOAD_BYTES_MAXIMUM: usize = 16 * 1024;

/// Longest key or value of a cursor in bytes.
pub const CURSOR_BYTES_MAXIMUM: usize = 16 * 1024;

/// Longest name of a topic in bytes (Kafka's own limit).
pub const TOPIC_NAME_BYTES_MAXIMUM: usize = 249;

/// Largest checkpoint that is read, in bytes; one that claims more is damaged.
pub const CHECKPOINT_BYTES_MAXIMUM: u64 = 256 * 1024 * 1024;

const _: () = assert!(SIDE_PAYLOAD_BYTES_MAXIMUM * 2 < COMMIT_BYTES_MINIMUM as usize);
const _: () = assert!(CURSOR_BYTES_MAXIMUM * 3 < COMMIT_BYTES_MINIMUM as usize);
const _: () = assert!(COMMIT_BYTES_MINIMUM <= COMMIT_BYTES_MAXIMUM);
const _: () = assert!(APPEND_BLOCK_BYTES >= 4 * READ_COPY_BYTES);
