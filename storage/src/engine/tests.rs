//! The engine over a disk in memory: a few tasks, a clock that only moves when all wait.

mod compaction;
mod crash;
mod damage;
mod early;
mod full_disk;
mod producers;
pub(crate) mod segments;
mod shards;
mod upkeep;
mod walking;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions};

use crate::disk::Clock;
use crate::testing::MemoryDisk;
use crate::{
    AppendError, Engine, Entry, LogConfig, LogEvents, LogKey, OpenError, Options, PartitionLog,
    RecoveredLog, SideKind, Worker,
};

/// A clock that the harness moves.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock {
    pub(crate) now: Rc<Cell<Duration>>,
    sleepers: Rc<Cell<Option<Duration>>>,
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.now.get()
    }

    async fn sleep(&self, pause: Duration) {
        let due = self.now.get() + pause;
        poll_fn(|_| {
            if self.now.get() >= due {
                return Poll::Ready(());
            }
            let next = self.sleepers.get().map_or(due, |other| other.min(due));
            self.sleepers.set(Some(next));
            Poll::Pending
        })
        .await;
    }
}

/// What the engine told its owner.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Last persisted index and term by slot.
    pub(crate) persisted: RefCell<BTreeMap<u32, (u64, u32)>>,
    pub(crate) hard_states: RefCell<Vec<(u32, u32, Option<i32>)>>,
    pub(crate) failed: RefCell<Vec<(u32, AppendError)>>,
}

impl LogEvents for Events {
    fn handle_persisted(&self, slot: u32, last_index: u64, term: u32) {
        let before = self.persisted.borrow_mut().insert(slot, (last_index, term));
        let rises = before.is_none_or(|(index, before)| index < last_index || before < term);
        assert!(rises, "persisted indices rise but for a cut");
    }

    fn handle_hard_state_persisted(&self, slot: u32, term: u32, vote: Option<i32>) {
        self.hard_states.borrow_mut().push((slot, term, vote));
    }

    fn handle_failed(&self, slot: u32, error: &AppendError) {
        self.failed.borrow_mut().push((slot, error.clone()));
    }
}

/// An open engine with its workers.
pub(crate) struct Harness {
    pub(crate) clock: TestClock,
    pub(crate) events: Rc<Events>,
    pub(crate) engine: Engine<MemoryDisk, TestClock>,
    pub(crate) recovered: Vec<RecoveredLog>,
    workers: Vec<Option<Worker>>,
}

impl Harness {
    pub(crate) fn open(disk: &MemoryDisk, options: Options) -> Self {
        Self::try_open(disk, options).unwrap()
    }

    pub(crate) fn try_open(disk: &MemoryDisk, options: Options) -> Result<Self, OpenError> {
        let (clock, events) = (TestClock::default(), Rc::new(Events::default()));
        let owner: Rc<dyn LogEvents> = Rc::clone(&events) as _;
        let opened =
            crate::testing::block_on(Engine::open(disk.clone(), clock.clone(), options, owner))?;
        Ok(Self {
            clock,
            events,
            engine: opened.engine,
            recovered: opened.logs,
            workers: opened.workers.into_iter().map(Some).collect(),
        })
    }

    /// Polls every worker until nothing changes; returns whether any still lives.
    pub(crate) fn settle(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..64 {
            for worker in &mut self.workers {
                let ended = worker
                    .as_mut()
                    .is_some_and(|future| future.as_mut().poll(&mut context).is_ready());
                if ended {
                    *worker = None;
                }
            }
        }
    }

    /// Lets time pass to the next sleeper.
    pub(crate) fn advance(&mut self) {
        if let Some(due) = self.clock.sleepers.take() {
            self.clock.now.set(due.max(self.clock.now.get()));
        }
        self.settle();
    }

    /// Runs a future together with the workers.
    pub(crate) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future: Pin<&mut F> = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10_000 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.settle();
            self.advance();
        }
        panic!("the future never completes");
    }

    pub(crate) fn live_workers(&self) -> usize {
        self.workers.iter().flatten().count()
    }

    pub(crate) fn persisted(&self, slot: u32) -> u64 {
        self.events
            .persisted
            .borrow()
            .get(&slot)
            .map_or(0, |(index, _)| *index)
    }
}

pub(crate) type TestLog = PartitionLog<MemoryDisk, TestClock>;

pub(crate) fn key(number: u8) -> LogKey {
    LogKey {
        topic_id: [number; 16],
        partition: 0,
    }
}

/// Creates a log whose first entry starts term 1.
pub(crate) fn new_log(harness: &Harness, number: u8) -> TestLog {
    let log =
        harness
            .engine
            .create_log(key(number), &format!("topic{number}"), LogConfig::default());
    start_term(&log, 1);
    log
}

pub(crate) fn start_term(log: &TestLog, term: u32) {
    log.append(Entry::Side {
        index: log.next_index(),
        term,
        kind: SideKind::TermStart,
        payload: Bytes::new(),
    })
    .unwrap();
}

/// A batch of `count` records with values of `value_bytes`.
pub(crate) fn batch(count: u8, value_bytes: usize, seed: u8) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in 0..count {
        let value = vec![seed.wrapping_add(record); value_bytes];
        builder
            .append(i64::from(seed) * 1000, None, Some(&value), &[])
            .unwrap();
    }
    Bytes::from(builder.finish().unwrap())
}

pub(crate) fn append(log: &TestLog, bytes: Bytes) -> crate::AppendedEntry {
    let term = log.with_side_table(|side| side.last_term()).unwrap_or(1);
    log.append(Entry::Batch {
        bytes,
        first_index: log.next_index(),
        term,
    })
    .unwrap()
}

/// Everything readable from `offset` on, as one vector.
pub(crate) fn read_all(harness: &mut Harness, log: &TestLog, offset: i64) -> Vec<u8> {
    let end = log.log_end_offset();
    let (mut next, mut all) = (offset, Vec::new());
    while next < end {
        let pieces = harness.run(log.read(next, end, 1 << 20, true)).unwrap();
        let bytes = pieces.concat();
        assert!(!bytes.is_empty(), "no progress at {next}");
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let header = kafka_lite::record_batch::BatchHeader::decode(rest).unwrap();
            assert!(header.base_offset <= next, "no hole at {next}");
            next = header.next_offset();
            rest = &rest[header.size_bytes..];
        }
        all.extend_from_slice(&bytes);
    }
    all
}
