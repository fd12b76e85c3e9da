//! What one partition remembers about its producers.
//!
//! What it is        per producer id: epoch and the last five batches with their offsets.
//! What it is not    a lock: the owner calls `check` and `record` in arrival order, without
//!                   anything
//!                   between the two. A recorded batch may still be on its way to the disk.
//! Invariants        1. an entry has at most five batches; their base offsets rise strictly.
//!                   2. all batches of an entry have the entry's epoch.
//!                   3. there are at most `producers_max` entries.
//! Source            Kafka 4.3 `ProducerAppendInfo.checkSequence`,
//!                   `ProducerStateEntry.findDuplicateBatch`.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::error_code::ErrorCode;
use crate::limits;
use crate::record_batch::{BatchHeader, BatchProducer, TimestampType};

/// Bounds of a [`ProducerTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerTableOptions {
    /// Producers remembered; at the bound the least recently used is forgotten. At least 1.
    pub producers_max: usize,
    /// Time after the last append at which a producer is forgotten, ms
    /// (`producer.id.expiration.ms`).
    pub expiration_ms: i64,
}

impl Default for ProducerTableOptions {
    fn default() -> Self {
        Self {
            producers_max: limits::PRODUCERS_PER_PARTITION_MAX,
            expiration_ms: limits::PRODUCER_EXPIRATION_MS,
        }
    }
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProducerFault {
    /// The sequence does not follow the last one, or an epoch does not start at 0.
    #[error("producer {producer_id}: sequence {got} does not follow {last}")]
    OutOfOrderSequence {
        /// Producer id.
        producer_id: i64,
        /// Base sequence of the batch.
        got: i32,
        /// Last sequence known; -1 for none in this epoch.
        last: i32,
    },
    /// A newer producer with the same id has written.
    #[error("producer {producer_id}: epoch {got} is older than {current}")]
    InvalidProducerEpoch {
        /// Producer id.
        producer_id: i64,
        /// Epoch of the batch.
        got: i16,
        /// Epoch known.
        current: i16,
    },
}

impl ProducerFault {
    /// Returns the Kafka error code of the answer.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        }
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerCheck {
    /// Append it, and call [`ProducerTable::record`] with its offset.
    Append,
    /// It is in the log already: answer success with the original offset once that is durable.
    Duplicate {
        /// Offset of the first record when it was appended.
        base_offset: i64,
        /// Offset of its last record, inclusive: answer when the high watermark has passed it.
        last_offset: i64,
        /// Append time of the original on LogAppendTime topics, ms.
        log_append_time: Option<i64>,
    },
    /// Answer this fault.
    Refuse(ProducerFault),
}

/// What DescribeProducers says about a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    /// Producer id.
    pub producer_id: i64,
    /// Epoch.
    pub producer_epoch: i16,
    /// Last sequence; -1 for none.
    pub last_sequence: i32,
    /// Time of the last append, ms since 1970.
    pub last_timestamp: i64,
}

/// Whether the table is still right after the log was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// The table matches the cut log.
    Done,
    /// Some producer lost every batch that is remembered and is forgotten: whatever it sends next
    /// is
    /// taken. Nothing is lost by that while the cut batches had not been acknowledged, since a
    /// client
    /// has at most [`limits::PRODUCER_BATCHES`] unanswered; else rebuild from the log.
    RebuildNeeded,
}

/// The producers of one partition. An empty table owns no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerTable {
    options: ProducerTableOptions,
    pub(super) entries: BTreeMap<i64, Box<Entry>>,
}

impl ProducerTable {
    /// Makes an empty table.
    #[must_use]
    pub fn new(options: ProducerTableOptions) -> Self {
        Self {
            options,
            entries: BTreeMap::new(),
        }
    }

