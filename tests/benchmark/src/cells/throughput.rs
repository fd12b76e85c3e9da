//! As much as the system takes, and reading it back.

use std::path::Path;
use std::time::Duration;

use super::Figures;
use crate::fetch;
use crate::load::{self, Shape};
use crate::meter::{Meter, Work};
use crate::system::{Running, System};

pub(super) fn throughput(
    running: &Running,
    work: &Path,
    (size_bytes, partitions): (usize, i32),
    seconds: u64,
) -> Result<Figures, String> {
    let topic = format!("throughput-{partitions}");
    load::create_topic(&running.bootstrap, &topic, partitions)?;
    let shape = Shape {
        size_bytes,
        partitions,
        linger_ms: 5,
    };
    let warm_up = running.system.warm_up();
    let warm_up = load::saturate(&running.bootstrap, &topic, shape, warm_up)?;
    let mut figures = Figures::new();
    let meter = Meter::start(running, work);
    let duration = Duration::from_secs(seconds);
    let produced = load::saturate(&running.bootstrap, &topic, shape, duration)?;
    meter.stop(
        &mut figures,
        Work {
            records: produced.records,
            payload_bytes: produced.records * size_bytes as u64,
            failed: produced.failed,
        },
    );
    let rate = produced.records as f64 / produced.seconds.max(0.001);
    figures.insert("records/s", rate);
    figures.insert("MB/s", rate * size_bytes as f64 / 1e6);
    if !matches!(running.system, System::Control | System::SluiceDiscard) {
        let records = warm_up.records + produced.records;
        let limit = Duration::from_secs(seconds * 6);
        consume(running, &topic, shape, (records, limit), &mut figures)?;
    }
    running.add_memory(&mut figures);
    Ok(figures)
}

fn consume(
    running: &Running,
    topic: &str,
    shape: Shape,
    (records, limit): (u64, Duration),
    figures: &mut Figures,
) -> Result<(), String> {
    let bootstrap = &running.bootstrap;
    let read = load::read_back(bootstrap, topic, shape.partitions, records, limit)?;
    figures.insert("consume MB/s, librdkafka", read.megabytes_per_second());
    figures.insert(
        "consumed share",
        read.records as f64 / records.max(1) as f64,
    );
    if running.system != System::Tansu {
        let end = shape.size_bytes as u64 * records;
        let fetched = fetch::read_all(bootstrap, topic, shape.partitions, (end, limit))?;
        figures.insert("consume MB/s, bare fetches", fetched.megabytes_per_second());
    }
    Ok(())
}

/// Records of one batch in the two kinds of work that are counted.
const RECORDS_PER_BATCH: u64 = 100;

/// Allocations of the whole process while batches are produced one at a time, without what asking
/// for the count costs.
pub(super) fn allocations(running: &Running) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "allocations", 1)?;
    let mut figures = Figures::new();
    for (name, bytes, size_bytes) in [
        ("allocations/batch, 1 record", "bytes/batch, 1 record", 1024),
        ("allocations/batch, 200 KB", "bytes/batch, 200 KB", 200_000),
    ] {
        load::lone_batches(
            &running.bootstrap,
            "allocations",
            size_bytes,
            RECORDS_PER_BATCH,
        )?;
        let quiet = counted(running)?;
        let before = counted(running)?;
        let batches = 20 * RECORDS_PER_BATCH;
        load::lone_batches(&running.bootstrap, "allocations", size_bytes, batches)?;
        let after = counted(running)?;
        let net = |part: fn(&(f64, f64)) -> f64| {
            let asking = part(&before) - part(&quiet);
            (part(&after) - part(&before) - asking) / batches as f64
        };
        figures.insert(name, net(|count| count.0));
        figures.insert(bytes, net(|count| count.1));
    }
    Ok(figures)
}

/// Allocations and their bytes until now.
fn counted(running: &Running) -> Result<(f64, f64), String> {
    let metrics = running.metrics().ok_or("no metrics of the broker")?;
    let count = metrics.get("sluice_allocations_total");
    if count > 0.0 {
        return Ok((count, metrics.get("sluice_allocated_bytes_total")));
    }
    Err("this build counts no allocations: build it with `--features count-allocations`".to_owned())
}
