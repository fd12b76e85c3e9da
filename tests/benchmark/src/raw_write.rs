//! One durable write of the disk itself, without any broker: what a durable acknowledgement costs
//! at least.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::OFlags;

use crate::load::micros;

/// Bytes of one write.
const BLOCK_BYTES: usize = 4096;

/// Blocks of the file that is written over and over.
const BLOCKS: usize = 1024;

/// Median of writes of 4 KiB with O_DIRECT and O_DSYNC, one each millisecond, in microseconds.
///
/// # Errors
/// A sentence: the disk takes no direct writes.
pub(crate) fn paced_median_us(directory: &Path, duration: Duration) -> Result<f64, String> {
    let path = directory.join("raw-write");
    let result = measure(&path, duration);
    drop(std::fs::remove_file(&path));
    result.map_err(|error| format!("{}: {error}", path.display()))
}

fn measure(path: &Path, duration: Duration) -> std::io::Result<f64> {
    std::fs::write(path, vec![0xa5_u8; BLOCK_BYTES * BLOCKS])?;
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    file.sync_all()?;
    let memory = vec![0x5a_u8; 2 * BLOCK_BYTES];
    let first = memory.as_ptr().align_offset(BLOCK_BYTES);
    let block = memory
        .get(first..first + BLOCK_BYTES)
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    let start = Instant::now();
    for number in 0_u32.. {
        let due = Duration::from_millis(u64::from(number));
        if due >= duration {
            break;
        }
        if let Some(left) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(left);
        }
        let position = u64::from(number) % (BLOCKS as u64) * (BLOCK_BYTES as u64);
        let begun = Instant::now();
        file.write_all_at(block, position)?;
        times.saturating_record(micros(begun.elapsed()).max(1));
    }
    Ok(times.value_at_quantile(0.5) as f64)
}
