//! A segment through its life, compared with a walk over its bytes.

use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::record_batch::BatchView;

use super::{
    BatchWish, ClosedSegment, Durability, FileKind, KnownTail, Segment, SegmentError,
    SegmentOptions, SegmentStore, StoreOptions, TailStop, file_path,
};
use crate::disk::DiskError;
use crate::disk_budget::DiskBudget;
use crate::testing::batches::{TestRecord, batch, batch_with, codec, headers, plain_batch};
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

/// Compares every lookup of a reader with a walk over the bytes.
fn check_lookups(
    world: &World,
    closed: Option<ClosedSegment>,
    segment: &Segment<MemoryDisk>,
    bytes: &[u8],
) {
    let reader = match closed {
        Some(closed) => block_on(world.store.reader(&world.directory, &closed)).unwrap(),
        None => block_on(segment.reader()).unwrap(),
    };
    let batches = headers(bytes);
    let end = batches.last().unwrap().1.next_offset();
    for offset in segment.base_offset()..end {
        let expected = batches
            .iter()
            .find(|(_, header)| header.last_offset() >= offset)
            .unwrap();
        assert_eq!(block_on(reader.lookup(offset)).unwrap(), Some(*expected));
        let read = block_on(reader.read_batches(BatchWish::new(offset, 1000, end)))
            .unwrap()
            .unwrap();
        let start = expected.0 as usize;
        assert_eq!(read.bytes, bytes[start..start + read.bytes.len()]);
        assert_eq!(read.base_offset, expected.1.base_offset);
        let last = headers(&read.bytes).last().unwrap().1;
        assert_eq!(read.next_offset, last.next_offset());
        let one_more = batches
            .iter()
            .find(|(_, header)| header.base_offset == read.next_offset);
        let size = one_more.map_or(usize::MAX >> 1, |(_, header)| header.size_bytes);
        assert!(read.bytes.len() + size > 1000, "as much as fits");
        assert!(read.bytes.len() <= 1000 || headers(&read.bytes).len() == 1);
    }
    assert_eq!(
        block_on(reader.read_batches(BatchWish::new(end, 1000, i64::MAX))).unwrap(),
        None
    );
    assert_eq!(block_on(reader.lookup(end)).unwrap(), None);
    let mut records = Vec::new();
    for (position, header) in &batches {
        let view = BatchView::new(&bytes[*position as usize..]).unwrap();
        assert_eq!(view.header(), header);
        let mut scratch = Vec::new();
        for record in view.records(&Default::default(), &mut scratch).unwrap() {
            let record = record.unwrap();
            records.push((record.timestamp, record.offset));
        }
    }
    let (smallest, largest) = (
        records.iter().min().unwrap().0,
        records.iter().max().unwrap().0,
    );
    for timestamp in (smallest - 2)..(largest + 2) {
        let expected = records.iter().find(|record| record.0 >= timestamp);
        let found = block_on(reader.lookup_timestamp(timestamp, 0)).unwrap();
        assert_eq!(
            found.map(|found| (found.timestamp, found.offset)),
            expected.copied()
        );
    }
    let middle = (segment.base_offset() + end) >> 1;
    let expected = records
        .iter()
        .find(|record| record.1 >= middle && record.0 >= smallest);
    let found = block_on(reader.lookup_timestamp(smallest, middle)).unwrap();
    assert_eq!(
        found.map(|found| (found.timestamp, found.offset)),
        expected.copied()
    );
    let found = block_on(reader.lookup_max_timestamp()).unwrap().unwrap();
    let first_largest = records.iter().find(|record| record.0 == largest).unwrap();
    assert_eq!((found.timestamp, found.offset), *first_largest);
}

#[test]
fn every_lookup_agrees_with_a_walk_active_closed_and_recovered() {
    for seed in 1..4 {
        let world = world();
        let segment = world.create(70);
        let bytes = append_random(&segment, &mut Random::new(seed), 120);
        check_lookups(&world, None, &segment, &bytes);
        let closed = block_on(segment.roll()).unwrap();
        check_lookups(&world, Some(closed), &segment, &bytes);
        world.store.forget(&world.directory, 70);
        check_lookups(&world, Some(closed), &segment, &bytes);
        block_on(crate::disk::Disk::remove(
            &world.disk,
            "logs/t-0/00000000000000000070.index",
        ))
        .unwrap();
        world.store.forget(&world.directory, 70);
        let size = closed.size_bytes;
        let recovered = block_on(world.store.recover_closed(&world.directory, 70, size)).unwrap();
        assert_eq!(recovered, closed);
        check_lookups(&world, Some(recovered), &segment, &bytes);
    }
}

