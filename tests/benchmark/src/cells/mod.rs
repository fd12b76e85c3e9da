//! The cells of the comparison: each takes a running system and gives named figures.
//!
//! Figures that most cells add (`meter.rs`): broker CPU, flush requests of the device, bytes
//! written by the device and by the process, Sluice's own counts of both, memory.

mod crowded;
mod idle;
mod latency;
mod throughput;

use std::collections::BTreeMap;
use std::path::Path;

use crate::system::{Running, System};

/// Figures by name; the unit is part of the name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// Partitions of [`Cell::TenThousandPartitions`].
pub(crate) const TEN_THOUSAND: i32 = 10_000;

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    /// From the start of the process to the first acknowledged record, nothing stored before.
    Start,
    /// Memory and CPU of a broker with nothing to do.
    Idle,
    /// 1,000 records of 1 KiB per second, linger 0.
    Latency,
    /// One record at a time: the next is sent when the last is acknowledged.
    Lone,
    /// Unthrottled produce and read back: record size in bytes and partitions.
    Throughput(usize, i32),
    /// 200 small producers beside one that saturates the disk.
    SmallBehindBulk,
    /// 1,000 partitions × one 200 B record per second from 200 connections.
    ManyPartitions,
    /// A topic of 10,000 partitions, a record in each, all read back.
    TenThousandPartitions,
    /// Allocations of the hot path, in a build that counts them.
    Allocations,
}

impl Cell {
    /// All cells, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = vec![Self::Start, Self::Idle, Self::Latency, Self::Lone];
        for size_bytes in [100, 1024, 16_384] {
            cells.extend([1, 8].map(|partitions| Self::Throughput(size_bytes, partitions)));
        }
        cells.extend([
            Self::SmallBehindBulk,
            Self::ManyPartitions,
            Self::TenThousandPartitions,
            Self::Allocations,
        ]);
        cells
    }

    /// The name in tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Start => "start to the first acknowledged record, empty".to_owned(),
            Self::Idle => "idle".to_owned(),
            Self::Latency => "latency 1,000/s × 1 KiB".to_owned(),
            Self::Lone => "one record at a time, 1 KiB".to_owned(),
            Self::Throughput(size_bytes, partitions) => {
                let plural = if partitions == 1 { "" } else { "s" };
                format!("throughput {size_bytes} B × {partitions} partition{plural}")
            }
            Self::SmallBehindBulk => "200 small producers behind bulk".to_owned(),
            Self::ManyPartitions => "1,000 partitions × 1/s × 200 B".to_owned(),
            Self::TenThousandPartitions => "10,000 partitions".to_owned(),
            Self::Allocations => "allocations".to_owned(),
        }
    }

    /// The systems that take part: the intervals only where wear is the question, the build that
    /// counts only where nothing is timed.
    pub(crate) fn includes(self, system: System) -> bool {
        let produces = matches!(self, Self::Throughput(..) | Self::Latency | Self::Lone);
        match system {
            System::SluiceCounting => self == Self::Allocations,
            _ if self == Self::Allocations => false,
            System::SluiceInterval5 | System::SluiceInterval50 => self == Self::ManyPartitions,
            System::Control => produces || self == Self::SmallBehindBulk,
            System::SluiceDiscard => produces || self == Self::SmallBehindBulk,
            System::Tansu => {
                matches!(self, Self::Start | Self::Idle | Self::Latency | Self::Lone)
                    || matches!(self, Self::Throughput(1024, 1))
            }
            System::Sluice | System::Kafka | System::KafkaFlush => true,
        }
    }

    /// Runs the cell; `seconds` scales the timed parts.
    pub(crate) fn run(
        self,
        running: &Running,
        work: &Path,
        seconds: u64,
    ) -> Result<Figures, String> {
        match self {
            Self::Start => latency::start(running),
            Self::Idle => idle::idle(running),
            Self::Latency => latency::open_loop(running, work, seconds),
            Self::Lone => latency::lone(running, work, seconds),
            Self::Throughput(size_bytes, partitions) => {
                throughput::throughput(running, work, (size_bytes, partitions), seconds)
            }
            Self::SmallBehindBulk => crowded::small_behind_bulk(running, work, seconds),
            Self::ManyPartitions => crowded::many_partitions(running, work, seconds),
            Self::TenThousandPartitions => crowded::ten_thousand(running, work),
            Self::Allocations => throughput::allocations(running),
        }
    }
}
