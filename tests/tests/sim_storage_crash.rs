//! The log engine crashes at every storage operation of a scripted run, under every kind of loss.
//!
//! Goal      nothing persisted is lost, nothing is invented. After each restart, per log:
//! 1. everything that was reported persisted is there, at its offset, byte for byte;
//! 2. what else is there was appended at exactly that offset: nothing is invented, nothing is
//!    doubled;
//! 3. offsets are dense; bounds agree with what can be read;
//! 4. a resend of any persisted batch among the last five that the log's producer sent is known;
//! 5. the log takes appends in a new term, and rules 1 to 4 hold again after a second crash;
//! 6. a log with `flush.messages` above 1 may have lost records that were acknowledged, but fewer
//!    than that, and only from its end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::producer::ProducerCheck;
use kafka_lite::record_batch::{BatchBuilder, BatchHeader, BatchOptions, BatchProducer, BatchView};
use storage::disk::Clock;
use storage::{
    AppendError, Engine, Entry, LogConfig, LogEvents, LogKey, Options, PartitionLog, SideKind,
};
use tests::sim::disk::{LOSSES, Loss, SimDisk};
use tests::sim::executor::Executor;
use tests::sim::random::Random;

const LOGS: i32 = 3;
const APPENDS: usize = 60;
/// The log that does not ask for a flush of each batch, and its `flush.messages`.
const UNFLUSHED_LOG: i32 = 2;
const FLUSH_MESSAGES: u64 = 9;

type SimEngine = Engine<SimDisk, Executor>;
type SimLog = PartitionLog<SimDisk, Executor>;

/// What the world outside knows of one log.
#[derive(Default, Clone)]
struct Known {
    /// Batches by base offset as they were appended, offset and epoch patched out: payload and
    /// records.
    batches: BTreeMap<i64, (Bytes, i64)>,
    /// Base offsets in the order of sending. What was lost counts: a producer that sent five more
    /// has heard of those before, and sends them no more.
    sent: Vec<i64>,
    /// Exclusive end of what was reported persisted.
    persisted_end: i64,
    /// Offset after an index, for the events.
    end_of_index: BTreeMap<u64, i64>,
}

/// All logs, by key; events come by slot.
#[derive(Default)]
struct Oracle {
    known: RefCell<BTreeMap<i32, Known>>,
    partition_of_slot: RefCell<BTreeMap<u32, i32>>,
    failures: RefCell<Vec<String>>,
    /// Records of the log without flushes that were acknowledged and are gone.
    lost: Cell<i64>,
}

impl LogEvents for Oracle {
    fn handle_persisted(&self, slot: u32, last_index: u64, _term: u32) {
        let partition = self
            .partition_of_slot
            .borrow()
            .get(&slot)
            .copied()
            .expect("known slot");
        let mut known = self.known.borrow_mut();
        let log = known.entry(partition).or_default();
        let end = log
            .end_of_index
            .get(&last_index)
            .copied()
            .expect("an index that was appended");
        log.persisted_end = log.persisted_end.max(end);
    }

    fn handle_hard_state_persisted(&self, _slot: u32, _term: u32, _vote: Option<i32>) {}

    fn handle_failed(&self, slot: u32, error: &AppendError) {
        self.failures
            .borrow_mut()
            .push(format!("log {slot}: {error}"));
    }
}

fn key(partition: i32) -> LogKey {
    LogKey {
        topic_id: [7; 16],
        partition,
    }
}

/// Small numbers, so that sixty appends use the ring twice and fill segments.
fn options() -> Options {
    Options {
        ring_files: 3,
        ring_file_bytes: 64 * 1024,
        commit_bytes: 16 * 1024,
        commits_in_flight: 2,
        direct_bytes: 6 * 1024,
        bulk_bytes: 64 * 1024,
        append_buffer_bytes: 64 * 1024,
        log_buffer_bytes: 16 * 1024,
        ..Options::gateway(0)
    }
}

fn log_config(partition: i32) -> LogConfig {
    LogConfig {
        segment_bytes: 48 * 1024,
        flush_messages: if partition == UNFLUSHED_LOG {
            FLUSH_MESSAGES
        } else {
            1
        },
        flush_interval: Duration::from_millis(4),
        ..LogConfig::default()
    }
}

/// A batch of `records` records whose bytes name log and number. Each log has one idempotent
/// producer, so that a sequence is an offset.
fn batch(partition: i32, number: usize, (records, size): (usize, usize), offset: i64) -> Bytes {
    let producer = BatchProducer {
        id: i64::from(partition),
        epoch: 0,
        base_sequence: i32::try_from(offset).expect("small"),
    };
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: Some(producer),
        ..BatchOptions::default()
    });
    for record in 0..records {
        let mut value = format!("{partition}/{number}/{record} ").into_bytes();
        value.resize(size, b'x');
        builder
            .append(1_000, None, Some(&value), &[])
            .expect("fits");
    }
    builder.finish().expect("builds").into()
}