#[test]
fn a_reopened_segment_scans_its_tail_and_completes_its_index() {
    for known_batches in [0, 40] {
        let world = world();
        let segment = world.create(0);
        let mut random = Random::new(9);
        let mut bytes = append_random(&segment, &mut random, 80);
        block_on(segment.sync()).unwrap();
        let lost = append_random(&segment, &mut random, 1);
        assert!(!lost.is_empty());
        let batches = headers(&bytes);
        let (position, next_offset) = match known_batches {
            0 => (0, 0),
            count => (batches[count].0, batches[count].1.base_offset),
        };
        drop(segment);
        world.disk.lose_power();
        let segment = world.reopen(0, position, next_offset);
        let mut seen = Vec::new();
        let scan = block_on(segment.scan_tail(0, |at, header| seen.push((at, *header)))).unwrap();
        assert_eq!(seen, batches[known_batches..]);
        assert_eq!(scan.stop, TailStop::Zeroes);
        assert_eq!(scan.valid_end as usize, bytes.len());
        assert_eq!(scan.leader_epoch, 1);
        bytes.extend(append_random(&segment, &mut random, 40));
        check_lookups(&world, None, &segment, &bytes);
        let closed = block_on(segment.roll()).unwrap();
        assert_eq!(world.log(0), bytes);
        world.store.forget(&world.directory, 0);
        check_lookups(&world, Some(closed), &segment, &bytes);
    }
}

#[test]
fn a_tail_scan_says_why_it_stops() {
    let first = plain_batch(10, 3, 100, 1);
    let second = plain_batch(13, 2, 400, 1);
    let damaged = {
        let mut bytes = second.to_vec();
        bytes[300] ^= 1;
        Bytes::from(bytes)
    };
    let one = || Some(vec![1]);
    let cases = [
        (vec![], TailStop::EndOfFile),
        (vec![Bytes::from(vec![0; 5])], TailStop::Zeroes),
        (vec![Bytes::from(vec![0; 500])], TailStop::Zeroes),
        (vec![second.slice(..40)], TailStop::Torn),
        (vec![second.slice(..400)], TailStop::Torn),
        (vec![Bytes::from(vec![0xff; 500])], TailStop::Torn),
        (vec![damaged], TailStop::BadCrc),
        (
            vec![second.slice(..400), Bytes::from(vec![0; 4000])],
            TailStop::BadCrc,
        ),
        (vec![plain_batch(14, 1, 10, 1)], TailStop::OffsetGap),
        (vec![plain_batch(12, 1, 10, 1)], TailStop::OffsetGap),
        (
            vec![batch(13, 0, &[(1, None, one())])],
            TailStop::EpochWentBack,
        ),
    ];
    for (tail, expected) in cases {
        let world = world();
        let mut bytes = first.to_vec();
        for piece in &tail {
            bytes.extend_from_slice(piece);
        }
        world
            .disk
            .set_content("logs/t-0/00000000000000000010.log", &bytes);
        let segment = world.reopen(10, 0, 10);
        let scan = block_on(segment.scan_tail(0, |_, _| {})).unwrap();
        assert_eq!(
            scan.stop,
            expected,
            "{} bytes of tail",
            bytes.len() - first.len()
        );
        assert_eq!(scan.valid_end as usize, first.len());
        assert_eq!((scan.next_offset, segment.next_offset()), (13, 13));
        append(&segment, &[plain_batch(13, 1, 1, 1)]);
        let log = world.log(10);
        let end = first.len() + plain_batch(13, 1, 1, 1).len();
        assert!(
            log[end..].iter().all(|byte| *byte == 0),
            "the old tail is gone"
        );
    }
}

