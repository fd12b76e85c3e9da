//! One lane: a durable idempotent producer from a source partition to a target partition.
//!
//! What it is        the progress, the batches in flight, and the rules when what is read, written
//!                   down and sent. [`crate::Mirror`] carries it out.
//! What it is not    the tail check (`tail`), nor the choice between lanes.
//! Invariants        1. `batches` and `progress.in_flight` have the same length and order. 2.
//!                   batches
//!                   are sent in their order, a batch only when its intent is durable. 3. nothing
//!                   is
//!                   sent again before everything sent was answered or its connection is gone.
//! Source            design `edge-mirror-mqtt.md` §2.3; `docs/decisions/2026-11-24-mirror.md`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::error_code::ErrorCode;

use crate::backoff::Backoff;
use crate::batching::Built;
use crate::limits::{
    CURSOR_DELAY, IN_FLIGHT_MAX, PRODUCER_SAFE_MS, PROVEN_TIME, RETRY_PAUSE, TAIL_CHECKS_MAX,
    WRITE_PAUSE,
};
use crate::progress::{Intent, LaneKey, Producer, Progress};
use crate::random::Random;
use crate::sequence;
use crate::tail::{Landed, Tail};
use crate::time::Now;

/// Where a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BatchState {
    /// To be sent.
    Waiting,
    /// Sent, not answered.
    Sent,
    /// The centre has it.
    Acknowledged,
    /// The centre said no.
    Failed(ErrorCode, String),
}

/// One batch in flight.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `None` until it is read again after a start.
    pub(crate) bytes: Option<Bytes>,
    pub(crate) state: BatchState,
    /// Offset of its last record at the target, once that is known.
    pub(crate) target_offset: Option<i64>,
    /// It may have been sent by an earlier connection or process.
    pub(crate) may_have_left: bool,
    /// The intent is durable when this version of the progress is.
    pub(crate) version: u64,
}

/// What a lane does.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Finds its target and its producer id.
    Placing,
    /// Finds out what of its batches has landed.
    Checking(Tail),
    /// Sends.
    Flowing,
}

/// A read that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) first_offset: i64,
    pub(crate) end_offset: i64,
    /// An intent is rebuilt, not a new batch made.
    pub(crate) is_rebuild: bool,
}

/// What is to be done about a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was stored: the same bytes again, later.
    Retry,
    /// It may have been stored: the tail says.
    Unsure,
    /// The same, after new metadata.
    Relocate,
    /// The centre does not know the producer as we do.
    Check,
    /// A later batch stands at the target and an earlier one does not.
    Overtaken,
    /// Smaller batches, then the dead-letter topic.
    Narrow,
    /// The centre forbids it; somebody must change that.
    Forbidden,
}

/// A lane.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one lane"
)]
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) key: LaneKey,
    pub(crate) topic: String,
    pub(crate) target_topic: String,
    pub(crate) priority: u8,
    pub(crate) progress: Progress,
    pub(crate) phase: Phase,
    pub(crate) log_start_offset: i64,
    pub(crate) high_watermark: i64,
    pub(crate) batches: VecDeque<Batch>,
    /// First offset that was not looked at; ahead of the last intent where records were passed
    /// over.
    pub(crate) read_offset: i64,
    pub(crate) reading: Option<Reading>,
    pub(crate) linger_until: Option<Duration>,
    pub(crate) retry_at: Option<Duration>,
    pub(crate) retry: Backoff,
    /// An acknowledgement has come since the tail check.
    pub(crate) is_proven: bool,
    /// Below this offset batches have at most so many records.
    pub(crate) narrow: Option<(i64, usize)>,
    /// A record is on its way to the dead-letter topic.
    pub(crate) dead_letter: Option<i64>,
    pub(crate) dead_letter_batch: Option<Bytes>,
    pub(crate) is_dead_letter_sent: bool,
    /// What is left after a tail check is cut anew.
    pub(crate) must_recut: bool,
    /// Tail checks since the last acknowledgement that came of a refusal.
    pub(crate) checks: u32,
    /// An InitProducerId is under way.
    pub(crate) is_asking: bool,
    version: u64,
    /// Version and cursor of the write under way.
    writing: Option<(u64, i64)>,
    written: u64,
    write_not_before: Duration,
    persisted_cursor: i64,
    /// When the cursor is written down if nothing else is.
    cursor_write_at: Option<Duration>,
    pub(crate) last_fault: Option<String>,
    /// Wall clock since when something waits, ms.
    pub(crate) lagging_since_ms: Option<i64>,
    pub(crate) acknowledged_at: Option<Duration>,
    pub(crate) last_success_ms: Option<i64>,
    pub(crate) first_timestamp: Option<i64>,
}

