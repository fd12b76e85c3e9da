//! A disk in memory that loses what was not synced and fails when told to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{DirectoryEntry, Disk, DiskError, OpenMode, Resize, Returned, Shortage};

#[derive(Debug, Default)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryFile {
    content: Rc<RefCell<Content>>,
    path: String,
    mode: OpenMode,
}

/// A disk in memory. Operations complete at once.
#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk {
    files: Rc<RefCell<BTreeMap<String, Rc<RefCell<Content>>>>>,
    /// Changing operations that may still happen before everything fails; `None` is no limit.
    operations_left: Rc<Cell<Option<u64>>>,
    operation_count: Rc<Cell<u64>>,
    capacity_bytes: Rc<Cell<u64>>,
    fail_next_sync: Rc<Cell<bool>>,
    read_count: Rc<Cell<u64>>,
}

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self {
            files: Rc::default(),
            operations_left: Rc::default(),
            operation_count: Rc::default(),
            capacity_bytes: Rc::new(Cell::new(u64::MAX)),
            fail_next_sync: Rc::default(),
            read_count: Rc::default(),
        }
    }

    /// Everything fails after this many further changing operations, as if the process had been
    /// killed there.
    pub(crate) fn stop_after(&self, operations: Option<u64>) {
        self.operations_left.set(operations);
    }

    pub(crate) fn operation_count(&self) -> u64 {
        self.operation_count.get()
    }

    pub(crate) fn read_count(&self) -> u64 {
        self.read_count.get()
    }

    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.capacity_bytes.set(bytes);
    }

    pub(crate) fn fail_next_sync(&self) {
        self.fail_next_sync.set(true);
    }

    /// The power goes: each file falls back to what was durable; open handles are dead.
    pub(crate) fn lose_power(&self) {
        for content in self.files.borrow_mut().values_mut() {
            let durable = content.borrow().durable.clone();
            *content = Rc::new(RefCell::new(Content {
                current: durable.clone(),
                durable,
            }));
        }
        self.operations_left.set(None);
    }

    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let files = self.files.borrow();
        files
            .get(path)
            .map(|content| content.borrow().current.clone())
    }

    pub(crate) fn set_content(&self, path: &str, bytes: &[u8]) {
        let content = Content {
            current: bytes.to_vec(),
            durable: bytes.to_vec(),
        };
        self.files
            .borrow_mut()
            .insert(path.to_owned(), Rc::new(RefCell::new(content)));
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.files.borrow().keys().cloned().collect()
    }

    fn begin_change(&self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        match self.operations_left.get() {
            Some(0) => {
                return Err(DiskError::Io {
                    operation,
                    path: path.to_owned(),
                    reason: "stopped by the test".to_owned(),
                });
            }
            Some(left) => self.operations_left.set(Some(left - 1)),
            None => {}
        }
        self.operation_count.set(self.operation_count.get() + 1);
        Ok(())
    }

    fn check_room(
        &self,
        operation: &'static str,
        path: &str,
        more_bytes: usize,
    ) -> Result<(), DiskError> {
        let used: usize = self
            .files
            .borrow()
            .values()
            .map(|content| content.borrow().current.len())
            .sum();
        // Blocks that a file has already are written to even when nothing is left.
        if more_bytes > 0 && (used + more_bytes) as u64 > self.capacity_bytes.get() {
            return Err(DiskError::Full {
                shortage: Shortage::Device,
                operation,
                path: path.to_owned(),
            });
        }
        Ok(())
    }
}

fn to_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