#[test]
fn hostile_tails_never_yield_a_batch_with_a_wrong_crc() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let world = world();
        let segment = world.create(0);
        let mut bytes = append_random(&segment, &mut random, 12);
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes.truncate(at.max(1)),
                2 => {
                    let value = u32::try_from(random.next() & 0xffff_ffff)
                        .unwrap()
                        .to_be_bytes();
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].copy_from_slice(&value[..end - at]);
                }
                3 => {
                    let end = (at + random.below(2000)).min(bytes.len());
                    bytes[at..end].fill(0);
                }
                _ => {
                    let from = random.below(bytes.len());
                    let length = random.below(500).min(bytes.len() - from.max(at));
                    bytes.copy_within(from..from + length, at);
                }
            }
        }
        world
            .disk
            .set_content("logs/t-0/00000000000000000000.log", &bytes);
        let segment = world.reopen(0, 0, 0);
        let mut expected_offset = 0;
        let scan = block_on(segment.scan_tail(0, |position, header| {
            let view = BatchView::new(&bytes[position as usize..]).unwrap();
            view.check_crc().unwrap();
            assert_eq!(header.base_offset, expected_offset);
            expected_offset = header.next_offset();
        }))
        .unwrap();
        assert_eq!(scan.next_offset, expected_offset);
        drop(block_on(segment.reader()).unwrap());
    }
}

#[test]
fn a_full_disk_refuses_and_the_same_append_succeeds_later() {
    let world = world();
    let segment = world.create(0);
    append(&segment, &[plain_batch(0, 10, 100, 1)]);
    world.disk.set_capacity(world.log(0).len() as u64 + 1000);
    let large = plain_batch(10, 300, 1000, 1);
    let error = block_on(segment.append(std::slice::from_ref(&large), Durability::OnWrite));
    assert!(matches!(
        error,
        Err(SegmentError::Disk(DiskError::Full { .. }))
    ));
    assert_eq!(segment.next_offset(), 10);
    append(&segment, &[plain_batch(10, 1, 10, 1)]);
    world.disk.set_capacity(u64::MAX);
    append(&segment, &[plain_batch(11, 300, 1000, 1)]);
    let closed = block_on(segment.roll()).unwrap();
    assert_eq!(headers(&world.log(0)).len(), 3);
    assert_eq!(
        world.store.budget().used_bytes(),
        u64::from(closed.size_bytes)
    );
}

#[test]
fn the_budget_refuses_before_the_disk_does() {
    let world = world_with(DiskBudget::new(Some(300 * 1024)));
    let segment = world.create(0);
    append(&segment, &[plain_batch(0, 10, 100, 1)]);
    let other = block_on(Segment::create(
        &world.store,
        &Rc::from("logs/u-0"),
        0,
        OPTIONS,
    ))
    .unwrap();
    append(&other, &[plain_batch(0, 10, 100, 1)]);
    let error = block_on(other.append(&[plain_batch(10, 100, 1000, 1)], Durability::OnSync));
    assert!(matches!(
        error,
        Err(SegmentError::Disk(DiskError::Full { .. }))
    ));
    block_on(segment.remove()).unwrap();
    append(&other, &[plain_batch(10, 100, 1000, 1)]);
    block_on(other.remove()).unwrap();
    assert_eq!(world.store.budget().used_bytes(), 0);
    assert_eq!(world.disk.paths(), Vec::<String>::new());
}

#[test]
fn a_failed_write_is_cut_and_a_failed_sync_poisons() {
    let world = world();
    let segment = world.create(0);
    append(&segment, &[plain_batch(0, 1, 100, 1)]);
    world.disk.fail_next_sync();
    assert!(matches!(
        block_on(segment.sync()),
        Err(SegmentError::Disk(_))
    ));
    assert!(segment.is_poisoned());
    assert!(matches!(
        block_on(segment.sync()),
        Err(SegmentError::Poisoned { .. })
    ));
    let error = block_on(segment.append(&[plain_batch(1, 1, 100, 1)], Durability::OnSync));
    assert!(matches!(error, Err(SegmentError::Poisoned { .. })));
}

