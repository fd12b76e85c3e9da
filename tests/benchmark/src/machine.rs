//! What the machine says of a process and of the disk: `/proc` and `/sys`, read as text.
//!
//! Source            proc(5): `stat` fields 14 and 15 in clock ticks of 10 ms, `status` in KiB,
//!                   `/proc/diskstats` with sectors of 512 bytes and, since Linux 5.5, flush
//!                   requests.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Figures of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessFigures {
    /// User and system time in microseconds (resolution 10 ms).
    pub(crate) cpu_us: u64,
    /// Resident memory in KiB, now.
    pub(crate) resident_kib: u64,
    /// The most resident memory ever, in KiB.
    pub(crate) resident_peak_kib: u64,
    /// Voluntary and involuntary context switches of all threads.
    pub(crate) context_switches: u64,
    /// Bytes that the process caused to be written to a device (`write_bytes` of proc(5) `io`): the
    /// page cache's are counted when a page becomes dirty.
    pub(crate) written_bytes: u64,
}

/// Figures of the device that holds the data directory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFigures {
    /// Bytes written since boot.
    pub(crate) written_bytes: u64,
    /// Flush requests completed since boot.
    pub(crate) flushes: u64,
}

/// Reads the figures of process `pid`; zeros when it is gone.
pub(crate) fn process(pid: u32) -> ProcessFigures {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<u64>().ok());
    let cpu_ticks = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let figure = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        number
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    ProcessFigures {
        written_bytes: written.and_then(|text| text.parse().ok()).unwrap_or(0),
        cpu_us: cpu_ticks * 10_000,
        resident_kib: figure("VmRSS:"),
        resident_peak_kib: figure("VmHWM:"),
        context_switches: context_switches(pid),
    }
}

/// Context switches of all threads; those that have ended are not in it.
fn context_switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let switches = |task: std::io::Result<fs::DirEntry>| -> u64 {
        let status = task.and_then(|task| fs::read_to_string(task.path().join("status")));
        let status = status.unwrap_or_default();
        let lines = status
            .lines()
            .filter(|line| line.contains("ctxt_switches:"));
        let count = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
        lines.filter_map(count).sum()
    };
    tasks.map(|tasks| tasks.map(switches).sum()).unwrap_or(0)
}

/// Reads the figures of the whole device under `path`.
pub(crate) fn disk(path: &Path) -> DiskFigures {
    let Ok(metadata) = fs::metadata(path) else {
        return DiskFigures::default();
    };
    let device = metadata.dev();
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let fields_of = |line: &str| -> Vec<u64> {
        line.split_ascii_whitespace()
            .map(|text| text.parse().unwrap_or(0))
            .collect()
    };
    let row = text.lines().map(fields_of).find(|fields| {
        fields.first().copied() == Some(major) && fields.get(1).copied() == Some(minor)
    });
    let row = row.unwrap_or_default();
    let figure = |place: usize| row.get(place).copied().unwrap_or(0);
    DiskFigures {
        written_bytes: figure(9) * 512,
        flushes: figure(18),
    }
}

/// Steal time of all processors in ticks of 10 ms: what the host took from this machine.
pub(crate) fn steal_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    line.split_ascii_whitespace()
        .nth(8)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// One line that names the machine.
pub(crate) fn description() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let cores = processor
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} × {model}, Linux {}", kernel.trim())
}
