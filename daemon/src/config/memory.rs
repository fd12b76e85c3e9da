//! How much memory there is, and how many shards fit.

use std::fs;

use crate::limits::{MEMORY_BYTES_MIN, SHARDS_MAX, SMALL_MEMORY_BYTES};

/// Most memory taken without being asked, in bytes.
const AUTOMATIC_BYTES_MAX: u64 = 4 << 30;

/// Least memory per shard when the number of shards is chosen, in bytes.
const SHARD_BYTES: u64 = 256 << 20;

/// The limit when the operator names none: a quarter of the machine's memory (other programs live
/// on a gateway too), at most four fifths of the cgroup's limit (the kernel counts page cache
/// there), at most 4 GiB.
pub fn automatic_memory_bytes() -> u64 {
    let machine = machine_memory_bytes().unwrap_or(AUTOMATIC_BYTES_MAX);
    let cgroup = cgroup_limit_bytes().unwrap_or(u64::MAX);
    choose_memory(machine, cgroup)
}

/// The number of shards when the operator names none.
pub fn automatic_shards(memory_bytes: u64, processors: usize) -> u16 {
    if memory_bytes < SMALL_MEMORY_BYTES {
        return 1;
    }
    let fitting = memory_bytes.div_euclid(SHARD_BYTES);
    let processors = u64::try_from(processors).unwrap_or(1);
    let shards = fitting.min(processors).clamp(1, u64::from(SHARDS_MAX));
    u16::try_from(shards).unwrap_or(1)
}

fn choose_memory(machine: u64, cgroup: u64) -> u64 {
    let quarter = machine.div_euclid(4);
    let four_fifths = cgroup.div_euclid(5).saturating_mul(4);
    quarter
        .min(four_fifths)
        .clamp(MEMORY_BYTES_MIN, AUTOMATIC_BYTES_MAX)
}

/// `MemTotal` of /proc/meminfo.
fn machine_memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The smallest `memory.max` (version 2) from our cgroup up to the root, or the limit of version 1.
fn cgroup_limit_bytes() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut limits = Vec::new();
    if let Some(path) = membership.lines().find_map(|line| line.strip_prefix("0::")) {
        let mut path = path.trim_end_matches('/').to_owned();
        loop {
            limits.extend(read_limit(&format!("/sys/fs/cgroup{path}/memory.max")));
            let Some((parent, _)) = path.rsplit_once('/') else {
                break;
            };
            path = parent.to_owned();
        }
    }
    limits.extend(read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    limits.into_iter().min()
}

/// A number; `max` and a missing file are no limit.
fn read_limit(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{automatic_memory_bytes, automatic_shards, choose_memory, machine_memory_bytes};

    #[test]
    fn the_automatic_limit_respects_machine_and_cgroup() {
        assert_eq!(choose_memory(1 << 30, u64::MAX), 256 << 20);
        assert_eq!(choose_memory(64 << 30, u64::MAX), 4 << 30);
        assert_eq!(choose_memory(64 << 30, 130_000_000), 104_000_000);
        assert_eq!(choose_memory(100 << 20, u64::MAX), 48 << 20);
        assert!(automatic_memory_bytes() >= 48 << 20);
        assert!(machine_memory_bytes().is_some());
    }

    #[test]
    fn little_memory_means_one_shard() {
        assert_eq!(automatic_shards(130_000_000, 8), 1);
        assert_eq!(automatic_shards(4 << 30, 8), 8);
        assert_eq!(automatic_shards(1 << 30, 8), 4);
        assert_eq!(automatic_shards(4 << 30, 2), 2);
    }
}
