//! Time from the start of the process to the first acknowledged record over a large log.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::load::{self, Shape};
use crate::report::print_line;
use crate::statistics::{Spread, spread};
use crate::system::{self, Places, System};

/// Free disk that is left alone, in gigabytes.
const SPARE_GIGABYTES: u64 = 5;

/// Starts that are measured.
const STARTS: usize = 5;

const SHAPE: Shape = Shape {
    size_bytes: 16_384,
    partitions: 8,
    linger_ms: 5,
};

/// Fills `system` with `gigabytes` of log and measures starts after kill -9. The log is deleted.
///
/// # Errors
/// A sentence; also when the disk has too little room.
pub(crate) fn measure(places: &Places, system: System, gigabytes: u64) -> Result<(), String> {
    let free = free_gigabytes(&places.work)?;
    if free < gigabytes + SPARE_GIGABYTES {
        return Err(format!(
            "{free} GB are free, {gigabytes} GB are to be written"
        ));
    }
    let data = places.work.join(format!("start-{}", system.name()));
    let result = starts(places, system, gigabytes, &data);
    if let Err(error) = std::fs::remove_dir_all(&data) {
        system::eprintln_line(&format!("{}: {error}", data.display()));
    }
    let (listening, first) = result?;
    print_line(&format!(
        "| {gigabytes} GB of log, kill -9 before | {} |",
        system.name()
    ));
    print_line("|---|---|");
    print_line(&format!("| listening ms | {} |", listening.text()));
    print_line(&format!("| first acknowledgement ms | {} |", first.text()));
    Ok(())
}

fn free_gigabytes(work: &Path) -> Result<u64, String> {
    let file_system = rustix::fs::statvfs(work).map_err(|error| error.to_string())?;
    Ok((file_system.f_bavail * file_system.f_frsize).div_euclid(1_000_000_000))
}

fn starts(
    places: &Places,
    system: System,
    gigabytes: u64,
    data: &Path,
) -> Result<(Spread, Spread), String> {
    fill(places, system, gigabytes, data.to_owned())?;
    let (mut listening, mut first) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let running = system::start(system, places, Some(data.to_owned()))?;
        load::first_acknowledgement(&running.bootstrap, "history")?;
        first.push(begun.elapsed().as_secs_f64() * 1000.0);
        listening.push(running.listening_after.as_secs_f64() * 1000.0);
        running.kill_and_keep_data();
    }
    Ok((spread(listening), spread(first)))
}

fn fill(places: &Places, system: System, gigabytes: u64, data: PathBuf) -> Result<(), String> {
    let running = system::start(system, places, Some(data))?;
    load::create_topic(&running.bootstrap, "history", SHAPE.partitions)?;
    let mut written_bytes = 0;
    while written_bytes < gigabytes * 1_000_000_000 {
        let second = Duration::from_secs(1);
        let produced = load::saturate(&running.bootstrap, "history", SHAPE, second)?;
        if produced.failed > 0 {
            return Err(format!("{} records failed", produced.failed));
        }
        written_bytes += produced.records * SHAPE.size_bytes as u64;
    }
    running.kill_and_keep_data();
    Ok(())
}
