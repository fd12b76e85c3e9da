//! The log engine: journal, partition logs, segments, indexes, retention, compaction.
//!
//! What it is        one flush for everything on a shard; Kafka's record batches kept verbatim.
//! What it is not    knows neither sockets nor monoio nor Raft's rules.
//! Reading order     [`disk`], then the journal, then the partition log.
#![forbid(unsafe_code)]

pub mod aligned_buffer;
pub mod cache;
pub mod disk;
pub mod disk_budget;
pub mod error;
mod index;
pub mod limits;
mod lru;
mod permits;
pub mod segment;
#[cfg(test)]
mod testing;
