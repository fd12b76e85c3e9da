//! The Kafka API as data and rules: wire codec, and the state machines behind the API.
//!
//! What it is        bytes to meaning and back, for every supported API and version.
//! What it is not    no I/O, no clock, no threads, no async; it knows neither files nor Raft.
//! Invariants        1. bad input is an error, never a panic, and never an allocation by a length
//!                   that was not checked against the bytes that are there.
//! Reading order     `frame`, `header`, `api` (one file per API), then `primitive`;
//!                   `record_batch` for what travels inside Produce and Fetch.
#![forbid(unsafe_code)]

pub mod api;
pub mod catalog;
pub mod error;
pub mod error_code;
pub mod fetch_session;
pub mod frame;
pub mod group;
pub mod header;
pub mod limits;
pub mod partitioner;
pub mod primitive;
pub mod producer;
pub mod record_batch;
pub mod sasl;
pub mod topic_config;
pub mod wall_clock;
