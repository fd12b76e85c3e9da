//! The Kafka API as data and rules: no I/O, no clock, no async.
#![forbid(unsafe_code)]

pub mod limits;
pub mod record_batch;
