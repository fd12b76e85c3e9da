//! The idempotent producers of a log: part of the log, so that a resend after a restart is known.
//!
//! What it is        the live table beside each log, its way into the checkpoint and back, and the
//!                   bound over all logs of a shard.
//! What it is not    the rules (`kafka_lite::producer`).
//! Invariants        1. a live table knows every batch below the log end offset, durable or not.
//!                   2. a recovered table knows every batch of the recovered log that its live
//!                   table knew, and none that is not in the log. 3. time does not jump: it is the
//!                   time that the broker has run, so a clock that is set right expires nobody.
//! Source            KIP-98; docs/formats/producer-snapshot.md; design §1 promise 4.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_lite::producer::{
    ProducerCheck, ProducerDescription, ProducerSnapshot, ProducerTable, ProducerTableOptions,
    SnapshotError, Truncation,
};
use kafka_lite::record_batch::{BatchHeader, TimestampType};

use crate::disk::{Clock, Disk};
use crate::engine::EngineState;
use crate::options::Options;
use crate::partition::PartitionLog;
use crate::partition::state::{Log, LogState};

/// Count and clock of all producers of a shard.
#[derive(Debug)]
pub(crate) struct ProducerBudget {
    count: Cell<usize>,
    maximum: usize,
    opened_at: Duration,
    base_ms: Cell<i64>,
}

impl ProducerBudget {
    pub(crate) fn new(options: &Options, now: Duration) -> Self {
        Self {
            count: Cell::new(0),
            maximum: options.producers_maximum,
            opened_at: now,
            base_ms: Cell::new(0),
        }
    }

    /// Goes on from the time of the checkpoint, ms.
    pub(crate) fn set_base_ms(&self, base_ms: i64) {
        self.base_ms.set(base_ms);
    }

    /// Time that the broker has run, over all its lives, ms.
    pub(crate) fn now_ms(&self, now: Duration) -> i64 {
        let elapsed = now.saturating_sub(self.opened_at).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        self.base_ms.get().saturating_add(elapsed)
    }

    pub(crate) fn add(&self, count: usize) {
        self.count.set(self.count.get() + count);
    }

    pub(crate) fn remove(&self, count: usize) {
        self.count.set(self.count.get().saturating_sub(count));
    }

    /// Producers remembered now.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// How many must be forgotten now: an eighth at once, so that the search for them is rare.
    fn surplus(&self) -> usize {
        if self.count() <= self.maximum {
            return 0;
        }
        self.count() - (self.maximum - (self.maximum >> 3))
    }
}

/// The bytes that a checkpoint keeps; none for no producer.
pub(crate) fn encode_producers(table: &ProducerTable, log_end_offset: i64) -> Vec<u8> {
    if table.is_empty() {
        return Vec::new();
    }
    ProducerSnapshot::encode(table, log_end_offset)
}

/// The producers of one log while it is recovered.
pub(crate) struct ProducerReplay {
    table: ProducerTable,
    /// The table knows every batch below.
    next_offset: i64,
    now_ms: i64,
}

impl ProducerReplay {
    /// Starts from a checkpoint's snapshot; `cut` is the lowest offset at which the log was cut
    /// since.
    ///
    /// # Errors
    /// The snapshot does not decode.
    pub(crate) fn new(
        snapshot: &[u8],
        cut: Option<i64>,
        options: ProducerTableOptions,
        now_ms: i64,
    ) -> Result<Self, SnapshotError> {
        let mut replay = Self {
            table: ProducerTable::new(options),
            next_offset: 0,
            now_ms,
        };
        if !snapshot.is_empty() {
            let known = ProducerSnapshot::decode(snapshot, options)?;
            replay.table = known.table;
            replay.next_offset = known.next_offset;
        }
        if let Some(cut) = cut {
            replay.truncate(cut);
        }
        Ok(replay)
    }

    /// Takes a batch of the log; batches come in offset order, some of them known already.
    pub(crate) fn handle_batch(&mut self, header: &BatchHeader) {
        if header.base_offset >= self.next_offset {
            self.table.record_stored(header, self.now_ms);
            self.next_offset = header.next_offset();
        }
    }

