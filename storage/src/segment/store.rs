//! What all segments of a shard share: the disk, the buffers, the budget, open files and indexes of
//! closed segments.
//!
//! What it is        the bounds. A closed segment costs [`ClosedSegment`] (40 bytes) until it is
//!                   read.
//! What it is not    the list of segments of a log: the partition log has that.
//! Invariants        1. at most `open_files_max` handles of closed segments. 2. cached indexes stay
//!                   in their bytes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::disk::{Disk, DiskError, OpenMode};
use crate::disk_budget::DiskBudget;
use crate::index::SegmentIndex;
use crate::lru::Lru;
use crate::permits::{Permit, Permits};
use crate::segment::error::SegmentError;
use crate::segment::index_file::{load_index, note_batches, remove_index_files, write_index_files};
use crate::segment::path::{FileKind, file_path};
use crate::segment::reader::SegmentReader;
use crate::segment::source::Source;
use crate::segment::staging::StagingPool;

/// Bounds of a [`SegmentStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Size of one staging buffer in bytes, a multiple of 4,096; the largest single write.
    pub staging_buffer_bytes: u32,
    /// Staging buffers: bulk writes in flight on the shard. Who finds none waits.
    pub staging_buffer_count: usize,
    /// Open handles of segments that are only read; the one used longest ago is closed.
    pub open_files_max: u64,
    /// Memory for indexes of closed segments in bytes; the one used longest ago is forgotten.
    pub index_cache_bytes: u64,
    /// Kafka's `index.interval.bytes`.
    pub index_interval_bytes: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            staging_buffer_bytes: 256 * 1024,
            staging_buffer_count: 4,
            open_files_max: 512,
            index_cache_bytes: 1024 * 1024,
            index_interval_bytes: 4096,
        }
    }
}

/// What memory knows of a closed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedSegment {
    /// First offset that may be inside, inclusive; names the files.
    pub base_offset: i64,
    /// Offset after the last batch, exclusive.
    pub next_offset: i64,
    /// Largest timestamp of all batches, ms since 1970; `None` without records that have one.
    pub max_timestamp: Option<i64>,
    /// Length of the log file in bytes.
    pub size_bytes: u32,
}

const _: () = assert!(size_of::<ClosedSegment>() <= 48);

/// Key of a segment in the caches.
type SegmentKey = (Rc<str>, i64);

struct Shared<D: Disk> {
    disk: D,
    options: StoreOptions,
    staging: StagingPool,
    budget: DiskBudget,
    files: RefCell<Lru<SegmentKey, D::File>>,
    indexes: RefCell<Lru<SegmentKey, Rc<RefCell<SegmentIndex>>>>,
    switches: RefCell<Switches>,
    switch_turn: Permits,
}

/// Segments that compaction replaces while readers are being made.
#[derive(Debug, Default)]
struct Switches {
    /// Being replaced now.
    running: BTreeSet<SegmentKey>,
    /// Replaced since the oldest reader in the making began.
    done: BTreeSet<SegmentKey>,
    /// Readers in the making.
    readers: usize,
    /// Switches ever finished.
    count: u64,
}

/// The segments of one shard; clones share it.
pub struct SegmentStore<D: Disk>(Rc<Shared<D>>);

impl<D: Disk> Clone for SegmentStore<D> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<D: Disk> std::fmt::Debug for SegmentStore<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("SegmentStore")
            .field(&self.0.options)
            .finish()
    }
}

impl<D: Disk> SegmentStore<D> {
    /// A store on `disk` that takes space from `budget`.
    pub fn new(disk: D, budget: DiskBudget, options: StoreOptions) -> Self {
        let buffer_bytes = (options.staging_buffer_bytes as usize)
            .next_multiple_of(4096)
            .max(8192);
        Self(Rc::new(Shared {
            disk,
            options,
            staging: StagingPool::new(buffer_bytes, options.staging_buffer_count),
            budget,
            files: RefCell::new(Lru::new(options.open_files_max.max(1))),
            indexes: RefCell::new(Lru::new(options.index_cache_bytes)),
            switches: RefCell::default(),
            switch_turn: Permits::new(1),
        }))
    }

