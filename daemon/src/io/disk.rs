//! The disk of one shard: [`storage::disk::Disk`] over io_uring or over helper threads.
//!
//! What it is        the choice between the two ways, the flags a file is opened with, and the
//!                   counters.
//! What it is not    a cache or a scheduler.
//! Invariants        1. opening, lengths, names and directories always go through a helper thread:
//!                      monoio has no operation for them, and they may block for long.
//!                   2. a finished write to a durable file is on stable storage: O_DIRECT with
//!                      O_DSYNC where probing found it to work, otherwise a buffered write followed
//!                      by fdatasync.
//!                   3. a file whose sync failed refuses every further write and sync (fsync is
//!                      never retried).

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::OFlags;
use storage::aligned_buffer::AlignedBuffer;
use storage::disk::{DirectoryEntry, Disk, DiskError, OpenMode, Resize, Returned};

use super::blocking::{self, disk_error, offset_of};
use super::disk_ring::RingFile;
use super::disk_thread::ThreadFile;
use super::helper_thread::Helper;
use super::probe::Abilities;
use crate::metrics::histogram::Histogram;
use crate::metrics::{Collector, Family, Kind};

/// How the data of files is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileDriver {
    /// Through the shard's ring.
    Ring,
    /// Through helper threads, since epoll knows no files.
    Thread,
}

impl FileDriver {
    /// The runtime driver that goes with it, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "io_uring",
            Self::Thread => "epoll",
        }
    }
}

/// The disk of one shard; clones share it.
#[derive(Clone, Debug)]
pub struct FileDisk {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Arc<Path>,
    driver: FileDriver,
    abilities: Abilities,
    helper: Helper,
    counters: DiskCounters,
}

/// An open file; clones share it, the last one closes it.
#[derive(Clone, Debug)]
pub struct DiskFile {
    inner: Rc<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    path: String,
    data: FileData,
    /// Multiple that reads end at, for direct I/O.
    alignment: Option<usize>,
    /// A finished write is on stable storage.
    durable: bool,
    /// A write is followed by fdatasync.
    sync_after_write: bool,
    poisoned: Cell<bool>,
}

#[derive(Debug)]
enum FileData {
    Ring(RingFile),
    Thread(ThreadFile),
}

/// What a shard did to its disk.
#[derive(Debug, Default)]
pub struct DiskCounters {
    bytes_written: Cell<u64>,
    bytes_read: Cell<u64>,
    writes: Cell<u64>,
    reads: Cell<u64>,
    failures: Cell<u64>,
    durable_write_seconds: Histogram,
    sync_seconds: Histogram,
}

impl FileDisk {
    /// The disk under `root`, with what probing found there.
    pub fn new(root: PathBuf, driver: FileDriver, abilities: Abilities, helper: Helper) -> Self {
        Self {
            inner: Rc::new(Inner {
                root: root.into(),
                driver,
                abilities,
                helper,
                counters: DiskCounters::default(),
            }),
        }
    }

    /// How the data of files is read and written.
    pub fn driver(&self) -> FileDriver {
        self.inner.driver
    }

    /// What the file system can do.
    pub fn abilities(&self) -> Abilities {
        self.inner.abilities
    }

    /// Adds the counters of this disk.
    pub fn collect(&self, collector: &mut Collector) {
        self.inner.counters.collect(collector);
    }

    /// Runs a blocking system call on the helper.
    /// Free bytes for data, and all bytes, of the file system.
    ///
    /// # Errors
    /// What the system says.
    pub async fn space(&self) -> Result<(u64, u64), DiskError> {
        self.call("measure", ".", blocking::space).await
    }

    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DiskError> {
        let root = Arc::clone(&self.inner.root);
        let result = self.inner.helper.run(move || call(&root)).await;
        self.counted(result.map_err(|error| disk_error(operation, path, &error)))
    }

