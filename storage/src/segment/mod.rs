//! Segments: files of record batches, Kafka's bytes verbatim, with sparse indexes.
//!
//! What it is        create, open, append, read, look up, roll, truncate, remove, over the [`Disk`]
//!                   of the owner.
//! What it is not    a log: which segment holds an offset, and what is not yet in any segment, the
//!                   partition log knows.
//! Layout            docs/formats/segment.md, docs/formats/index.md.
//! Invariants        1. bytes before `end_position` are whole batches with rising offsets. 2.
//!                   `durable_position <= end_position`.
//!                   3. after a failed sync nothing is ever written or synced again through this
//!                   value.
//! Source            design §4; Kafka 4.3 `LogSegment`, `FileRecords`.
//! Reading order     [`Segment`], `append`, `reader`, `timestamps`, then `scan` and `roll`.

mod append;
mod error;
mod index_file;
mod path;
mod reader;
mod roll;
mod scan;
mod source;
mod staging;
mod store;
mod timestamps;

pub use append::Appended;
pub use error::SegmentError;
pub(crate) use index_file::{remove_index_files, write_index_files};
pub use path::{FileKind, file_path, parse_file_name};
pub use reader::{BatchWish, ReadBatches, SegmentReader};
pub(crate) use reader::{WholeBatches, decompress_limits};
pub(crate) use scan::crc_of_range;
pub use scan::{TailScan, TailScanStart, TailStop};
pub use store::{ClosedSegment, SegmentStore, StoreOptions};
pub(crate) use store::{note_all_batches, remove_log_files};

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kafka_lite::record_batch::BatchHeader;

use crate::disk::{Disk, DiskError, OpenMode};
use crate::index::SegmentIndex;
use crate::permits::Permits;
use crate::segment::index_file::load_index;
use crate::segment::source::Source;

/// When an append is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it completes (large appends that skip the journal).
    OnWrite,
    /// After the next [`Segment::sync`] (write-back: many partitions are written, then synced
    /// together).
    OnSync,
}

/// Properties of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Kafka's `segment.bytes`: preallocation does not go beyond it. The caller rolls; an append
    /// may exceed it.
    pub segment_bytes: u32,
}

/// What the owner knows of an active segment when it opens it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownTail {
    /// End of the batches that are known to be sound (checkpoint); 0 when nothing is known.
    pub end_position: u32,
    /// Offset after them; the base offset when nothing is known.
    pub next_offset: i64,
    /// Their largest timestamp, ms since 1970.
    pub max_timestamp: Option<i64>,
    /// Length of the file as listed, with its preallocated rest.
    pub file_length_bytes: u64,
}

/// The active segment of a log. Methods take `&self` and may overlap; writes wait for each other.
pub struct Segment<D: Disk> {
    store: SegmentStore<D>,
    directory: Rc<str>,
    base_offset: i64,
    options: SegmentOptions,
    writing: Permits,
    files: RefCell<Files<D::File>>,
    state: RefCell<State>,
    index: Rc<RefCell<SegmentIndex>>,
    create: Cell<bool>,
    uses_reserve: Cell<bool>,
}

/// Handles for writing; both also read.
struct Files<F> {
    durable: Option<F>,
    plain: Option<F>,
}

#[derive(Debug)]
struct State {
    end_position: u32,
    next_offset: i64,
    durable_position: u32,
    /// Largest timestamp that a checkpoint told and the index may not have.
    known_max_timestamp: Option<i64>,
    /// Batches before this position are not in the index yet (they were there at open).
    indexed_from: u32,
    reserved_bytes: u64,
    /// Bytes of the partly filled last block.
    tail: Option<Vec<u8>>,
    /// Bytes behind the end may be anything.
    leftover: bool,
    poisoned: bool,
    closed: bool,
}

impl State {
    fn note_batch(&mut self, header: &BatchHeader) {
        self.next_offset = header.next_offset();
    }

    fn release_memory(&mut self) {
        self.tail = None;
    }
}

