//! Bounds of this crate: every count or length that bad input could otherwise choose.
//!
//! What it is        constants with unit, reason and what happens at the bound.
//! What it is not    settings of an operator: those have defaults in `daemon` and are checked there.
//! Source            design §3 "Memory"; our measurements.

/// Bytes that a decompressed batch may always reach, whatever its compressed size.
///
/// A few dozen bytes of zstd may honestly hold a megabyte of equal records. At the bound: refused.
pub const DECOMPRESSION_FLOOR_BYTES: usize = 1 << 20;

/// Times its compressed size that a batch above [`DECOMPRESSION_FLOOR_BYTES`] may grow to.
///
/// Deflate cannot exceed 1,032; what grows more is a bomb or not worth reading. At the bound: refused.
pub const DECOMPRESSION_EXPANSION_MAX: usize = 1_100;

/// Bytes one batch may have after decompression, unless the caller says otherwise.
///
/// Only compacted topics, timestamp searches and readers of records decompress. At the bound: refused.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 32 << 20;

/// Record errors that one refused batch carries back to the client; further ones are not collected.
pub const RECORD_ERRORS_MAX: usize = 64;

const _: () = assert!(DECOMPRESSION_FLOOR_BYTES <= DECOMPRESSED_BATCH_BYTES_MAX);
