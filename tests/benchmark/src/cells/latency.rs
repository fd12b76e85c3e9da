//! One record and its acknowledgement: at the start, on a schedule, and one at a time.

use std::path::Path;
use std::time::Duration;

use super::Figures;
use crate::goals::RAW_WRITE;
use crate::load::{self, Shape};
use crate::meter::{Meter, Work};
use crate::raw_write;
use crate::system::{Running, System};

const SHAPE: Shape = Shape {
    size_bytes: 1024,
    partitions: 1,
    linger_ms: 0,
};

/// The topic is created by the first record, or by Kafka's rules on the way to it.
pub(super) fn start(running: &Running) -> Result<Figures, String> {
    load::first_acknowledgement(&running.bootstrap, "first")?;
    let mut figures = Figures::new();
    figures.insert(
        "first acknowledgement ms",
        millis(running.started.elapsed()),
    );
    figures.insert("listening ms", millis(running.listening_after));
    running.add_memory(&mut figures);
    Ok(figures)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(super) fn open_loop(running: &Running, work: &Path, seconds: u64) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "latency", 1)?;
    let mut figures = Figures::new();
    if running.system == System::Control {
        let duration = Duration::from_secs(seconds);
        let median = raw_write::paced_median_us(work, duration)?;
        figures.insert(RAW_WRITE, median);
    }
    let warm_up = Duration::from_secs(2);
    load::open_loop(
        &running.bootstrap,
        "latency",
        SHAPE,
        1000,
        Duration::ZERO,
        warm_up,
    )?;
    let meter = Meter::start(running, work);
    let duration = Duration::from_secs(seconds * 3);
    let measured = load::open_loop(
        &running.bootstrap,
        "latency",
        SHAPE,
        1000,
        Duration::from_secs(1),
        duration,
    )?;
    meter.stop(
        &mut figures,
        Work {
            records: measured.records,
            payload_bytes: measured.records * 1024,
            failed: measured.failed,
        },
    );
    figures.insert("p50 µs", measured.p50);
    figures.insert("p99 µs", measured.p99);
    figures.insert("p99.9 µs", measured.p999);
    figures.insert("generator late p99 µs", measured.generator_late_p99);
    Ok(figures)
}

pub(super) fn lone(running: &Running, work: &Path, seconds: u64) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "lone", 1)?;
    load::one_at_a_time(&running.bootstrap, "lone", 1024, Duration::from_secs(1))?;
    let mut figures = Figures::new();
    let meter = Meter::start(running, work);
    let duration = Duration::from_secs(seconds);
    let measured = load::one_at_a_time(&running.bootstrap, "lone", 1024, duration)?;
    meter.stop(
        &mut figures,
        Work {
            records: measured.records,
            payload_bytes: measured.records * 1024,
            failed: measured.failed,
        },
    );
    figures.insert("records/s", measured.records as f64 / measured.seconds);
    Ok(figures)
}
