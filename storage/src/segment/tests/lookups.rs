//! Lookups by offset and time, compared with a walk over the bytes.

use kafka_lite::record_batch::BatchView;

use super::{World, append_random, world};
use crate::segment::{BatchWish, ClosedSegment, Segment};
use crate::testing::batches::headers;
use crate::testing::{MemoryDisk, Random, block_on};

/// Compares every lookup of a reader with a walk over the bytes.
pub(super) fn check_lookups(
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
