//! A lane that flows: what is read next, sent next, and what its answers mean.
//!
//! What it is not    what follows from a refusal (`recovery`).
//! Invariants        1. batches are sent in their order, each behind its durable intent. 2. the
//!                   cursor moves over acknowledged batches from the front on only.

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;

use super::{Batch, BatchState, Lane, Phase};
use crate::batching::{Built, Timestamps};
use crate::limits::{CURSOR_DELAY, IN_FLIGHT_MAX, PRODUCER_SAFE_MS, PROVEN_TIME};
use crate::progress::Intent;
use crate::sequence;
use crate::time::Now;
use std::time::Duration;

impl Lane {
    /// The next intent that must be read again before it can be sent.
    pub(crate) fn next_rebuild(&self) -> Option<Intent> {
        let without = self
            .batches
            .iter()
            .position(|batch| batch.bytes.is_none() && batch.state != BatchState::Acknowledged)?;
        self.progress.in_flight.get(without).copied()
    }

    /// Whether a new batch may be made now.
    pub(crate) fn may_read_new(&self, now: &Now) -> bool {
        let is_flowing = matches!(self.phase, Phase::Flowing) && self.dead_letter.is_none();
        let has_waited = self.linger_until.is_none_or(|until| until <= now.monotonic);
        is_flowing
            && self.reading.is_none()
            && self.batches.len() < self.in_flight_max(now)
            && self.has_unread()
            && has_waited
            && !self.has_failed()
            && !self.has_passed_over()
    }

    /// Records that need no sending were seen behind the last batch. Before more is read it must
    /// be acknowledged, so that the cursor moves over them: an intent, which is read whole when it
    /// is built again, covers at most what two reads gave.
    pub(super) fn has_passed_over(&self) -> bool {
        !self.batches.is_empty() && self.read_offset > self.progress.next_offset()
    }

    /// How many batches may be unacknowledged.
    pub(crate) fn in_flight_max(&self, now: &Now) -> usize {
        // With records of the past the leader forgets the producer at any time.
        let is_forgettable = self.progress.in_flight.iter().any(|one| is_old(now, one));
        let is_recent = self
            .acknowledged_at
            .is_some_and(|at| now.monotonic.saturating_sub(at) < PROVEN_TIME);
        if self.is_proven && is_recent && !is_forgettable && self.narrow.is_none() {
            IN_FLIGHT_MAX
        } else {
            1
        }
    }

    /// What becomes of the timestamps of a new batch.
    pub(crate) fn timestamps(&self, now: &Now) -> Timestamps {
        let omits = self
            .timestamps_omitted_until
            .is_some_and(|until| until > now.monotonic);
        match now.is_synchronised {
            _ if omits => Timestamps::Omit,
            true => Timestamps::Clamp(now.wall_ms),
            false => Timestamps::Keep,
        }
    }

    /// Takes a new batch: its intent, and its bytes to be sent once that is durable.
    pub(crate) fn push(&mut self, intent: Intent, bytes: Bytes) {
        if let Some(start) = intent.gap_start {
            self.count_gap(start, intent.first_offset);
        }
        self.progress.next_sequence = sequence::advance(intent.first_sequence, intent.records);
        self.progress.in_flight.push_back(intent);
        let version = self.touch();
        self.batches.push_back(Batch {
            bytes: Some(bytes),
            state: BatchState::Waiting,
            target_offset: None,
            may_have_left: false,
            may_arrive_late: false,
            version,
        });
    }

    /// Counts a gap that is announced or that nothing can announce.
    pub(crate) fn count_gap(&mut self, start: i64, end: i64) {
        self.progress.gaps += 1;
        let missing = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
        self.progress.missing_records += missing;
    }

    /// Takes what stands behind a built batch: how far the source was looked at.
    pub(crate) fn handle_looked(
        &mut self,
        now: &Now,
        built: &Built,
        wanted_end: i64,
        linger: Duration,
    ) {
        self.read_offset = self.read_offset.max(built.end_offset);
        if self.first_timestamp.is_none() {
            self.first_timestamp = built.first_timestamp;
        }
        self.linger_until = match self.has_unread() {
            false => None,
            // What waited with this batch has waited enough.
            true if built.end_offset < wanted_end => Some(now.monotonic),
            true => Some(now.monotonic + linger),
        };
        if built.records == 0 && self.progress.in_flight.is_empty() {
            self.advance_cursor(now, built.end_offset);
        }
    }

