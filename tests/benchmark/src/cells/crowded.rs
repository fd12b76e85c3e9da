//! Many connections or many partitions.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Figures, TEN_THOUSAND};
use crate::crowd::{self, Crowd};
use crate::load::{self, Shape};
use crate::meter::{Meter, Work};
use crate::system::Running;

/// 200 producers of five 200 B records per second each: 1,000 records per second.
const CROWD: Crowd = Crowd {
    connections: 200,
    rate_each: 5,
    size_bytes: 200,
    partitions: 16,
};

const BULK: Shape = Shape {
    size_bytes: 16_384,
    partitions: 8,
    linger_ms: 5,
};

pub(super) fn small_behind_bulk(
    running: &Running,
    work: &Path,
    seconds: u64,
) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "small", CROWD.partitions)?;
    load::create_topic(&running.bootstrap, "bulk", BULK.partitions)?;
    let duration = Duration::from_secs(seconds * 2);
    let bootstrap = running.bootstrap.clone();
    let bulk_duration = duration + Duration::from_secs(2);
    let bulk = std::thread::spawn(move || load::saturate(&bootstrap, "bulk", BULK, bulk_duration));
    let mut figures = Figures::new();
    let meter = Meter::start(running, work);
    let small = crowd::many_producers(&running.bootstrap, "small", CROWD, duration)?;
    let bulk = bulk
        .join()
        .map_err(|_| "the bulk producer panicked".to_owned())??;
    meter.stop(
        &mut figures,
        Work {
            records: small.records,
            payload_bytes: small.records * 200 + bulk.records * 16_384,
            failed: small.failed + bulk.failed,
        },
    );
    // The bulk records would hide the small ones in a figure per record.
    figures.retain(|name, _| !name.ends_with("/record"));
    figures.insert("small p50 µs", small.p50);
    figures.insert("small p99 µs", small.p99);
    let bulk_bytes = bulk.records as f64 * 16_384.0;
    figures.insert("bulk MB/s", bulk_bytes / 1e6 / bulk.seconds.max(0.001));
    Ok(figures)
}

pub(super) fn many_partitions(
    running: &Running,
    work: &Path,
    seconds: u64,
) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "sensors", 1000)?;
    let sensors = Crowd {
        partitions: 1000,
        ..CROWD
    };
    let mut figures = Figures::new();
    let warm_up = Duration::from_secs(2);
    crowd::many_producers(&running.bootstrap, "sensors", sensors, warm_up)?;
    let meter = Meter::start(running, work);
    let duration = Duration::from_secs(seconds * 5);
    let measured = crowd::many_producers(&running.bootstrap, "sensors", sensors, duration)?;
    meter.stop(
        &mut figures,
        Work {
            records: measured.records,
            payload_bytes: measured.records * 200,
            failed: measured.failed,
        },
    );
    figures.insert("p50 µs", measured.p50);
    figures.insert("p99 µs", measured.p99);
    Ok(figures)
}

/// One record in each partition, three times over, then all of them read.
const RECORDS_EACH: u64 = 3;

pub(super) fn ten_thousand(running: &Running, work: &Path) -> Result<Figures, String> {
    let mut figures = Figures::new();
    let begun = Instant::now();
    load::create_topic(&running.bootstrap, "wide", TEN_THOUSAND)?;
    figures.insert("creation s", begun.elapsed().as_secs_f64());
    let records = RECORDS_EACH * u64::from(TEN_THOUSAND.unsigned_abs());
    let meter = Meter::start(running, work);
    let produced = load::once_around(&running.bootstrap, "wide", TEN_THOUSAND, records)?;
    meter.stop(
        &mut figures,
        Work {
            records: produced.records,
            payload_bytes: produced.records * 200,
            failed: produced.failed,
        },
    );
    figures.insert("records/s", produced.records as f64 / produced.seconds);
    let limit = Duration::from_secs(60);
    let begun = Instant::now();
    let read = load::read_back(&running.bootstrap, "wide", TEN_THOUSAND, records, limit)?;
    figures.insert("consumed after s", begun.elapsed().as_secs_f64());
    figures.insert("consumed share", read.records as f64 / records as f64);
    running.add_memory(&mut figures);
    Ok(figures)
}
