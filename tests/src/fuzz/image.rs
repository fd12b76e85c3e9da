//! Data directories to damage: what a killed, a written-back and a stopped engine leave behind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions};
use storage::{
    AppendError, Engine, Entry, LogConfig, LogEvents, LogKey, OpenError, Opened, Options,
    PartitionLog, SideKind,
};

use crate::sim::disk::SimDisk;
use crate::sim::executor::Executor;

/// Polls after which a run counts as hanging.
const STEPS_MAX: u64 = 200_000;

/// Alignment of the disk in bytes.
const ALIGNMENT_BYTES: u32 = 512;

/// Logs of each image.
pub(super) const LOGS: [(LogKey, &str); 2] = [
    (
        LogKey {
            topic_id: [1; 16],
            partition: 0,
        },
        "first",
    ),
    (
        LogKey {
            topic_id: [2; 16],
            partition: 5,
        },
        "second",
    ),
];

/// The files of a data directory, and what was written to its logs.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Batches as they are stored, by log and base offset.
    pub(super) batches: BTreeMap<(LogKey, i64), Vec<u8>>,
    /// Recovery must look at every byte: nothing is vouched for by a checkpoint.
    pub(super) is_strict: bool,
}

/// The images, made once.
pub(super) fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let never = 1 << 20;
        vec![
            make(never, Ending::Killed),
            make(3000, Ending::Killed),
            make(never, Ending::Stopped),
        ]
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Killed,
    Stopped,
}

/// A world with an executor, and what the engine told.
pub(super) struct World {
    pub(super) executor: Executor,
    pub(super) disk: SimDisk,
    pub(super) events: Rc<Events>,
}

/// The engine of a world.
pub(super) type SimEngine = Engine<SimDisk, Executor>;
/// A log of a world.
pub(super) type SimLog = PartitionLog<SimDisk, Executor>;

/// Last persisted index by slot, and whether anything failed.
#[derive(Debug, Default)]
pub(super) struct Events {
    persisted: RefCell<BTreeMap<u32, u64>>,
    failed: Cell<bool>,
}

impl LogEvents for Events {
    fn handle_persisted(&self, slot: u32, last_index: u64, _term: u32) {
        self.persisted.borrow_mut().insert(slot, last_index);
    }

    fn handle_hard_state_persisted(&self, _slot: u32, _term: u32, _vote: Option<i32>) {}

    fn handle_failed(&self, _slot: u32, _error: &AppendError) {
        self.failed.set(true);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.executor.clear();
    }
}

impl World {
    /// A world with an empty disk.
    pub(super) fn new() -> Self {
        let executor = Executor::new(1);
        Self {
            disk: SimDisk::new(1, &executor, ALIGNMENT_BYTES),
            executor,
            events: Rc::default(),
        }
    }

    /// Runs a future to its end.
    pub(super) fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let slot = Rc::new(RefCell::new(None));
        let result = Rc::clone(&slot);
        self.executor.spawn(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        let done = || result.borrow().is_some();
        assert!(self.executor.run_until(STEPS_MAX, done), "the engine hangs");
        result.take().expect("it is done")
    }

    /// Opens the engine and lets its workers run.
    pub(super) fn open(&self, options: Options) -> Result<SimEngine, OpenError> {
        let owner = Rc::clone(&self.events) as Rc<dyn LogEvents>;
        let opening = Engine::open(self.disk.clone(), self.executor.clone(), options, owner);
        let Opened {
            engine, workers, ..
        } = self.run(opening)?;
        for worker in workers {
            self.executor.spawn(worker);
        }
        Ok(engine)
    }

    /// Runs until the log's last index is persisted, or the log has failed.
    pub(super) fn settle(&self, log: &SimLog) {
        let (slot, last) = (log.slot(), log.next_index() - 1);
        let events = &self.events;
        let done = || {
            let persisted = events.persisted.borrow().get(&slot).copied();
            persisted.is_some_and(|index| index >= last) || log.failure().is_some()
        };
        assert!(self.executor.run_until(STEPS_MAX, done), "an append hangs");
    }
}

