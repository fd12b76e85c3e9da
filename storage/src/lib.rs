//! The log engine: journal, partition logs, segments, indexes, retention, compaction.
//!
//! What it is        one flush for everything on a shard; Kafka's record batches kept verbatim.
//! What it is not    knows neither sockets nor monoio nor Raft's rules.
//! Reading order     [`disk`], then the journal, then the partition log.
#![forbid(unsafe_code)]

pub mod aligned_buffer;
pub mod buffer_pool;
pub mod cache;
mod checkpoint;
pub mod compaction;
pub mod disk;
pub mod disk_budget;
pub mod engine;
pub mod error;
mod errors;
mod events;
mod index;
pub mod journal;
pub mod limits;
mod log_key;
mod lru;
mod notify;
mod options;
pub mod partition;
mod permits;
mod read_buffers;
mod read_points;
pub mod retention;
pub mod room;
pub mod scrub;
pub mod segment;
mod side_table;
#[cfg(test)]
mod testing;

pub use disk::DiskError;
pub use engine::{Engine, EngineStats, Opened, RecoveredLog, Worker, prepare_shards};
pub use errors::{AppendError, ChangeError, OpenError, ReadError};
pub use events::LogEvents;
pub use journal::JournalStats;
pub use log_key::LogKey;
pub use options::{LogConfig, Options};
pub use partition::{AppendedEntry, CompactionRequest, Entry, LogRead, PartitionLog, SegmentFacts};
pub use read_buffers::free_kept_buffers;
pub use side_table::{SideEntry, SideKind, SideTable};