impl Lane {
    /// A lane with its progress as it was written down; everything in flight may have left.
    pub(crate) fn new(key: LaneKey, topic: &str, target_topic: String, progress: Progress) -> Self {
        let batch = |_: &Intent| Batch {
            bytes: None,
            state: BatchState::Waiting,
            target_offset: None,
            may_have_left: true,
            version: 0,
        };
        Self {
            key,
            topic: topic.to_owned(),
            target_topic,
            priority: 0,
            phase: Phase::Placing,
            log_start_offset: 0,
            high_watermark: 0,
            batches: progress.in_flight.iter().map(batch).collect(),
            read_offset: progress.next_offset(),
            reading: None,
            linger_until: None,
            retry_at: None,
            retry: Backoff::default(),
            is_proven: false,
            narrow: None,
            dead_letter: None,
            dead_letter_batch: None,
            is_dead_letter_sent: false,
            must_recut: false,
            checks: 0,
            is_asking: false,
            version: 0,
            writing: None,
            written: 0,
            write_not_before: Duration::ZERO,
            persisted_cursor: progress.cursor,
            cursor_write_at: None,
            last_fault: None,
            lagging_since_ms: None,
            acknowledged_at: None,
            last_success_ms: None,
            first_timestamp: None,
            progress,
        }
    }

    /// The source has grown or lost its beginning.
    pub(crate) fn handle_source(&mut self, now: &Now, start: i64, end: i64, linger: Duration) {
        self.log_start_offset = self.log_start_offset.max(start);
        if end > self.high_watermark {
            self.high_watermark = end;
        }
        if self.has_unread() && self.linger_until.is_none() {
            self.linger_until = Some(now.monotonic + linger);
        }
        if self.is_lagging() {
            self.lagging_since_ms.get_or_insert(now.wall_ms);
        }
    }

    /// Something stands behind what was read.
    pub(crate) fn has_unread(&self) -> bool {
        self.read_offset < self.high_watermark
    }

    /// The centre does not have everything.
    pub(crate) fn is_lagging(&self) -> bool {
        self.progress.cursor < self.high_watermark
    }

    /// Changes the progress; the change is written down before anything that depends on it leaves.
    pub(crate) fn touch(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The progress to write down now, if it is time.
    pub(crate) fn poll_write(&mut self, now: &Now) -> Option<u64> {
        let must_wait = self.writing.is_some() || self.write_not_before > now.monotonic;
        if must_wait || self.written == self.version {
            return None;
        }
        let is_awaited = self
            .batches
            .iter()
            .any(|batch| batch.version > self.written);
        let is_due = self.cursor_write_at.is_some_and(|at| at <= now.monotonic);
        if !is_awaited && !is_due {
            return None;
        }
        self.writing = Some((self.version, self.progress.cursor));
        self.cursor_write_at = None;
        Some(self.version)
    }

    /// A write ended; a failed one is tried again after a pause.
    pub(crate) fn handle_written(&mut self, now: &Now, is_durable: bool) {
        let Some((version, cursor)) = self.writing.take() else {
            return;
        };
        if is_durable {
            self.written = version;
            self.persisted_cursor = self.persisted_cursor.max(cursor);
        } else {
            self.write_not_before = now.monotonic + WRITE_PAUSE;
        }
        if self.written < self.version {
            self.cursor_write_at
                .get_or_insert(now.monotonic + CURSOR_DELAY);
        }
    }

    /// First offset that a crash may need: nothing from here on may be removed.
    pub(crate) fn hold_from(&self) -> i64 {
        self.persisted_cursor
    }

    /// The change must be durable soon, though no batch depends on it.
    pub(crate) fn write_soon(&mut self, now: &Now) {
        self.cursor_write_at = Some(now.monotonic);
    }

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
    }

    /// How many batches may be unacknowledged.
    pub(crate) fn in_flight_max(&self, now: &Now) -> usize {
        let is_old = |intent: &Intent| {
            now.age_ms(intent.max_timestamp)
                .is_none_or(|age| age > PRODUCER_SAFE_MS)
        };
        // With records of the past the leader forgets the producer at any time.
        let is_forgettable = self.progress.in_flight.iter().any(is_old);
        let is_recent = self
            .acknowledged_at
            .is_some_and(|at| now.monotonic.saturating_sub(at) < PROVEN_TIME);
        if self.is_proven && is_recent && !is_forgettable && self.narrow.is_none() {
            IN_FLIGHT_MAX
        } else {
            1
        }
    }

