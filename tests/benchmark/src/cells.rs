//! The cells of the comparison: each takes a running system and gives named figures.
//!
//! Figures that every cell adds: broker CPU, flush requests of the device, bytes written to the
//! device.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::crowd::{self, Crowd};
use crate::load::{self, Shape};
use crate::machine;
use crate::system::{Running, System};

/// Figures by name; the unit is part of the name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    /// Unthrottled produce and read back: record size in bytes and partitions.
    Throughput(usize, i32),
    /// 1,000 records of 1 KiB per second, linger 0.
    Latency,
    /// 200 small producers beside one that saturates the disk.
    SmallBehindBulk,
    /// 1,000 partitions × one 200 B record per second from 200 connections.
    ManyPartitions,
    /// Memory and CPU of a broker with nothing to do.
    Idle,
}

impl Cell {
    /// The name in tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Throughput(size_bytes, partitions) => {
                format!("throughput {size_bytes} B × {partitions} partitions")
            }
            Self::Latency => "latency 1,000/s × 1 KiB".to_owned(),
            Self::SmallBehindBulk => "200 small producers behind bulk".to_owned(),
            Self::ManyPartitions => "1,000 partitions × 1/s × 200 B".to_owned(),
            Self::Idle => "idle".to_owned(),
        }
    }

    /// The systems that take part: the intervals only where wear is the question.
    pub(crate) fn includes(self, system: System) -> bool {
        match system {
            System::SluiceInterval5 | System::SluiceInterval50 => self == Self::ManyPartitions,
            System::Control => !matches!(self, Self::Idle | Self::ManyPartitions),
            System::SluiceDiscard => matches!(self, Self::Throughput(..) | Self::Latency),
            System::Tansu => matches!(self, Self::Throughput(..) | Self::Latency | Self::Idle),
            System::Sluice | System::Kafka | System::KafkaFlush => true,
        }
    }

    /// Runs the cell; `seconds` scales the timed parts.
    pub(crate) fn run(
        self,
        running: &Running,
        work: &Path,
        seconds: u64,
    ) -> Result<Figures, String> {
        match self {
            Self::Throughput(size_bytes, partitions) => {
                throughput(running, work, size_bytes, partitions, seconds)
            }
            Self::Latency => latency(running, work, seconds),
            Self::SmallBehindBulk => small_behind_bulk(running, work, seconds),
            Self::ManyPartitions => many_partitions(running, work, seconds),
            Self::Idle => idle(running),
        }
    }
}

/// Broker and device figures over a piece of work that handled `records` records.
struct Meter<'a> {
    running: &'a Running,
    work: &'a Path,
    process: machine::ProcessFigures,
    disk: machine::DiskFigures,
    start: Instant,
}

impl<'a> Meter<'a> {
    fn start(running: &'a Running, work: &'a Path) -> Self {
        let (process, disk) = (machine::process(running.pid), machine::disk(work));
        Self {
            running,
            work,
            process,
            disk,
            start: Instant::now(),
        }
    }

    fn stop(self, figures: &mut Figures, records: u64, payload_bytes: u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        let (process, disk) = (machine::process(self.running.pid), machine::disk(self.work));
        let cpu_us = process.cpu_us.saturating_sub(self.process.cpu_us) as f64;
        let flushes = disk.flushes.saturating_sub(self.disk.flushes) as f64;
        let written = disk.written_bytes.saturating_sub(self.disk.written_bytes) as f64;
        figures.insert("broker CPU µs/record", cpu_us / (records.max(1) as f64));
        figures.insert("broker CPU % of a core", cpu_us / seconds / 10_000.0);
        figures.insert("flushes/s", flushes / seconds);
        figures.insert(
            "bytes written/payload byte",
            written / (payload_bytes.max(1) as f64),
        );
        figures.insert("peak RSS MB", process.resident_peak_kib as f64 / 1024.0);
    }
}

fn throughput(
    running: &Running,
    work: &Path,
    size_bytes: usize,
    partitions: i32,
    seconds: u64,
) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "throughput", partitions)?;
    let shape = Shape {
        size_bytes,
        partitions,
        linger_ms: 5,
    };
    load::saturate(
        &running.bootstrap,
        "throughput",
        shape,
        Duration::from_millis(300),
    )?;
    let mut figures = Figures::new();
    let meter = Meter::start(running, work);
    let duration = Duration::from_secs(seconds);
    let produced = load::saturate(&running.bootstrap, "throughput", shape, duration)?;
    meter.stop(
        &mut figures,
        produced.records,
        produced.records * size_bytes as u64,
    );
    let rate = produced.records as f64 / produced.seconds.max(0.001);
    figures.insert("records/s", rate);
    figures.insert("MB/s", rate * size_bytes as f64 / 1e6);
    figures.insert("failed records", produced.failed as f64);
    let keeps_data = !matches!(running.system, System::Control | System::SluiceDiscard);
    if keeps_data {
        let limit = Duration::from_secs(seconds * 8);
        let (records, bytes, taken) = load::read_back(
            &running.bootstrap,
            "throughput",
            partitions,
            produced.records,
            limit,
        )?;
        figures.insert("consume MB/s", bytes as f64 / 1e6 / taken);
        figures.insert(
            "consumed share",
            records as f64 / produced.records.max(1) as f64,
        );
    }
    Ok(figures)
}

