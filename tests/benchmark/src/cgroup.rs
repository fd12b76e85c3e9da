//! A memory cgroup around one broker: the kernel, not the broker, says whether it fits.
//!
//! What it is        version 1 and version 2 of the interface, by their files. The page cache
//!                   counts in a cgroup, and is reclaimed when the limit is reached: the peak alone
//!                   proves nothing, `oom_kills` and the peak of the process do.
//! Source            the kernel's admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A cgroup with a limit; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct MemoryCgroup {
    path: PathBuf,
    version: Version,
}

/// What the kernel counted in a cgroup.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CgroupFigures {
    /// The most bytes that were charged at once, page cache included.
    pub(crate) peak_bytes: u64,
    /// Processes that the kernel killed for lack of memory.
    pub(crate) oom_kills: u64,
}

impl MemoryCgroup {
    /// Makes a cgroup.
    ///
    /// # Errors
    /// What the system says: no memory controller, or no right to use it.
    pub(crate) fn new(name: &str, limit_bytes: u64) -> io::Result<Self> {
        let one = Path::new(ROOT).join("memory");
        let (path, version) = if one.is_dir() {
            (one.join(name), Version::One)
        } else {
            fs::write(Path::new(ROOT).join("cgroup.subtree_control"), "+memory")?;
            (Path::new(ROOT).join(name), Version::Two)
        };
        fs::create_dir(&path)?;
        let cgroup = Self { path, version };
        let limit = match version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        fs::write(cgroup.path.join(limit), limit_bytes.to_string())?;
        Ok(cgroup)
    }

    /// The file that takes the id of a process that joins.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// What was counted until now.
    pub(crate) fn figures(&self) -> CgroupFigures {
        let (peak, events) = match self.version {
            Version::One => ("memory.max_usage_in_bytes", "memory.oom_control"),
            Version::Two => ("memory.peak", "memory.events"),
        };
        let read = |file: &str| fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let kills = read(events);
        let kills = kills
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        CgroupFigures {
            peak_bytes: read(peak).trim().parse().unwrap_or(0),
            oom_kills: kills.and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // A killed process leaves its cgroup when the kernel has let go of its ring.
        for _ in 0..200 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        crate::system::eprintln_line(&format!("{} is left over", self.path.display()));
    }
}
