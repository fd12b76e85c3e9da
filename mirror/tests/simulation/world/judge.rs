//! What stands at the centre in the end.

use std::collections::BTreeSet;

use super::{TOPIC, World};

impl World {
    /// Whether everything is acknowledged.
    pub(crate) fn is_caught_up(&self) -> bool {
        let lanes = self.mirror.status().lanes;
        !lanes.is_empty() && lanes.iter().all(|lane| lane.cursor == lane.high_watermark)
    }

    /// Runs in calm weather until everything is acknowledged.
    pub(crate) fn finish(&mut self, limit_ms: u64) {
        self.calm();
        let deadline = self.now_ms + limit_ms;
        while !(self.appends_left == 0 && self.is_caught_up()) {
            assert!(
                self.now_ms < deadline,
                "not caught up: {:#?}",
                self.mirror.status()
            );
            self.run_until(self.now_ms + 500);
        }
    }

    /// Every record once, per source partition in order; returns how many there are.
    pub(crate) fn judge(&self, missing: &BTreeSet<u64>) -> usize {
        let seen = self.centre.seen(TOPIC);
        let mut count = 0;
        for (partition, source) in &self.sources {
            let of_partition = seen.iter().filter(|one| one.partition == *partition);
            let offsets: Vec<i64> = of_partition.clone().map(|one| one.offset).collect();
            let expected: Vec<i64> = (0..source.end)
                .filter(|offset| {
                    let value = self.value_at(*partition, *offset);
                    value.is_none_or(|value| !missing.contains(&value))
                })
                .collect();
            if offsets != expected {
                let place = offsets
                    .iter()
                    .zip(&expected)
                    .position(|(left, right)| left != right);
                let place = place.unwrap_or_else(|| offsets.len().min(expected.len()));
                let near = |all: &[i64]| {
                    all.iter()
                        .skip(place.saturating_sub(2))
                        .take(6)
                        .copied()
                        .collect::<Vec<_>>()
                };
                panic!(
                    "partition {partition}: {} of {} records, {:?} where {:?} belong",
                    offsets.len(),
                    expected.len(),
                    near(&offsets),
                    near(&expected)
                );
            }
            for one in of_partition {
                assert_eq!(Some(one.value), self.value_at(*partition, one.offset));
            }
            count += offsets.len();
        }
        count
    }
}
