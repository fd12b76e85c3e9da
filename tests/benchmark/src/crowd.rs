//! Many clients at once: producers with little to say, consumers with nothing to read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::load::{Acknowledgements, Latency, client, micros, producer, schedule_us, send};
use crate::random;

/// Many producers with little to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Producers, each with a connection of its own.
    pub(crate) connections: usize,
    /// Records per second of each.
    pub(crate) rate_each: u64,
    /// Bytes of a record's value.
    pub(crate) size_bytes: usize,
    /// Partitions that the records go to in turn.
    pub(crate) partitions: i32,
}

/// Lets a crowd of producers send on one schedule; one histogram for all.
pub(crate) fn many_producers(
    bootstrap: &str,
    topic: &str,
    crowd: Crowd,
    duration: Duration,
) -> Result<Latency, String> {
    let Crowd {
        connections,
        rate_each,
        size_bytes,
        partitions,
    } = crowd;
    let mut producers = Vec::with_capacity(connections);
    for _ in 0..connections {
        producers.push(producer(
            bootstrap,
            0,
            Acknowledgements::new(Duration::from_secs(1))?,
        )?);
    }
    let payloads = random::payloads(11, 64, size_bytes);
    let rate = rate_each * connections as u64;
    let count = rate * (duration.as_secs() + 1);
    let start = Instant::now();
    for number in 0..count {
        let scheduled = Duration::from_micros(schedule_us(number, rate));
        if let Some(left) = scheduled.checked_sub(start.elapsed()) {
            std::thread::sleep(left);
        }
        let place = usize::try_from(number).unwrap_or(0);
        let Some(producer) = producers.get(place % connections) else {
            continue;
        };
        let partition = i32::try_from(number % u64::from(partitions.unsigned_abs())).unwrap_or(0);
        let payload = payloads
            .get(place % payloads.len())
            .map(Vec::as_slice)
            .unwrap_or_default();
        // Each producer has a clock of its own: the schedule is told in its time.
        let late_us = micros(start.elapsed().saturating_sub(scheduled));
        let scheduled_us = producer.context().now_us().saturating_sub(late_us);
        let opaque = usize::try_from(scheduled_us + 1).unwrap_or(0);
        send(producer, topic, partition, payload, opaque)?;
    }
    let mut all =
        Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(|error| error.to_string())?;
    let mut latency = Latency::default();
    for producer in &producers {
        producer
            .flush(Duration::from_secs(30))
            .map_err(|error| error.to_string())?;
        let figures = producer.context();
        latency.records += figures.acknowledged.load(Ordering::Relaxed);
        latency.failed += figures.failed.load(Ordering::Relaxed);
        let own = figures.latency.lock().map_err(|error| error.to_string())?;
        all.add(&*own).map_err(|error| error.to_string())?;
    }
    latency.p50 = all.value_at_quantile(0.5) as f64;
    latency.p99 = all.value_at_quantile(0.99) as f64;
    latency.p999 = all.value_at_quantile(0.999) as f64;
    Ok(latency)
}

/// Consumers that wait at the end of a topic.
pub(crate) struct IdleConsumers(Vec<BaseConsumer>);

impl IdleConsumers {
    /// Lets them wait for `duration`.
    pub(crate) fn watch(&self, duration: Duration) {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            for consumer in &self.0 {
                drop(consumer.poll(Duration::ZERO));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Connects `count` consumers of an empty topic.
pub(crate) fn idle_consumers(
    bootstrap: &str,
    topic: &str,
    count: usize,
) -> Result<IdleConsumers, String> {
    let mut consumers = Vec::with_capacity(count);
    for _ in 0..count {
        let consumer: BaseConsumer = client(bootstrap)
            .set("group.id", "idle")
            .set("enable.auto.commit", "false")
            .create()
            .map_err(|error| error.to_string())?;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, 0, Offset::End)
            .map_err(|error| error.to_string())?;
        consumer
            .assign(&assignment)
            .map_err(|error| error.to_string())?;
        consumers.push(consumer);
    }
    let consumers = IdleConsumers(consumers);
    consumers.watch(Duration::from_secs(3));
    Ok(consumers)
}
