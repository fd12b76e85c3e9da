//! Bounds of this crate: every count or length that bad input could otherwise choose.
//!
//! What it is        constants with unit, reason and what happens at the bound.
//! What it is not    settings of an operator: those have defaults in `daemon` and are checked
//!                   there.
//! Source            design §3 "Memory"; our measurements.

/// Bytes that a decompressed batch may always reach, whatever its compressed size.
///
/// A few dozen bytes of zstd may honestly hold a megabyte of equal records. At the bound: refused.
pub const DECOMPRESSION_FLOOR_BYTES: usize = 1 << 20;

/// Times its compressed size that a batch above [`DECOMPRESSION_FLOOR_BYTES`] may grow to.
///
/// Deflate cannot exceed 1,032; what grows more is a bomb or not worth reading. At the bound:
/// refused.
pub const DECOMPRESSION_EXPANSION_MAX: usize = 1_100;

/// Bytes one batch may have after decompression, unless the caller says otherwise.
///
/// Only compacted topics, timestamp searches and readers of records decompress. At the bound:
/// refused.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 32 << 20;

/// Record errors that one refused batch carries back to the client; further ones are not collected.
pub const RECORD_ERRORS_MAX: usize = 64;

const _: () = assert!(DECOMPRESSION_FLOOR_BYTES <= DECOMPRESSED_BATCH_BYTES_MAX);

/// Largest frame, in bytes after the length prefix, accepted before the first valid request of a
/// connection. A stranger cannot make us reserve more. Beyond it: error, the connection closes.
pub const FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST: usize = 64 * 1024;

/// Default of the largest frame, in bytes after the length prefix, on an accepted connection.
/// Beyond the configured value: error, the connection closes.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 8 * 1024 * 1024;

/// Smallest request frame: key, version, correlation id, and the length of the client id.
pub const REQUEST_FRAME_BYTES_MIN: usize = 10;

/// Smallest response frame: the correlation id.
pub const RESPONSE_FRAME_BYTES_MIN: usize = 4;

/// Heap that one decoded message may ask for, in bytes, over all of its arrays together.
/// An element of one or two bytes on the wire can be a hundred in memory; this caps the sum.
/// Beyond it: error. Room for metadata of about 100,000 partitions.
pub const DECODED_HEAP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest string of the 2-byte length form, in bytes. Longer: refused when encoding.
pub const SHORT_STRING_BYTES_MAX: usize = 32_767;

/// Record data of at least this many bytes goes into a reply by reference; less is copied,
/// because a piece of its own costs more in `writev` than the copy.
pub const SPLICE_BYTES_MIN: usize = 512;

const _: () = assert!(FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST <= FRAME_BYTES_MAX_DEFAULT);
const _: () = assert!(REQUEST_FRAME_BYTES_MIN <= FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST);

/// Batches remembered per producer and partition for duplicates; as many as a client keeps in
/// flight.
///
/// Part of the protocol: Kafka clients set `max.in.flight.requests.per.connection` to at most 5.
pub const PRODUCER_BATCHES: usize = 5;

/// Producers remembered per partition, unless the owner gives less.
///
/// An entry takes about 200 bytes. At the bound: the least recently used producer is forgotten; if
/// it writes again, any sequence is accepted.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 1_000;

/// Time after its last append at which a producer is forgotten: Kafka's
/// `producer.id.expiration.ms`.
pub const PRODUCER_EXPIRATION_MS: i64 = 86_400_000;

/// Producer ids in one durable block, as in Kafka.
pub const PRODUCER_ID_BLOCK_COUNT: i64 = 1_000;

/// Ids left in the block at hand below which the next block is asked for.
pub const PRODUCER_IDS_LOW_COUNT: i64 = 100;

/// Fetch sessions per shard: Kafka's `max.incremental.fetch.session.cache.slots` is 1,000 per
/// broker.
///
/// At the bound: an idle or smaller session gives way, else the client gets no session.
pub const FETCH_SESSIONS_MAX: usize = 1_000;

/// Partitions in all fetch sessions of a shard together; one takes about 200 bytes.
///
/// At the bound: no session for a new fetch; a growing session is closed.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 50_000;

/// Time after which an unused session gives way to any new one, and an old one to a larger one.
pub const FETCH_SESSION_EVICTION_MS: i64 = 120_000;

const _: () = assert!(PRODUCER_IDS_LOW_COUNT < PRODUCER_ID_BLOCK_COUNT);
const _: () = assert!(FETCH_SESSIONS_MAX <= FETCH_SESSION_PARTITIONS_MAX);

/// Bytes of one config value; longer ones are refused with INVALID_CONFIG.
pub const CONFIG_VALUE_BYTES_MAX: usize = 4_096;

/// Partitions of one topic; more are refused with INVALID_PARTITIONS.
pub const PARTITIONS_PER_TOPIC_MAX: usize = 10_000;

/// Partitions of all topics; more are refused with INVALID_PARTITIONS. The owner may set less.
pub const PARTITIONS_MAX: usize = 200_000;

/// Replicas of one partition; more are refused with INVALID_REPLICATION_FACTOR.
pub const REPLICAS_PER_PARTITION_MAX: usize = 9;

const _: () = assert!(PARTITIONS_PER_TOPIC_MAX <= PARTITIONS_MAX);

/// Iterations of SCRAM that a server may ask for: RFC 7677 asks for 4,096 at least, Kafka allows
/// 16,384 at most. Outside: the exchange fails. More would keep a slow core busy for seconds.
pub const SCRAM_ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=65_536;

/// Bytes of a SCRAM token of a server. A longer one: the exchange fails.
pub const SCRAM_TOKEN_BYTES_MAX: usize = 4096;