fn latency(running: &Running, work: &Path, seconds: u64) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "latency", 1)?;
    let shape = Shape {
        size_bytes: 1024,
        partitions: 1,
        linger_ms: 0,
    };
    let mut figures = Figures::new();
    let meter = Meter::start(running, work);
    let duration = Duration::from_secs(seconds * 3);
    let measured = load::open_loop(
        &running.bootstrap,
        "latency",
        shape,
        1000,
        Duration::from_secs(1),
        duration,
    )?;
    meter.stop(&mut figures, measured.records, measured.records * 1024);
    figures.insert("p50 µs", measured.p50);
    figures.insert("p99 µs", measured.p99);
    figures.insert("p99.9 µs", measured.p999);
    figures.insert("generator late p99 µs", measured.generator_late_p99);
    figures.insert("failed records", measured.failed as f64);
    Ok(figures)
}

/// 200 producers of five 200 B records per second each: 1,000 records per second.
const CROWD: Crowd = Crowd {
    connections: 200,
    rate_each: 5,
    size_bytes: 200,
    partitions: 16,
};

fn small_behind_bulk(running: &Running, work: &Path, seconds: u64) -> Result<Figures, String> {
    load::create_topic(&running.bootstrap, "small", 16)?;
    load::create_topic(&running.bootstrap, "bulk", 8)?;
    let bulk_shape = Shape {
        size_bytes: 16_384,
        partitions: 8,
        linger_ms: 5,
    };
    let duration = Duration::from_secs(seconds * 2);
    let bootstrap = running.bootstrap.clone();
    let bulk = std::thread::spawn(move || {
        load::saturate(
            &bootstrap,
            "bulk",
            bulk_shape,
            duration + Duration::from_secs(1),
        )
    });
    let mut figures = Figures::new();
    let meter = Meter::start(running, work);
    let small = crowd::many_producers(&running.bootstrap, "small", CROWD, duration)?;
    let bulk = bulk
        .join()
        .map_err(|_| "the bulk producer panicked".to_owned())??;
    meter.stop(
        &mut figures,
        small.records,
        small.records * 200 + bulk.records * 16_384,
    );
    figures.insert("small p50 µs", small.p50);
    figures.insert("small p99 µs", small.p99);
    figures.insert(
        "bulk MB/s",
        bulk.records as f64 * 0.016_384 / bulk.seconds.max(0.001),
    );
    figures.insert("failed records", (small.failed + bulk.failed) as f64);
    Ok(figures)
}

fn many_partitions(running: &Running, work: &Path, seconds: u64) -> Result<Figures, String> {
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
    meter.stop(&mut figures, measured.records, measured.records * 200);
    figures.insert("p50 µs", measured.p50);
    figures.insert("p99 µs", measured.p99);
    figures.insert(
        "records/s",
        measured.records as f64 / duration.as_secs_f64(),
    );
    figures.insert("failed records", measured.failed as f64);
    Ok(figures)
}

/// ApiVersions v0 with correlation id 7 and no client id.
const API_VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

fn idle(running: &Running) -> Result<Figures, String> {
    let mut figures = Figures::new();
    load::create_topic(&running.bootstrap, "idle", 1)?;
    std::thread::sleep(Duration::from_millis(500));
    let before = machine::process(running.pid);
    figures.insert("RSS MB, idle", before.resident_kib as f64 / 1024.0);
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(connect_and_greet(&running.bootstrap).map_err(|e| e.to_string())?);
    }
    std::thread::sleep(Duration::from_millis(500));
    let with_connections = machine::process(running.pid);
    let grown_kib = with_connections
        .resident_kib
        .saturating_sub(before.resident_kib) as f64;
    figures.insert("KiB per idle connection", grown_kib / 100.0);
    drop(connections);
    let consumers = crowd::idle_consumers(&running.bootstrap, "idle", 100)?;
    std::thread::sleep(Duration::from_secs(2));
    let start = machine::process(running.pid);
    let watched = Duration::from_secs(10);
    consumers.watch(watched);
    let end = machine::process(running.pid);
    let cpu_us = end.cpu_us.saturating_sub(start.cpu_us) as f64;
    let switches = end.context_switches.saturating_sub(start.context_switches) as f64;
    figures.insert(
        "CPU % with 100 idle consumers",
        cpu_us / watched.as_secs_f64() / 10_000.0,
    );
    figures.insert(
        "context switches/s, 100 idle consumers",
        switches / watched.as_secs_f64(),
    );
    Ok(figures)
}

/// A connection that has spoken once, as a client that waits does.
fn connect_and_greet(bootstrap: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(bootstrap)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&API_VERSIONS_REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(stream)
}
