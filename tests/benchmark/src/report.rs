//! Results of all rounds, which rounds count, and the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use rdkafka::mocking::MockCluster;

use crate::cells::{Cell, Figures};
use crate::goals::{self, Rounds};
use crate::machine;
use crate::statistics::{Spread, short, spread};
use crate::system::{Durability, System};

/// Figures by cell, system and round.
#[derive(Default)]
pub(crate) struct Results {
    figures: BTreeMap<Cell, Rounds>,
    failures: Vec<String>,
    /// Where each result is added as a line, so that a comparison may be made in pieces.
    file: Option<PathBuf>,
}

impl Results {
    /// The results of earlier runs in `file`, to which those of this run are added.
    ///
    /// # Errors
    /// A sentence that names the line.
    pub(crate) fn of_file(file: &Path) -> Result<Self, String> {
        let mut results = Self::default();
        for (number, line) in (1..).zip(std::fs::read_to_string(file).unwrap_or_default().lines()) {
            let (round, cell, system, figures) = read_line(line)
                .ok_or_else(|| format!("{}:{number}: not a result", file.display()))?;
            results.insert(round, cell, system, figures);
        }
        results.file = Some(file.to_owned());
        Ok(results)
    }

    /// The round that comes next for a cell, from 0.
    pub(crate) fn next_round(&self, cell: Cell) -> usize {
        let rounds = self
            .figures
            .get(&cell)
            .into_iter()
            .flat_map(BTreeMap::values);
        let last = rounds
            .filter_map(|rounds| rounds.last_key_value())
            .map(|(last, _)| *last);
        last.max().map_or(0, |last| last + 1)
    }

