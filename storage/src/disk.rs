//! The world of the log engine: eight disk operations and a clock, given by the owner.
//!
//! What it is        the only way `storage` reaches files. Buffers go in by value and come back
//!                   with the result, as io_uring needs.
//! What it is not    a file system abstraction for others: paths are relative to the data
//! directory.
//! Invariants        1. a finished write to a file opened `durable` is on stable storage.
//!                   2. creation, `rename` and `remove` are on stable storage when they complete.
//!                   3. an operation that fails with [`DiskError`] may have happened in part.
//! Source            docs/decisions/2026-11-23-one-gateway.md; design §4 "Disk trait".

use std::fmt;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;

use crate::aligned_buffer::AlignedBuffer;

/// How a file is opened.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent flags of one system call"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMode {
    /// Create the file (and its parent directories) when it does not exist; the creation is
    /// durable.
    pub create: bool,
    /// Writes may follow; without it the file is opened read-only.
    pub write: bool,
    /// Each finished write is on stable storage (O_DSYNC, or write followed by fdatasync).
    pub durable: bool,
    /// Positions and lengths of reads and writes are multiples of [`Disk::alignment_bytes`] and the
    /// page cache is bypassed (O_DIRECT where the file system has it). Without it any length goes.
    pub direct: bool,
}

/// What [`Disk::resize`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Cut or extend the file to exactly this many bytes; an extension reads as zeros. Durable
    /// after `sync`.
    SetLength(u64),
    /// Reserve blocks so that the file is at least this long and writes inside cannot fail for lack
    /// of space.
    Reserve(u64),
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// File name without the directory.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub length_bytes: u64,
    /// Whether the entry is a directory.
    pub is_directory: bool,
}

/// Why a disk operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    /// There is no room; the same may succeed later.
    #[error("{shortage} ({operation} {path})")]
    Full {
        /// What has run out.
        shortage: Shortage,
        /// Operation that failed, as a verb.
        operation: &'static str,
        /// File, relative to the data directory.
        path: String,
    },
    /// The file does not exist.
    #[error("no such file ({operation} {path})")]
    NotFound {
        /// Operation that failed, as a verb.
        operation: &'static str,
        /// File, relative to the data directory.
        path: String,
    },
    /// Any other failure of the machine.
    #[error("{operation} {path}: {reason}")]
    Io {
        /// Operation that failed, as a verb.
        operation: &'static str,
        /// File, relative to the data directory.
        path: String,
        /// The operating system's words.
        reason: String,
    },
}

/// What has run out where nothing more can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The device or its quota (ENOSPC, EDQUOT).
    Device,
    /// What the device has above its reserve.
    AboveReserve,
    /// The byte budget of the data directory.
    ByteBudget,
    /// The limit of file sizes of this process (EFBIG, RLIMIT_FSIZE).
    FileSize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Device => "no space left on the device",
            Self::AboveReserve => "only the reserve of the disk is left",
            Self::ByteBudget => "the byte budget is used up",
            Self::FileSize => "the limit of file sizes is reached (ulimit -f)",
        })
    }
}

/// A buffer that comes back with the result of the operation it was lent to.
pub type Returned<T> = (Result<T, DiskError>, AlignedBuffer);

/// The disk under one data directory. Clones share the same disk.
///
/// All paths are relative to the data directory and use `/`.
pub trait Disk: Clone + 'static {
    /// An open file; clones share it, the last one closes it.
    type File: Clone + 'static;

    /// Bytes that positions, lengths and memory of direct I/O must be multiples of; a power of two,
    /// 512 to 4,096.
    fn alignment_bytes(&self) -> u32;

    /// Opens a file. Errors: [`DiskError::NotFound`] without `create`.
    fn open(
        &self,
        path: &str,
        mode: OpenMode,
    ) -> impl Future<Output = Result<Self::File, DiskError>>;

    /// Reads up to `length_bytes` at `position` into the buffer from its start; the count is short
    /// only at the end of
    /// the file. The buffer's length is set to that count.
    fn read(
        &self,
        file: &Self::File,
        position: u64,
        buffer: AlignedBuffer,
        length_bytes: u32,
    ) -> impl Future<Output = Returned<u32>>;

    /// Writes the whole buffer (its length) at `position`.
    fn write(
        &self,
        file: &Self::File,
        position: u64,
        buffer: AlignedBuffer,
    ) -> impl Future<Output = Returned<()>>;

    /// Makes all finished writes and the length of the file durable. After an error the file is
    /// never synced again.
    fn sync(&self, file: &Self::File) -> impl Future<Output = Result<(), DiskError>>;

    /// Changes the length or reserves space.
    fn resize(&self, file: &Self::File, how: Resize)
    -> impl Future<Output = Result<(), DiskError>>;

    /// Renames a file or directory over an existing one.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = Result<(), DiskError>>;

    /// Removes a file or an empty directory.
    fn remove(&self, path: &str) -> impl Future<Output = Result<(), DiskError>>;

    /// Lists a directory in the order of names; a missing directory is empty.
    fn list(&self, directory: &str)
    -> impl Future<Output = Result<Vec<DirectoryEntry>, DiskError>>;
}

/// Time for the engine: monotonic, and a pause.
pub trait Clock: Clone + 'static {
    /// Time since an arbitrary start; never goes back.
    fn now(&self) -> Duration;

    /// Waits at least `pause`.
    fn sleep(&self, pause: Duration) -> impl Future<Output = ()>;
}
