//! What the file system under the data directory can do.
//!
//! What it is        direct and synchronous writes are tried on a file of our own, since flags that
//!                   a file system accepts do not tell whether a write then works. On a full disk
//!                   nothing can be tried, and the kernel's word is taken.
//! Source            open(2) O_DIRECT and O_DSYNC; statx(2) STATX_DIOALIGN (Linux 6.1).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use storage::aligned_buffer::AlignedBuffer;

/// Name of the file that is tried on; removed at once.
pub const PROBE_FILE_NAME: &str = "sluice.probe";

/// Alignments tried in bytes where the system does not tell.
const ALIGNMENTS_BYTES: [u32; 2] = [512, 4096];

/// How files are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// O_DIRECT works together with O_DSYNC.
    pub direct: bool,
    /// What positions, lengths and memory of direct I/O must be multiples of, in bytes; 512 to
    /// 4,096.
    pub alignment_bytes: u32,
}

/// Tries direct I/O in the directory. `allowed` is the operator's word: without it nothing is
/// tried.
///
/// # Errors
/// What the system says when a file cannot be created, written or removed there at all.
pub fn probe(directory: &Path, allowed: bool) -> io::Result<Abilities> {
    let path = directory.join(PROBE_FILE_NAME);
    // A plain write first: its failure is the operator's problem, not a missing ability.
    let written = File::create(&path)?.write_all_at(&[0; 1], 0);
    let is_full = matches!(&written, Err(error) if error.kind() == ErrorKind::StorageFull);
    let alignment_bytes = if allowed {
        direct_alignment(&path, is_full)
    } else {
        None
    };
    std::fs::remove_file(&path)?;
    if !is_full {
        written?;
    }
    Ok(Abilities {
        direct: alignment_bytes.is_some(),
        alignment_bytes: alignment_bytes.unwrap_or(4096),
    })
}

/// The alignment with which direct I/O works; `None` when it does not.
fn direct_alignment(path: &Path, is_full: bool) -> Option<u32> {
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).ok()?)
        .open(path)
        .ok()?;
    let told = told_alignment(&file);
    if is_full {
        return told;
    }
    told.into_iter()
        .chain(ALIGNMENTS_BYTES)
        .find(|alignment| write_works(&file, *alignment))
}

/// What the kernel says, if it says something usable.
fn told_alignment(file: &File) -> Option<u32> {
    let answer = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    if answer.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return None;
    }
    let alignment = answer
        .stx_dio_offset_align
        .max(answer.stx_dio_mem_align)
        .max(512);
    (alignment.is_power_of_two() && alignment <= 4096).then_some(alignment)
}

/// Whether one block of this size, at the second such block, can be written and read back.
fn write_works(file: &File, alignment_bytes: u32) -> bool {
    let Ok(length) = usize::try_from(alignment_bytes) else {
        return false;
    };
    let mut block = AlignedBuffer::with_capacity(length);
    block.extend_from_slice(&vec![0xA5; length]);
    let position = u64::from(alignment_bytes);
    if file.write_all_at(block.as_slice(), position).is_err() {
        return false;
    }
    block.as_mut_slice().fill(0);
    let read = file.read_exact_at(block.as_mut_slice(), position);
    read.is_ok() && block.as_slice().iter().all(|byte| *byte == 0xA5)
}

#[cfg(test)]
mod tests {
    use super::{Abilities, PROBE_FILE_NAME, probe};
    use crate::test_directory::TestDirectory;

    #[test]
    fn a_probe_leaves_nothing_behind_and_obeys_the_operator() {
        let directory = TestDirectory::new("probe");
        let abilities = probe(directory.path(), true).unwrap();
        assert!(abilities.alignment_bytes.is_power_of_two());
        assert!((512..=4096).contains(&abilities.alignment_bytes));
        let forbidden = Abilities {
            direct: false,
            alignment_bytes: 4096,
        };
        assert_eq!(probe(directory.path(), false).unwrap(), forbidden);
        assert!(!directory.path().join(PROBE_FILE_NAME).exists());
    }

    #[test]
    fn a_directory_that_does_not_exist_is_an_error() {
        let directory = TestDirectory::new("probe-missing");
        probe(&directory.path().join("missing"), true).unwrap_err();
    }
}
