//! A latency histogram with four buckets per power of two, from one microsecond to about a minute.
//!
//! What it is        a fixed array of counters of one thread; recording is two additions.
//! Invariants        1. the buckets partition all durations: longer ones fall into the last bucket.
//!                   2. the relative error of a bucket's bound is at most one quarter.

use std::cell::Cell;
use std::time::Duration;

/// Highest power of two of microseconds that has its own buckets: 2^26 µs is 67 s.
const OCTAVE_LAST: u32 = 26;

/// Buckets: four single values below 4 µs, then four per octave.
const BUCKET_COUNT: usize = 104;

/// Counts durations; owned by one thread.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[Cell<u64>]>,
    sum_micros: Cell<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: (0..BUCKET_COUNT).map(|_| Cell::new(0)).collect(),
            sum_micros: Cell::new(0),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket_of(micros)) {
            count.set(count.get() + 1);
        }
        let sum = self.sum_micros.get().saturating_add(micros);
        self.sum_micros.set(sum);
    }

    /// A copy that can be sent to another thread.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self.counts.iter().map(Cell::get).collect(),
            sum_micros: self.sum_micros.get(),
        }
    }
}

/// A copy of a histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
    sum_micros: u64,
}

impl HistogramSnapshot {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all durations in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_micros).as_secs_f64()
    }

    /// Per power of two, from 8 µs on: the bound in seconds, and how many durations lie below it.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        (3..=OCTAVE_LAST)
            .map(|octave| {
                let bound_micros = 1_u64 << octave;
                let below = self.counts.iter().take(bucket_of(bound_micros)).sum();
                (Duration::from_micros(bound_micros).as_secs_f64(), below)
            })
            .collect()
    }

    /// The upper bound of the bucket that holds the given quantile (0 to 1000 per mille); zero when
    /// empty.
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let total = self.count();
        let wanted = total.saturating_mul(per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(upper_bound_of(bucket));
            }
        }
        Duration::ZERO
    }
}

/// The bucket that counts a duration.
fn bucket_of(micros: u64) -> usize {
    if micros < 4 {
        return usize::try_from(micros).unwrap_or(BUCKET_COUNT - 1);
    }
    let octave = micros.ilog2();
    if octave > OCTAVE_LAST {
        return BUCKET_COUNT - 1;
    }
    let quarter = (micros >> (octave - 2)) & 3;
    let bucket = u64::from(octave - 1) * 4 + quarter;
    usize::try_from(bucket).unwrap_or(BUCKET_COUNT - 1)
}

/// Microseconds just above the last value of a bucket.
fn upper_bound_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    if bucket < 4 {
        return bucket + 1;
    }
    let (octave, quarter) = (bucket.div_euclid(4) + 1, bucket % 4);
    (4 + quarter + 1) << (octave - 2)
}

#[cfg(test)]
mod tests {
    use super::{BUCKET_COUNT, Histogram, bucket_of, upper_bound_of};
    use std::time::Duration;

    #[test]
    fn every_value_lies_below_the_bound_of_its_bucket_and_not_below_the_one_before() {
        for micros in (0..5_000).chain([65_535, 65_536, 1 << 20, (1 << 27) - 1]) {
            let bucket = bucket_of(micros);
            assert!(micros < upper_bound_of(bucket), "{micros}");
            assert!(
                bucket == 0 || micros >= upper_bound_of(bucket - 1),
                "{micros}"
            );
        }
        assert_eq!(bucket_of((1 << 27) - 1), BUCKET_COUNT - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKET_COUNT - 1);
    }

    #[test]
    fn cumulative_counts_and_quantiles_follow_what_was_recorded() {
        let histogram = Histogram::default();
        for micros in [5, 7, 8, 1_000, 1_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 5);
        let cumulative = snapshot.cumulative();
        assert_eq!(cumulative.first().map(|(_, count)| *count), Some(2));
        assert_eq!(cumulative.last().map(|(_, count)| *count), Some(5));
        assert!(snapshot.quantile(500) >= Duration::from_micros(8));
        assert!(snapshot.quantile(500) <= Duration::from_micros(10));
        assert!(snapshot.quantile(1000) >= Duration::from_secs(1));
    }
}