    /// A reader of a closed segment; its file and index are opened now unless they are cached.
    ///
    /// Take `segment` out of the log's list in the same instant (no await between).
    ///
    /// # Errors
    /// [`SegmentError::Replaced`]: compaction replaced the segment meanwhile, look it up again.
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when the index had to be rebuilt and the
    /// log is damaged.
    pub async fn reader(
        &self,
        directory: &Rc<str>,
        segment: &ClosedSegment,
    ) -> Result<SegmentReader<D>, SegmentError> {
        let key = (Rc::clone(directory), segment.base_offset);
        let opening = Opening::new(self);
        if self.0.switches.borrow().running.contains(&key) {
            drop(self.0.switch_turn.acquire().await);
            return Err(SegmentError::Replaced);
        }
        let opened = self.open_reader(directory, segment).await;
        if opening.was_replaced(&key) {
            self.forget(directory, segment.base_offset);
            return Err(SegmentError::Replaced);
        }
        opened
    }

    async fn open_reader(
        &self,
        directory: &Rc<str>,
        segment: &ClosedSegment,
    ) -> Result<SegmentReader<D>, SegmentError> {
        let source = self.open_source(directory, segment.base_offset).await?;
        let key = (Rc::clone(directory), segment.base_offset);
        let cached = self.0.indexes.borrow_mut().get(&key).map(Rc::clone);
        let index = match cached {
            Some(index) => index,
            None => {
                let interval = self.0.options.index_interval_bytes;
                let loaded = load_index(&source, segment.size_bytes, interval).await?;
                let bytes = loaded.index.memory_bytes();
                let index = Rc::new(RefCell::new(loaded.index));
                self.0
                    .indexes
                    .borrow_mut()
                    .insert(key, Rc::clone(&index), bytes);
                index
            }
        };
        let ends = (segment.size_bytes, segment.next_offset);
        Ok(SegmentReader::new(source, ends, index))
    }

    /// Finds out about a closed segment of which only the name and the length are known (no
    /// checkpoint has it).
    ///
    /// Counts its bytes in the budget. Missing or damaged index files are written anew.
    /// Cost: the index files and the last few KiB of the log; the whole log when an index is
    /// missing.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] when the headers do not lead exactly to `size_bytes`.
    pub async fn recover_closed(
        &self,
        directory: &Rc<str>,
        base_offset: i64,
        size_bytes: u32,
    ) -> Result<ClosedSegment, SegmentError> {
        let source = self.open_source(directory, base_offset).await?;
        let interval = self.0.options.index_interval_bytes;
        let mut loaded = load_index(&source, size_bytes, interval).await?;
        if loaded.rebuilt {
            loaded.index.note_largest_timestamp();
            remove_index_files(&self.0.disk, directory, base_offset).await?;
            write_index_files(&self.0.disk, directory, &loaded.index).await?;
        }
        self.0.budget.adopt(u64::from(size_bytes));
        Ok(ClosedSegment {
            base_offset,
            next_offset: loaded.next_offset,
            max_timestamp: loaded.index.max_timestamp(),
            size_bytes,
        })
    }

    /// Counts a closed segment that a checkpoint knows in the budget, without touching the disk.
    pub fn adopt_closed(&self, segment: &ClosedSegment) {
        self.0.budget.adopt(u64::from(segment.size_bytes));
    }

    /// Removes a closed segment durably: indexes first, so that a crash leaves a log without index
    /// and never the reverse.
    ///
    /// # Errors
    /// [`DiskError`]; the removal may be tried again.
    pub async fn remove_closed(
        &self,
        directory: &Rc<str>,
        segment: &ClosedSegment,
    ) -> Result<(), DiskError> {
        self.forget(directory, segment.base_offset);
        remove_log_files(&self.0.disk, directory, segment.base_offset).await?;
        self.0.budget.give_back(u64::from(segment.size_bytes));
        Ok(())
    }

    /// Drops the cached handle and index of a segment whose files changed (compaction, removal).
    pub fn forget(&self, directory: &Rc<str>, base_offset: i64) {
        let key = (Rc::clone(directory), base_offset);
        self.0.files.borrow_mut().remove(&key);
        self.0.indexes.borrow_mut().remove(&key);
    }

    /// The budget that segments take space from.
    pub fn budget(&self) -> &DiskBudget {
        &self.0.budget
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        &self.0.disk
    }

    /// Handles of closed segments open now.
    pub fn open_file_count(&self) -> usize {
        self.0.files.borrow().len()
    }

    /// Bytes of cached indexes now, and the most there ever were.
    pub fn index_cache_bytes(&self) -> (u64, u64) {
        let indexes = self.0.indexes.borrow();
        (indexes.cost(), indexes.cost_max())
    }

    pub(crate) fn staging(&self) -> &StagingPool {
        &self.0.staging
    }

    pub(crate) fn index_interval_bytes(&self) -> u32 {
        self.0.options.index_interval_bytes
    }