/// Small sizes, so that a run is short.
pub(super) fn options(log_buffer_bytes: usize) -> Options {
    Options {
        ring_files: 2,
        ring_file_bytes: 64 * 1024,
        commit_bytes: 32 * 1024,
        direct_bytes: 4096,
        log_buffer_bytes,
        append_buffer_bytes: 1 << 20,
        cache_bytes: 64 * 1024,
        ..Options::gateway(0)
    }
}

/// Small segments.
pub(super) fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 16 * 1024,
        ..LogConfig::default()
    }
}

/// Begins a term in the log.
pub(super) fn begin_term(log: &SimLog, term: u32) -> Result<(), AppendError> {
    let entry = Entry::Side {
        index: log.next_index(),
        term,
        kind: SideKind::TermStart,
        payload: Bytes::new(),
    };
    log.append(entry).map(drop)
}

/// Appends a batch with one record of `size` bytes; returns its base offset.
pub(super) fn append(log: &SimLog, term: u32, size: usize) -> Result<i64, AppendError> {
    let end = usize::try_from(log.log_end_offset()).unwrap_or(0);
    let byte = u8::try_from(end % 251).unwrap_or(0);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder
        .append(1000, Some(b"key"), Some(&vec![byte; size]), &[])
        .unwrap();
    let entry = Entry::Batch {
        bytes: Bytes::from(builder.finish().unwrap()),
        first_index: log.next_index(),
        term,
    };
    log.append(entry).map(|appended| appended.base_offset)
}

/// Everything of the log, batch by batch.
pub(super) fn read_all(world: &World, log: &SimLog) -> Result<Vec<Bytes>, storage::ReadError> {
    let log = log.clone();
    world.run(async move {
        let (mut next, end) = (log.log_start_offset(), log.log_end_offset());
        let mut batches = Vec::new();
        while next < end {
            let bytes = Bytes::from(log.read(next, end, 1 << 20, true).await?.concat());
            let mut rest = bytes.clone();
            let before = next;
            while !rest.is_empty() {
                let header = kafka_lite::record_batch::BatchHeader::decode(&rest)
                    .expect("a read gives whole batches");
                assert!(
                    header.size_bytes <= rest.len(),
                    "a read gives whole batches"
                );
                batches.push(rest.split_to(header.size_bytes));
                next = header.next_offset();
            }
            assert!(next > before, "no progress at {before} of {end}");
        }
        Ok(batches)
    })
}

fn make(log_buffer_bytes: usize, ending: Ending) -> Image {
    let world = World::new();
    let engine = world
        .open(options(log_buffer_bytes))
        .expect("an empty disk");
    let mut batches = BTreeMap::new();
    for (key, name) in LOGS {
        let log = engine.create_log(key, name, log_config());
        engine.journal_hard_state(log.slot(), 1, Some(1));
        begin_term(&log, 1).unwrap();
        for size in [10, 700, 6000, 90, 5000, 9000, 1, 300, 2500, 400] {
            append(&log, 1, size).unwrap();
            world.settle(&log);
        }
        begin_term(&log, 2).unwrap();
        append(&log, 2, 33).unwrap();
        world.settle(&log);
        for batch in read_all(&world, &log).expect("nothing is wrong") {
            let header = kafka_lite::record_batch::BatchHeader::decode(&batch).unwrap();
            batches.insert((key, header.base_offset), batch.to_vec());
        }
    }
    if ending == Ending::Stopped {
        world.run(async move { engine.shutdown().await }).unwrap();
    }
    let paths = world.disk.paths();
    let files = paths.into_iter().map(|path| {
        let bytes = world.disk.contents(&path).unwrap_or_default();
        (path, bytes)
    });
    Image {
        files: files.collect(),
        batches,
        is_strict: ending == Ending::Killed && log_buffer_bytes > 1 << 16,
    }
}
