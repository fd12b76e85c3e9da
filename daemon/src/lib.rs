//! The daemon: the only crate with sockets, files, threads, clocks and the command line.
//!
//! What it is        adapters between the world and the cores, and the process `sluice` around
//!                   them.
//! What it is not    a place for rules: a decision found here moves to the crate that owns it.
//! Invariants        1. one thread per shard; what crosses between threads is a message.
//!                   2. `unsafe` only in `sys`.
//! Reading order     `main.rs`, then [`command::start`], [`shard`], [`connection`], [`handlers`],
//!                   [`io`].

pub mod admin;
pub mod client;
pub mod command;
pub mod config;
pub mod connection;
mod controller;
pub mod data_directory;
mod group_service;
pub mod handlers;
mod health;
mod housekeeping;
pub mod io;
pub mod limits;
pub mod log;
pub mod metrics;
mod mirror_service;
mod mqtt_bridge;
mod mqtt_server;
mod partition;
pub mod shard;
mod shard_state;
mod storage_metrics;
pub mod sys;

#[cfg(test)]
mod test_directory;
