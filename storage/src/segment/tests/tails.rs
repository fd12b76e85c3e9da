//! What is found at the end of a segment that is opened again.

use bytes::Bytes;
use kafka_lite::record_batch::BatchView;

use super::lookups::check_lookups;
use super::{OPTIONS, append, append_random, world};
use crate::segment::{Segment, TailStop};
use crate::testing::batches::{batch, headers, plain_batch};
use crate::testing::{Random, block_on};

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
