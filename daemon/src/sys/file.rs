//! A second descriptor for an open file.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

/// Duplicates a descriptor; both share the position and the flags.
///
/// The caller owns the open file: `descriptor` is open during the call.
///
/// # Errors
/// What the system says, usually that there are too many open files.
pub fn duplicate(descriptor: RawFd) -> io::Result<File> {
    // SAFETY: the caller owns the open file and keeps it open during this call.
    let file = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(File::from(file.try_clone_to_owned()?))
}
