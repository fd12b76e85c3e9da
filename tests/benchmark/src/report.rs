//! Results of all rounds, which rounds count, and the tables.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::mocking::MockCluster;

use crate::cells::{Cell, Figures};
use crate::machine;
use crate::statistics::{Spread, short, spread};
use crate::system::{Durability, System};

/// Figures by cell, system and round.
#[derive(Default)]
pub(crate) struct Results {
    figures: BTreeMap<Cell, BTreeMap<System, BTreeMap<usize, Figures>>>,
    failures: Vec<String>,
}

impl Results {
    /// Adds what one run gave; a failed run is told, not hidden.
    pub(crate) fn add(
        &mut self,
        round: usize,
        cell: Cell,
        system: System,
        figures: Result<Figures, String>,
    ) {
        match figures {
            Ok(figures) => {
                let rounds = self
                    .figures
                    .entry(cell)
                    .or_default()
                    .entry(system)
                    .or_default();
                rounds.insert(round, figures);
            }
            Err(reason) => self.failures.push(format!(
                "round {}, {}, {}: {reason}",
                round + 1,
                cell.name(),
                system.name()
            )),
        }
    }

    /// Prints all tables as Markdown.
    pub(crate) fn print(&self, rounds: usize) {
        print_line(&format!(
            "Machine: {}. Rounds: {rounds}.",
            machine::description()
        ));
        for (cell, systems) in &self.figures {
            let rejected = rejected_rounds(systems);
            print_line(&format!("\n### {}\n", cell.name()));
            print_line(&format!(
                "Rounds rejected by the control: {}.\n",
                rejected.len()
            ));
            print_table(systems, &rejected);
            print_ratios(systems, &rejected);
        }
        for failure in &self.failures {
            print_line(&format!("\nFailed: {failure}"));
        }
    }
}

/// Rounds whose control is more than twice as bad as its median.
fn rejected_rounds(systems: &BTreeMap<System, BTreeMap<usize, Figures>>) -> BTreeSet<usize> {
    let Some(control) = systems.get(&System::Control) else {
        return BTreeSet::new();
    };
    let badness = |figures: &Figures| {
        let waits = ["p99 µs", "small p99 µs"]
            .iter()
            .find_map(|name| figures.get(*name).copied());
        waits.or_else(|| figures.get("records/s").map(|rate| 1e9 / rate.max(1.0)))
    };
    let middle = spread(control.values().filter_map(badness)).median;
    let is_bad = |(_, figures): &(&usize, &Figures)| {
        badness(figures).is_some_and(|found| found > 2.0 * middle)
    };
    control
        .iter()
        .filter(is_bad)
        .map(|(round, _)| *round)
        .collect()
}

fn kept(
    rounds: &BTreeMap<usize, Figures>,
    rejected: &BTreeSet<usize>,
    name: &str,
) -> BTreeMap<usize, f64> {
    let is_kept = |round: &usize| !rejected.contains(round);
    let figure = |(round, figures): (&usize, &Figures)| {
        is_kept(round)
            .then(|| figures.get(name).map(|value| (*round, *value)))
            .flatten()
    };
    rounds.iter().filter_map(figure).collect()
}

fn print_table(systems: &BTreeMap<System, BTreeMap<usize, Figures>>, rejected: &BTreeSet<usize>) {
    let names: BTreeSet<&str> = systems
        .values()
        .flat_map(BTreeMap::values)
        .flat_map(Figures::keys)
        .copied()
        .collect();
    let header: Vec<&str> = systems.keys().map(|system| system.name()).collect();
    print_line(&format!("| | {} |", header.join(" | ")));
    print_line(&format!("|---|{}", "---|".repeat(header.len())));
    for name in names {
        let cell = |rounds: &BTreeMap<usize, Figures>| {
            let values = kept(rounds, rejected, name);
            if values.is_empty() {
                "–".to_owned()
            } else {
                spread(values.into_values()).text()
            }
        };
        let row: Vec<String> = systems.values().map(cell).collect();
        print_line(&format!("| {name} | {} |", row.join(" | ")));
    }
    let class = |system: &System| match system.durability() {
        Durability::None => "stores nothing",
        Durability::Memory => "memory",
        Durability::Flushed => "flushed",
    };
    let classes: Vec<&str> = systems.keys().map(class).collect();
    print_line(&format!("| acknowledged when | {} |", classes.join(" | ")));
}

/// Figures whose ratio to a peer in the same round is a goal.
const COMPARED: [&str; 6] = [
    "records/s",
    "consume MB/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "broker CPU µs/record",
];

fn print_ratios(systems: &BTreeMap<System, BTreeMap<usize, Figures>>, rejected: &BTreeSet<usize>) {
    let Some(own) = systems.get(&System::Sluice) else {
        return;
    };
    print_line("");
    for (peer, rounds) in systems
        .iter()
        .filter(|(system, _)| **system != System::Sluice)
    {
        for name in COMPARED {
            let theirs = kept(rounds, rejected, name);
            let ours = kept(own, rejected, name);
            let ratio = |(round, ours): (&usize, &f64)| {
                theirs
                    .get(round)
                    .filter(|value| **value > 0.0)
                    .map(|theirs| ours / theirs)
            };
            let ratios: Vec<f64> = ours.iter().filter_map(ratio).collect();
            if !ratios.is_empty() {
                let Spread {
                    median,
                    least,
                    greatest,
                } = spread(ratios.iter().copied());
                print_line(&format!(
                    "* sluice / {}, {name}: {} ({}–{}) over {} rounds",
                    peer.name(),
                    short(median),
                    short(least),
                    short(greatest),
                    ratios.len()
                ));
            }
        }
    }
}

/// Runs librdkafka's mock cluster until this process is killed.
pub(crate) fn run_mock() -> Result<(), String> {
    let cluster = MockCluster::new(1).map_err(|error| error.to_string())?;
    print_line(&format!("ready {}", cluster.bootstrap_servers()));
    loop {
        std::thread::park();
    }
}

/// One line of the report.
#[expect(clippy::print_stdout, reason = "the report is what the program is for")]
pub(crate) fn print_line(text: &str) {
    println!("{text}");
}
