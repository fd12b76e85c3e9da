//! Numbers of files, open handles, and what a failed flush would take back.
//!
//! Invariants        1. a path has one number and a number one path, or none after its removal.
//!                   2. applying the undo entries of a file backwards gives what it held at its
//!                      last
//!                      flush.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of undo kept per file. Beyond it the oldest entries are dropped: as if the kernel had
/// written them back by itself.
const UNDO_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What one change of a file overwrote.
#[derive(Debug)]
struct Undo {
    offset: u64,
    bytes: Vec<u8>,
    length_before: u64,
    /// Bytes that the change brought.
    written: u64,
}

#[derive(Debug, Default)]
struct Unflushed {
    entries: Vec<Undo>,
    bytes: usize,
}

/// An open file of a process.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) number: u64,
    pub(crate) file: File,
}

/// All files that the kernel knows.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    /// Paths below the root; the root itself is number 1.
    paths: BTreeMap<u64, PathBuf>,
    numbers: BTreeMap<PathBuf, u64>,
    handles: BTreeMap<u64, Handle>,
    unflushed: BTreeMap<u64, Unflushed>,
    next_number: u64,
    next_handle: u64,
}

impl Files {
    /// The files below `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            paths: BTreeMap::from([(1, PathBuf::new())]),
            numbers: BTreeMap::from([(PathBuf::new(), 1)]),
            handles: BTreeMap::new(),
            unflushed: BTreeMap::new(),
            next_number: 2,
            next_handle: 1,
        }
    }

    /// The path below the root of a number.
    pub(crate) fn relative(&self, number: u64) -> io::Result<PathBuf> {
        let path = self.paths.get(&number).cloned();
        path.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// The path in the backing directory of a number.
    pub(crate) fn backing(&self, number: u64) -> io::Result<PathBuf> {
        Ok(self.root.join(self.relative(number)?))
    }

    /// The path in the backing directory of a path below the root.
    pub(crate) fn backing_of(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    /// The number of a path below the root, a new one if need be.
    pub(crate) fn number_of(&mut self, relative: &Path) -> u64 {
        if let Some(number) = self.numbers.get(relative) {
            return *number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.paths.insert(number, relative.to_owned());
        self.numbers.insert(relative.to_owned(), number);
        number
    }

    /// The path is gone; handles keep what it held.
    pub(crate) fn forget_path(&mut self, relative: &Path) {
        if let Some(number) = self.numbers.remove(relative) {
            self.paths.remove(&number);
            if !self.handles.values().any(|handle| handle.number == number) {
                self.unflushed.remove(&number);
            }
        }
    }

    /// The path, and all below it, have another name.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        self.forget_path(to);
        let moved: Vec<PathBuf> = self
            .numbers
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            // A join with nothing would leave a slash at the end.
            let target = match path.strip_prefix(from) {
                Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                Ok(_) | Err(_) => to.to_owned(),
            };
            if let Some(number) = self.numbers.remove(&path) {
                self.paths.insert(number, target.clone());
                self.numbers.insert(target, number);
            }
        }
    }

    /// Keeps an open file; returns its handle.
    pub(crate) fn add_handle(&mut self, number: u64, file: File) -> u64 {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(handle, Handle { number, file });
        handle
    }

    /// Closes a handle.
    pub(crate) fn remove_handle(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    /// The open file of a handle.
    pub(crate) fn handle(&self, handle: u64) -> io::Result<&Handle> {
        let found = self.handles.get(&handle);
        found.ok_or_else(|| io::Error::from(rustix::io::Errno::BADF))
    }

    /// Any open file of a number, for one that has no path any more.
    pub(crate) fn open_file(&self, number: u64) -> Option<&File> {
        let mut of_number = self.handles.values().filter(|one| one.number == number);
        of_number.next().map(|handle| &handle.file)
    }

    /// Remembers what a change of `length` bytes at `offset` overwrites.
    pub(crate) fn note_change(
        &mut self,
        number: u64,
        file: &File,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let length_before = file.metadata()?.len();
        let end = offset.saturating_add(length).min(length_before);
        let old_bytes = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        let mut bytes = vec![0; old_bytes];
        file.read_exact_at(&mut bytes, offset)?;
        let unflushed = self.unflushed.entry(number).or_default();
        unflushed.bytes += bytes.len();
        unflushed.entries.push(Undo {
            offset,
            bytes,
            length_before,
            written: length,
        });
        while unflushed.bytes > UNDO_BYTES_MAX {
            unflushed.bytes -= unflushed.entries.remove(0).bytes.len();
        }
        Ok(())
    }

    /// What was written so far stays.
    pub(crate) fn note_flushed(&mut self, number: u64) {
        self.unflushed.remove(&number);
    }

    /// Takes back what was written since the last flush; returns its bytes.
    pub(crate) fn drop_unflushed(&mut self, number: u64, file: &File) -> io::Result<u64> {
        let mut dropped = 0;
        let unflushed = self.unflushed.remove(&number).unwrap_or_default();
        for undo in unflushed.entries.iter().rev() {
            file.write_all_at(&undo.bytes, undo.offset)?;
            file.set_len(undo.length_before)?;
            dropped += undo.written;
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::Files;

    fn file_with(name: &str, content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn a_failed_flush_takes_back_everything_since_the_last_good_one() {
        let file = file_with("faultfs-undo", b"0123456789");
        let mut files = Files::new("/".into());
        let mut write = |offset: u64, bytes: &[u8], flush: bool| {
            let length = u64::try_from(bytes.len()).unwrap();
            files.note_change(7, &file, offset, length).unwrap();
            file.write_all_at(bytes, offset).unwrap();
            if flush {
                files.note_flushed(7);
            }
        };
        write(2, b"AB", true);
        write(3, b"xyz", false);
        write(8, b"longer", false);
        write(4, b"!", false);
        assert_eq!(files.drop_unflushed(7, &file).unwrap(), 10);
        let mut content = [0; 20];
        let length = file.read_at(&mut content, 0).unwrap();
        assert_eq!(&content[..length], b"01AB456789");
        assert_eq!(files.drop_unflushed(7, &file).unwrap(), 0);
    }

    #[test]
    fn a_renamed_directory_keeps_the_numbers_of_what_is_in_it() {
        let mut files = Files::new("/".into());
        let inner = files.number_of(Path::new("a/b/c"));
        files.number_of(Path::new("a/b"));
        let replaced = files.number_of(Path::new("z"));
        files.rename(Path::new("a/b"), Path::new("z"));
        assert_eq!(files.relative(inner).unwrap(), Path::new("z/c"));
        assert!(files.relative(replaced).is_err());
    }
}
