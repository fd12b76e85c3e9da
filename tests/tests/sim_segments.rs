//! Segments and compaction on the simulated disk: a crash at every operation, under every loss.
//!
//! Goal              what was promised as durable is there, byte for byte; nothing else appears
//!                   that was not written; an interrupted compaction neither loses a key nor
//!                   revives one.
//! Method            the script runs once to count its operations, then once per operation and
//!                   loss. A reader works beside the compaction all the time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView, Compression};
use storage::compaction::{
    CompactionJob, CompactionPlan, CompactionRules, Pace, SegmentSwitch, compact_log,
    recover_interrupted,
};
use storage::disk::Disk;
use storage::disk_budget::DiskBudget;
use storage::retention::WallClock;
use storage::segment::{
    BatchWish, ClosedSegment, Durability, FileKind, KnownTail, Segment, SegmentError,
    SegmentOptions, SegmentStore, StoreOptions, parse_file_name,
};
use tests::sim::disk::{LOSSES, Loss, SimDisk};
use tests::sim::executor::Executor;

const OPTIONS: SegmentOptions = SegmentOptions {
    segment_bytes: 1 << 20,
};

const DIRECTORY: &str = "logs/t-0~00000000";

/// Key, value.
type Pair<'a> = (&'a str, Option<&'a [u8]>);

fn batch(base_offset: i64, compression: Compression, records: &[Pair<'_>]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        compression,
        partition_leader_epoch: 1,
        ..BatchOptions::default()
    });
    for (key, value) in records {
        builder
            .append(1000, Some(key.as_bytes()), *value, &[])
            .unwrap();
    }
    Bytes::from(builder.finish().unwrap())
}

fn store(disk: &SimDisk) -> SegmentStore<SimDisk> {
    let options = StoreOptions {
        staging_buffer_bytes: 8192,
        staging_buffer_count: 1,
        ..StoreOptions::default()
    };
    SegmentStore::new(disk.clone(), DiskBudget::new(None), options)
}

fn batches() -> Vec<Bytes> {
    let sizes = [10_usize, 700, 20_000, 1, 512, 9000, 33, 4000];
    let batches = sizes.iter().zip(0..).map(|(size, number)| {
        let value = vec![u8::try_from(number).unwrap(); *size];
        batch(
            number * 2,
            Compression::None,
            &[("k", Some(&value)), ("l", None)],
        )
    });
    batches.collect()
}

/// Appends everything and rolls; notes what was promised as durable as it goes.
async fn write_segment(store: SegmentStore<SimDisk>, promised: Rc<Cell<usize>>) {
    let directory: Rc<str> = Rc::from(DIRECTORY);
    let Ok(segment) = Segment::create(&store, &directory, 0, OPTIONS).await else {
        return;
    };
    for (number, bytes) in batches().into_iter().enumerate() {
        let durability = if number % 3 == 1 {
            Durability::OnWrite
        } else {
            Durability::OnSync
        };
        segment.append(&[bytes], durability).await.unwrap();
        if number % 4 == 2 {
            segment.sync().await.unwrap();
        }
        promised.set(segment.durable_position() as usize);
    }
    let closed = segment.roll().await.unwrap();
    promised.set(closed.size_bytes as usize);
}

#[test]
fn a_segment_keeps_what_it_promised_whatever_the_power_cut_takes() {
    let all = batches().concat();
    let mut operations = 0;
    for crash_at in 0.. {
        for (loss, seed) in LOSSES.into_iter().zip(1..) {
            let executor = Executor::new(seed);
            let disk = SimDisk::new(seed + crash_at * 10, &executor, 512);
            if crash_at > 0 {
                disk.crash_at(crash_at);
            }
            let promised = Rc::new(Cell::new(0));
            executor.block_on(write_segment(store(&disk), Rc::clone(&promised)));
            if crash_at == 0 {
                assert_eq!(promised.get(), all.len());
                operations = disk.counts().operations;
                continue;
            }
            check_segment(&disk, loss, promised.get(), &all);
        }
        if crash_at == operations {
            break;
        }
    }
    assert!(operations > 20, "{operations} operations");
}

