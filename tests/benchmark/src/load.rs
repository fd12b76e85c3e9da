//! Load over librdkafka: unthrottled, open loop, and reading back.
//!
//! Latency is the time of the acknowledgement minus the *scheduled* send time, so that a stall of
//! the
//! generator or the broker is not hidden by sending less (coordinated omission).

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::random;

/// A record that is not acknowledged for so long has failed: a stalled system ends its run.
const MESSAGE_TIMEOUT_MS: &str = "30000";

/// Longest wait for room in librdkafka's queue; longer than [`MESSAGE_TIMEOUT_MS`].
const QUEUE_WAIT: Duration = Duration::from_secs(40);

/// What the acknowledgements of one producer gave.
pub(crate) struct Acknowledgements {
    start: Instant,
    warm_up_us: u64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) failed: AtomicU64,
    last_us: AtomicU64,
    pub(crate) latency: Mutex<Histogram<u64>>,
}

impl Acknowledgements {
    pub(crate) fn new(warm_up: Duration) -> Result<Self, String> {
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 3);
        Ok(Self {
            start: Instant::now(),
            warm_up_us: micros(warm_up),
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            latency: Mutex::new(histogram.map_err(|error| error.to_string())?),
        })
    }

    pub(crate) fn now_us(&self) -> u64 {
        micros(self.start.elapsed())
    }

    /// Records that were acknowledged or have failed.
    fn finished(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    /// Scheduled send time in microseconds plus one; 0 means that latency is not asked for.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, scheduled: usize) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let now_us = self.now_us();
        self.last_us.store(now_us, Ordering::Relaxed);
        let Some(scheduled_us) = (scheduled as u64).checked_sub(1) else {
            return;
        };
        if scheduled_us >= self.warm_up_us
            && let Ok(mut latency) = self.latency.lock()
        {
            latency.saturating_record(now_us.saturating_sub(scheduled_us).max(1));
        }
    }
}

/// What a producer is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of a record's value.
    pub(crate) size_bytes: usize,
    /// Partitions that records go to in turn.
    pub(crate) partitions: i32,
    /// librdkafka's `linger.ms`.
    pub(crate) linger_ms: u32,
}

/// Result of an unthrottled run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Throughput {
    /// Acknowledged records.
    pub(crate) records: u64,
    /// Records that ended in an error.
    pub(crate) failed: u64,
    /// Seconds from the start to the last acknowledgement.
    pub(crate) seconds: f64,
}

/// Result of an open-loop run, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// 99.9th percentile.
    pub(crate) p999: f64,
    /// Acknowledged records.
    pub(crate) records: u64,
    /// Records that ended in an error.
    pub(crate) failed: u64,
    /// 99th percentile of how late the generator itself was.
    pub(crate) generator_late_p99: f64,
}

pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("socket.nagle.disable", "true");
    config
}

pub(crate) fn producer(
    bootstrap: &str,
    linger_ms: u32,
    acknowledgements: Acknowledgements,
) -> Result<ThreadedProducer<Acknowledgements>, String> {
    client(bootstrap)
        .set("acks", "all")
        .set("linger.ms", linger_ms.to_string())
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "262144")
        .set("batch.num.messages", "100000")
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS)
        .create_with_context(acknowledgements)
        .map_err(|error| error.to_string())
}

/// Creates `topic`; a system without CreateTopics (the control) makes it on first use.
pub(crate) fn create_topic(bootstrap: &str, topic: &str, partitions: i32) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap)
        .create()
        .map_err(|error| error.to_string())?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    // The crate's futures need no runtime of their own to be polled by hand.
    drop(wait(admin.create_topics([&new], &options)));
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(topic), Duration::from_secs(5));
        let is_ready = metadata.is_ok_and(|metadata| {
            metadata
                .topics()
                .iter()
                .any(|found| found.name() == topic && found.error().is_none())
        });
        if is_ready {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(format!("{topic} was not created"))
}

/// Polls a future on this thread until it is done.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends one record; waits for room when librdkafka's queue is full, up to [`QUEUE_WAIT`].
pub(crate) fn send(
    producer: &ThreadedProducer<Acknowledgements>,
    topic: &str,
    partition: i32,
    payload: &[u8],
    scheduled: usize,
) -> Result<(), String> {
    let mut deadline = None;
    loop {
        let record: BaseRecord<'_, (), [u8], usize> = BaseRecord::with_opaque_to(topic, scheduled)
            .partition(partition)
            .payload(payload);
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + QUEUE_WAIT);
                if Instant::now() > deadline {
                    return Err(format!("{topic} takes no records any more"));
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            Err((error, _)) => return Err(error.to_string()),
        }
    }
}

