//! A disk in memory that keeps after a crash only what the contract of `Disk` promises.
//!
//! Fault model
//! * An operation takes virtual time. Its effect is in doubt from its start to its completion.
//! * A write to a file opened `durable` is safe when it completes; any other write is safe when a
//!   `sync`
//!   that started after its completion completes. Creation, rename and remove are safe at
//!   completion.
//! * A crash may strike at the start of any operation ([`SimDisk::crash_at`]). What was in doubt
//!   then
//!   follows [`Loss`]: dropped, kept as a prefix in time, kept as a random subset, or torn inside a
//!   write at any 512-byte boundary (or any byte, one time in four).
//! * Failures on request: the n-th write or sync fails and what it carried is lost; a byte budget
//!   that
//!   answers [`DiskError::Full`]; bytes flipped at rest.
//!
//! What it is not    it does not model reads that fail by themselves nor misdirected writes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use storage::aligned_buffer::AlignedBuffer;
use storage::disk::{Clock, DirectoryEntry, Disk, DiskError, OpenMode, Resize, Returned, Shortage};

use self::medium::{Inode, NameChange, What, World, change_name, settle, settle_names};
use super::executor::Executor;

mod medium;

/// What becomes of writes that were not safe when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None of them happened.
    DropAll,
    /// The older ones happened, the younger ones did not.
    Prefix,
    /// Any of them happened, independently.
    RandomSubset,
    /// As `RandomSubset`, and each that happened may have happened in part.
    Torn,
}

/// All of [`Loss`].
pub const LOSSES: [Loss; 4] = [Loss::DropAll, Loss::Prefix, Loss::RandomSubset, Loss::Torn];

/// The disk; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    world: Rc<RefCell<World>>,
    executor: Executor,
    alignment_bytes: u32,
}

/// An open file of a [`SimDisk`].
#[derive(Clone)]
pub struct SimFile {
    inode: u64,
    path: Rc<str>,
    mode: OpenMode,
}

/// What failures to inject; counts are of operations from now on, 1 = the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The write that fails with an I/O error.
    pub fail_write: Option<u64>,
    /// The sync that fails with an I/O error; what it should have made safe is lost.
    pub fail_sync: Option<u64>,
    /// Bytes that all files together may hold.
    pub capacity_bytes: Option<u64>,
}

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations started.
    pub operations: u64,
    /// Durable writes and syncs completed.
    pub flushes: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64, executor: &Executor, alignment_bytes: u32) -> Self {
        let world = World::new(seed);
        Self {
            world: Rc::new(RefCell::new(world)),
            executor: executor.clone(),
            alignment_bytes,
        }
    }

    /// The world stops at the start of operation `number` (1 = the first ever).
    pub fn crash_at(&self, number: u64) {
        self.world.borrow_mut().crash_at = Some(number);
    }

    /// Sets the failures to inject, counted from now.
    pub fn inject(&self, faults: Faults) {
        self.world.borrow_mut().faults = faults;
    }

    /// Figures so far.
    pub fn counts(&self) -> Counts {
        self.world.borrow().counts
    }

    /// The disk as the next start of the process finds it, under another executor.
    pub fn after_crash(&self, loss: Loss, executor: &Executor) -> Self {
        let mut world = self.world.borrow_mut();
        let mut random = world.random.clone();
        let seed = random.draw();
        let next = Self::new(seed, executor, self.alignment_bytes);
        settle_names(&mut world, loss, &mut random);
        let mut state = next.world.borrow_mut();
        state.names = world.names.clone();
        state.inode_next = world.inode_next;
        state.change_next = world.change_next;
        for (&number, inode) in &world.inodes {
            state
                .inodes
                .insert(number, Inode::of(settle(inode, loss, &mut random)));
        }
        drop(state);
        next
    }

    /// The bytes of a file as a reader sees them.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world.borrow();
        let inode = world.names.get(path)?;
        world.inodes.get(inode).map(|inode| inode.seen.clone())
    }

    /// Changes one byte at rest (bit rot).
    pub fn flip_byte(&self, path: &str, position: usize) {
        let mut world = self.world.borrow_mut();
        let Some(&number) = world.names.get(path) else {
            return;
        };
        let Some(inode) = world.inodes.get_mut(&number) else {
            return;
        };
        for bytes in [&mut inode.safe, &mut inode.seen] {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 0x40;
            }
        }
    }

    /// Puts a file there, as if another program had written it.
    pub fn plant(&self, path: &str, bytes: &[u8]) {
        let mut world = self.world.borrow_mut();
        let number = world.new_inode();
        world.inodes.insert(number, Inode::of(bytes.to_vec()));
        world.names.insert(path.to_owned(), number);
    }

    /// All paths, in order.
    pub fn paths(&self) -> Vec<String> {
        self.world.borrow().names.keys().cloned().collect()
    }

    /// Starts an operation: counts it, and stops the world when its time has come.
    fn start(&self) {
        let mut world = self.world.borrow_mut();
        world.counts.operations += 1;
        if world
            .crash_at
            .is_some_and(|number| world.counts.operations >= number)
        {
            self.executor.stop();
        }
    }

    /// The time an operation takes.
    async fn take_time(&self) {
        let micros = 20 + self.world.borrow_mut().random.draw() % 400;
        self.executor.sleep(Duration::from_micros(micros)).await;
    }
}