/// Opens what the crash left: a prefix of what was written, at least what was promised; goes on
/// from there.
fn check_segment(disk: &SimDisk, loss: Loss, promised: usize, all: &[u8]) {
    let executor = Executor::new(1);
    let disk = disk.after_crash(loss, &executor);
    let store = store(&disk);
    let left = disk.clone();
    let end = executor.block_on(async move {
        let entries = left.list(DIRECTORY).await.unwrap();
        let log = entries.iter().find(|entry| entry.name.ends_with(".log"))?;
        let tail = KnownTail {
            end_position: 0,
            next_offset: 0,
            max_timestamp: None,
            file_length_bytes: log.length_bytes,
        };
        let directory: Rc<str> = Rc::from(DIRECTORY);
        let segment = Segment::open(&store, &directory, 0, OPTIONS, tail);
        let scan = segment.scan_tail(0, |_, _| {}).await.unwrap();
        let next = batch(
            scan.next_offset,
            Compression::None,
            &[("after", Some(b"the crash"))],
        );
        segment
            .append(std::slice::from_ref(&next), Durability::OnWrite)
            .await
            .unwrap();
        segment.roll().await.unwrap();
        let reader = segment.reader().await.unwrap();
        let bytes = reader.read(0, u32::MAX).await.unwrap();
        Some((scan.valid_end as usize, bytes, next))
    });
    let Some((end, bytes, next)) = end.unwrap() else {
        assert_eq!(promised, 0, "the file is there once anything was promised");
        return;
    };
    assert!(
        end >= promised,
        "{loss:?}: {end} of {promised} promised bytes"
    );
    assert_eq!(bytes[..end], all[..end], "{loss:?}");
    assert_eq!(
        bytes[end..],
        next,
        "{loss:?}: nothing old behind the new batch"
    );
    let path = format!("{DIRECTORY}/{:020}.log", 0);
    assert_eq!(
        disk.contents(&path).unwrap(),
        bytes,
        "{loss:?}: exact length"
    );
}

/// The log of the compaction: closed segments on a disk, and the state that they add up to.
struct Log {
    store: SegmentStore<SimDisk>,
    directory: Rc<str>,
    closed: RefCell<Vec<ClosedSegment>>,
}

/// Keys with what they were last set to.
type State = BTreeMap<String, Option<Vec<u8>>>;

async fn fill(store: SegmentStore<SimDisk>) -> (Rc<Log>, State) {
    let directory: Rc<str> = Rc::from(DIRECTORY);
    let (mut state, mut closed, mut offset) = (State::new(), Vec::new(), 0);
    for segment_number in 0..5_u8 {
        let segment = Segment::create(&store, &directory, offset, OPTIONS)
            .await
            .unwrap();
        for number in 0..4_u8 {
            let value = [segment_number, number, 7, 7];
            let keys = [format!("k{}", number % 3), format!("only-{segment_number}")];
            let deleted = number == 3 && segment_number % 2 == 0;
            let second = (!deleted).then_some(&value[..]);
            let records = [
                (keys[0].as_str(), Some(&value[..])),
                (keys[1].as_str(), second),
            ];
            let codec = if number % 2 == 0 {
                Compression::Zstd
            } else {
                Compression::None
            };
            segment
                .append(&[batch(offset, codec, &records)], Durability::OnSync)
                .await
                .unwrap();
            for (key, value) in records {
                state.insert(key.to_owned(), value.map(<[u8]>::to_vec));
                offset += 1;
            }
        }
        closed.push(segment.roll().await.unwrap());
    }
    let closed = RefCell::new(closed);
    (
        Rc::new(Log {
            store,
            directory,
            closed,
        }),
        state,
    )
}

impl SegmentSwitch for Log {
    type Turn = ();

    async fn begin(&self, _: &[ClosedSegment], _: i64) -> Result<Option<()>, SegmentError> {
        Ok(Some(()))
    }

    fn finish(&self, (): (), sources: &[ClosedSegment], output: ClosedSegment) {
        let mut list = self.closed.borrow_mut();
        let at = list
            .iter()
            .position(|segment| *segment == sources[0])
            .unwrap();
        list.splice(at..at + sources.len(), [output]).for_each(drop);
    }
}

impl Log {
    async fn compact(&self, executor: &Executor) -> Result<(), SegmentError> {
        let closed = self.closed.borrow().clone();
        let producers = BTreeMap::new();
        let job = CompactionJob {
            closed: &closed,
            plan: CompactionPlan {
                first_dirty_offset: 0,
                end_offset: closed.last().unwrap().next_offset,
                dirty_ratio: 1.0,
            },
            rules: CompactionRules {
                min_cleanable_dirty_ratio: 0.0,
                min_compaction_lag_ms: 0,
                max_compaction_lag_ms: u64::MAX,
                delete_retention_ms: 1000,
                segment_bytes: 1500,
            },
            clock: WallClock {
                now_ms: 5000,
                is_synchronised: true,
            },
            map_bytes: 24 * 1000,
            uses_reserve: false,
            active_producers: &producers,
            aborted: &[],
        };
        let mut pace = Pace::new(executor.clone(), 1 << 20);
        compact_log(&self.store, &self.directory, &job, &mut pace, self).await?;
        Ok(())
    }