    /// Adds what one run gave; a failed run is told, not hidden.
    ///
    /// # Errors
    /// The file of results cannot be written.
    pub(crate) fn add(
        &mut self,
        round: usize,
        cell: Cell,
        system: System,
        figures: Result<Figures, String>,
    ) -> Result<(), String> {
        let line = match figures {
            Ok(figures) => {
                let line = write_line(round, cell, system, &figures);
                self.insert(round, cell, system, own_names(figures));
                line
            }
            Err(reason) => {
                let name = (cell.name(), system.name());
                self.failures.push(format!(
                    "round {}, {}, {}: {reason}",
                    round + 1,
                    name.0,
                    name.1
                ));
                return Ok(());
            }
        };
        let Some(file) = &self.file else {
            return Ok(());
        };
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened
            .and_then(|mut opened| opened.write_all(line.as_bytes()))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    fn insert(&mut self, round: usize, cell: Cell, system: System, figures: BTreeMap<String, f64>) {
        let systems = self.figures.entry(cell).or_default();
        let rounds = systems.entry(system).or_default();
        rounds.insert(round, figures);
    }

    /// Prints all tables as Markdown.
    pub(crate) fn print(&self) {
        print_line(&format!("Machine: {}.", machine::description()));
        for (cell, systems) in &self.figures {
            let rejected = rejected_rounds(systems);
            print_line(&format!("\n### {}\n", cell.name()));
            print_line(&format!(
                "Rounds: {}, rejected by the control: {}.\n",
                self.next_round(*cell),
                rejected.len()
            ));
            print_table(systems, &rejected);
            print_line("");
            for line in goals::lines(*cell, systems, &rejected) {
                print_line(&line);
            }
            print_ratios(systems, &rejected);
        }
        for failure in &self.failures {
            print_line(&format!("\nFailed: {failure}"));
        }
    }
}

fn own_names(figures: Figures) -> BTreeMap<String, f64> {
    let own = |(name, value): (&str, f64)| (name.to_owned(), value);
    figures.into_iter().map(own).collect()
}

/// One result as a line: round, cell, system, then a name and a value for each figure, with tabs.
fn write_line(round: usize, cell: Cell, system: System, figures: &Figures) -> String {
    let mut line = format!("{round}\t{}\t{}", cell.name(), system.name());
    for (name, value) in figures {
        line.push_str(&format!("\t{name}\t{value}"));
    }
    line.push('\n');
    line
}

/// The reverse of [`write_line`].
fn read_line(line: &str) -> Option<(usize, Cell, System, BTreeMap<String, f64>)> {
    let mut fields = line.split('\t');
    let round = fields.next()?.parse().ok()?;
    let cell_name = fields.next()?;
    let cell = Cell::all()
        .into_iter()
        .find(|cell| cell.name() == cell_name)?;
    let system = System::of_name(fields.next()?)?;
    let mut figures = BTreeMap::new();
    while let Some(name) = fields.next() {
        figures.insert(name.to_owned(), fields.next()?.parse().ok()?);
    }
    Some((round, cell, system, figures))
}

/// Rounds whose control is more than twice as bad as its median.
fn rejected_rounds(systems: &Rounds) -> BTreeSet<usize> {
    let Some(control) = systems.get(&System::Control) else {
        return BTreeSet::new();
    };
    let badness = |figures: &BTreeMap<String, f64>| {
        let waits = ["p99 µs", "small p99 µs"]
            .iter()
            .find_map(|name| figures.get(*name).copied());
        waits.or_else(|| figures.get("records/s").map(|rate| 1e9 / rate.max(1.0)))
    };
    let middle = spread(control.values().filter_map(badness)).median;
    let is_bad = |(_, figures): &(&usize, &BTreeMap<String, f64>)| {
        badness(figures).is_some_and(|found| found > 2.0 * middle)
    };
    control
        .iter()
        .filter(is_bad)
        .map(|(round, _)| *round)
        .collect()
}

fn kept(
    rounds: &BTreeMap<usize, BTreeMap<String, f64>>,
    rejected: &BTreeSet<usize>,
    name: &str,
) -> BTreeMap<usize, f64> {
    let is_kept = |round: &usize| !rejected.contains(round);
    let figure = |(round, figures): (&usize, &BTreeMap<String, f64>)| {
        is_kept(round)
            .then(|| figures.get(name).map(|value| (*round, *value)))
            .flatten()
    };
    rounds.iter().filter_map(figure).collect()
}

fn print_table(systems: &Rounds, rejected: &BTreeSet<usize>) {
    let names: BTreeSet<&str> = systems
        .values()
        .flat_map(BTreeMap::values)
        .flat_map(BTreeMap::keys)
        .map(String::as_str)
        .collect();
    let header: Vec<&str> = systems.keys().map(|system| system.name()).collect();
    print_line(&format!("| | {} |", header.join(" | ")));
    print_line(&format!("|---|{}", "---|".repeat(header.len())));
    for name in names {
        let cell = |rounds: &BTreeMap<usize, BTreeMap<String, f64>>| {
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
const COMPARED: [&str; 7] = [
    "records/s",
    "consume MB/s, librdkafka",
    "consume MB/s, bare fetches",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "broker CPU µs/record",
];

fn print_ratios(systems: &Rounds, rejected: &BTreeSet<usize>) {
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
                    "* sluice / {}, {name}: {} ({}–{}), {} rounds",
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

/// Topics of the control, which knows no CreateTopics, with their partitions.
const CONTROL_TOPICS: [(&str, i32); 6] = [
    ("latency", 1),
    ("lone", 1),
    ("throughput-1", 1),
    ("throughput-8", 8),
    ("small", 16),
    ("bulk", 8),
];

/// Runs librdkafka's mock cluster until this process is killed.
pub(crate) fn run_mock() -> Result<(), String> {
    let cluster = MockCluster::new(1).map_err(|error| error.to_string())?;
    for (topic, partitions) in CONTROL_TOPICS {
        cluster
            .create_topic(topic, partitions, 1)
            .map_err(|error| error.to_string())?;
    }
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

#[cfg(test)]
mod tests {
    use super::{own_names, read_line, write_line};
    use crate::cells::{Cell, Figures};
    use crate::system::System;

    #[test]
    fn a_result_comes_back_from_its_line() {
        let figures = Figures::from([("p50 µs", 312.5), ("records/s", 1e6)]);
        let cell = Cell::Throughput(1024, 8);
        let line = write_line(3, cell, System::Kafka, &figures);
        let back = read_line(line.trim_end()).expect("a result");
        assert_eq!(back, (3, cell, System::Kafka, own_names(figures)));
        assert_eq!(read_line("3\tno cell\tkafka"), None);
    }
}
