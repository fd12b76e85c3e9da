//! The mirror against a simulated centre, link and disk. One seed is one run.
//!
//! Judged by what stands at the centre: every record once, per source partition in order.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a simulation that does not hold together fails, and says its seed"
)]

mod centre;
mod random;
mod world;

use std::collections::BTreeSet;

use centre::Faults;
use mirror::PartitionMapping;
use world::{TOPIC, Weather, World};

/// A bad day: cuts, crashes, slow writes, a centre that errs and forgets.
const STORM: Weather = Weather {
    cut_every_ms: 700,
    outage_ms: 900,
    crash_every_ms: 900,
    latency_ms: 40,
    write_ms: 15,
};

const BAD_CENTRE: Faults = Faults {
    refuse_before: 60,
    refuse_after: 60,
    forget_producers: 0,
    forget_at_cut: 300,
    move_leader: 40,
};

fn storm(seed: u64, mapping: PartitionMapping) -> World {
    let mut world = World::new(seed, 3, STORM, |options| {
        options.mapping = mapping;
        options.batch_bytes = 3_000;
    });
    world.centre.faults = BAD_CENTRE;
    world.start_appends(150);
    world.run_until(12_000);
    world.finish(900_000);
    world
}

#[test]
fn every_record_arrives_once_and_in_order_through_storms() {
    let (mut crashes, mut cuts, mut records) = (0, 0, 0);
    for seed in 0..60 {
        println!("seed {seed}");
        let world = storm(seed, PartitionMapping::Sticky);
        records += world.judge(&BTreeSet::new());
        crashes += world.crashes;
        cuts += world.cuts;
    }
    assert!(
        crashes > 300 && cuts > 300 && records > 100_000,
        "{crashes} {cuts} {records}"
    );
}

#[test]
fn partition_numbers_are_preserved_through_storms() {
    for seed in 0..10 {
        println!("seed {seed}");
        let world = storm(seed, PartitionMapping::Preserve);
        world.judge(&BTreeSet::new());
    }
}

#[test]
fn in_calm_weather_a_batch_is_sent_once() {
    let weather = Weather {
        latency_ms: 30,
        write_ms: 5,
        ..Weather::default()
    };
    let mut world = World::new(1, 1, weather, |_| {});
    world.start_appends(100);
    world.run_until(10_000);
    world.finish(20_000);
    world.judge(&BTreeSet::new());
    let status = world.mirror.status();
    assert_eq!(status.counters.batches, world.centre.produced_requests);
    assert_eq!(
        (status.counters.retries, status.counters.tail_checks),
        (0, 0)
    );
    assert_eq!(status.lanes[0].possible_duplicates, 0);
}

#[test]
fn what_is_kept_stays_in_its_budget_whatever_the_lanes_and_the_link() {
    for (mapping, kept_bytes_max) in [
        (PartitionMapping::Sticky, 10_000),
        (PartitionMapping::Key, 10_000),
        // Less than one batch: they go one after the other.
        (PartitionMapping::Sticky, 1_000),
    ] {
        let mut world = World::new(11, 12, STORM, |options| {
            options.mapping = mapping;
            options.compression = kafka_lite::record_batch::Compression::None;
            options.batch_bytes = 3_000;
            options.kept_bytes_max = kept_bytes_max;
        });
        for partition in 0..12 {
            for _ in 0..10 {
                world.append(partition, 40);
            }
        }
        world.run_until(10_000);
        world.finish(3_600_000);
        let most = world.kept_bytes_most;
        assert!(most > 0 && most <= kept_bytes_max.max(4_000), "{most}");
    }
}

#[test]
fn partitions_that_have_no_room_are_held_and_not_forwarded() {
    let mut world = World::new(12, 3, Weather::default(), |options| options.lanes_max = 2);
    assert!(!world.mirror.has_room());
    for partition in 0..3 {
        world.append(partition, 5);
    }
    world.run_until(5_000);
    let seen = world.centre.seen(TOPIC);
    let forwarded: BTreeSet<i32> = seen.iter().map(|one| one.partition).collect();
    assert_eq!(forwarded, [0, 1].into());
}

#[test]
fn an_idle_mirror_sends_nothing() {
    let mut world = World::new(1, 2, Weather::default(), |_| {});
    world.append(0, 10);
    world.run_until(60_000);
    let before = world.mirror.status().counters;
    world.run_until(24 * 3_600_000);
    assert_eq!(world.mirror.status().counters, before);
    assert!(before.sent_bytes > 0);
}

