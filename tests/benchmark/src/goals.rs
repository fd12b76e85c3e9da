//! What the figures shall reach, and whether they did, round by round.
//!
//! Rule              a ratio is taken inside a round, never between rounds; a goal is reached when
//!                   it held in every kept round, otherwise in how many is said.

use std::collections::{BTreeMap, BTreeSet};

use crate::cells::Cell;
use crate::statistics::{short, spread};
use crate::system::System;

/// Figures of one cell by system and round.
pub(crate) type Rounds = BTreeMap<System, BTreeMap<usize, BTreeMap<String, f64>>>;

/// What a figure is compared with.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// At most so many times the same figure of a peer in the same round.
    AtMostTimes(f64, System),
    /// At least so many times the same figure of a peer in the same round.
    AtLeastTimes(f64, System),
    /// At most the control's figure plus so many paced raw durable writes of the same round.
    ControlPlusWrites(f64),
}

/// One goal: system, figure, bound.
type Goal = (System, &'static str, Bound);

/// The goals of a cell.
fn goals(cell: Cell) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost, AtMostTimes, ControlPlusWrites};
    let own = System::Sluice;
    let mut goals: Vec<Goal> = match cell {
        Cell::Start => vec![(own, "first acknowledgement ms", AtMost(100.0))],
        Cell::Idle => vec![
            (own, "RSS MB, idle", AtMost(8.0)),
            (own, "KiB per idle connection", AtMost(10.0)),
            (own, "CPU % with 100 idle consumers", AtMost(0.5)),
        ],
        Cell::Latency => vec![
            (own, "p50 µs", ControlPlusWrites(1.1)),
            (own, "p99 µs", AtMostTimes(0.2, System::KafkaFlush)),
            (own, "p99.9 µs", AtMostTimes(0.2, System::KafkaFlush)),
        ],
        Cell::Lone => vec![
            (own, "broker CPU µs/record", AtMost(90.0)),
            (own, "device flushes/record", AtLeast(1.0)),
            (System::KafkaFlush, "device flushes/record", AtLeast(1.0)),
        ],
        Cell::Throughput(size_bytes, _) => throughput_goals(size_bytes),
        Cell::SmallBehindBulk => vec![(own, "small p50 µs", AtMost(3000.0))],
        Cell::ManyPartitions => vec![
            (
                System::SluiceInterval50,
                "device bytes/payload byte",
                AtMost(4.0),
            ),
            (
                System::SluiceInterval5,
                "device bytes/payload byte",
                AtMost(5.0),
            ),
            (
                System::SluiceInterval50,
                "broker CPU % of a core",
                AtMost(10.0),
            ),
            (
                System::SluiceInterval5,
                "broker CPU % of a core",
                AtMost(10.0),
            ),
        ],
        Cell::TenThousandPartitions => vec![(own, "consumed share", AtLeast(1.0))],
        Cell::Allocations => vec![(
            System::SluiceCounting,
            "allocations/batch, 1 record",
            AtMost(0.0),
        )],
    };
    if matches!(cell, Cell::Throughput(..) | Cell::Latency | Cell::Lone) {
        let quarter = AtMostTimes(0.25, System::Kafka);
        goals.push((own, "broker CPU µs/record", quarter));
    }
    if matches!(cell, Cell::Throughput(1024, _)) {
        goals.push((own, "consume MB/s, bare fetches", AtLeast(1000.0)));
    }
    if !matches!(cell, Cell::Start | Cell::Idle | Cell::Allocations) {
        goals.push((own, "peak RSS MB", AtMost(130.0)));
        goals.push((own, "cgroup OOM kills", AtMost(0.0)));
    }
    goals
}

fn throughput_goals(size_bytes: usize) -> Vec<Goal> {
    use Bound::{AtLeastTimes, AtMost};
    let own = System::Sluice;
    let cpu_us = match size_bytes {
        100 => 0.1,
        1024 => 0.6,
        _ => 8.0,
    };
    let as_kafka = AtLeastTimes(1.0, System::Kafka);
    vec![
        (own, "records/s", AtLeastTimes(0.75, System::SluiceDiscard)),
        (own, "records/s", as_kafka),
        (own, "records/s", AtLeastTimes(5.0, System::KafkaFlush)),
        (own, "broker CPU µs/record", AtMost(cpu_us)),
        (own, "consume MB/s, librdkafka", as_kafka),
        (own, "consume MB/s, bare fetches", as_kafka),
    ]
}