impl<D: Disk> Segment<D> {
    /// Creates the segment that starts with `base_offset`; the file is durable when this completes.
    ///
    /// A file of that name, left by a crash, is taken over and emptied before the first append.
    ///
    /// # Errors
    /// [`SegmentError::Disk`].
    pub async fn create(
        store: &SegmentStore<D>,
        directory: &Rc<str>,
        base_offset: i64,
        options: SegmentOptions,
    ) -> Result<Self, SegmentError> {
        let tail = KnownTail {
            end_position: 0,
            next_offset: base_offset,
            max_timestamp: None,
            file_length_bytes: 0,
        };
        let segment = Self::open(store, directory, base_offset, options, tail);
        segment.create.set(true);
        segment.writer(Durability::OnSync).await?;
        segment.state.borrow_mut().leftover = false;
        segment.set_length(0).await?;
        Ok(segment)
    }

    /// Opens an active segment again after a start; touches no file until it is used.
    ///
    /// Nothing behind `tail.end_position` is trusted: call [`Segment::scan_tail`] before the first
    /// append. The index of what is before it is loaded or rebuilt by the first reader.
    pub fn open(
        store: &SegmentStore<D>,
        directory: &Rc<str>,
        base_offset: i64,
        options: SegmentOptions,
        tail: KnownTail,
    ) -> Self {
        store.budget().adopt(tail.file_length_bytes);
        let index = SegmentIndex::new(base_offset, store.index_interval_bytes());
        Self {
            store: store.clone(),
            directory: Rc::clone(directory),
            base_offset,
            options,
            writing: Permits::new(1),
            files: RefCell::new(Files {
                durable: None,
                plain: None,
            }),
            state: RefCell::new(State {
                end_position: tail.end_position,
                next_offset: tail.next_offset,
                durable_position: tail.end_position,
                known_max_timestamp: tail.max_timestamp,
                indexed_from: tail.end_position,
                reserved_bytes: tail.file_length_bytes,
                tail: None,
                leftover: tail.file_length_bytes > u64::from(tail.end_position),
                poisoned: false,
                closed: false,
            }),
            index: Rc::new(RefCell::new(index)),
            create: Cell::new(false),
            uses_reserve: Cell::new(false),
        }
    }

    /// Makes a closed segment active again (a cut reaches into it). Take it out of the list of
    /// closed ones first; its bytes stay counted in the budget once.
    pub fn reopen(
        store: &SegmentStore<D>,
        directory: &Rc<str>,
        closed: &ClosedSegment,
        options: SegmentOptions,
    ) -> Self {
        store.forget(directory, closed.base_offset);
        store.budget().give_back(u64::from(closed.size_bytes));
        let tail = KnownTail {
            end_position: closed.size_bytes,
            next_offset: closed.next_offset,
            max_timestamp: closed.max_timestamp,
            file_length_bytes: u64::from(closed.size_bytes),
        };
        Self::open(store, directory, closed.base_offset, options, tail)
    }

    /// A reader of everything appended so far (written, not necessarily durable or committed).
    ///
    /// # Errors
    /// [`SegmentError::Disk`]; [`SegmentError::Corrupt`] when the index had to be rebuilt and the
    /// log is damaged.
    pub async fn reader(&self) -> Result<SegmentReader<D>, SegmentError> {
        self.ensure_index().await?;
        let source = self.source().await?;
        let ends = (self.end_position(), self.next_offset());
        Ok(SegmentReader::new(source, ends, Rc::clone(&self.index)))
    }

    /// Lets go of file handles and the kept last block when nothing is unsynced: for partitions
    /// that went idle.
    pub fn rest(&self) {
        let mut state = self.state.borrow_mut();
        if state.durable_position == state.end_position {
            state.release_memory();
            let mut files = self.files.borrow_mut();
            files.durable = None;
            files.plain = None;
        }
    }

    /// First offset of the segment, inclusive; names its files.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Offset after the last appended batch, exclusive.
    pub fn next_offset(&self) -> i64 {
        self.state.borrow().next_offset
    }

