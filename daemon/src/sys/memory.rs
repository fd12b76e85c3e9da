//! The allocator and memory locking.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};

/// Tells glibc's allocator to serve a small process: few arenas, and freed memory goes back.
///
/// Without it each thread gets an arena of its own that never shrinks. Other C libraries have no
/// such call, and nothing happens there.
pub fn tune_allocator(arenas: i32, mmap_threshold_bytes: i32, trim_threshold_bytes: i32) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt only sets a number inside the allocator; called before other threads
        // exist.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
        // SAFETY: as above.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, mmap_threshold_bytes) };
        // SAFETY: as above.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, trim_threshold_bytes) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _unused = (arenas, mmap_threshold_bytes, trim_threshold_bytes);
}

/// Gives freed memory of the allocator back to the system; returns at once where there is no such
/// call.
pub fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim is thread-safe and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Locks all memory of the process, now and later, so that nothing of it is ever swapped out.
///
/// # Errors
/// What the system says, usually that RLIMIT_MEMLOCK is too small.
pub fn lock_all_memory() -> io::Result<()> {
    Ok(mlockall(
        MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT,
    )?)
}
