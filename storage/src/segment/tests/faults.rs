//! Full and failing disks, and what is refused or damaged.

use std::rc::Rc;

use bytes::Bytes;

use super::{OPTIONS, World, append, append_random, world, world_with};
use crate::disk::DiskError;
use crate::disk_budget::DiskBudget;
use crate::segment::{Durability, Segment, SegmentError};
use crate::testing::batches::{headers, plain_batch};
use crate::testing::{Random, block_on};

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