    fn has_failed(&self) -> bool {
        let mut states = self.batches.iter().map(|batch| &batch.state);
        states.any(|state| matches!(state, BatchState::Failed(..)))
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

    /// Moves the cursor over offsets that need no acknowledgement.
    pub(crate) fn advance_cursor(&mut self, now: &Now, cursor: i64) {
        if cursor <= self.progress.cursor {
            return;
        }
        self.progress.cursor = cursor;
        self.read_offset = self.read_offset.max(cursor);
        self.touch();
        self.cursor_write_at
            .get_or_insert(now.monotonic + CURSOR_DELAY);
        self.settle_lag();
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

    fn handle_progress(&mut self, now: &Now) {
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

    fn settle_lag(&mut self) {
        if !self.is_lagging() {
            self.lagging_since_ms = None;
        }
    }

    /// The connection that carried this batch is gone.
    pub(crate) fn handle_lost(&mut self, first_offset: i64) {
        let mut intents = self.progress.in_flight.iter();
        let place = intents.position(|intent| intent.first_offset == first_offset);
        if let Some(batch) = place.and_then(|place| self.batches.get_mut(place))
            && batch.state == BatchState::Sent
        {
            batch.state = BatchState::Waiting;
        }
        self.enter_placing();
    }

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
        let verdict = if has_overtaken {
            Verdict::Overtaken
        } else {
            verdict(*code)
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

    /// Bytes of the batches that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        let bytes = self.batches.iter().filter_map(|batch| batch.bytes.as_ref());
        bytes.map(Bytes::len).sum()
    }

    /// When something behind `after` is due without an input.
    pub(crate) fn poll_timeout(&self, after: Duration) -> Option<Duration> {
        let cursor = self
            .cursor_write_at
            .map(|at| at.max(self.write_not_before))
            .filter(|_| self.writing.is_none() && self.written < self.version);
        let linger = self.linger_until.filter(|_| self.has_unread());
        let all = [cursor, linger, self.retry_at, Some(self.write_not_before)];
        all.into_iter().flatten().filter(|at| *at > after).min()
    }

    /// Whether there is something that needs the centre.
    pub(crate) fn wants_link(&self) -> bool {
        self.is_lagging() && self.dead_letter.is_none()
    }

    /// First offset of a gap in front of what is read next.
    pub(crate) fn gap_start(&self) -> Option<i64> {
        (self.log_start_offset > self.read_offset).then(|| self.progress.next_offset())
    }

    /// Pauses; each time in a row longer.
    pub(crate) fn retry_later(&mut self, now: &Now, random: &mut Random) {
        let (first, longest) = RETRY_PAUSE;
        let pause = self.retry.fail(random, first, longest);
        self.retry_at = Some(now.monotonic + pause);
    }

    /// Whether a pause is over.
    pub(crate) fn has_paused(&self, now: &Now) -> bool {
        self.retry_at.is_none_or(|at| at <= now.monotonic)
    }

    /// A record was put aside, or could not be.
    pub(crate) fn handle_dead_letter(&mut self, now: &Now, is_durable: bool) {
        let Some(offset) = self.dead_letter else {
            return;
        };
        self.is_dead_letter_sent = false;
        if !is_durable {
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

    /// What of the batches has landed; returns the records of those that have.
    pub(crate) fn handle_checked(&mut self, now: &Now, landed: &Landed) -> u64 {
        let intents = self.progress.in_flight.iter();
        for (batch, intent) in self.batches.iter_mut().zip(intents) {
            let has_landed = batch.state == BatchState::Acknowledged
                || match landed {
                    Landed::Sequence(last) => !sequence::is_before(*last, intent.last_sequence()),
                    Landed::Batches(found) => found.contains(&intent.first_offset),
                    Landed::Unknown => false,
                };
            if *landed == Landed::Unknown && batch.may_have_left {
                self.progress.possible_duplicates += 1;
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
        | ErrorCode::InvalidTimestamp
        | ErrorCode::CorruptMessage
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::InvalidRequest
        | ErrorCode::PolicyViolation => Verdict::Narrow,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::InvalidTopicException
        | ErrorCode::UnsupportedCompressionType => Verdict::Forbidden,
        ErrorCode::NotEnoughReplicas | ErrorCode::ThrottlingQuotaExceeded => Verdict::Retry,
        _ => Verdict::Unsure,
    }
}
