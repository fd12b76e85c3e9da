//! The log of one partition: what is in memory, in segments, and what is durable.
//!
//! What it is        append, read, truncate and the side table of one log.
//! What it is not    it does not decide what is committed (`replication`) or written back when
//!                   (`engine`).
//! Invariants        1. `log_start_offset <= segments_end_offset <= log_end_offset` once the first
//!                   record is
//!                   written back. 2. batches are dense in offset. 3. after a failure nothing is
//!                   appended.
//! Reading order     [`PartitionLog::append`], `state.rs`, `append_buffer.rs`, `durable.rs`.

pub(crate) mod append_buffer;
pub(crate) mod change;
mod compact;
pub(crate) mod durable;
mod log;
mod log_read;
pub(crate) mod producers;
mod read;
pub(crate) mod segments;
pub(crate) mod state;
mod upkeep;

pub use change::SegmentFacts;
pub use compact::CompactionRequest;
pub use log::{AppendedEntry, Entry, PartitionLog};
pub use log_read::LogRead;
