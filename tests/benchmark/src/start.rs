//! Time from the start of the process to the first acknowledged record.

use std::time::{Duration, Instant};

use crate::load::{self, Shape};
use crate::report::print_line;
use crate::system::{self, Places, System};

/// Measures an empty start five times, then a start over `gigabytes` of log three times.
pub(crate) fn measure(places: &Places, gigabytes: u64) -> Result<(), String> {
    for _ in 0..5 {
        let taken = first_record(places, None)?;
        print_line(&format!(
            "empty: {} ms to the first acknowledged record",
            taken.as_millis()
        ));
    }
    let running = system::start(System::Sluice, places, None)?;
    load::create_topic(&running.bootstrap, "history", 8)?;
    let shape = Shape {
        size_bytes: 16_384,
        partitions: 8,
        linger_ms: 5,
    };
    let mut written_bytes = 0;
    while written_bytes < gigabytes * 1_000_000_000 {
        let second = Duration::from_secs(1);
        let produced = load::saturate(&running.bootstrap, "history", shape, second)?;
        written_bytes += produced.records * 16_384;
    }
    let mut data = running.kill_and_keep_data();
    for _ in 0..3 {
        let begun = Instant::now();
        let running = system::start(System::Sluice, places, Some(data))?;
        load::first_acknowledgement(&running.bootstrap, "history")?;
        let taken = begun.elapsed();
        print_line(&format!(
            "{} GB of log after kill -9: listening after {} ms, first acknowledged record after {} ms",
            gigabytes,
            running.listening_after.as_millis(),
            taken.as_millis()
        ));
        data = running.kill_and_keep_data();
    }
    std::fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))
}

fn first_record(places: &Places, data: Option<std::path::PathBuf>) -> Result<Duration, String> {
    let begun = Instant::now();
    let running = system::start(System::Sluice, places, data)?;
    load::first_acknowledgement(&running.bootstrap, "first")?;
    Ok(begun.elapsed())
}
