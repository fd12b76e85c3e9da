//! Entries, lookups, files and bounds of the two indexes.

use super::{OffsetEntry, OffsetIndex, SegmentIndex, TimeEntry, TimeIndex};
use crate::limits::INDEX_ENTRIES_MAX;
use crate::testing::batches::{headers, plain_batch};

fn filled(batches: i64) -> SegmentIndex {
    let mut index = SegmentIndex::new(1000, 100);
    let mut position = 0;
    for number in 0..batches {
        let bytes = plain_batch(1000 + number * 2, 2, 20, 5000 + number * 10);
        let (_, header) = headers(&bytes)[0];
        index.note_batch(position, &header);
        position += u32::try_from(bytes.len()).unwrap();
    }
    index
}

#[test]
fn entries_are_kafkas_last_offset_and_position_of_a_batch() {
    let index = filled(10);
    let first = index.offsets.entries()[0];
    assert_eq!(
        first,
        OffsetEntry {
            relative_offset: 3,
            position: 115
        }
    );
    let mut bytes = Vec::new();
    index.offsets.encode(&mut bytes);
    assert_eq!(bytes[..8], [0, 0, 0, 3, 0, 0, 0, 115]);
    let mut bytes = Vec::new();
    index.times.encode(&mut bytes);
    assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0x13, 0x93, 0, 0, 0, 3]);
}

#[test]
fn a_lookup_never_lands_behind_the_batch() {
    let index = filled(50);
    let lookup = |offset| index.lookup(offset).map(|entry| entry.position);
    assert_eq!(lookup(0), None);
    assert_eq!(lookup(1000), None);
    assert_eq!(lookup(1002), None);
    assert_eq!(lookup(1003), Some(115));
    assert_eq!(lookup(1004), Some(115));
    assert_eq!(index.lookup(i64::MAX), index.offsets.last());
    let lookup = |timestamp| {
        index
            .lookup_timestamp(timestamp)
            .map(|entry| entry.relative_offset)
    };
    assert_eq!(lookup(0), None);
    assert_eq!(lookup(5011), Some(3));
    assert_eq!(lookup(5010), None);
}

#[test]
fn files_read_back_and_damage_only_shortens_them() {
    let index = filled(50);
    let mut bytes = Vec::new();
    index.offsets.encode(&mut bytes);
    let again = OffsetIndex::decode(&bytes, u32::MAX);
    assert_eq!(again.entries(), index.offsets.entries());
    bytes.extend_from_slice(&[0; 64]);
    assert_eq!(
        OffsetIndex::decode(&bytes, u32::MAX).entries(),
        index.offsets.entries()
    );
    let cut = OffsetIndex::decode(&bytes, 500);
    assert!(cut.entries().iter().all(|entry| entry.position < 500));
    bytes[24..32].fill(0);
    assert_eq!(OffsetIndex::decode(&bytes, u32::MAX).entries().len(), 3);
    let mut bytes = Vec::new();
    index.times.encode(&mut bytes);
    let again = TimeIndex::decode(&bytes);
    assert_eq!(again.last(), index.times.last());
    assert_eq!(again.len(), index.times.len());
    assert_eq!(TimeIndex::decode(&bytes[..13]).len(), 1);
}

#[test]
fn the_entry_count_is_bounded_and_lookups_stay_right() {
    let mut index = SegmentIndex::new(0, 1);
    let (_, header) = headers(&plain_batch(0, 1, 0, 1))[0];
    let count = i64::try_from(INDEX_ENTRIES_MAX * 3).unwrap();
    for number in 0..count {
        let mut header = header;
        header.base_offset = number;
        header.max_timestamp = number;
        index.note_batch(u32::try_from(number * 70).unwrap(), &header);
    }
    assert!(index.offsets.entries().len() < INDEX_ENTRIES_MAX);
    assert!(index.times.len() <= INDEX_ENTRIES_MAX);
    for offset in (0..count).step_by(997) {
        let found = index
            .lookup(offset)
            .map_or(0, |entry| i64::from(entry.position));
        assert!(found <= offset * 70);
        assert!(found + 20 * 70 > offset * 70, "{offset} {found}");
    }
}

#[test]
fn truncation_forgets_what_is_behind() {
    let mut index = filled(50);
    index.truncate(500);
    assert!(index.offsets.last().unwrap().position < 500);
    let last_offset = index.offsets.last().unwrap().relative_offset;
    let last = index.times.last().unwrap();
    assert!(last.relative_offset <= last_offset);
    assert_eq!(index.max_timestamp(), Some(last.timestamp));
    index.truncate(0);
    assert_eq!(index.max_timestamp(), None);
    index.set_largest(Some(TimeEntry {
        timestamp: 7,
        relative_offset: 1,
    }));
    assert_eq!(index.max_timestamp(), Some(7));
}