fn overwrite(target: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    if target.len() < position + bytes.len() {
        target.resize(position + bytes.len(), 0);
    }
    target[position..position + bytes.len()].copy_from_slice(bytes);
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn alignment_bytes(&self) -> u32 {
        512
    }

    async fn open(&self, path: &str, mode: OpenMode) -> Result<MemoryFile, DiskError> {
        let missing = !self.files.borrow().contains_key(path);
        if missing {
            if !mode.create {
                return Err(DiskError::NotFound {
                    operation: "open",
                    path: path.to_owned(),
                });
            }
            self.begin_change("open", path)?;
            self.set_content(path, &[]);
        }
        let content = self.files.borrow().get(path).cloned().unwrap();
        Ok(MemoryFile {
            content,
            path: path.to_owned(),
            mode,
        })
    }

    async fn read(
        &self,
        file: &MemoryFile,
        position: u64,
        mut buffer: AlignedBuffer,
        length_bytes: u32,
    ) -> Returned<u32> {
        self.read_count.set(self.read_count.get() + 1);
        if file.mode.direct {
            assert_eq!(position % 512, 0, "aligned position");
            assert_eq!(length_bytes % 512, 0, "aligned length");
        }
        let content = file.content.borrow();
        let start = to_len(position).min(content.current.len());
        let end = (start + length_bytes as usize).min(content.current.len());
        buffer.clear();
        buffer.extend_from_slice(&content.current[start..end]);
        (Ok(u32::try_from(end - start).unwrap()), buffer)
    }

    async fn write(&self, file: &MemoryFile, position: u64, buffer: AlignedBuffer) -> Returned<()> {
        assert!(file.mode.write, "the file is open for writing");
        if file.mode.direct {
            assert_eq!(position % 512, 0, "aligned position");
            assert_eq!(buffer.len() % 512, 0, "aligned length");
        }
        if let Err(error) = self.begin_change("write", &file.path) {
            return (Err(error), buffer);
        }
        let end = to_len(position) + buffer.len();
        let more = end.saturating_sub(file.content.borrow().current.len());
        if let Err(error) = self.check_room("write", &file.path, more) {
            return (Err(error), buffer);
        }
        let mut content = file.content.borrow_mut();
        overwrite(&mut content.current, to_len(position), buffer.as_slice());
        if file.mode.durable {
            overwrite(&mut content.durable, to_len(position), buffer.as_slice());
        }
        (Ok(()), buffer)
    }

    async fn sync(&self, file: &MemoryFile) -> Result<(), DiskError> {
        self.begin_change("sync", &file.path)?;
        if self.fail_next_sync.replace(false) {
            return Err(DiskError::Io {
                operation: "sync",
                path: file.path.clone(),
                reason: "told to fail".to_owned(),
            });
        }
        let mut content = file.content.borrow_mut();
        content.durable = content.current.clone();
        Ok(())
    }

    async fn resize(&self, file: &MemoryFile, how: Resize) -> Result<(), DiskError> {
        self.begin_change("resize", &file.path)?;
        let length = file.content.borrow().current.len();
        let target = match how {
            Resize::SetLength(bytes) => to_len(bytes),
            Resize::Reserve(bytes) => to_len(bytes).max(length),
        };
        self.check_room("resize", &file.path, target.saturating_sub(length))?;
        file.content.borrow_mut().current.resize(target, 0);
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.begin_change("rename", from)?;
        let mut files = self.files.borrow_mut();
        let content = files.remove(from).ok_or_else(|| DiskError::NotFound {
            operation: "rename",
            path: from.to_owned(),
        })?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.begin_change("remove", path)?;
        self.files
            .borrow_mut()
            .remove(path)
            .map(|_| ())
            .ok_or_else(|| DiskError::NotFound {
                operation: "remove",
                path: path.to_owned(),
            })
    }

    async fn list(&self, directory: &str) -> Result<Vec<DirectoryEntry>, DiskError> {
        let prefix = format!("{directory}/");
        let files = self.files.borrow();
        let below = files.iter().filter_map(|(path, content)| {
            let (name, is_directory) = match path.strip_prefix(&prefix)?.split_once('/') {
                Some((name, _)) => (name, true),
                None => (path.strip_prefix(&prefix)?, false),
            };
            let length = content.borrow().current.len() as u64;
            Some(DirectoryEntry {
                name: name.to_owned(),
                length_bytes: if is_directory { 0 } else { length },
                is_directory,
            })
        });
        // The files of one directory follow each other.
        let mut entries: Vec<DirectoryEntry> = below.collect();
        entries.dedup();
        Ok(entries)
    }
}
