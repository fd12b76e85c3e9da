//! Incremental fetch sessions: a consumer of many partitions names only what changes.
//!
//! What it is        the sessions of one shard as a state machine: which partitions a Fetch reads,
//!                   and which of them its response carries.
//! What it is not    the reading: the owner reads the partitions and says what it found.
//! Invariants        see [`cache`].
//! Source            KIP-227, KIP-516 (topic ids); Kafka 4.3 `FetchSession.scala`, `FetchMetadata`.
//! Reading order     [`FetchSessions::handle_request`], [`FetchSessions::handle_response`].

pub mod cache;
mod context;
mod session;

#[cfg(test)]
mod tests;

pub use cache::{FetchSessionOptions, FetchSessions};
pub use context::{
    FetchContext, FetchPartition, FetchSessionFault, ForgottenPartition, PartitionAnswer,
    SessionRequest, SessionResponse, TopicKey,
};