/// The part of a batch that the log must not change.
fn unchanging(batch: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&batch[16..])
}

async fn open(disk: SimDisk, clock: Executor, oracle: Rc<Oracle>) -> SimEngine {
    let events: Rc<dyn LogEvents> = oracle.clone();
    let opened = Engine::open(disk, clock.clone(), options(), events)
        .await
        .expect("recovery succeeds");
    for log in &opened.logs {
        assert!(
            log.damaged.is_none(),
            "a crash is not damage: {:?}",
            log.damaged
        );
        oracle
            .partition_of_slot
            .borrow_mut()
            .insert(log.slot, log.key.partition);
    }
    for worker in opened.workers {
        clock.spawn(worker);
    }
    opened.engine
}

/// Appends what the script says, in a term of its own, until done or the world stops.
async fn script(engine: SimEngine, clock: Executor, oracle: Rc<Oracle>, term: u32, seed: u64) {
    let mut random = Random::new(seed, 3);
    for partition in 0..LOGS {
        let log = engine.create_log(key(partition), "sim", log_config(partition));
        oracle
            .partition_of_slot
            .borrow_mut()
            .insert(log.slot(), partition);
        engine.journal_hard_state(log.slot(), term, Some(0));
        let index = log.next_index();
        let end = log.log_end_offset();
        note(&oracle, partition, index, end);
        let entry = Entry::Side {
            index,
            term,
            kind: SideKind::TermStart,
            payload: Bytes::new(),
        };
        log.append(entry).expect("a term starts");
    }
    for number in 0..APPENDS {
        let partition = i32::try_from(random.below(3)).expect("small");
        let log = engine.log(key(partition)).expect("created");
        let (records, size) = match random.below(10) {
            0 => (1, 9_000),
            1 => (4, 3_000),
            _ => (1 + random.below(4), 50 + random.below(400)),
        };
        let bytes = batch(partition, number, (records, size), log.log_end_offset());
        log.wait_room(bytes.len())
            .await
            .expect("the engine is open");
        let header = BatchHeader::decode(&bytes).expect("a batch");
        assert_eq!(log.check_producer(&header), ProducerCheck::Append);
        let (first_index, base_offset) = (log.next_index(), log.log_end_offset());
        let end = base_offset + i64::try_from(records).expect("small");
        note(&oracle, partition, first_index + records as u64 - 1, end);
        let stored = (unchanging(&bytes), end);
        note_sent(&oracle, partition, base_offset, stored);
        log.append(Entry::Batch {
            bytes,
            first_index,
            term,
        })
        .expect("there is room");
        if random.happens(30) {
            clock
                .sleep(Duration::from_micros(random.draw() % 3_000))
                .await;
        }
    }
}

fn note_sent(oracle: &Oracle, partition: i32, base_offset: i64, stored: (Bytes, i64)) {
    let mut known = oracle.known.borrow_mut();
    let log = known.entry(partition).or_default();
    log.sent.push(base_offset);
    log.batches.insert(base_offset, stored);
}

fn note(oracle: &Oracle, partition: i32, index: u64, end: i64) {
    oracle
        .known
        .borrow_mut()
        .entry(partition)
        .or_default()
        .end_of_index
        .insert(index, end);
}

/// Reads every log and compares; what was not persisted and is gone is forgotten.
async fn check(engine: SimEngine, oracle: Rc<Oracle>, story: String) {
    for partition in 0..LOGS {
        let mut known = oracle
            .known
            .borrow()
            .get(&partition)
            .cloned()
            .unwrap_or_default();
        let Some(log) = engine.log(key(partition)) else {
            assert_eq!(known.persisted_end, 0, "{story}: log {partition} is gone");
            continue;
        };
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        assert_eq!(start, 0, "{story}: log {partition} starts at {start}");
        let lost = (known.persisted_end - end).max(0);
        let lost_max = match partition {
            UNFLUSHED_LOG => i64::try_from(FLUSH_MESSAGES).expect("small") - 1,
            _ => 0,
        };
        assert!(
            lost <= lost_max,
            "{story}: log {partition} ends at {end}, acknowledged up to {}",
            known.persisted_end
        );
        oracle.lost.set(oracle.lost.get() + lost);
        let mut offset = start;
        let last_sent: Vec<i64> = known.sent.iter().rev().take(5).copied().collect();
        while offset < end {
            let pieces = log
                .read(offset, end, 20_000, true)
                .await
                .unwrap_or_else(|error| {
                    panic!("{story}: log {partition} at {offset} of {end} start {start}: {error}")
                });
            let bytes = pieces.concat();
            assert!(
                !bytes.is_empty(),
                "{story}: log {partition} has a hole at {offset}"
            );
            let mut rest = bytes.as_slice();
            while let Some((view, after)) = BatchView::split_first(rest).expect("whole batches") {
                view.check_crc().expect("the CRC holds");
                assert_eq!(
                    view.header().base_offset,
                    offset,
                    "{story}: log {partition}"
                );
                let (expected, next) = known.batches.get(&offset).unwrap_or_else(|| panic!("{story}: {partition}/{offset} was not appended there; end {end} persisted {}; known {:?}", known.persisted_end, known.batches.keys().collect::<Vec<_>>()));
                assert_eq!(
                    *expected,
                    unchanging(view.bytes()),
                    "{story}: {partition}/{offset}"
                );
                if *next <= known.persisted_end && last_sent.contains(&offset) {
                    check_resend(&log, view.header(), *next - 1, &story);
                }
                offset = *next;
                rest = after;
            }
        }
        assert_eq!(offset, end, "{story}: log {partition} reads to its end");
        known.batches.retain(|base_offset, _| *base_offset < end);
        known.persisted_end = known.persisted_end.min(end);
        oracle.known.borrow_mut().insert(partition, known);
    }
}

