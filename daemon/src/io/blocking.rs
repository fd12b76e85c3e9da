//! The disk operations as plain blocking system calls, for a helper thread.
//!
//! What it is        open with durable creation, lengths, names and directories; on epoll reads and
//!                   writes as well.
//! Invariants        1. a name that was created, renamed or removed is on stable storage: its
//!                      directory is synced.
//!                   2. a failed sync is never tried again on the same file; callers poison the
//!                      file.
//! Source            docs/decisions/2026-11-23-one-gateway.md; fsync(2) on directories.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use rustix::io::Errno;
use storage::aligned_buffer::AlignedBuffer;
use storage::disk::{DirectoryEntry, DiskError, OpenMode, Resize, Shortage};

use crate::limits::{EARLIER_WRITERS_PAUSE, EARLIER_WRITERS_TIMEOUT};

/// Mode of directories that we make: for the owner only.
const DIRECTORY_MODE: u32 = 0o700;

/// Mode of files that we make: for the owner only.
const FILE_MODE: u32 = 0o600;

/// Words for an error of the system.
pub fn disk_error(operation: &'static str, path: &str, error: &io::Error) -> DiskError {
    let path = path.to_owned();
    let kind = error.kind();
    let is_device_full = matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    if is_device_full || kind == ErrorKind::FileTooLarge {
        let shortage = match is_device_full {
            true => Shortage::Device,
            false => Shortage::FileSize,
        };
        return DiskError::Full {
            shortage,
            operation,
            path,
        };
    }
    if kind == ErrorKind::NotFound {
        return DiskError::NotFound { operation, path };
    }
    DiskError::Io {
        operation,
        path,
        reason: error.to_string(),
    }
}

/// Free bytes for an unprivileged process, and all bytes, of the file system under `root`.
///
/// # Errors
/// What the system says.
pub fn space(root: &Path) -> io::Result<(u64, u64)> {
    let figures = rustix::fs::statvfs(root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
    Ok((bytes(figures.f_bavail), bytes(figures.f_blocks)))
}

/// Opens a file; `flags` are added to what the mode asks for.
///
/// # Errors
/// What the system says.
pub fn open(root: &Path, path: &str, mode: OpenMode, flags: OFlags) -> io::Result<File> {
    let full = root.join(path);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(mode.write)
        .mode(FILE_MODE)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    match options.open(&full) {
        Err(error) if mode.create && error.kind() == ErrorKind::NotFound => {}
        Ok(file) if mode.durable && mode.write => {
            hold(&file, &full)?;
            return Ok(file);
        }
        other => return other,
    }
    let directory = full.parent().unwrap_or(root);
    create_directories(root, directory)?;
    let created = options.write(true).create(true).open(&full)?;
    sync_directory(directory)?;
    if mode.durable {
        hold(&created, &full)?;
    }
    Ok(created)
}

/// Files that this process has marked; one list for all shards, since a shard may open another's.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Marks the file as written by this process, once the writes of a killed one are over.
///
/// An io_uring outlives its process: what was on the way to the disk at `kill -9` still gets there
/// and would land on what the next process writes. Each open description that durable writes go
/// through holds a shared lock, and the kernel lets go of it with the last write that uses it. The
/// first time a process opens the file it waits for the exclusive lock, then shares it.
fn hold(file: &File, path: &Path) -> io::Result<()> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.insert(path.to_owned()) {
        wait_for_earlier_writers(file)?;
    }
    Ok(flock(file, FlockOperation::LockShared)?)
}

fn wait_for_earlier_writers(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + EARLIER_WRITERS_TIMEOUT;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error == Errno::WOULDBLOCK && Instant::now() < deadline => {
                thread::sleep(EARLIER_WRITERS_PAUSE);
            }
            other => return other.map_err(Into::into),
        }
    }
}

/// Reads until `length` bytes are there or the file ends, and returns the count.
///
/// # Errors
/// What the system says.
pub fn read(
    file: &File,
    position: u64,
    buffer: &mut AlignedBuffer,
    length: usize,
    alignment: Option<usize>,
) -> io::Result<usize> {
    buffer.set_len(length);
    let mut done = 0;
    while let Some(rest) = buffer.as_mut_slice().get_mut(done..)
        && !rest.is_empty()
    {
        match file.read_at(rest, position + offset_of(done)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                buffer.set_len(0);
                return Err(error);
            }
        }
        if ends_inside_block(done, alignment) {
            break;
        }
    }
    buffer.set_len(done);
    Ok(done)
}

/// Writes the whole buffer.
///
/// # Errors
/// What the system says.
pub fn write(file: &File, position: u64, buffer: &AlignedBuffer) -> io::Result<()> {
    file.write_all_at(buffer.as_slice(), position)
}