impl Bound {
    fn peer(self) -> Option<System> {
        match self {
            Self::AtMost(_) | Self::AtLeast(_) => None,
            Self::AtMostTimes(_, peer) | Self::AtLeastTimes(_, peer) => Some(peer),
            Self::ControlPlusWrites(_) => Some(System::Control),
        }
    }

    /// What is compared, given the figure and the peer's figures of the round: the figure itself
    /// or its ratio.
    fn measure(
        self,
        figure: &str,
        value: f64,
        peer: Option<&BTreeMap<String, f64>>,
    ) -> Option<f64> {
        match self {
            Self::AtMost(_) | Self::AtLeast(_) => Some(value),
            Self::AtMostTimes(..) | Self::AtLeastTimes(..) => {
                let theirs = peer?.get(figure).copied()?;
                (theirs > 0.0).then_some(value / theirs)
            }
            Self::ControlPlusWrites(writes) => {
                let control = peer?.get(figure).copied()?;
                let write = peer?.get(RAW_WRITE).copied()?;
                Some(value / (control + writes * write))
            }
        }
    }

    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(bound) | Self::AtMostTimes(bound, _) => measured <= bound,
            Self::AtLeast(bound) | Self::AtLeastTimes(bound, _) => measured >= bound,
            Self::ControlPlusWrites(_) => measured <= 1.0,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {}", short(bound)),
            Self::AtLeast(bound) => format!("≥ {}", short(bound)),
            Self::AtMostTimes(bound, peer) => format!("≤ {} × {}", short(bound), peer.name()),
            Self::AtLeastTimes(bound, peer) => format!("≥ {} × {}", short(bound), peer.name()),
            Self::ControlPlusWrites(writes) => {
                format!("≤ control + {} × raw durable write", short(writes))
            }
        }
    }
}

/// The figure of the control that tells what the disk itself takes.
pub(crate) const RAW_WRITE: &str = "raw durable write, paced, p50 µs";

/// One Markdown line for each goal of the cell that was measured.
pub(crate) fn lines(cell: Cell, rounds: &Rounds, rejected: &BTreeSet<usize>) -> Vec<String> {
    let line = |(system, figure, bound): Goal| {
        let peer = bound.peer().and_then(|peer| rounds.get(&peer));
        let kept = rounds.get(&system)?.iter();
        let measured: Vec<f64> = kept
            .filter(|(round, _)| !rejected.contains(round))
            .filter_map(|(round, figures)| {
                let peer = peer.and_then(|peer| peer.get(round));
                bound.measure(figure, *figures.get(figure)?, peer)
            })
            .collect();
        let count = measured.len();
        let held = measured.iter().filter(|one| bound.holds(**one)).count();
        let word = match held {
            _ if count == 0 => return None,
            _ if held == count => "reached",
            0 => "missed",
            _ => "unstable",
        };
        let what = if bound.peer().is_some() { "ratio " } else { "" };
        Some(format!(
            "* {word}: {} {figure} {}: {what}{}, held in {held} of {count}",
            system.name(),
            bound.text(),
            spread(measured).text(),
        ))
    };
    goals(cell).into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{RAW_WRITE, Rounds, lines};
    use crate::cells::Cell;
    use crate::system::System;

    fn latency(control: f64, own: f64) -> Rounds {
        let named = |(name, value): (&str, f64)| (name.to_owned(), value);
        let control = BTreeMap::from([("p50 µs", control), (RAW_WRITE, 100.0)].map(named));
        let own = BTreeMap::from([("p50 µs", own)].map(named));
        Rounds::from([
            (System::Control, BTreeMap::from([(0, control)])),
            (System::Sluice, BTreeMap::from([(0, own)])),
        ])
    }

    #[test]
    fn a_goal_is_reached_missed_or_not_measured() {
        let none = BTreeSet::new();
        let found = lines(Cell::Latency, &latency(200.0, 309.0), &none);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("* reached: sluice p50"), "{found:?}");
        let found = lines(Cell::Latency, &latency(200.0, 311.0), &none);
        assert!(found[0].starts_with("* missed: sluice p50"), "{found:?}");
        let all = BTreeSet::from([0]);
        assert!(lines(Cell::Latency, &latency(200.0, 309.0), &all).is_empty());
    }
}
