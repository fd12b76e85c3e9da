//! A segment through its life, compared with a walk over its bytes.

mod faults;
mod lookups;
mod tails;

use std::rc::Rc;

use bytes::Bytes;

use self::lookups::check_lookups;
use super::{
    Durability, FileKind, KnownTail, Segment, SegmentError, SegmentOptions, SegmentStore,
    StoreOptions, file_path,
};
use crate::disk_budget::DiskBudget;
use crate::testing::batches::{TestRecord, batch_with, codec, headers, plain_batch};
use crate::testing::{MemoryDisk, Random, block_on};

const OPTIONS: SegmentOptions = SegmentOptions {
    segment_bytes: 16 * 1024 * 1024,
};

struct World {
    disk: MemoryDisk,
    store: SegmentStore<MemoryDisk>,
    directory: Rc<str>,
}

fn world() -> World {
    world_with(DiskBudget::new(None))
}

fn world_with(budget: DiskBudget) -> World {
    let disk = MemoryDisk::new();
    let options = StoreOptions {
        staging_buffer_bytes: 8192,
        staging_buffer_count: 2,
        open_files_max: 3,
        ..StoreOptions::default()
    };
    World {
        store: SegmentStore::new(disk.clone(), budget, options),
        directory: Rc::from("logs/t-0"),
        disk,
    }
}

impl World {
    fn create(&self, base_offset: i64) -> Segment<MemoryDisk> {
        block_on(Segment::create(
            &self.store,
            &self.directory,
            base_offset,
            OPTIONS,
        ))
        .unwrap()
    }

    fn reopen(&self, base_offset: i64, end_position: u32, next_offset: i64) -> Segment<MemoryDisk> {
        let path = file_path(&self.directory, base_offset, FileKind::Log);
        let tail = KnownTail {
            end_position,
            next_offset,
            max_timestamp: None,
            file_length_bytes: self.disk.content(&path).unwrap().len() as u64,
        };
        Segment::open(&self.store, &self.directory, base_offset, OPTIONS, tail)
    }

    fn log(&self, base_offset: i64) -> Vec<u8> {
        self.disk
            .content(&file_path(&self.directory, base_offset, FileKind::Log))
            .unwrap()
    }
}

fn append(segment: &Segment<MemoryDisk>, pieces: &[Bytes]) {
    block_on(segment.append(pieces, Durability::OnSync)).unwrap();
}

/// Appends random batches cut into random pieces; returns their bytes.
fn append_random(segment: &Segment<MemoryDisk>, random: &mut Random, batches: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut offset = segment.next_offset();
    let mut timestamp = 1_000_000 + offset * 7;
    for number in 0..batches {
        let count = 1 + random.below(5);
        let records: Vec<TestRecord> = (0..count)
            .map(|_| {
                timestamp += i64::try_from(random.below(20)).unwrap() - 6;
                let value = vec![7; random.below(if number % 17 == 0 { 9000 } else { 300 })];
                (timestamp, None, Some(value))
            })
            .collect();
        let options = kafka_lite::record_batch::BatchOptions {
            base_offset: offset,
            partition_leader_epoch: 1,
            compression: codec(number),
            ..Default::default()
        };
        let bytes = batch_with(options, &records);
        offset += i64::try_from(count).unwrap();
        let cut = random.below(bytes.len());
        let durability = if random.below(4) == 0 {
            Durability::OnWrite
        } else {
            Durability::OnSync
        };
        let pieces = [bytes.slice(..cut), Bytes::new(), bytes.slice(cut..)];
        let appended = block_on(segment.append(&pieces, durability)).unwrap();
        assert_eq!(
            appended.end_position - appended.start_position,
            u32::try_from(bytes.len()).unwrap()
        );
        if durability == Durability::OnWrite {
            assert_eq!(segment.durable_position(), appended.end_position);
        }
        all.extend_from_slice(&bytes);
    }
    all
}