fn not_found(operation: &'static str, path: &str) -> DiskError {
    DiskError::NotFound {
        operation,
        path: path.to_owned(),
    }
}

fn full(operation: &'static str, path: &str) -> DiskError {
    DiskError::Full {
        shortage: Shortage::Device,
        operation,
        path: path.to_owned(),
    }
}

fn failed(operation: &'static str, path: &str) -> DiskError {
    DiskError::Io {
        operation,
        path: path.to_owned(),
        reason: "injected failure".to_owned(),
    }
}

/// Counts an armed failure down; true when it strikes.
fn strikes(armed: &mut Option<u64>) -> bool {
    match armed {
        Some(1) => {
            *armed = None;
            true
        }
        Some(count) => {
            *count -= 1;
            false
        }
        None => false,
    }
}

fn memory_length(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl SimDisk {
    /// Applies a change of names in two steps, so that a crash between them leaves it in doubt.
    async fn rename_durably(&self, change: NameChange) {
        self.start();
        self.world.borrow_mut().names_in_doubt.push(change.clone());
        self.take_time().await;
        let mut world = self.world.borrow_mut();
        world.names_in_doubt.pop();
        change_name(&mut world.names, &change);
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn alignment_bytes(&self) -> u32 {
        self.alignment_bytes
    }

    async fn open(&self, path: &str, mode: OpenMode) -> Result<SimFile, DiskError> {
        let known = self.world.borrow().names.get(path).copied();
        let inode = match known {
            Some(inode) => inode,
            None if !mode.create => return Err(not_found("open", path)),
            None => {
                let inode = {
                    let mut world = self.world.borrow_mut();
                    let inode = world.new_inode();
                    world.inodes.insert(inode, Inode::default());
                    inode
                };
                self.rename_durably(NameChange::Create {
                    path: path.to_owned(),
                    inode,
                })
                .await;
                inode
            }
        };
        Ok(SimFile {
            inode,
            path: path.into(),
            mode,
        })
    }

    async fn read(
        &self,
        file: &SimFile,
        position: u64,
        mut buffer: AlignedBuffer,
        length_bytes: u32,
    ) -> Returned<u32> {
        let alignment = u64::from(self.alignment_bytes);
        let is_aligned =
            position.is_multiple_of(alignment) && u64::from(length_bytes).is_multiple_of(alignment);
        assert!(
            !file.mode.direct || is_aligned,
            "direct read of {} is aligned",
            file.path
        );
        self.start();
        self.take_time().await;
        let world = self.world.borrow();
        buffer.clear();
        let Some(inode) = world.inodes.get(&file.inode) else {
            return (Err(not_found("read", &file.path)), buffer);
        };
        let from = memory_length(position).min(inode.seen.len());
        let to = (from + memory_length(u64::from(length_bytes))).min(inode.seen.len());
        buffer.extend_from_slice(inode.seen.get(from..to).unwrap_or_default());
        let count = u32::try_from(to - from).unwrap_or(u32::MAX);
        (Ok(count), buffer)
    }

    async fn write(&self, file: &SimFile, position: u64, buffer: AlignedBuffer) -> Returned<()> {
        let alignment = u64::from(self.alignment_bytes);
        let is_aligned =
            position.is_multiple_of(alignment) && (buffer.len() as u64).is_multiple_of(alignment);
        assert!(file.mode.write, "{} is open for writing", file.path);
        assert!(
            !file.mode.direct || is_aligned,
            "direct write of {} is aligned",
            file.path
        );
        self.start();
        let position = memory_length(position);
        let (number, fails, is_full) = {
            let mut world = self.world.borrow_mut();
            let is_full = world.is_over_capacity(file.inode, position + buffer.len());
            let what = What::Write {
                position,
                bytes: buffer.as_slice().to_vec(),
            };
            let fails = strikes(&mut world.faults.fail_write);
            let number = if is_full {
                0
            } else {
                world.begin_change(file.inode, what)
            };
            (number, fails, is_full)
        };
        self.take_time().await;
        if is_full {
            return (Err(full("write", &file.path)), buffer);
        }
        if fails {
            return (Err(failed("write", &file.path)), buffer);
        }
        let mut world = self.world.borrow_mut();
        world.counts.bytes_written += buffer.len() as u64;
        world.counts.flushes += u64::from(file.mode.durable);
        if let Some(inode) = world.inodes.get_mut(&file.inode) {
            if file.mode.durable {
                inode.complete_durably(number);
            } else {
                inode.complete(number);
            }
        }
        (Ok(()), buffer)
    }

    async fn sync(&self, file: &SimFile) -> Result<(), DiskError> {
        self.start();
        let covered: Vec<u64> = {
            let world = self.world.borrow();
            let changes = world
                .inodes
                .get(&file.inode)
                .map(|inode| inode.in_doubt.iter());
            let completed = changes
                .into_iter()
                .flatten()
                .filter(|change| change.completed);
            completed.map(|change| change.number).collect()
        };
        let fails = strikes(&mut self.world.borrow_mut().faults.fail_sync);
        self.take_time().await;
        let mut world = self.world.borrow_mut();
        let Some(inode) = world.inodes.get_mut(&file.inode) else {
            return Ok(());
        };
        if fails {
            // The kernel forgets the dirty pages of a failed flush: readers see the old bytes
            // again.
            inode
                .in_doubt
                .retain(|change| !covered.contains(&change.number));
            inode.seen = inode.safe.clone();
            return Err(failed("sync", &file.path));
        }
        inode.make_safe(|change| covered.contains(&change.number));
        world.counts.flushes += 1;
        Ok(())
    }

    async fn resize(&self, file: &SimFile, how: Resize) -> Result<(), DiskError> {
        self.start();
        let (what, length) = match how {
            Resize::SetLength(length) => (What::Length(memory_length(length)), length),
            Resize::Reserve(length) => (What::AtLeast(memory_length(length)), length),
        };
        let grows = matches!(how, Resize::Reserve(_));
        if grows
            && self
                .world
                .borrow()
                .is_over_capacity(file.inode, memory_length(length))
        {
            return Err(full("reserve", &file.path));
        }
        let number = self.world.borrow_mut().begin_change(file.inode, what);
        self.take_time().await;
        let mut world = self.world.borrow_mut();
        if let Some(inode) = world.inodes.get_mut(&file.inode) {
            inode.complete(number);
        }
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let prefix = format!("{from}/");
        let exists = self
            .world
            .borrow()
            .names
            .keys()
            .any(|name| name == from || name.starts_with(&prefix));
        if !exists {
            return Err(not_found("rename", from));
        }
        self.rename_durably(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        })
        .await;
        Ok(())
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        let prefix = format!("{path}/");
        let (is_file, is_directory) = {
            let world = self.world.borrow();
            let is_directory = world.names.keys().any(|name| name.starts_with(&prefix));
            (world.names.contains_key(path), is_directory)
        };
        if is_directory {
            return Err(failed("remove", path));
        }
        if !is_file {
            // Directories exist by their files only: an empty one is already gone.
            return Ok(());
        }
        self.rename_durably(NameChange::Remove {
            path: path.to_owned(),
        })
        .await;
        Ok(())
    }

    async fn list(&self, directory: &str) -> Result<Vec<DirectoryEntry>, DiskError> {
        self.start();
        self.take_time().await;
        let world = self.world.borrow();
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let mut entries: BTreeMap<String, DirectoryEntry> = BTreeMap::new();
        for (path, inode) in &world.names {
            let Some(rest) = path.strip_prefix(&prefix) else {
                continue;
            };
            let (name, is_directory) = match rest.split_once('/') {
                Some((name, _)) => (name, true),
                None => (rest, false),
            };
            let length = world
                .inodes
                .get(inode)
                .map_or(0, |inode| inode.seen.len() as u64);
            entries
                .entry(name.to_owned())
                .or_insert_with(|| DirectoryEntry {
                    name: name.to_owned(),
                    length_bytes: if is_directory { 0 } else { length },
                    is_directory,
                });
        }
        Ok(entries.into_values().collect())
    }
}

#[cfg(test)]
mod tests;
