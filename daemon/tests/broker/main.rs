//! The process as its users meet it: sockets, signals, exit codes, on both runtime drivers.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::integer_division,
    reason = "a test may fail by panicking"
)]

mod admin;
mod connections;
mod process;
mod start;
mod stop;
