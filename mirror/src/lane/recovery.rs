//! A lane after a refusal, a lost connection or a start: what has landed, what is sent again, what
//! is put aside.
//!
//! Invariants        1. a decision is taken only when nothing is outstanding. 2. what is cut anew
//!                   keeps its place in the order.
//! Source            `docs/decisions/2026-11-24-mirror.md`, rules 3 to 6.

use kafka_lite::error_code::ErrorCode;

use super::sending::is_old;
use super::{BatchState, Lane, Phase, Verdict};
use crate::batching::Timestamps;
use crate::limits::{TAIL_CHECKS_MAX, TIMESTAMPS_OMITTED_TIME, WRITE_PAUSE};
use crate::progress::Producer;
use crate::sequence;
use crate::tail::Landed;
use crate::time::Now;

impl Lane {
    /// Looks for target and tail anew.
    pub(crate) fn enter_placing(&mut self) {
        self.phase = Phase::Placing;
        self.is_proven = false;
        self.is_asking = false;
    }

    /// Whether a tail check comes before anything is sent.
    pub(crate) fn needs_check(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.may_have_left && batch.state != BatchState::Acknowledged)
    }

    /// What to do about refusals, once nothing is outstanding.
    pub(crate) fn poll_verdict(&self) -> Option<(Verdict, ErrorCode, String)> {
        if !self.has_failed() || self.outstanding() > 0 {
            return None;
        }
        let has_overtaken = self
            .batches
            .iter()
            .skip_while(|batch| batch.state == BatchState::Acknowledged)
            .any(|batch| batch.state == BatchState::Acknowledged);
        let first = self
            .batches
            .iter()
            .find(|batch| batch.state != BatchState::Acknowledged)?;
        let BatchState::Failed(code, sentence) = &first.state else {
            // A later one failed alone: what the first one met is not known.
            let verdict = match has_overtaken {
                true => Verdict::Overtaken,
                false => Verdict::Check,
            };
            return Some((verdict, ErrorCode::None, String::new()));
        };
        let has_timestamps = self
            .progress
            .in_flight
            .front()
            .is_some_and(|intent| intent.built_ms != Timestamps::Omit.built_ms());
        let verdict = verdict(*code);
        let verdict = if has_overtaken {
            Verdict::Overtaken
        } else if verdict == Verdict::Untimely && !has_timestamps {
            Verdict::Narrow
        } else {
            verdict
        };
        Some((verdict, *code, sentence.clone()))
    }

    /// Everything that failed is to be sent again.
    pub(crate) fn forgive(&mut self) {
        for batch in &mut self.batches {
            if batch.state != BatchState::Acknowledged {
                batch.state = BatchState::Waiting;
            }
        }
    }

    /// Gives up the intents that have not landed; they are cut anew from the cursor on.
    pub(crate) fn recut(&mut self, now: &Now) {
        self.must_recut = false;
        if let Some(first) = self.progress.in_flight.front() {
            self.progress.next_sequence = first.first_sequence;
            // A gap that the first one announces must be announced again.
            self.progress.cursor = first.gap_start.unwrap_or(first.first_offset);
            if let Some(start) = first.gap_start {
                let missing = u64::try_from(first.first_offset - start).unwrap_or(0);
                self.progress.missing_records =
                    self.progress.missing_records.saturating_sub(missing);
                self.progress.gaps = self.progress.gaps.saturating_sub(1);
            }
        }
        self.progress.in_flight.clear();
        self.batches.clear();
        self.read_offset = self.progress.cursor;
        self.linger_until = Some(now.monotonic);
        self.touch();
        self.write_soon(now);
    }

    /// The centre refuses the timestamps of this clock: they are left out for a while.
    pub(crate) fn omit_timestamps(&mut self, now: &Now) {
        self.timestamps_omitted_until = Some(now.monotonic + TIMESTAMPS_OMITTED_TIME);
    }

    /// The refused batch is cut in halves, or its only record is to be put aside.
    pub(crate) fn narrow_first(&mut self) -> Option<i64> {
        let first = self.progress.in_flight.front()?;
        self.must_recut = true;
        let count = usize::try_from(first.records).unwrap_or(1);
        self.narrow = Some((first.end_offset, (count >> 1).max(1)));
        (count == 1).then_some(first.first_offset)
    }

    /// What has not landed goes on under a new producer id; its batches keep their ranges.
    pub(crate) fn renumber(&mut self) {
        self.progress.producer = None;
        for (batch, intent) in self.batches.iter_mut().zip(&self.progress.in_flight) {
            if batch.state != BatchState::Acknowledged {
                // Sequences are in the bytes.
                batch.bytes = None;
                batch.state = BatchState::Waiting;
                debug_assert!(intent.records > 0, "an intent has records");
            }
        }
        self.enter_placing();
    }

    /// Takes a new producer id: sequences begin at 0.
    pub(crate) fn handle_producer(&mut self, producer: Producer) {
        self.progress.producer = Some(producer);
        self.checks = 0;
        let version = self.touch();
        let mut next = 0;
        for (batch, intent) in self.batches.iter_mut().zip(&mut self.progress.in_flight) {
            if batch.state != BatchState::Acknowledged {
                intent.first_sequence = next;
                next = sequence::advance(next, intent.records);
                batch.version = version;
            }
        }
        self.progress.next_sequence = next;
    }

    /// Whether refusals go on after tail checks: only a new identity helps.
    pub(crate) fn is_stuck(&self) -> bool {
        self.checks >= TAIL_CHECKS_MAX
    }

    /// A record was put aside, or could not be.
    pub(crate) fn handle_dead_letter(&mut self, now: &Now, is_durable: bool) {
        let Some(offset) = self.dead_letter else {
            return;
        };
        self.is_dead_letter_sent = false;
        if !is_durable {
            let fault = format!("{}: a refused record cannot be put aside", self.topic);
            self.last_fault = Some(fault);
            self.retry_at = Some(now.monotonic + WRITE_PAUSE);
            return;
        }
        self.dead_letter = None;
        self.dead_letter_batch = None;
        self.progress.dead_letters += 1;
        self.advance_cursor(now, offset.saturating_add(1));
        self.write_soon(now);
        self.retry.reset();
        self.retry_at = None;
        if self
            .narrow
            .is_some_and(|(below, _)| self.progress.cursor >= below)
        {
            self.narrow = None;
        }
    }

    /// A copy of this gateway has sent up to here as this producer: what is left follows under the
    /// same identity, so that the centre tells the two apart by their sequences.
    pub(crate) fn follow(&mut self, now: &Now, last_sequence: i32, next_offset: i64, end: i64) {
        self.recut(now);
        self.progress.next_sequence = sequence::advance(last_sequence, 1);
        self.progress.acknowledged_offset = Some(end.saturating_sub(1));
        self.advance_cursor(now, next_offset.min(self.high_watermark));
        self.checks = 0;
    }

    /// Whether everything that was sent has landed.
    pub(crate) fn has_landed(&self) -> bool {
        self.batches.is_empty()
    }

    /// What of the batches has landed; returns the records of those that have.
    pub(crate) fn handle_checked(&mut self, now: &Now, landed: &Landed) -> u64 {
        let intents = self.progress.in_flight.iter();
        for (batch, intent) in self.batches.iter_mut().zip(intents) {
            let has_landed = batch.state == BatchState::Acknowledged
                || match landed {
                    Landed::Sequence(last) => !sequence::is_before(*last, intent.last_sequence()),
                    Landed::Batches(found) => found.contains(&intent.first_offset),
                    Landed::Unknown | Landed::Elsewhere { .. } => false,
                };
            // It is sent again, and a copy under way may be taken for another batch.
            let may_stand_twice = !has_landed
                && match landed {
                    Landed::Unknown => batch.may_have_left,
                    Landed::Elsewhere { .. } => false,
                    Landed::Sequence(_) | Landed::Batches(_) => {
                        let is_forgettable = self.is_forgettable || is_old(now, intent);
                        batch.may_arrive_late && is_forgettable
                    }
                };
            if may_stand_twice {
                self.progress.possible_duplicates += 1;
                batch.may_arrive_late = false;
            }
            batch.state = match has_landed {
                true => BatchState::Acknowledged,
                false => BatchState::Waiting,
            };
            batch.may_have_left = false;
        }
        let checks = self.checks;
        let records = self.pop_acknowledged(now);
        self.is_proven = false;
        self.checks = checks;
        records
    }
}

/// What a refusal means.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of what is not listed nothing is known: the tail says what has happened"
)]
fn verdict(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::ReplicaNotAvailable
        | ErrorCode::BrokerNotAvailable => Verdict::Relocate,
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::ProducerFenced
        | ErrorCode::InvalidProducerIdMapping => Verdict::Check,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidRecord
        | ErrorCode::CorruptMessage
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::InvalidRequest
        | ErrorCode::PolicyViolation => Verdict::Narrow,
        ErrorCode::InvalidTimestamp => Verdict::Untimely,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::InvalidTopicException
        | ErrorCode::UnsupportedCompressionType => Verdict::Forbidden,
        ErrorCode::NotEnoughReplicas | ErrorCode::ThrottlingQuotaExceeded => Verdict::Retry,
        _ => Verdict::Unsure,
    }
}
