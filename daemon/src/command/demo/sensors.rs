//! The sensors of the demonstration: machines that report a temperature, with acks of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kafka_lite::partitioner::partition_of;
use kafka_lite::record_batch::Compression;

use super::TOPIC;
use crate::client::produce::{ProduceOptions, Producer};
use crate::client::{Address, ClientError, Cluster};
use crate::command::time::now_ms;

/// Machines that report.
const MACHINES: u64 = 12;

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);

/// Time that the gateway may take to store a round.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Running sensors.
#[derive(Debug)]
pub(super) struct Sensors {
    acknowledged: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ClientError>>>,
}

impl Sensors {
    /// Starts them: so many records per second to the gateway.
    pub(super) fn start(gateway: Address, per_second: u32) -> std::io::Result<Self> {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (count, over) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
        let thread = thread::Builder::new()
            .name("sensors".to_owned())
            .spawn(move || report(&gateway, per_second, &count, &over))?;
        Ok(Self {
            acknowledged,
            is_over,
            thread: Some(thread),
        })
    }

    /// Records that the gateway has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Stops them, or finds out why they have stopped; later calls do nothing.
    pub(super) fn stop(&mut self) -> Result<(), ClientError> {
        self.is_over.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let died = || ClientError::Other("the sensors have died".to_owned());
        thread.join().map_err(|_panic| died())?
    }

    /// Whether they have stopped by themselves.
    pub(super) fn have_failed(&self) -> bool {
        let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        ended && !self.is_over.load(Ordering::SeqCst)
    }
}

fn report(
    gateway: &Address,
    per_second: u32,
    acknowledged: &AtomicU64,
    is_over: &AtomicBool,
) -> Result<(), ClientError> {
    let mut cluster = Cluster::connect(std::slice::from_ref(gateway))?;
    let topic = cluster.topic(TOPIC, true)?;
    let partitions = topic.partition_count();
    let options = ProduceOptions {
        acks: -1,
        compression: Compression::None,
        timeout: STORE_TIMEOUT,
    };
    let mut producer = Producer::new(topic, options);
    let started = Instant::now();
    let mut sent = 0_u64;
    while !is_over.load(Ordering::SeqCst) {
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = elapsed_ms
            .saturating_mul(u64::from(per_second))
            .div_euclid(1000);
        let first = sent;
        while sent < due.max(1) {
            let machine = sent.rem_euclid(MACHINES);
            let key = format!("machine-{machine}");
            let value = reading(machine, sent);
            let record = (Some(key.as_bytes()), Some(value.as_bytes()));
            let partition = partition_of(key.as_bytes(), partitions);
            sent += 1;
            let room = producer.append(partition, now_ms(), record, &[])?;
            if room == crate::client::produce::Room::Full {
                break;
            }
        }
        if sent > first {
            producer.send(&mut cluster)?;
            acknowledged.fetch_add(sent - first, Ordering::SeqCst);
        }
        thread::sleep(ROUND);
    }
    Ok(())
}

/// What a machine reports: a temperature that wanders.
fn reading(machine: u64, number: u64) -> String {
    let wander = (number.wrapping_mul(2_654_435_761) >> 8).rem_euclid(100);
    let tenths = 200 + 10 * machine + wander;
    let (degrees, tenth) = (tenths.div_euclid(10), tenths.rem_euclid(10));
    format!("{{\"machine\":{machine},\"number\":{number},\"temperature\":{degrees}.{tenth}}}")
}
