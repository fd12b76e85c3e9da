//! Stored bytes that are wrong: the one error that no retry and no free space cures.
//!
//! What it is not    the errors of an operation; each boundary has its own enum that carries this.

use thiserror::Error;

/// Bytes on the disk are not what was written. The log halts and keeps them; an operator or a peer
/// repairs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file} is damaged at byte {position}: expected {expected}, got {got}")]
pub struct Corrupt {
    /// File, relative to the data directory.
    pub file: String,
    /// First byte of the damaged batch, entry or block, from the start of the file.
    pub position: u64,
    /// What a sound file has there.
    pub expected: String,
    /// What was found.
    pub got: String,
}