    /// Reads the whole log as a consumer does, offset by offset, while segments may be replaced.
    async fn read_state(&self) -> State {
        let (mut state, mut next) = (State::new(), 0);
        loop {
            let found = {
                let closed = self.closed.borrow();
                closed
                    .iter()
                    .find(|segment| segment.next_offset > next)
                    .copied()
            };
            let Some(segment) = found else {
                return state;
            };
            let reader = match self.store.reader(&self.directory, &segment).await {
                Err(SegmentError::Replaced) => continue,
                reader => reader.unwrap(),
            };
            let Some(read) = reader
                .read_batches(BatchWish::new(next, 200, i64::MAX))
                .await
                .unwrap()
            else {
                next = segment.next_offset;
                continue;
            };
            assert!(read.next_offset > next, "a read makes progress");
            apply(&read.bytes, next, &mut state);
            next = read.next_offset;
        }
    }
}

/// Applies the records from `offset` on.
fn apply(bytes: &Bytes, offset: i64, state: &mut State) {
    let mut rest: &[u8] = bytes;
    while let Some((view, later)) = BatchView::split_first(rest).unwrap() {
        view.check_crc().unwrap();
        let mut scratch = Vec::new();
        for record in view.records(&Default::default(), &mut scratch).unwrap() {
            let record = record.unwrap();
            assert!(record.offset >= offset, "reading by offset never goes back");
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            state.insert(key, record.value.map(<[u8]>::to_vec));
        }
        rest = later;
    }
}

/// The same state, but a deleted key may be gone altogether.
fn check_state(seen: &State, expected: &State) {
    for (key, value) in expected {
        match seen.get(key) {
            Some(found) => assert_eq!(found, value, "{key}"),
            None => assert_eq!(*value, None, "{key} is lost"),
        }
    }
    assert!(
        seen.keys().all(|key| expected.contains_key(key)),
        "keys from nowhere"
    );
}

#[test]
fn an_interrupted_compaction_loses_and_revives_nothing() {
    let mut last_operation = 0;
    for step in 0.. {
        for (loss, seed) in LOSSES.into_iter().zip(1..) {
            let executor = Executor::new(seed + step);
            let disk = SimDisk::new(seed + step * 10, &executor, 512);
            let (log, expected) = executor.block_on(fill(store(&disk))).unwrap();
            let start = disk.counts().operations;
            if step > 0 {
                disk.crash_at(start + step);
            }
            let reader = Rc::clone(&log);
            let wanted = expected.clone();
            executor.spawn(async move {
                for _ in 0..20 {
                    check_state(&reader.read_state().await, &wanted);
                }
            });
            let (writer, clock) = (Rc::clone(&log), executor.clone());
            let result = executor.block_on(async move { writer.compact(&clock).await });
            if step == 0 {
                result.unwrap().unwrap();
                executor.run_until(1_000_000, || false);
                assert!(log.closed.borrow().len() < 5, "neighbours were merged");
                last_operation = disk.counts().operations - start;
                continue;
            }
            let executor = Executor::new(seed);
            let disk = disk.after_crash(loss, &executor);
            executor
                .block_on(recover_and_check(disk, executor.clone(), expected))
                .unwrap();
        }
        if step == last_operation.min(400) {
            break;
        }
    }
    assert!(last_operation > 50, "{last_operation} operations");
}

async fn recover_and_check(disk: SimDisk, clock: Executor, expected: State) {
    let store = store(&disk);
    let directory: Rc<str> = Rc::from(DIRECTORY);
    recover_interrupted(&store, &directory).await.unwrap();
    let mut closed = Vec::new();
    for entry in disk.list(&directory).await.unwrap() {
        let (base, kind) = parse_file_name(&entry.name).unwrap();
        assert!(
            !matches!(kind, FileKind::Cleaned | FileKind::Swap),
            "{}",
            entry.name
        );
        if kind == FileKind::Log {
            let size = u32::try_from(entry.length_bytes).unwrap();
            closed.push(store.recover_closed(&directory, base, size).await.unwrap());
        }
    }
    let log = Log {
        store,
        directory,
        closed: RefCell::new(closed),
    };
    check_state(&log.read_state().await, &expected);
    log.compact(&clock).await.unwrap();
    check_state(&log.read_state().await, &expected);
}
