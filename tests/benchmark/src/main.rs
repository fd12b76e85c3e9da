//! Sluice beside its peers.
//!
//! What it is        rounds in which every system does the same work on the same disk, in rotated
//! order,
//!                   with a no-storage control in each round.
//! Rule              a round is rejected by the control alone: its p99 (or, without one, its rate)
//! is
//!                   more than twice as bad as the median of all rounds. A system's own result
//!                   never
//!                   rejects a round.
//! Source            the method of `docs/benchmarks.md`.

mod cells;
mod crowd;
mod load;
mod machine;
mod random;
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
    /// Parts of cell names; all cells by default.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// The checkout.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Directory on the disk to measure.
    #[arg(long, default_value = "target/benchmark")]
    work: PathBuf,
    /// `--memory` of Sluice.
    #[arg(long, default_value = "130M")]
    memory: String,
    /// The Sluice binary.
    #[arg(long, default_value = "target/release/sluice")]
    sluice: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Runs librdkafka's mock cluster until killed (the control).
    Mock,
    /// Time from start to the first acknowledged record, empty and with a log of the given size.
    Start {
        /// Gigabytes of log of the second measurement.
        #[arg(long, default_value_t = 10)]
        gigabytes: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Mock) => report::run_mock(),
        Some(Command::Start { gigabytes }) => {
            places(&arguments).and_then(|places| start::measure(&places, *gigabytes))
        }
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
        work: absolute(&arguments.work)?,
        memory: arguments.memory.clone(),
    })
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    let places = places(arguments)?;
    let systems = chosen_systems(&arguments.systems)?;
    let cells = chosen_cells(&arguments.cells);
    let mut results = Results::default();
    for round in 0..arguments.rounds {
        for &cell in &cells {
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
                results.add(round, cell, system, figures);
            }
        }
    }
    results.print(arguments.rounds);
    Ok(())
}

fn chosen_systems(names: &[String]) -> Result<Vec<System>, String> {
    if names.is_empty() {
        return Ok(system::ALL.to_vec());
    }
    let of_name = |name: &String| {
        System::of_name(name).ok_or_else(|| {
            let known: Vec<&str> = system::ALL.iter().map(|system| system.name()).collect();
            format!("unknown system `{name}`; known: {}", known.join(", "))
        })
    };
    names.iter().map(of_name).collect()
}

fn chosen_cells(parts: &[String]) -> Vec<Cell> {
    let mut cells = vec![
        Cell::Latency,
        Cell::Idle,
        Cell::SmallBehindBulk,
        Cell::ManyPartitions,
    ];
    for size_bytes in [100, 1024, 16_384] {
        for partitions in [1, 8] {
            cells.push(Cell::Throughput(size_bytes, partitions));
        }
    }
    let is_chosen = |cell: &Cell| {
        parts.is_empty() || parts.iter().any(|part| cell.name().contains(part.as_str()))
    };
    cells.into_iter().filter(is_chosen).collect()
}
