//! Which records of a batch stay, and the batch that takes the place of the old one.
//!
//! What it is        the rules of one round for one batch at a time, in the order of the log.
//! Invariants        1. a batch that stays whole stays byte for byte.
//!                   2. a batch that cannot be read stays, and no tombstone behind it goes: it may
//!                   hold an older value of that key.
//! Source            Kafka 4.3 `Cleaner.shouldRetainRecord`, `MemoryRecords.filterTo`.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchBuilder, BatchHeader, BatchView, Record};

use super::key_map::KeyMap;
use super::round::AbortedTransaction;
use crate::retention::WallClock;
use crate::segment::decompress_limits;

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Stays byte for byte.
    Verbatim,
    /// Is replaced by these bytes.
    Rewritten(Bytes),
    /// Leaves nothing behind.
    Dropped,
}

/// The rules of a round.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    pub(crate) map: &'a KeyMap,
    /// End of the round, exclusive.
    pub(crate) end_offset: i64,
    pub(crate) clock: WallClock,
    pub(crate) delete_retention_ms: u64,
    pub(crate) active_producers: &'a BTreeMap<i64, i64>,
    pub(crate) aborted: &'a [AbortedTransaction],
    pub(crate) unreadable_seen: bool,
    pub(crate) records_read: u64,
    pub(crate) records_kept: u64,
    pub(crate) scratch: Vec<u8>,
}

/// What a walk over the records decided.
#[derive(Default)]
struct Decision {
    keep: Vec<bool>,
    kept: usize,
    tombstones: bool,
}

impl Filter<'_> {
    /// Decides about one batch.
    pub(crate) fn apply(&mut self, batch: &BatchView<'_>) -> Outcome {
        let header = *batch.header();
        if header.next_offset() > self.end_offset || header.is_control() {
            return Outcome::Verbatim;
        }
        let Some(decision) = self.decide(batch) else {
            self.unreadable_seen = true;
            return Outcome::Verbatim;
        };
        self.records_read += decision.keep.len() as u64;
        let horizon = self.horizon_to_set(&header, &decision);
        let outcome =
            if decision.kept == decision.keep.len() && decision.kept > 0 && horizon.is_none() {
                Outcome::Verbatim
            } else if decision.kept == 0 && !self.must_stay(&header) {
                Outcome::Dropped
            } else if decision.keep.is_empty() {
                Outcome::Verbatim
            } else {
                self.rewrite(batch, &decision, horizon)
                    .unwrap_or(Outcome::Verbatim)
            };
        self.records_kept += match outcome {
            Outcome::Dropped => 0,
            Outcome::Rewritten(_) => decision.kept as u64,
            Outcome::Verbatim => decision.keep.len() as u64,
        };
        outcome
    }

    /// Marks the records that stay; `None` when the batch cannot be read.
    fn decide(&mut self, batch: &BatchView<'_>) -> Option<Decision> {
        let header = batch.header();
        let count = usize::try_from(header.records_count).ok()?;
        if count > self.map.capacity() {
            return None;
        }
        let is_aborted = self.is_aborted(header);
        let may_drop_tombstones = !self.unreadable_seen
            && self.clock.is_synchronised
            && header
                .delete_horizon()
                .is_some_and(|horizon| self.clock.now_ms >= horizon);
        let mut decision = Decision::default();
        let mut scratch = std::mem::take(&mut self.scratch);
        if count > 0 {
            for record in batch.records(&decompress_limits(), &mut scratch).ok()? {
                let record = record.ok()?;
                let stays = !is_aborted && self.stays(&record, may_drop_tombstones);
                decision.tombstones |= stays && record.value.is_none();
                decision.kept += usize::from(stays);
                decision.keep.push(stays);
            }
        }
        self.scratch = scratch;
        Some(decision)
    }

    /// A record stays if it is the latest of its key; without a key it goes, as in Kafka.
    fn stays(&self, record: &Record<'_>, may_drop_tombstones: bool) -> bool {
        let Some(key) = record.key else {
            return false;
        };
        let is_latest = self
            .map
            .get(key)
            .is_none_or(|latest| record.offset >= latest);
        is_latest && (record.value.is_some() || !may_drop_tombstones)
    }

    fn is_aborted(&self, header: &BatchHeader) -> bool {
        header.is_transactional()
            && self
                .aborted
                .iter()
                .any(|transaction| transaction.contains(header))
    }

    /// The delete horizon that a batch with tombstones gets in the first round that keeps them.
    fn horizon_to_set(&self, header: &BatchHeader, decision: &Decision) -> Option<i64> {
        let is_due =
            decision.tombstones && header.delete_horizon().is_none() && self.clock.is_synchronised;
        let retention = i64::try_from(self.delete_retention_ms).unwrap_or(i64::MAX);
        is_due.then(|| self.clock.now_ms.saturating_add(retention))
    }

    /// An emptied batch stays if it is the last of a live producer (its sequence) or of the round
    /// (its offset).
    fn must_stay(&self, header: &BatchHeader) -> bool {
        let is_last_of_producer = header.producer().is_some_and(|producer| {
            self.active_producers.get(&producer.id) == Some(&header.last_offset())
        });
        is_last_of_producer || header.next_offset() == self.end_offset
    }

    fn rewrite(
        &mut self,
        batch: &BatchView<'_>,
        decision: &Decision,
        horizon: Option<i64>,
    ) -> Option<Outcome> {
        let mut builder = BatchBuilder::rewrite(batch.header()).ok()?;
        if let Some(horizon) = horizon {
            builder.set_delete_horizon(horizon);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let records = batch.records(&decompress_limits(), &mut scratch).ok()?;
        for (record, keep) in records.zip(&decision.keep) {
            if *keep {
                builder.append_copy(&record.ok()?).ok()?;
            }
        }
        self.scratch = scratch;
        builder
            .finish()
            .ok()
            .map(|bytes| Outcome::Rewritten(Bytes::from(bytes)))
    }
}
