//! Broker and device figures over a piece of work.

use std::path::Path;
use std::time::Instant;

use crate::cells::Figures;
use crate::machine;
use crate::metrics::Metrics;
use crate::system::Running;

/// Figures before the work.
pub(crate) struct Meter<'a> {
    running: &'a Running,
    work: &'a Path,
    process: machine::ProcessFigures,
    disk: machine::DiskFigures,
    metrics: Option<Metrics>,
    start: Instant,
}

/// What was done between start and stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Acknowledged records.
    pub(crate) records: u64,
    /// Bytes of their values.
    pub(crate) payload_bytes: u64,
    /// Records that ended in an error.
    pub(crate) failed: u64,
}

impl<'a> Meter<'a> {
    /// Looks at broker and device.
    pub(crate) fn start(running: &'a Running, work: &'a Path) -> Self {
        let metrics = running.metrics();
        let (process, disk) = (machine::process(running.pid), machine::disk(work));
        Self {
            running,
            work,
            process,
            disk,
            metrics,
            start: Instant::now(),
        }
    }

    /// Looks again and adds the differences to `figures`.
    pub(crate) fn stop(self, figures: &mut Figures, work: Work) {
        let seconds = self.start.elapsed().as_secs_f64();
        let (process, disk) = (machine::process(self.running.pid), machine::disk(self.work));
        let cpu_us = process.cpu_us.saturating_sub(self.process.cpu_us) as f64;
        let flushes = disk.flushes.saturating_sub(self.disk.flushes) as f64;
        let written = disk.written_bytes.saturating_sub(self.disk.written_bytes) as f64;
        let by_process = process
            .written_bytes
            .saturating_sub(self.process.written_bytes) as f64;
        let records = work.records.max(1) as f64;
        let payload = work.payload_bytes.max(1) as f64;
        figures.insert("broker CPU µs/record", cpu_us / records);
        figures.insert("broker CPU % of a core", cpu_us / seconds / 10_000.0);
        figures.insert("device flushes/s", flushes / seconds);
        figures.insert("device flushes/record", flushes / records);
        figures.insert("device bytes/payload byte", written / payload);
        figures.insert("process bytes/payload byte", by_process / payload);
        figures.insert("failed records", work.failed as f64);
        self.running.add_memory(figures);
        if let (Some(before), Some(after)) = (&self.metrics, self.running.metrics()) {
            let requests = after.produce_requests() - before.produce_requests();
            let flushes = after.flushes() - before.flushes();
            let written = after.written_bytes() - before.written_bytes();
            figures.insert("own bytes/payload byte", written / payload);
            let journal = after.journal_bytes() - before.journal_bytes();
            figures.insert("journal bytes/payload byte", journal / payload);
            figures.insert("own durable writes/s", flushes / seconds);
            figures.insert("own durable writes/request", flushes / requests.max(1.0));
            figures.insert("records/request", records / requests.max(1.0));
        }
    }
}