#[test]
fn what_is_not_whole_batches_in_order_is_refused() {
    let world = world();
    let segment = world.create(5);
    let good = plain_batch(5, 2, 50, 1);
    for pieces in [
        vec![good.slice(..80)],
        vec![good.clone(), good.clone()],
        vec![good.clone(), Bytes::from_static(b"x")],
        vec![plain_batch(4, 1, 1, 1)],
        vec![Bytes::from(vec![0; 100])],
        vec![plain_batch(5 + (1 << 31), 1, 1, 1)],
    ] {
        let result = block_on(segment.append(&pieces, Durability::OnSync));
        assert!(
            matches!(
                result,
                Err(SegmentError::Refused { .. } | SegmentError::NoRoom { .. })
            ),
            "{result:?}"
        );
    }
    append(&segment, &[good]);
    assert_eq!(segment.next_offset(), 7);
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

#[test]
fn damage_inside_a_closed_segment_is_reported_with_its_place() {
    let world = world();
    let segment = world.create(0);
    let bytes = append_random(&segment, &mut Random::new(8), 10);
    let closed = block_on(segment.roll()).unwrap();
    let (position, header) = headers(&bytes)[5];
    let mut damaged = bytes;
    damaged[position as usize + 16] = 9;
    let path = "logs/t-0/00000000000000000000.log";
    world.disk.set_content(path, &damaged);
    world.store.forget(&world.directory, 0);
    let reader = block_on(world.store.reader(&world.directory, &closed)).unwrap_err();
    let SegmentError::Corrupt(corrupt) = reader else {
        panic!("{reader:?}");
    };
    assert_eq!(
        (corrupt.file.as_str(), corrupt.position),
        (path, u64::from(position))
    );
    assert!(header.size_bytes > 0);
}

/// Appends, syncs and rolls until the disk stops; returns how many bytes were promised as durable.
fn run_until_stopped(world: &World, batches: &[Bytes]) -> usize {
    let create = Segment::create(&world.store, &world.directory, 0, OPTIONS);
    let Ok(segment) = block_on(create) else {
        return 0;
    };
    let mut durable = 0;
    for (number, bytes) in batches.iter().enumerate() {
        let durability = if number % 3 == 1 {
            Durability::OnWrite
        } else {
            Durability::OnSync
        };
        let mut done =
            block_on(segment.append(std::slice::from_ref(bytes), durability)).map(|_| ());
        if number % 4 == 3 {
            done = done.and_then(|()| block_on(segment.sync()));
        }
        if done.is_err() {
            return durable;
        }
        durable = segment.durable_position() as usize;
    }
    match block_on(segment.roll()) {
        Ok(closed) => closed.size_bytes as usize,
        Err(_) => durable,
    }
}

#[test]
fn what_was_promised_survives_a_power_cut_at_any_operation() {
    let batches: Vec<Bytes> = (0..8)
        .map(|number| {
            plain_batch(
                number * 3,
                3,
                1500 * usize::try_from(number % 3).unwrap() + 10,
                number,
            )
        })
        .collect();
    let all = batches.concat();
    let whole = world();
    assert_eq!(run_until_stopped(&whole, &batches), all.len());
    for operations in 0..whole.disk.operation_count() {
        let world = world();
        world.disk.stop_after(Some(operations));
        let promised = run_until_stopped(&world, &batches);
        world.disk.lose_power();
        if world.disk.paths().is_empty() {
            assert_eq!(promised, 0);
            continue;
        }
        let segment = world.reopen(0, 0, 0);
        let scan = block_on(segment.scan_tail(0, |_, _| {})).unwrap();
        let end = scan.valid_end as usize;
        assert!(
            end >= promised,
            "operation {operations}: {end} of {promised}"
        );
        assert_eq!(world.log(0)[..end], all[..end]);
        block_on(segment.roll()).unwrap();
        assert_eq!(world.log(0), all[..end]);
    }
}

#[test]
fn a_closed_segment_becomes_active_again() {
    let world = world();
    let segment = world.create(0);
    let mut random = Random::new(12);
    let mut bytes = append_random(&segment, &mut random, 30);
    let closed = block_on(segment.roll()).unwrap();
    let segment = Segment::reopen(&world.store, &world.directory, &closed, OPTIONS);
    assert_eq!(world.store.budget().used_bytes(), bytes.len() as u64);
    let (position, header) = headers(&bytes)[20];
    block_on(segment.truncate(position, header.base_offset)).unwrap();
    bytes.truncate(position as usize);
    bytes.extend(append_random(&segment, &mut random, 30));
    check_lookups(&world, None, &segment, &bytes);
    let closed = block_on(segment.roll()).unwrap();
    assert_eq!(world.log(0), bytes);
    check_lookups(&world, Some(closed), &segment, &bytes);
    assert_eq!(world.store.budget().used_bytes(), bytes.len() as u64);
}

#[test]
fn a_damaged_index_costs_time_and_never_an_answer() {
    for seed in 0..80 {
        let world = world();
        let segment = world.create(0);
        let mut random = Random::new(seed);
        let bytes = append_random(&segment, &mut random, 60);
        let closed = block_on(segment.roll()).unwrap();
        for suffix in ["index", "timeindex"] {
            let path = format!("logs/t-0/00000000000000000000.{suffix}");
            let mut content = world.disk.content(&path).unwrap();
            for _ in 0..random.below(4) {
                let at = random.below(content.len());
                content[at] ^= 1 << random.below(8);
            }
            world.disk.set_content(&path, &content);
        }
        world.store.forget(&world.directory, 0);
        check_offsets(&world, closed, &bytes, &mut random);
    }
}

/// Compares lookups at random offsets and timestamps with a walk, each with the index as it is on
/// the disk.
fn check_offsets(world: &World, closed: ClosedSegment, bytes: &[u8], random: &mut Random) {
    let batches = headers(bytes);
    let end = usize::try_from(closed.next_offset).unwrap();
    for _ in 0..30 {
        world.store.forget(&world.directory, 0);
        let reader = block_on(world.store.reader(&world.directory, &closed)).unwrap();
        let offset = i64::try_from(random.below(end)).unwrap();
        let expected = batches
            .iter()
            .find(|(_, header)| header.last_offset() >= offset)
            .unwrap();
        let read = block_on(reader.read_batches(BatchWish::new(offset, 1, i64::MAX)))
            .unwrap()
            .unwrap();
        assert_eq!(read.base_offset, expected.1.base_offset);
        world.store.forget(&world.directory, 0);
        let reader = block_on(world.store.reader(&world.directory, &closed)).unwrap();
        assert_eq!(block_on(reader.lookup(offset)).unwrap(), Some(*expected));
        world.store.forget(&world.directory, 0);
        let reader = block_on(world.store.reader(&world.directory, &closed)).unwrap();
        let timestamp = expected.1.max_timestamp;
        let found = block_on(reader.lookup_timestamp(timestamp, 0))
            .unwrap()
            .unwrap();
        let first = batches
            .iter()
            .find(|(_, header)| header.max_timestamp >= timestamp)
            .unwrap();
        assert!(found.timestamp >= timestamp);
        assert!((first.1.base_offset..=first.1.last_offset()).contains(&found.offset));
    }
}

#[test]
fn a_reader_sees_what_was_there_when_it_was_made() {
    let world = world();
    let segment = world.create(0);
    let mut random = Random::new(21);
    let bytes = append_random(&segment, &mut random, 20);
    let end = segment.next_offset();
    let reader = block_on(segment.reader()).unwrap();
    append_random(&segment, &mut random, 200);
    for offset in [end, segment.next_offset() - 1] {
        assert_eq!(block_on(reader.lookup(offset)).unwrap(), None);
        assert_eq!(
            block_on(reader.read_batches(BatchWish::new(offset, 100, i64::MAX))).unwrap(),
            None
        );
    }
    let largest = headers(&bytes)
        .iter()
        .map(|(_, header)| header.max_timestamp)
        .max()
        .unwrap();
    let found = block_on(reader.lookup_max_timestamp()).unwrap().unwrap();
    assert_eq!(found.timestamp, largest);
    assert_eq!(
        block_on(reader.lookup_timestamp(largest + 1, 0)).unwrap(),
        None
    );
    let later = segment.max_timestamp().unwrap();
    assert_eq!(block_on(reader.lookup_timestamp(later, 0)).unwrap(), None);
}