    /// The table of a log that ends at `log_end_offset`.
    pub(crate) fn finish(mut self, log_end_offset: i64) -> ProducerTable {
        self.truncate(log_end_offset);
        self.table.expire(self.now_ms);
        self.table
    }

    fn truncate(&mut self, end_offset: i64) {
        // A producer that lost all its batches is forgotten: none of them had been acknowledged.
        let _forgotten: Truncation = self.table.handle_truncated(end_offset);
        self.next_offset = self.next_offset.min(end_offset);
    }
}

impl<D: Disk, C: Clock> EngineState<D, C> {
    fn producer_now_ms(&self) -> i64 {
        self.producers.now_ms(self.clock.now())
    }

    /// Forgets the least recently used producers of all logs while there are too many.
    pub(crate) fn limit_producers(&self) {
        let surplus = self.producers.surplus();
        if surplus == 0 {
            return;
        }
        let logs: Vec<Rc<Log<D>>> = self.logs.borrow().values().map(Rc::clone).collect();
        let mut ages = Vec::with_capacity(self.producers.count());
        for log in &logs {
            let state = log.state.borrow();
            ages.extend(state.producers.describe().map(|one| one.last_timestamp));
        }
        ages.sort_unstable();
        let youngest_to_go = surplus.checked_sub(1).and_then(|last| ages.get(last));
        let Some(limit) = youngest_to_go.copied() else {
            return;
        };
        let mut left = surplus;
        for log in &logs {
            let producers = &mut log.state.borrow_mut().producers;
            while left > 0 && producers.oldest_append_ms().is_some_and(|age| age <= limit) {
                producers.evict_oldest();
                self.producers.remove(1);
                left -= 1;
            }
        }
    }

    /// Forgets the producers of all logs that have expired; returns how many.
    pub(crate) fn expire_producers(&self) -> usize {
        let now_ms = self.producer_now_ms();
        let logs = self.logs.borrow();
        let expire = |log: &Rc<Log<D>>| log.state.borrow_mut().producers.expire(now_ms);
        let expired = logs.values().map(expire).sum();
        self.producers.remove(expired);
        expired
    }
}

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// Decides about a produced batch by its producer id and sequence; changes nothing. The append
    /// that follows notes the batch.
    pub fn check_producer(&self, header: &BatchHeader) -> ProducerCheck {
        let now_ms = self.shared.producer_now_ms();
        self.log.state.borrow().producers.check(now_ms, header)
    }

    /// Calls `read` with the table; its times count from the broker's first start.
    pub fn with_producers<T>(&self, read: impl FnOnce(&ProducerTable) -> T) -> T {
        read(&self.log.state.borrow().producers)
    }

    /// What DescribeProducers answers, with times on the wall clock that shows `wall_now_ms`.
    pub fn describe_producers(&self, wall_now_ms: i64) -> Vec<ProducerDescription> {
        let ahead = wall_now_ms.saturating_sub(self.shared.producer_now_ms());
        let state = self.log.state.borrow();
        let on_wall = |mut one: ProducerDescription| {
            one.last_timestamp = one.last_timestamp.saturating_add(ahead);
            one
        };
        state.producers.describe().map(on_wall).collect()
    }

    /// Notes an appended batch; true when there is one more producer than before.
    pub(crate) fn note_producer(
        &self,
        state: &mut LogState<D>,
        header: &BatchHeader,
        base_offset: i64,
    ) -> bool {
        if header.producer().is_none() {
            return false;
        }
        let log_append_time = (header.timestamp_type() == TimestampType::LogAppendTime)
            .then_some(header.max_timestamp);
        let now_ms = self.shared.producer_now_ms();
        let before = state.producers.len();
        state
            .producers
            .record(header, base_offset, log_append_time, now_ms);
        let after = state.producers.len();
        self.shared.producers.add(after.saturating_sub(before));
        self.shared.producers.remove(before.saturating_sub(after));
        after > before
    }

    /// Forgets the batches of a cut.
    pub(crate) fn truncate_producers(&self, state: &mut LogState<D>, end_offset: i64) {
        let before = state.producers.len();
        // What a cut removes had not been acknowledged: see `ProducerReplay::truncate`.
        let _forgotten: Truncation = state.producers.handle_truncated(end_offset);
        self.shared.producers.remove(before - state.producers.len());
    }
}