/// Produces as fast as the system acknowledges, for `duration`.
pub(crate) fn saturate(
    bootstrap: &str,
    topic: &str,
    shape: Shape,
    duration: Duration,
) -> Result<Throughput, String> {
    let producer = producer(
        bootstrap,
        shape.linger_ms,
        Acknowledgements::new(Duration::ZERO)?,
    )?;
    let payloads = random::payloads(7, 64, shape.size_bytes);
    let start = Instant::now();
    let mut partition = 0;
    for (number, payload) in payloads.iter().cycle().enumerate() {
        if number.is_multiple_of(64) && start.elapsed() >= duration {
            break;
        }
        // Runs of one partition, as a sticky partitioner makes them.
        if number.is_multiple_of(512) {
            partition = (partition + 1) % shape.partitions;
        }
        send(&producer, topic, partition, payload, 0)?;
    }
    producer
        .flush(Duration::from_secs(60))
        .map_err(|error| error.to_string())?;
    let figures = producer.context();
    let seconds = Duration::from_micros(figures.last_us.load(Ordering::Relaxed)).as_secs_f64();
    Ok(Throughput {
        records: figures.acknowledged.load(Ordering::Relaxed),
        failed: figures.failed.load(Ordering::Relaxed),
        seconds,
    })
}

/// Sends `rate` records per second on a fixed schedule for `duration` after `warm_up`.
pub(crate) fn open_loop(
    bootstrap: &str,
    topic: &str,
    shape: Shape,
    rate: u64,
    warm_up: Duration,
    duration: Duration,
) -> Result<Latency, String> {
    let producer = producer(bootstrap, shape.linger_ms, Acknowledgements::new(warm_up)?)?;
    let payloads = random::payloads(9, 64, shape.size_bytes);
    let late = RefCell::new(
        Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(|error| error.to_string())?,
    );
    let count = rate * (warm_up + duration).as_secs();
    let origin_us = producer.context().now_us() + 1000;
    for number in 0..count {
        let scheduled_us = origin_us + schedule_us(number, rate);
        wait_until(producer.context(), scheduled_us);
        let now_us = producer.context().now_us();
        late.borrow_mut()
            .saturating_record((now_us - scheduled_us).max(1));
        let place = usize::try_from(number).unwrap_or(0) % payloads.len();
        let partition = i32::try_from(number % u64::from(shape.partitions.unsigned_abs()));
        let payload = payloads.get(place).map(Vec::as_slice).unwrap_or_default();
        let scheduled = usize::try_from(scheduled_us + 1).unwrap_or(0);
        send(&producer, topic, partition.unwrap_or(0), payload, scheduled)?;
    }
    producer
        .flush(Duration::from_secs(30))
        .map_err(|error| error.to_string())?;
    let figures = producer.context();
    let latency = figures.latency.lock().map_err(|error| error.to_string())?;
    let late = late.borrow();
    Ok(Latency {
        p50: latency.value_at_quantile(0.5) as f64,
        p99: latency.value_at_quantile(0.99) as f64,
        p999: latency.value_at_quantile(0.999) as f64,
        records: figures.acknowledged.load(Ordering::Relaxed),
        failed: figures.failed.load(Ordering::Relaxed),
        generator_late_p99: late.value_at_quantile(0.99) as f64,
    })
}

/// When record `number` of a stream of `rate` per second is due, in microseconds from its start.
#[expect(
    clippy::integer_division,
    reason = "the schedule is whole microseconds"
)]
pub(crate) fn schedule_us(number: u64, rate: u64) -> u64 {
    number * 1_000_000 / rate.max(1)
}

/// Sleeps to within 60 µs of the time, then spins: a sleeping thread wakes late.
fn wait_until(clock: &Acknowledgements, scheduled_us: u64) {
    loop {
        let now_us = clock.now_us();
        if now_us >= scheduled_us {
            return;
        }
        let left_us = scheduled_us - now_us;
        if left_us > 120 {
            std::thread::sleep(Duration::from_micros(left_us - 60));
        } else {
            std::hint::spin_loop();
        }
    }
}

