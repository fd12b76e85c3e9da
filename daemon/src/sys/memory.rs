//! The allocator and memory locking.

use std::ffi::c_void;
use std::io;
use std::ops::Range;

use rustix::mm::{Advice, MlockAllFlags, madvise, mlockall};

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

/// Lets go of the pages of code that are mapped now; what runs on is mapped again from the page
/// cache, page by page. After the start, most of what is mapped has done its work: reading flags
/// and configuration, opening, recovering.
///
/// Nothing happens where the system does not tell the mappings, or memory is locked.
pub fn give_back_code() {
    let Ok(mappings) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for range in mappings.lines().filter_map(code_range) {
        let start: *mut c_void = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: a private mapping of a file that can be executed and not written holds nothing
        // but the file's bytes, which the next access brings back.
        let given = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) };
        // Locked memory stays: that is what the operator asked for.
        let _locked = given.is_err();
    }
}

/// Addresses of a line of /proc/self/maps if it is code of a file: executable, not writable,
/// private.
fn code_range(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (addresses, rights) = (words.next()?, words.next()?);
    let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let (start, end) = addresses.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (rights == "r-xp" && is_file && !range.is_empty()).then_some(range)
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

#[cfg(test)]
mod tests {
    use super::{code_range, give_back_code};

    #[test]
    fn only_code_of_files_is_let_go() {
        let code = "55d0c4a00000-55d0c5000000 r-xp 00400000 fe:00 6070334    /usr/bin/sluice";
        assert_eq!(code_range(code), Some(0x55d0_c4a0_0000..0x55d0_c500_0000));
        for other in [
            "55d0c5000000-55d0c5030000 r--p 00a00000 fe:00 6070334    /usr/bin/sluice",
            "55d0c5000000-55d0c5030000 rwxp 00a00000 fe:00 6070334    /usr/bin/sluice",
            "7ffd1a9f2000-7ffd1a9f4000 r-xp 00000000 00:00 0          [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "not a mapping",
            "",
        ] {
            assert_eq!(code_range(other), None, "{other}");
        }
        give_back_code();
        assert_eq!(code_range(code).map(|range| range.len()), Some(0x60_0000));
    }
}
