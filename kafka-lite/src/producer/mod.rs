//! Idempotent producers: duplicates and gaps are found before anything is appended.
//!
//! What it is        [`ProducerTable`], the memory of one partition about its producers, and
//!                   [`ProducerIds`], ids out of durable blocks.
//! What it is not    transactions. It is not durable by itself: it is rebuilt from batch headers
//!                   and
//!                   a snapshot.
//! Invariants        see [`table`].
//! Source            Kafka 4.3 `ProducerAppendInfo`, `ProducerStateEntry`, `ProducerStateManager`;
//!                   KIP-98, KIP-360. docs/formats/producer-snapshot.md.
//! Reading order     [`ProducerTable::check`], [`ProducerTable::record`], then `snapshot`.

mod ids;
mod snapshot;
pub mod table;

#[cfg(test)]
mod tests;

pub use ids::{ProducerIds, ProducerIdsExhausted};
pub use snapshot::{ProducerSnapshot, SnapshotError};
pub use table::{
    ProducerCheck, ProducerDescription, ProducerFault, ProducerTable, ProducerTableOptions,
    Truncation,
};
