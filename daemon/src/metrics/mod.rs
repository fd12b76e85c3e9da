//! What the broker counts, and how it is shown.
//!
//! What it is        plain counters owned by one shard, read by a message when somebody asks.
//!                   Nothing here is shared between threads, so counting costs an addition.
//! What it is not    a registry with locks; a room that wants to show more registers a collector
//!                   (`Shard::register_collector`).
//! Reading order     [`Collector`], then [`shard_metrics`], then [`prometheus`].

pub mod histogram;
pub mod prometheus;
pub mod shard_metrics;

use histogram::HistogramSnapshot;

/// What kind of number a family holds, in Prometheus's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the process runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds.
    Histogram,
}

/// A named group of samples.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Full name, `sluice_` first, unit last.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
}

/// A number of one family with its labels.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The family it belongs to.
    pub family: &'static Family,
    /// Label names and values, without the shard.
    pub labels: Vec<(&'static str, String)>,
    /// The shard that counted, or `None` for the whole process.
    pub shard: Option<u16>,
    /// What was counted.
    pub value: Value,
}

/// The value of a sample.
#[derive(Clone, Debug)]
pub enum Value {
    /// A counter or gauge.
    Number(u64),
    /// A histogram of durations.
    Histogram(HistogramSnapshot),
}

/// Takes samples from the rooms of one shard.
#[derive(Debug, Default)]
pub struct Collector {
    shard: Option<u16>,
    samples: Vec<Sample>,
}

impl Collector {
    /// A collector for one shard, or for the process with `None`.
    pub fn new(shard: Option<u16>) -> Self {
        Self {
            shard,
            samples: Vec::new(),
        }
    }

    /// Adds a counter or gauge.
    pub fn number(&mut self, family: &'static Family, labels: &[(&'static str, &str)], value: u64) {
        self.push(family, labels, Value::Number(value));
    }

    /// Adds a histogram.
    pub fn histogram(
        &mut self,
        family: &'static Family,
        labels: &[(&'static str, &str)],
        value: HistogramSnapshot,
    ) {
        self.push(family, labels, Value::Histogram(value));
    }

    /// The samples in the order they were added.
    pub fn into_samples(self) -> Vec<Sample> {
        self.samples
    }

    fn push(&mut self, family: &'static Family, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        self.samples.push(Sample {
            family,
            labels,
            shard: self.shard,
            value,
        });
    }
}