#[test]
fn a_refused_record_goes_to_the_dead_letters_and_blocks_nothing() {
    let weather = Weather {
        latency_ms: 10,
        write_ms: 5,
        ..Weather::default()
    };
    let mut world = World::new(3, 1, weather, |_| {});
    let poison: BTreeSet<u64> = [17, 18, 250].into();
    world.centre.poison = poison.clone();
    for _ in 0..10 {
        world.append(0, 40);
    }
    world.run_until(60_000);
    world.finish(600_000);
    assert_eq!(world.judge(&poison), 397);
    assert_eq!(world.dead_letters.len(), 3);
    assert_eq!(world.mirror.status().lanes[0].dead_letters, 3);
}

/// Mirrors ten records of one partition, then cuts the link for as long as the test wants.
fn cut_behind_ten_records() -> World {
    let weather = Weather {
        latency_ms: 10,
        write_ms: 5,
        ..Weather::default()
    };
    let mut world = World::new(4, 1, weather, |_| {});
    world.append(0, 10);
    world.run_until(5_000);
    world.weather.cut_every_ms = 1;
    world.weather.outage_ms = 3_600_000;
    world.cut();
    world.weather.cut_every_ms = 0;
    world.run_until(6_000);
    world
}

/// Offset of a record that announces a gap, and the gap.
type Announced = (i64, (i64, i64));

/// Offsets at the centre, and the gaps that are announced there.
fn seen_with_gaps(world: &World) -> (Vec<i64>, Vec<Announced>) {
    let seen = world.centre.seen(TOPIC);
    let gaps = seen.iter().filter_map(|one| Some((one.offset, one.gap?)));
    (seen.iter().map(|one| one.offset).collect(), gaps.collect())
}

#[test]
fn what_was_removed_unmirrored_is_announced() {
    let mut world = cut_behind_ten_records();
    for _ in 0..3 {
        world.append(0, 10);
    }
    world.run_until(8_000);
    world.trim(0, 30);
    let lane = world.mirror.status().lanes[0].clone();
    let expected = (0, 20, 10);
    assert_eq!(
        (lane.gaps, lane.missing_records, lane.lag_records()),
        expected,
        "told before it is announced"
    );
    world.run_until(9_000);
    world.finish(600_000);
    let (offsets, gaps) = seen_with_gaps(&world);
    assert_eq!(offsets, (0..10).chain(30..40).collect::<Vec<i64>>());
    assert_eq!(gaps, [(30, (10, 30))]);
    let lane = &world.mirror.status().lanes[0];
    assert_eq!((lane.gaps, lane.missing_records), (1, 20));
}

#[test]
fn a_gap_up_to_the_end_is_announced_with_the_next_record_however_late_it_comes() {
    for restarts in [false, true] {
        let mut world = cut_behind_ten_records();
        world.append(0, 10);
        world.run_until(8_000);
        world.trim(0, 20);
        world.calm();
        world.run_until(120_000);
        let lane = world.mirror.status().lanes[0].clone();
        let told = (lane.gaps, lane.missing_records, lane.lag_records());
        assert_eq!(told, (0, 10, 0), "nothing waits");
        assert_eq!(world.mirror.hold_from(lane.key.source), Some(10));
        if restarts {
            world.restart();
        }
        world.append(0, 1);
        world.run_until(130_000);
        world.finish(600_000);
        let (offsets, gaps) = seen_with_gaps(&world);
        assert_eq!(offsets, (0..10).chain(20..21).collect::<Vec<i64>>());
        assert_eq!(gaps, [(20, (10, 20))], "restarts {restarts}");
        let lane = &world.mirror.status().lanes[0];
        assert_eq!((lane.gaps, lane.missing_records), (1, 10));
    }
}