/// What was read from the start of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadBack {
    /// Records, where they are told apart.
    pub(crate) records: u64,
    /// Bytes: of values, or of batches where records are not told apart.
    pub(crate) bytes: u64,
    /// From the first record to the last.
    pub(crate) seconds: f64,
}

impl ReadBack {
    /// The rate.
    pub(crate) fn megabytes_per_second(self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds.max(0.001)
    }
}

/// Reads `records` records of all partitions from the start. The time runs from the first record:
/// connecting and asking for leaders is not what is measured.
pub(crate) fn read_back(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    records: u64,
    limit: Duration,
) -> Result<ReadBack, String> {
    let consumer: BaseConsumer = client(bootstrap)
        .set("group.id", "benchmark")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "65536")
        .set("fetch.wait.max.ms", "100")
        .create()
        .map_err(|error| error.to_string())?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .map_err(|error| error.to_string())?;
    }
    let start = Instant::now();
    consumer
        .assign(&assignment)
        .map_err(|error| error.to_string())?;
    let mut read = ReadBack::default();
    let mut first = None;
    while read.records < records && start.elapsed() < limit {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
            continue;
        };
        first.get_or_insert_with(Instant::now);
        read.records += 1;
        read.bytes += message.payload_len() as u64;
    }
    read.seconds = first.unwrap_or(start).elapsed().as_secs_f64();
    Ok(read)
}

/// Sends one record, and the next when it is acknowledged, for `duration`.
pub(crate) fn one_at_a_time(
    bootstrap: &str,
    topic: &str,
    size_bytes: usize,
    duration: Duration,
) -> Result<Throughput, String> {
    let start = Instant::now();
    lone(bootstrap, topic, size_bytes, |_| start.elapsed() < duration)
}

/// Sends `count` batches of one record of `size_bytes`, one at a time.
pub(crate) fn lone_batches(
    bootstrap: &str,
    topic: &str,
    size_bytes: usize,
    count: u64,
) -> Result<(), String> {
    let sent = lone(bootstrap, topic, size_bytes, |number| number < count)?;
    if sent.records == count {
        return Ok(());
    }
    Err(format!(
        "{} of {count} records were acknowledged",
        sent.records
    ))
}

fn lone(
    bootstrap: &str,
    topic: &str,
    size_bytes: usize,
    goes_on: impl Fn(u64) -> bool,
) -> Result<Throughput, String> {
    let producer = producer(bootstrap, 0, Acknowledgements::new(Duration::ZERO)?)?;
    let payloads = random::payloads(5, 8, size_bytes);
    let figures = Arc::clone(producer.context());
    let start = Instant::now();
    for (number, payload) in (0..).zip(payloads.iter().cycle()) {
        if !goes_on(number) {
            break;
        }
        send(&producer, topic, 0, payload, 0)?;
        while figures.finished() <= number {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    Ok(Throughput {
        records: figures.acknowledged.load(Ordering::Relaxed),
        failed: figures.failed.load(Ordering::Relaxed),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Sends `count` records of 200 B, each to the next partition.
pub(crate) fn once_around(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    count: u64,
) -> Result<Throughput, String> {
    let producer = producer(bootstrap, 5, Acknowledgements::new(Duration::ZERO)?)?;
    let payloads = random::payloads(3, 64, 200);
    let start = Instant::now();
    let partitions = u64::from(partitions.unsigned_abs());
    for (number, payload) in (0..count).zip(payloads.iter().cycle()) {
        let partition = i32::try_from(number % partitions).unwrap_or(0);
        send(&producer, topic, partition, payload, 0)?;
    }
    producer
        .flush(Duration::from_secs(60))
        .map_err(|error| error.to_string())?;
    let figures = producer.context();
    Ok(Throughput {
        records: figures.acknowledged.load(Ordering::Relaxed),
        failed: figures.failed.load(Ordering::Relaxed),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// One producer that waits for each acknowledgement: the time of the first record and of a lone
/// one.
pub(crate) fn first_acknowledgement(bootstrap: &str, topic: &str) -> Result<(), String> {
    let producer = producer(bootstrap, 0, Acknowledgements::new(Duration::ZERO)?)?;
    send(&producer, topic, 0, b"first", 0)?;
    producer
        .flush(Duration::from_secs(30))
        .map_err(|error| error.to_string())?;
    if producer.context().acknowledged.load(Ordering::Relaxed) == 1 {
        return Ok(());
    }
    Err("the first record was not acknowledged".to_owned())
}
