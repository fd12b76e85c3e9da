//! A broker with nothing to do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Figures;
use crate::crowd;
use crate::load;
use crate::machine;
use crate::system::Running;

/// ApiVersions v0 with correlation id 7 and no client id.
const API_VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// How long the processor time of the idle broker is watched.
const WATCHED: Duration = Duration::from_secs(10);

pub(super) fn idle(running: &Running) -> Result<Figures, String> {
    let mut figures = Figures::new();
    std::thread::sleep(Duration::from_millis(500));
    let before = machine::process(running.pid);
    figures.insert("RSS MB, idle", before.resident_kib as f64 * 1024.0 / 1e6);
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
    let (cpu, switches) = watch(running, || std::thread::sleep(WATCHED));
    figures.insert("CPU % with 100 idle connections", cpu);
    figures.insert("context switches/s, 100 idle connections", switches);
    drop(connections);
    load::create_topic(&running.bootstrap, "idle", 1)?;
    let consumers = crowd::idle_consumers(&running.bootstrap, "idle", 100)?;
    let (cpu, switches) = watch(running, || consumers.watch(WATCHED));
    figures.insert("CPU % with 100 idle consumers", cpu);
    figures.insert("context switches/s, 100 idle consumers", switches);
    Ok(figures)
}

/// Per cent of a core and context switches per second of the broker while `wait` runs.
fn watch(running: &Running, wait: impl FnOnce()) -> (f64, f64) {
    let start = machine::process(running.pid);
    wait();
    let end = machine::process(running.pid);
    let seconds = WATCHED.as_secs_f64();
    let cpu_us = end.cpu_us.saturating_sub(start.cpu_us) as f64;
    let switches = end.context_switches.saturating_sub(start.context_switches) as f64;
    (cpu_us / seconds / 10_000.0, switches / seconds)
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
