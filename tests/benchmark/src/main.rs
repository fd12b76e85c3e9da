//! Sluice beside its peers.
//!
//! What it is        rounds in which every system does the same work on the same disk, in rotated
//!                   order, with a no-storage control in each round.
//! Rule              a round is rejected by the control alone: its p99 (or, without one, its rate)
//!                   is more than twice as bad as the median of all rounds. A system's own result
//!                   never rejects a round.
//! Source            the method of `docs/benchmarks.md`.

mod cells;
mod cgroup;
mod crowd;
mod fetch;
mod gates;
mod goals;
mod load;
mod machine;
mod meter;
mod metrics;
mod mqtt;
mod random;
mod raw_write;
mod report;
mod start;
mod statistics;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cells::Cell;
use crate::report::Results;
use crate::system::{Places, System};

#[derive(Parser)]
#[command(about = "Sluice beside its peers, in interleaved rounds", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds of each cell.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a throughput measurement; latency takes three times as long.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Systems by name; all by default.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Parts of cell names, without the commas of numbers; all cells by default.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// File to which results are added; the tables then hold all that is in it.
    #[arg(long)]
    results: Option<PathBuf>,
    /// The checkout.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Directory on the disk to measure.
    #[arg(long, default_value = "target/benchmark")]
    work: PathBuf,
    /// `--memory` of Sluice and limit of its memory cgroup, in megabytes.
    #[arg(long, default_value_t = 130)]
    memory: u64,
    /// The Sluice binary.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
    /// The Sluice binary that counts allocations; without it nothing is said about them.
    #[arg(long)]
    counting: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs librdkafka's mock cluster until killed (the control).
    Mock,
    /// Time from start to the first acknowledged record with a log of the given size.
    Start {
        /// Gigabytes of log.
        #[arg(long, default_value_t = 10)]
        gigabytes: u64,
        /// The system.
        #[arg(long, default_value = "sluice")]
        system: String,
    },
    /// MQTT beside Mosquitto with persistence on: publishes, latency, idle memory, sensors.
    Mqtt,
    /// The figures of Sluice that do not depend on the machine, against their bounds.
    Gates,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Mock) => report::run_mock(),
        Some(Command::Start { gigabytes, system }) => places(&arguments).and_then(|places| {
            let system = of_name(system)?;
            start::measure(&places, system, *gigabytes)
        }),
        Some(Command::Mqtt) => places(&arguments)
            .and_then(|places| mqtt::compare(&places, arguments.rounds, arguments.seconds)),
        Some(Command::Gates) => places(&arguments).and_then(|places| gates::run(&places)),
        None => compare(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            system::eprintln_line(&format!("benchmark: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn places(arguments: &Arguments) -> Result<Places, String> {
    std::fs::create_dir_all(&arguments.work)
        .map_err(|error| format!("{}: {error}", arguments.work.display()))?;
    let absolute = |path: &PathBuf| {
        path.canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(Places {
        root: absolute(&arguments.root)?,
        sluice: absolute(&arguments.sluice)?,
        counting: absolute(arguments.counting.as_ref().unwrap_or(&arguments.sluice))?,
        work: absolute(&arguments.work)?,
        memory_megabytes: arguments.memory,
    })
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    let places = places(arguments)?;
    let mut systems = chosen_systems(&arguments.systems)?;
    systems.retain(|system| arguments.counting.is_some() || *system != System::SluiceCounting);
    let cells = chosen_cells(&arguments.cells);
    let mut results = match &arguments.results {
        Some(file) => Results::of_file(file)?,
        None => Results::default(),
    };
    let first: Vec<usize> = cells.iter().map(|cell| results.next_round(*cell)).collect();
    for round in 0..arguments.rounds {
        for (&cell, first) in cells.iter().zip(&first) {
            let round = first + round;
            for place in 0..systems.len() {
                let Some(&system) = systems.get((place + round) % systems.len()) else {
                    continue;
                };
                if !cell.includes(system) {
                    continue;
                }
                let steal = machine::steal_ticks();
                let figures = system::start(system, &places, None)
                    .and_then(|running| cell.run(&running, &places.work, arguments.seconds));
                let steal = machine::steal_ticks().saturating_sub(steal);
                system::eprintln_line(&format!(
                    "round {} {} {}: {figures:?} steal {steal}",
                    round + 1,
                    cell.name(),
                    system.name()
                ));
                results.add(round, cell, system, figures)?;
            }
        }
    }
    results.print();
    Ok(())
}

fn chosen_systems(names: &[String]) -> Result<Vec<System>, String> {
    if names.is_empty() {
        return Ok(system::ALL.to_vec());
    }
    names.iter().map(|name| of_name(name)).collect()
}

fn of_name(name: &str) -> Result<System, String> {
    System::of_name(name).ok_or_else(|| {
        let known: Vec<&str> = system::ALL.iter().map(|system| system.name()).collect();
        format!("unknown system `{name}`; known: {}", known.join(", "))
    })
}

fn chosen_cells(parts: &[String]) -> Vec<Cell> {
    let is_chosen = |cell: &Cell| {
        let name = cell.name().replace(',', "");
        parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
    };
    Cell::all().into_iter().filter(is_chosen).collect()
}