/// Changes the length of a file or reserves its blocks.
///
/// # Errors
/// What the system says. Where the file system cannot reserve, zeros are written instead.
pub fn resize(file: &File, how: Resize) -> io::Result<()> {
    match how {
        Resize::SetLength(length) => file.set_len(length),
        Resize::Reserve(length) => match fallocate(file, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros_up_to(file, length),
            other => Ok(other?),
        },
    }
}

/// Renames over an existing name; durable.
///
/// # Errors
/// What the system says.
pub fn rename(root: &Path, from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (root.join(from), root.join(to));
    let (source, target) = (parent_of(root, &from), parent_of(root, &to));
    create_directories(root, target)?;
    std::fs::rename(&from, &to)?;
    sync_directory(target)?;
    if source != target {
        sync_directory(source)?;
    }
    Ok(())
}

/// Removes a file or an empty directory; durable.
///
/// # Errors
/// What the system says.
pub fn remove(root: &Path, path: &str) -> io::Result<()> {
    let full = root.join(path);
    if std::fs::symlink_metadata(&full)?.is_dir() {
        std::fs::remove_dir(&full)?;
    } else {
        std::fs::remove_file(&full)?;
    }
    sync_directory(parent_of(root, &full))
}

/// Lists a directory in the order of names; a missing one is empty. Names that are not UTF-8 are
/// none of ours and are left out.
///
/// # Errors
/// What the system says.
pub fn list(root: &Path, directory: &str) -> io::Result<Vec<DirectoryEntry>> {
    let entries = match std::fs::read_dir(root.join(directory)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let is_directory = metadata.is_dir();
        let length_bytes = if is_directory { 0 } else { metadata.len() };
        all.push(DirectoryEntry {
            name,
            length_bytes,
            is_directory,
        });
    }
    all.sort();
    Ok(all)
}

/// Makes the names inside a directory durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether a direct read ended inside a block, which happens only at the end of the file.
pub fn ends_inside_block(done: usize, alignment: Option<usize>) -> bool {
    alignment.is_some_and(|alignment| !done.is_multiple_of(alignment))
}

/// A memory length as a distance in a file.
pub fn offset_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn parent_of<'a>(root: &'a Path, path: &'a Path) -> &'a Path {
    path.parent().unwrap_or(root)
}

/// Makes the missing directories from the root down, each one durable in its parent.
fn create_directories(root: &Path, directory: &Path) -> io::Result<()> {
    if directory == root || directory.is_dir() {
        return Ok(());
    }
    let parent = parent_of(root, directory);
    create_directories(root, parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent)
}

fn write_zeros_up_to(file: &File, length: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut position = file.metadata()?.len();
    while position < length {
        let count =
            usize::try_from(length - position).map_or(zeros.len(), |rest| rest.min(zeros.len()));
        file.write_all_at(zeros.get(..count).unwrap_or_default(), position)?;
        position += offset_of(count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{FlockOperation, OFlags, flock};
    use storage::disk::OpenMode;

    use super::open;
    use crate::test_directory::TestDirectory;

    const DURABLE: OpenMode = OpenMode {
        write: true,
        create: true,
        durable: true,
        direct: false,
    };

    /// What a killed process's ring holds on to: an open description with its shared lock.
    fn earlier_writer(directory: &TestDirectory) -> File {
        let file = File::create(directory.path().join("ring")).unwrap();
        flock(&file, FlockOperation::LockShared).unwrap();
        file
    }

    #[test]
    fn a_durable_file_is_not_opened_before_the_writes_of_a_killed_process_are_over() {
        let directory = TestDirectory::new("fence");
        let earlier = earlier_writer(&directory);
        let root = directory.path().to_owned();
        let (sender, opened) = mpsc::channel();
        let opening = std::thread::spawn(move || {
            let file = open(&root, "ring", DURABLE, OFlags::empty());
            sender.send(()).unwrap();
            file
        });
        let early = opened.recv_timeout(Duration::from_millis(100));
        assert!(
            early.is_err(),
            "it was opened below a write that is under way"
        );
        drop(earlier);
        opened.recv_timeout(Duration::from_secs(10)).unwrap();
        let first = opening.join().unwrap().unwrap();
        // This process knows its own descriptions and does not wait for them.
        let second = open(directory.path(), "ring", DURABLE, OFlags::empty()).unwrap();
        drop((first, second));
    }

    #[test]
    fn a_file_that_is_only_read_waits_for_nobody() {
        let directory = TestDirectory::new("fence-read");
        let _earlier = earlier_writer(&directory);
        let mode = OpenMode {
            write: false,
            create: false,
            durable: true,
            direct: false,
        };
        open(directory.path(), "ring", mode, OFlags::empty()).unwrap();
    }
}
