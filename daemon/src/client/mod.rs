//! A small blocking Kafka client: what the command line speaks to brokers with.
//!
//! What it is        one connection per broker, requests one after another, versions negotiated
//!                   with ApiVersions, partition leaders and coordinators found and dialled at the
//!                   address that they advertise.
//! What it is not    a general client: no idempotence, no transactions, no background thread. It
//!                   knows nothing of the broker in this crate and works with any Kafka broker.
//! Invariants        1. nothing waits without a bound.
//!                   2. a request that changes something is never sent again when its outcome is
//!                      unknown.
//! Reading order     [`Cluster`], [`Connection`], then [`offsets`], [`fetch`], [`produce`],
//!                   [`member`].

pub mod address;
pub mod cluster;
pub mod committed;
pub mod connection;
pub mod consumer_protocol;
pub mod error;
pub mod fetch;
pub mod limits;
pub mod member;
pub mod offsets;
pub use kafka_lite::partitioner;
pub mod produce;

pub use address::Address;
pub use cluster::{Broker, Cluster, Partition, Topic};
pub use connection::{Answer, Connection};
pub use error::ClientError;