    /// Whether appends may take space that the disk keeps in reserve, see
    /// [`crate::LogConfig::uses_reserve`].
    pub fn set_uses_reserve(&self, uses_reserve: bool) {
        self.uses_reserve.set(uses_reserve);
    }

    /// Bytes appended; the length of the file without its preallocated rest.
    pub fn end_position(&self) -> u32 {
        self.state.borrow().end_position
    }

    /// Bytes from the start that are on stable storage.
    pub fn durable_position(&self) -> u32 {
        self.state.borrow().durable_position
    }

    /// Largest timestamp appended, ms since 1970.
    pub fn max_timestamp(&self) -> Option<i64> {
        self.index
            .borrow()
            .max_timestamp()
            .max(self.state.borrow().known_max_timestamp)
    }

    /// Whether a write or sync failed so that only recovery helps.
    pub fn is_poisoned(&self) -> bool {
        self.state.borrow().poisoned
    }

    /// Path of the log file, relative to the data directory.
    pub fn path(&self) -> String {
        file_path(&self.directory, self.base_offset, FileKind::Log)
    }

    fn closed_facts(&self) -> ClosedSegment {
        ClosedSegment {
            base_offset: self.base_offset,
            next_offset: self.next_offset(),
            max_timestamp: self.max_timestamp(),
            size_bytes: self.end_position(),
        }
    }

    fn check_not_poisoned(&self) -> Result<(), SegmentError> {
        if self.state.borrow().poisoned {
            return Err(SegmentError::Poisoned { file: self.path() });
        }
        Ok(())
    }

    fn check_usable(&self) -> Result<(), SegmentError> {
        self.check_not_poisoned()?;
        if self.state.borrow().closed {
            return Err(SegmentError::Refused {
                file: self.path(),
                expected: "an active segment".to_owned(),
                got: "a closed one".to_owned(),
            });
        }
        Ok(())
    }

    /// The handle for writes of that durability, opened at its first use.
    async fn writer(&self, durability: Durability) -> Result<D::File, DiskError> {
        let durable = durability == Durability::OnWrite;
        let open = {
            let files = self.files.borrow();
            if durable {
                files.durable.clone()
            } else {
                files.plain.clone()
            }
        };
        if let Some(file) = open {
            return Ok(file);
        }
        let mode = OpenMode {
            create: self.create.get(),
            write: true,
            durable,
            direct: true,
        };
        let file = self.store.disk().open(&self.path(), mode).await?;
        let mut files = self.files.borrow_mut();
        let slot = if durable {
            &mut files.durable
        } else {
            &mut files.plain
        };
        *slot = Some(file.clone());
        Ok(file)
    }

    async fn source(&self) -> Result<Source<D>, DiskError> {
        let open = self.files.borrow().plain.clone();
        match open {
            Some(file) => Ok(Source {
                disk: self.store.disk().clone(),
                file,
                directory: Rc::clone(&self.directory),
                base_offset: self.base_offset,
                kind: FileKind::Log,
            }),
            None => {
                self.store
                    .open_source(&self.directory, self.base_offset)
                    .await
            }
        }
    }

    /// Completes the index with what was in the file before this start; entries noted meanwhile go
    /// behind it.
    async fn ensure_index(&self) -> Result<(), SegmentError> {
        loop {
            let covered_to = self.state.borrow().indexed_from;
            if covered_to == 0 {
                return Ok(());
            }
            let source = self.source().await?;
            let interval = self.store.index_interval_bytes();
            let loaded = load_index(&source, covered_to, interval).await?;
            let mut state = self.state.borrow_mut();
            if state.indexed_from == covered_to {
                let mut index = loaded.index;
                index.extend(&self.index.borrow());
                *self.index.borrow_mut() = index;
                state.indexed_from = 0;
            }
        }
    }
}

impl<D: Disk> std::fmt::Debug for Segment<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Segment");
        debug
            .field("path", &self.path())
            .field("state", &self.state.borrow())
            .finish()
    }
}

#[cfg(test)]
mod tests;