#[test]
fn a_rolled_segment_is_exactly_its_batches_and_its_indexes_point_at_them() {
    let world = world();
    let segment = world.create(500);
    let bytes = append_random(&segment, &mut Random::new(1), 300);
    assert!(
        world.log(500).len() > bytes.len(),
        "preallocated while active"
    );
    let closed = block_on(segment.roll()).unwrap();
    assert_eq!(world.log(500), bytes);
    assert_eq!(closed.size_bytes as usize, bytes.len());
    assert_eq!(closed.next_offset, segment.next_offset());
    assert_eq!(world.store.budget().used_bytes(), bytes.len() as u64);
    let batches = headers(&bytes);
    let largest = batches.iter().map(|(_, header)| header.max_timestamp).max();
    assert_eq!(closed.max_timestamp, largest);
    let index = world
        .disk
        .content("logs/t-0/00000000000000000500.index")
        .unwrap();
    assert!(index.len() > 80 && index.len().is_multiple_of(8));
    for entry in index.chunks(8) {
        let relative = u32::from_be_bytes(entry[..4].try_into().unwrap());
        let position = u32::from_be_bytes(entry[4..].try_into().unwrap());
        let found = batches.iter().find(|(at, _)| *at == position).unwrap();
        assert_eq!(found.1.last_offset(), 500 + i64::from(relative));
    }
    let times = world
        .disk
        .content("logs/t-0/00000000000000000500.timeindex")
        .unwrap();
    for entry in times.chunks(12) {
        let timestamp = i64::from_be_bytes(entry[..8].try_into().unwrap());
        let relative = u32::from_be_bytes(entry[8..].try_into().unwrap());
        let last_offset = 500 + i64::from(relative);
        let found = batches
            .iter()
            .find(|(_, header)| header.last_offset() == last_offset);
        assert_eq!(found.unwrap().1.max_timestamp, timestamp);
    }
    assert!(matches!(
        block_on(segment.append(&[plain_batch(9999, 1, 1, 1)], Durability::OnSync)),
        Err(SegmentError::Refused { .. })
    ));
}

#[test]
fn a_truncated_segment_goes_on_as_if_the_rest_had_never_been() {
    for keep in [0_usize, 1, 33, 79] {
        let world = world();
        let segment = world.create(0);
        let mut random = Random::new(3);
        let mut bytes = append_random(&segment, &mut random, 80);
        block_on(segment.settle()).unwrap();
        assert_eq!(world.log(0), bytes, "a settled file is exactly its batches");
        assert_eq!(world.store.budget().used_bytes(), bytes.len() as u64);
        let (position, header) = headers(&bytes)[keep];
        block_on(segment.truncate(position, header.base_offset)).unwrap();
        bytes.truncate(position as usize);
        bytes.extend(append_random(&segment, &mut random, 60));
        check_lookups(&world, None, &segment, &bytes);
        let closed = block_on(segment.roll()).unwrap();
        assert_eq!(world.log(0), bytes);
        world.store.forget(&world.directory, 0);
        check_lookups(&world, Some(closed), &segment, &bytes);
    }
}

#[test]
fn idle_segments_hold_nothing_and_wake_up_again() {
    let world = world();
    let segment = world.create(0);
    let mut bytes = append_random(&segment, &mut Random::new(4), 5);
    segment.rest();
    block_on(segment.sync()).unwrap();
    segment.rest();
    bytes.extend(append_random(&segment, &mut Random::new(5), 5));
    block_on(segment.roll()).unwrap();
    assert_eq!(world.log(0), bytes);
}

#[test]
fn open_files_and_cached_indexes_stay_in_their_bounds() {
    let world = world();
    let mut closed = Vec::new();
    for base in 0..10 {
        let segment = world.create(base * 1000);
        append_random(&segment, &mut Random::new(6), 10);
        closed.push(block_on(segment.roll()).unwrap());
    }
    for _ in 0..3 {
        for segment in &closed {
            let reader = block_on(world.store.reader(&world.directory, segment)).unwrap();
            let found = block_on(reader.lookup(segment.base_offset)).unwrap();
            assert_eq!(found.unwrap().0, 0);
            assert!(world.store.open_file_count() <= 3);
        }
    }
    let reads = world.disk.read_count();
    block_on(world.store.reader(&world.directory, &closed[9])).unwrap();
    assert_eq!(world.disk.read_count(), reads, "file and index are cached");
    block_on(world.store.remove_closed(&world.directory, &closed[0])).unwrap();
    assert!(block_on(world.store.reader(&world.directory, &closed[0])).is_err());
}