    fn counted<T>(&self, result: Result<T, DiskError>) -> Result<T, DiskError> {
        if matches!(result, Err(DiskError::Full { .. } | DiskError::Io { .. })) {
            let failures = &self.inner.counters.failures;
            failures.set(failures.get() + 1);
        }
        result
    }

    async fn write_data(
        &self,
        file: &DiskFile,
        position: u64,
        buffer: AlignedBuffer,
    ) -> Returned<()> {
        let file = &file.inner;
        let (mut result, buffer) = match &file.data {
            FileData::Ring(data) => data.write(position, buffer).await,
            FileData::Thread(data) => data.write(&self.inner.helper, position, buffer).await,
        };
        if result.is_ok() && file.sync_after_write {
            result = self.sync_data(file).await;
        }
        (
            result.map_err(|error| disk_error("write", &file.path, &error)),
            buffer,
        )
    }

    async fn sync_data(&self, file: &OpenFile) -> io::Result<()> {
        let synced = match &file.data {
            FileData::Ring(data) => data.sync().await,
            FileData::Thread(data) => data.sync(&self.inner.helper).await,
        };
        if synced.is_err() {
            file.poisoned.set(true);
        }
        synced
    }
}

impl Disk for FileDisk {
    type File = DiskFile;

    fn alignment_bytes(&self) -> u32 {
        self.inner.abilities.alignment_bytes
    }

    async fn open(&self, path: &str, mode: OpenMode) -> Result<DiskFile, DiskError> {
        let direct = mode.direct && self.inner.abilities.direct;
        let synchronous = mode.durable && direct;
        let mut flags = OFlags::empty();
        flags.set(OFlags::DIRECT, direct);
        flags.set(OFlags::DSYNC, synchronous);
        let name = path.to_owned();
        let file = self
            .call("open", path, move |root| {
                blocking::open(root, &name, mode, flags)
            })
            .await?;
        let data = match self.inner.driver {
            FileDriver::Ring => FileData::Ring(
                RingFile::new(file).map_err(|error| disk_error("open", path, &error))?,
            ),
            FileDriver::Thread => FileData::Thread(ThreadFile::new(file)),
        };
        let alignment = usize::try_from(self.inner.abilities.alignment_bytes).unwrap_or(4096);
        Ok(DiskFile {
            inner: Rc::new(OpenFile {
                path: path.to_owned(),
                data,
                alignment: direct.then_some(alignment),
                durable: mode.durable,
                sync_after_write: mode.durable && !synchronous,
                poisoned: Cell::new(false),
            }),
        })
    }

    async fn read(
        &self,
        file: &DiskFile,
        position: u64,
        buffer: AlignedBuffer,
        length_bytes: u32,
    ) -> Returned<u32> {
        let file = &file.inner;
        let length = usize::try_from(length_bytes)
            .unwrap_or(usize::MAX)
            .min(buffer.capacity());
        let (result, buffer) = match &file.data {
            FileData::Ring(data) => data.read(position, buffer, length, file.alignment).await,
            FileData::Thread(data) => {
                let helper = &self.inner.helper;
                data.read(helper, position, buffer, length, file.alignment)
                    .await
            }
        };
        let result = result.map_err(|error| disk_error("read", &file.path, &error));
        if let Ok(count) = result {
            self.inner.counters.count_read(count);
        }
        let count = self
            .counted(result)
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        (count, buffer)
    }

    async fn write(&self, file: &DiskFile, position: u64, buffer: AlignedBuffer) -> Returned<()> {
        if file.inner.poisoned.get() {
            return (Err(poisoned("write", &file.inner.path)), buffer);
        }
        let started = Instant::now();
        let (result, buffer) = self.write_data(file, position, buffer).await;
        if result.is_ok() {
            self.inner.counters.count_write(buffer.len());
            if file.inner.durable {
                let seconds = &self.inner.counters.durable_write_seconds;
                seconds.record(started.elapsed());
            }
        }
        (self.counted(result), buffer)
    }