    /// How many segments compaction has replaced; a place inside a segment holds only while this
    /// stays.
    pub(crate) fn switch_count(&self) -> u64 {
        self.0.switches.borrow().count
    }

    /// Keeps new readers of these segments away until the result is dropped; one switch at a time.
    pub(crate) async fn begin_switch(
        &self,
        directory: &Rc<str>,
        segments: &[ClosedSegment],
    ) -> SwitchTurn<D> {
        let permit = self.0.switch_turn.acquire().await;
        let keys: Vec<SegmentKey> = segments
            .iter()
            .map(|segment| (Rc::clone(directory), segment.base_offset))
            .collect();
        self.0
            .switches
            .borrow_mut()
            .running
            .extend(keys.iter().cloned());
        SwitchTurn {
            store: self.clone(),
            keys,
            _permit: permit,
        }
    }

    pub(crate) async fn open_source(
        &self,
        directory: &Rc<str>,
        base_offset: i64,
    ) -> Result<Source<D>, DiskError> {
        let key = (Rc::clone(directory), base_offset);
        let cached = self.0.files.borrow_mut().get(&key).cloned();
        let file = match cached {
            Some(file) => file,
            None => {
                let path = file_path(directory, base_offset, FileKind::Log);
                let file = self.0.disk.open(&path, READ_DIRECT).await?;
                self.0.files.borrow_mut().insert(key, file.clone(), 1);
                file
            }
        };
        Ok(Source {
            disk: self.0.disk.clone(),
            file,
            directory: Rc::clone(directory),
            base_offset,
            kind: FileKind::Log,
        })
    }
}

/// A switch in progress.
pub(crate) struct SwitchTurn<D: Disk> {
    store: SegmentStore<D>,
    keys: Vec<SegmentKey>,
    _permit: Permit,
}

impl<D: Disk> Drop for SwitchTurn<D> {
    fn drop(&mut self) {
        let mut switches = self.store.0.switches.borrow_mut();
        switches.count += 1;
        for key in self.keys.drain(..) {
            self.store.forget(&key.0, key.1);
            switches.running.remove(&key);
            if switches.readers > 0 {
                switches.done.insert(key);
            }
        }
    }
}

/// A reader in the making.
struct Opening<'a, D: Disk>(&'a SegmentStore<D>);

impl<'a, D: Disk> Opening<'a, D> {
    fn new(store: &'a SegmentStore<D>) -> Self {
        store.0.switches.borrow_mut().readers += 1;
        Self(store)
    }

    fn was_replaced(&self, key: &SegmentKey) -> bool {
        let switches = self.0.0.switches.borrow();
        switches.running.contains(key) || switches.done.contains(key)
    }
}

impl<D: Disk> Drop for Opening<'_, D> {
    fn drop(&mut self) {
        let mut switches = self.0.0.switches.borrow_mut();
        switches.readers -= 1;
        if switches.readers == 0 {
            switches.done.clear();
        }
    }
}

/// How segments are read.
pub(crate) const READ_DIRECT: OpenMode = OpenMode {
    create: false,
    write: false,
    durable: false,
    direct: true,
};

/// Removes the files of a segment durably, the log last.
pub(crate) async fn remove_log_files<D: Disk>(
    disk: &D,
    directory: &str,
    base_offset: i64,
) -> Result<(), DiskError> {
    remove_index_files(disk, directory, base_offset).await?;
    remove_if_there(disk, &file_path(directory, base_offset, FileKind::Log)).await
}

/// Walks all headers of a file of batches and returns the offset after the last one.
pub(crate) async fn note_all_batches<D: Disk>(
    store: &SegmentStore<D>,
    directory: &Rc<str>,
    base_offset: i64,
    kind: FileKind,
    size_bytes: u32,
) -> Result<i64, SegmentError> {
    let path = file_path(directory, base_offset, kind);
    let source = Source {
        file: store.disk().open(&path, READ_DIRECT).await?,
        disk: store.disk().clone(),
        directory: Rc::clone(directory),
        base_offset,
        kind,
    };
    let mut index = SegmentIndex::new(base_offset, store.index_interval_bytes());
    note_batches(&source, &mut index, 0, size_bytes).await
}

/// Removes a file; that it is gone already is no error.
pub(crate) async fn remove_if_there<D: Disk>(disk: &D, path: &str) -> Result<(), DiskError> {
    match disk.remove(path).await {
        Err(DiskError::NotFound { .. }) => Ok(()),
        result => result,
    }
}