/// A batch that was answered is known when the producer sends it again.
fn check_resend(log: &SimLog, header: &BatchHeader, last_offset: i64, story: &str) {
    let known = ProducerCheck::Duplicate {
        base_offset: header.base_offset,
        last_offset,
        log_append_time: None,
    };
    let key = log.key();
    assert_eq!(log.check_producer(header), known, "{story}: {key:?}");
}

/// One life: opens, checks what earlier lives left, appends. Returns the disk and whether it
/// crashed.
fn live(
    disk: SimDisk,
    executor: &Executor,
    oracle: &Rc<Oracle>,
    term: u32,
    seed: u64,
    story: &str,
) -> SimDisk {
    let (handle, clock, known, told) = (
        disk.clone(),
        executor.clone(),
        oracle.clone(),
        story.to_owned(),
    );
    let finished = executor.block_on(async move {
        let engine = open(handle, clock.clone(), known.clone()).await;
        check(engine.clone(), known.clone(), told).await;
        script(engine.clone(), clock, known, term, seed).await;
        engine.shutdown().await.expect("stops cleanly");
    });
    assert!(
        finished.is_some() || executor.is_stopped(),
        "{story}: stalled"
    );
    let failures = oracle.failures.borrow();
    assert!(failures.is_empty(), "{story}: {failures:?}");
    disk
}

/// How many operations the script takes when nothing happens.
fn operations_of(seed: u64) -> u64 {
    let executor = Executor::new(seed);
    let disk = SimDisk::new(seed, &executor, 512);
    live(disk, &executor, &Rc::default(), 1, seed, "no crash")
        .counts()
        .operations
}

/// Returns how many acknowledged records the log without flushes lost.
fn crash_and_recover(seed: u64, at: u64, loss: Loss) -> i64 {
    let story = format!("seed {seed}, crash at operation {at}, {loss:?}");
    let oracle: Rc<Oracle> = Rc::default();
    let executor = Executor::new(seed);
    let disk = SimDisk::new(seed, &executor, 512);
    disk.crash_at(at);
    let disk = live(disk, &executor, &oracle, 1, seed, &story);
    // The second life crashes too, somewhere between its recovery and its last append.
    let again = Executor::new(seed + 1);
    let disk = disk.after_crash(loss, &again);
    disk.crash_at(1 + (at * 7 + seed) % 90);
    let story = format!("{story}, second life");
    let disk = live(disk, &again, &oracle, 2, seed + 1, &story);
    let last = Executor::new(seed + 2);
    let disk = disk.after_crash(loss, &last);
    let story = format!("{story}, third life");
    live(disk, &last, &oracle, 3, seed + 2, &story);
    oracle.lost.get()
}

#[test]
fn a_crash_at_any_operation_loses_nothing_persisted_and_invents_nothing() {
    let seed = 11;
    let operations = operations_of(seed);
    assert!(operations > 50, "the script reaches the disk: {operations}");
    let mut lost = 0;
    for at in 1..=operations {
        for loss in LOSSES {
            lost += crash_and_recover(seed, at, loss);
        }
    }
    assert!(lost > 0, "no flush is awaited where none is asked for");
}

#[test]
fn other_seeds_crash_at_random_operations() {
    for seed in 100..160 {
        let operations = operations_of(seed);
        let mut random = Random::new(seed, 9);
        for loss in LOSSES {
            let at = 1 + random.draw() % operations;
            crash_and_recover(seed, at, loss);
        }
    }
}