    /// The batch to send next, if one may be sent now.
    pub(crate) fn next_to_send(&self, now: &Now) -> Option<usize> {
        let is_flowing = matches!(self.phase, Phase::Flowing);
        let has_waited = self.retry_at.is_none_or(|at| at <= now.monotonic);
        if !is_flowing || !has_waited || self.has_failed() {
            return None;
        }
        let place = self
            .batches
            .iter()
            .position(|batch| batch.state == BatchState::Waiting)?;
        let batch = self.batches.get(place)?;
        self.progress.producer?;
        let is_ready = batch.bytes.is_some() && batch.version <= self.written;
        let unanswered = self.outstanding();
        (is_ready && unanswered < self.in_flight_max(now)).then_some(place)
    }

    /// Batches sent and not answered.
    pub(crate) fn outstanding(&self) -> usize {
        let sent = |batch: &&Batch| batch.state == BatchState::Sent;
        self.batches.iter().filter(sent).count()
    }

    /// Marks a batch as sent.
    pub(crate) fn handle_sent(&mut self, place: usize) {
        if let Some(batch) = self.batches.get_mut(place) {
            batch.state = BatchState::Sent;
            batch.may_have_left = true;
        }
    }

    /// The answer to the batch that starts at this source offset.
    pub(crate) fn handle_answer(
        &mut self,
        now: &Now,
        first_offset: i64,
        result: Result<Option<i64>, (ErrorCode, String)>,
    ) -> u64 {
        let mut intents = self.progress.in_flight.iter();
        let Some(place) = intents.position(|intent| intent.first_offset == first_offset) else {
            return 0;
        };
        let Some(batch) = self.batches.get_mut(place) else {
            return 0;
        };
        if batch.state != BatchState::Sent {
            return 0;
        }
        match result {
            Err((code, sentence)) => batch.state = BatchState::Failed(code, sentence),
            Ok(base_offset) => {
                batch.state = BatchState::Acknowledged;
                let records = self
                    .progress
                    .in_flight
                    .get(place)
                    .map_or(0, |one| one.records);
                batch.target_offset = base_offset.map(|base| base + i64::from(records) - 1);
                return self.pop_acknowledged(now);
            }
        }
        0
    }

    /// Lets go of acknowledged batches at the front; returns their records.
    pub(crate) fn pop_acknowledged(&mut self, now: &Now) -> u64 {
        let mut records = 0;
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.state == BatchState::Acknowledged)
        {
            let batch = self.batches.pop_front();
            let target_offset = batch.and_then(|batch| batch.target_offset);
            // Only of what is acknowledged without a gap: a scan begins behind it.
            let known = self.progress.acknowledged_offset;
            self.progress.acknowledged_offset = target_offset.max(known);
            if let Some(intent) = self.progress.in_flight.pop_front() {
                records += u64::try_from(intent.records).unwrap_or(0);
                self.progress.cursor = intent.end_offset;
            }
        }
        if records > 0 {
            self.progress.mirrored_records += records;
            self.handle_progress(now);
        }
        records
    }

    pub(super) fn handle_progress(&mut self, now: &Now) {
        self.touch();
        self.cursor_write_at
            .get_or_insert(now.monotonic + CURSOR_DELAY);
        self.is_proven = true;
        self.checks = 0;
        self.retry.reset();
        self.retry_at = None;
        self.last_fault = None;
        self.acknowledged_at = Some(now.monotonic);
        self.last_success_ms = Some(now.wall_ms);
        self.first_timestamp = None;
        if self
            .narrow
            .is_some_and(|(below, _)| self.progress.cursor >= below)
        {
            self.narrow = None;
        }
        if self.batches.is_empty() && self.read_offset > self.progress.cursor {
            // Behind the last batch only records were seen that need no sending.
            self.progress.cursor = self.read_offset;
        }
        self.settle_lag();
    }

    /// The connection that carried this batch is gone.
    pub(crate) fn handle_lost(&mut self, first_offset: i64) {
        let mut intents = self.progress.in_flight.iter();
        let place = intents.position(|intent| intent.first_offset == first_offset);
        if let Some(batch) = place.and_then(|place| self.batches.get_mut(place))
            && batch.state == BatchState::Sent
        {
            batch.state = BatchState::Waiting;
            batch.may_arrive_late = true;
        }
        self.enter_placing();
    }

    /// First offset of a gap in front of what is read next.
    pub(crate) fn gap_start(&self) -> Option<i64> {
        (self.log_start_offset > self.read_offset).then(|| self.progress.next_offset())
    }
}

/// Whether the leader may have forgotten the producer of this batch as soon as it has it.
pub(super) fn is_old(now: &Now, intent: &Intent) -> bool {
    now.age_ms(intent.max_timestamp)
        .is_none_or(|age| age > PRODUCER_SAFE_MS)
}