    /// Notes that the batch with this (produced) header is appended at `base_offset`.
    ///
    /// Also called for batches found in the log at recovery and on followers, in offset order.
    /// Batches
    /// without producer id change nothing. `log_append_time` is given on LogAppendTime topics.
    pub fn record(
        &mut self,
        header: &BatchHeader,
        base_offset: i64,
        log_append_time: Option<i64>,
        now_ms: i64,
    ) {
        let Some(producer) = header.producer() else {
            return;
        };
        self.make_room(producer.id);
        let entry = self
            .entries
            .entry(producer.id)
            .or_insert_with(|| Box::new(Entry::new(producer.epoch, now_ms)));
        if entry.epoch != producer.epoch {
            **entry = Entry::new(producer.epoch, now_ms);
        }
        entry.last_append_ms = now_ms;
        if !header.is_control() {
            entry.push(Batch {
                base_offset,
                last_offset_delta: header.last_offset_delta,
                last_sequence: header.last_sequence(),
                log_append_time: log_append_time.unwrap_or(NO_TIME),
            });
        }
        self.check_invariants();
    }

    /// Notes a batch as it stands in the log: [`ProducerTable::record`] for recovery and followers.
    pub fn record_stored(&mut self, header: &BatchHeader, now_ms: i64) {
        let log_append_time = (header.timestamp_type() == TimestampType::LogAppendTime)
            .then_some(header.max_timestamp);
        self.record(header, header.base_offset, log_append_time, now_ms);
    }

    /// Forgets producers that have not appended for the expiration time; returns how many.
    pub fn expire(&mut self, now_ms: i64) -> usize {
        let before = self.entries.len();
        let expiration_ms = self.options.expiration_ms;
        self.entries
            .retain(|_, entry| !entry.is_expired(now_ms, expiration_ms));
        before - self.entries.len()
    }

    /// Forgets the least recently used producer, for an owner with a budget over many partitions.
    pub fn evict_oldest(&mut self) -> Option<i64> {
        let oldest = self
            .entries
            .iter()
            .min_by_key(|(_, entry)| entry.last_append_ms);
        let producer_id = *oldest?.0;
        self.entries.remove(&producer_id);
        Some(producer_id)
    }

    /// Forgets batches at and above `log_end_offset` (exclusive end), after the log was cut there.
    pub fn handle_truncated(&mut self, log_end_offset: i64) -> Truncation {
        let before = self.entries.len();
        self.entries.retain(|_, entry| {
            let had = entry.len;
            while entry
                .last()
                .is_some_and(|last| last.base_offset >= log_end_offset)
            {
                entry.len -= 1;
            }
            had == 0 || entry.len > 0
        });
        if self.entries.len() == before {
            Truncation::Done
        } else {
            Truncation::RebuildNeeded
        }
    }

    /// Decides about a batch that has passed `check_produced`; changes nothing.
    #[must_use]
    pub fn check(&self, now_ms: i64, header: &BatchHeader) -> ProducerCheck {
        let Some(producer) = header.producer() else {
            return ProducerCheck::Append;
        };
        let Some(entry) = self.entries.get(&producer.id) else {
            return ProducerCheck::Append;
        };
        if entry.is_expired(now_ms, self.options.expiration_ms) {
            return ProducerCheck::Append;
        }
        if producer.epoch == entry.epoch
            && let Some(duplicate) = entry.find(producer.base_sequence, header)
        {
            return duplicate;
        }
        entry
            .check_sequence(producer)
            .map_or(ProducerCheck::Append, ProducerCheck::Refuse)
    }

    /// Returns how many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the time of the oldest last append, ms: who is evicted next.
    #[must_use]
    pub fn oldest_append_ms(&self) -> Option<i64> {
        self.entries
            .values()
            .map(|entry| entry.last_append_ms)
            .min()
    }

    /// Iterates over the producers in the order of their ids, for DescribeProducers.
    pub fn describe(&self) -> impl Iterator<Item = ProducerDescription> {
        self.entries
            .iter()
            .map(|(producer_id, entry)| ProducerDescription {
                producer_id: *producer_id,
                producer_epoch: entry.epoch,
                last_sequence: entry.last_sequence(),
                last_timestamp: entry.last_append_ms,
            })
    }

