//! The only unsafe code of the workspace: what neither monoio, rustix nor the standard library
//! offers.
//!
//! What it is        small safe functions around system calls and around the one unsafe trait that
//!                   monoio asks of a buffer.
//! What it is not    a place for logic: each function is a call and its error.
//! Invariants        1. nothing outside this folder says `unsafe`.
//!                   2. every unsafe block says why it is sound.
#![allow(
    unsafe_code,
    reason = "the one folder where it is allowed; checked by the tidy test"
)]

pub mod buffer;
#[cfg(feature = "count-allocations")]
pub mod counting_allocator;
pub mod file;
pub mod memory;
pub mod process;
pub mod socket;