#[test]
fn what_was_mirrored_stays_for_its_time_over_restarts_and_may_go_at_once_for_room() {
    const HOUR_MS: u64 = 3_600_000;
    let weather = Weather {
        latency_ms: 10,
        write_ms: 5,
        ..Weather::default()
    };
    let mut world = World::new(4, 1, weather, |_| {});
    world.append(0, 10);
    world.run_until(60_000);
    let source = world.mirror.status().lanes[0].key.source;
    let kept = |world: &World| {
        let mirror = &world.mirror;
        (
            mirror.keep_from(&world.now(), source),
            mirror.hold_from(source),
        )
    };
    assert_eq!(kept(&world), (Some(0), Some(10)), "only retention waits");
    world.append(0, 10);
    world.run_until(30 * 60_000);
    world.restart();
    world.run_until(HOUR_MS - 10_000);
    assert_eq!(kept(&world), (Some(0), Some(20)));
    world.run_until(HOUR_MS + 60_000);
    assert_eq!(
        kept(&world),
        (Some(10), Some(20)),
        "counted over the restart"
    );
    world.run_until(HOUR_MS + 30 * 60_000);
    assert_eq!(kept(&world), (Some(20), Some(20)), "at most a third longer");
    // What is not mirrored stays however old it is.
    world.weather.cut_every_ms = 1;
    world.weather.outage_ms = 1000 * HOUR_MS;
    world.cut();
    world.weather.cut_every_ms = 0;
    world.append(0, 10);
    world.run_until(12 * HOUR_MS);
    assert_eq!(kept(&world), (Some(20), Some(20)));
}

#[test]
fn a_recreated_target_topic_gets_what_was_not_acknowledged() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut world = World::new(seed, 1, STORM, |options| options.batch_bytes = 3_000);
        world.start_appends(60);
        world.run_until(2_500);
        let before: BTreeSet<i64> = {
            let seen = world.centre.recreate_topic(TOPIC);
            seen.iter().map(|one| one.offset).collect()
        };
        world.run_until(6_000);
        world.finish(900_000);
        let after: Vec<i64> = world
            .centre
            .seen(TOPIC)
            .iter()
            .map(|one| one.offset)
            .collect();
        let set: BTreeSet<i64> = after.iter().copied().collect();
        assert_eq!(set.len(), after.len(), "a duplicate in the new topic");
        assert!(after.is_sorted(), "out of order");
        let all: BTreeSet<i64> = before.union(&set).copied().collect();
        assert_eq!(all, (0..world.sources[&0].end).collect());
    }
}

#[test]
fn old_timestamps_and_a_forgetful_centre_make_no_duplicates() {
    for seed in 0..15 {
        println!("seed {seed}");
        let mut world = World::new(seed, 2, STORM, |options| options.batch_bytes = 3_000);
        world.centre.faults = Faults {
            forget_producers: 400,
            ..BAD_CENTRE
        };
        world.write_old(48 * 3_600_000);
        world.start_appends(80);
        world.run_until(8_000);
        world.finish(900_000);
        world.judge(&BTreeSet::new());
    }
}

#[test]
fn without_the_right_to_look_possible_duplicates_are_counted() {
    let mut counted = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, 1, STORM, |options| options.batch_bytes = 3_000);
        world.centre.may_read = false;
        world.start_appends(80);
        world.run_until(8_000);
        world.finish(900_000);
        // The centre forgets nobody here, so that resends are recognised all the same.
        world.judge(&BTreeSet::new());
        counted += world.mirror.status().lanes[0].possible_duplicates;
    }
    assert!(counted > 0);
}

#[test]
fn records_go_by_key_through_storms() {
    for seed in 0..20 {
        println!("seed {seed}");
        let world = storm(seed, PartitionMapping::Key);
        let mut seen = world.centre.seen(TOPIC);
        seen.sort_by_key(|one| (one.partition, one.offset));
        let places: Vec<(i32, i64)> = seen.iter().map(|one| (one.partition, one.offset)).collect();
        let ends = world
            .sources
            .iter()
            .map(|(partition, source)| (*partition, source.end));
        let expected: Vec<(i32, i64)> = ends
            .flat_map(|(partition, end)| (0..end).map(move |offset| (partition, offset)))
            .collect();
        assert!(
            places == expected,
            "{} of {} records",
            places.len(),
            expected.len()
        );
    }
}

#[test]
fn a_paused_mirror_sends_nothing_and_goes_on_where_it_stood() {
    let weather = Weather {
        latency_ms: 20,
        write_ms: 5,
        ..Weather::default()
    };
    let mut world = World::new(5, 1, weather, |_| {});
    world.append(0, 10);
    world.run_until(2_000);
    let now = world.now();
    world.mirror.handle_paused(&now, true);
    world.append(0, 10);
    world.run_until(10_000);
    assert_eq!(world.centre.seen(TOPIC).len(), 10);
    let now = world.now();
    world.mirror.handle_paused(&now, false);
    world.append(0, 10);
    world.run_until(12_000);
    world.finish(20_000);
    assert_eq!(world.judge(&BTreeSet::new()), 30);
}