    /// Iterates over the producers with the offset of the last record of each (inclusive), for
    /// compaction: the batch that ends there keeps the sequence.
    pub fn last_offsets(&self) -> impl Iterator<Item = (i64, i64)> {
        self.entries.iter().filter_map(|(producer_id, entry)| {
            let last = entry.last()?;
            let delta = i64::from(last.last_offset_delta);
            Some((*producer_id, last.base_offset.saturating_add(delta)))
        })
    }

    pub(super) fn check_invariants(&self) {
        debug_assert!(
            self.entries.len() <= self.options.producers_max.max(1),
            "invariant 3"
        );
    }

    fn make_room(&mut self, producer_id: i64) {
        while self.entries.len() >= self.options.producers_max.max(1)
            && !self.entries.contains_key(&producer_id)
        {
            self.evict_oldest();
        }
    }
}

/// Stands for "no append time" in a [`Batch`].
pub(super) const NO_TIME: i64 = -1;
const NO_SEQUENCE: i32 = -1;

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Batch {
    pub(super) base_offset: i64,
    pub(super) log_append_time: i64,
    pub(super) last_offset_delta: i32,
    pub(super) last_sequence: i32,
}

/// One remembered producer; boxed, so that the tree's nodes stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) last_append_ms: i64,
    pub(super) epoch: i16,
    len: u8,
    batches: [Batch; limits::PRODUCER_BATCHES],
}

impl Entry {
    pub(super) fn new(epoch: i16, now_ms: i64) -> Self {
        let batches = [Batch::default(); limits::PRODUCER_BATCHES];
        Self {
            last_append_ms: now_ms,
            epoch,
            len: 0,
            batches,
        }
    }

    /// Appends, dropping the oldest when full.
    pub(super) fn push(&mut self, batch: Batch) {
        if usize::from(self.len) == limits::PRODUCER_BATCHES {
            self.batches.rotate_left(1);
            self.len -= 1;
        }
        if let Some(slot) = self.batches.get_mut(usize::from(self.len)) {
            *slot = batch;
            self.len += 1;
        }
    }

    /// Remembered batches, oldest first.
    pub(super) fn batches(&self) -> &[Batch] {
        self.batches
            .get(..usize::from(self.len))
            .unwrap_or_default()
    }

    fn last(&self) -> Option<&Batch> {
        self.batches().last()
    }

    fn last_sequence(&self) -> i32 {
        self.last().map_or(NO_SEQUENCE, |last| last.last_sequence)
    }

    fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        now_ms.saturating_sub(self.last_append_ms) >= expiration_ms
    }

    /// Finds the batch with exactly the sequences of `header`.
    fn find(&self, base_sequence: i32, header: &BatchHeader) -> Option<ProducerCheck> {
        let same = |batch: &&Batch| {
            batch.last_sequence == header.last_sequence()
                && batch.last_offset_delta == header.last_offset_delta
                && base_sequence >= 0
        };
        self.batches()
            .iter()
            .find(same)
            .map(|batch| ProducerCheck::Duplicate {
                base_offset: batch.base_offset,
                last_offset: batch
                    .base_offset
                    .saturating_add(i64::from(batch.last_offset_delta)),
                log_append_time: (batch.log_append_time != NO_TIME)
                    .then_some(batch.log_append_time),
            })
    }

    fn check_sequence(&self, producer: BatchProducer) -> Option<ProducerFault> {
        let (producer_id, got) = (producer.id, producer.base_sequence);
        if producer.epoch < self.epoch {
            return Some(ProducerFault::InvalidProducerEpoch {
                producer_id,
                got: producer.epoch,
                current: self.epoch,
            });
        }
        let last = if producer.epoch == self.epoch {
            self.last_sequence()
        } else {
            NO_SEQUENCE
        };
        let next = if last == i32::MAX { 0 } else { last + 1 };
        (got != next).then_some(ProducerFault::OutOfOrderSequence {
            producer_id,
            got,
            last,
        })
    }
}