    async fn sync(&self, file: &DiskFile) -> Result<(), DiskError> {
        let file = &file.inner;
        if file.poisoned.get() {
            return Err(poisoned("sync", &file.path));
        }
        let started = Instant::now();
        let synced = self.sync_data(file).await;
        self.inner.counters.sync_seconds.record(started.elapsed());
        self.counted(synced.map_err(|error| disk_error("sync", &file.path, &error)))
    }

    async fn resize(&self, file: &DiskFile, how: Resize) -> Result<(), DiskError> {
        let file = &file.inner;
        let duplicate = match &file.data {
            FileData::Ring(data) => data.duplicate(),
            FileData::Thread(data) => data.duplicate(),
        };
        let duplicate = duplicate.map_err(|error| disk_error("resize", &file.path, &error))?;
        self.call("resize", &file.path, move |_root| {
            blocking::resize(&duplicate, how)
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (source, target) = (from.to_owned(), to.to_owned());
        self.call("rename", from, move |root| {
            blocking::rename(root, &source, &target)
        })
        .await
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        let name = path.to_owned();
        self.call("remove", path, move |root| blocking::remove(root, &name))
            .await
    }

    async fn list(&self, directory: &str) -> Result<Vec<DirectoryEntry>, DiskError> {
        let name = directory.to_owned();
        self.call("list", directory, move |root| blocking::list(root, &name))
            .await
    }
}

impl DiskCounters {
    fn count_write(&self, length: usize) {
        self.writes.set(self.writes.get() + 1);
        let bytes = self.bytes_written.get() + offset_of(length);
        self.bytes_written.set(bytes);
    }

    fn count_read(&self, length: usize) {
        self.reads.set(self.reads.get() + 1);
        self.bytes_read
            .set(self.bytes_read.get() + offset_of(length));
    }

    fn collect(&self, collector: &mut Collector) {
        collector.number(&BYTES_WRITTEN, &[], self.bytes_written.get());
        collector.number(&BYTES_READ, &[], self.bytes_read.get());
        collector.number(&WRITES, &[], self.writes.get());
        collector.number(&READS, &[], self.reads.get());
        collector.number(&FAILURES, &[], self.failures.get());
        collector.histogram(&DURABLE_WRITE, &[], self.durable_write_seconds.snapshot());
        collector.histogram(&SYNC, &[], self.sync_seconds.snapshot());
    }
}

fn poisoned(operation: &'static str, path: &str) -> DiskError {
    DiskError::Io {
        operation,
        path: path.to_owned(),
        reason: "an earlier flush of this file failed; what it holds is not known".to_owned(),
    }
}

static BYTES_WRITTEN: Family = Family {
    name: "sluice_disk_written_bytes_total",
    help: "Bytes written to files of the data directory.",
    kind: Kind::Counter,
};
static BYTES_READ: Family = Family {
    name: "sluice_disk_read_bytes_total",
    help: "Bytes read from files of the data directory.",
    kind: Kind::Counter,
};
static WRITES: Family = Family {
    name: "sluice_disk_writes_total",
    help: "Writes to files of the data directory.",
    kind: Kind::Counter,
};
static READS: Family = Family {
    name: "sluice_disk_reads_total",
    help: "Reads from files of the data directory.",
    kind: Kind::Counter,
};
static FAILURES: Family = Family {
    name: "sluice_disk_failures_total",
    help: "Disk operations that failed, a full disk included.",
    kind: Kind::Counter,
};
static DURABLE_WRITE: Family = Family {
    name: "sluice_disk_durable_write_seconds",
    help: "Time of a write that is on stable storage when it completes.",
    kind: Kind::Histogram,
};
static SYNC: Family = Family {
    name: "sluice_disk_sync_seconds",
    help: "Time of a flush of a file.",
    kind: Kind::Histogram,
};
