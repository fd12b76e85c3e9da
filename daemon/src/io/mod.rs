//! The world that `storage` runs in: files and time.
//!
//! What it is        [`disk::FileDisk`], one type with two ways to reach files, chosen at run time:
//!                   io_uring ([`disk_ring`]) or helper threads ([`disk_thread`]); and
//!                   [`clock::ShardClock`]; [`device::Device`], what the files lie on.
//! What it is not    an opinion about the layout of the data directory: that is the engine's.
//! Reading order     [`disk`], then [`disk_ring`] and [`disk_thread`], then [`blocking`].

pub mod blocking;
pub mod clock;
pub mod device;
pub mod disk;
pub mod disk_ring;
#[cfg(test)]
mod disk_tests;
pub mod disk_thread;
pub mod helper_thread;
pub mod probe;
