//! One lane: a durable idempotent producer from a source partition to a target partition.
//!
//! What it is        the progress, the batches in flight, and the rules when what is read, written
//!                   down and sent. [`crate::Mirror`] carries it out.
//! What it is not    the tail check (`tail`), nor the choice between lanes.
//! Reading order     here what it holds, then `sending`, `recovery`, `due`.
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
use crate::progress::{Intent, LaneKey, Marks, Progress};
use crate::tail::Tail;
use crate::time::Now;

mod due;
mod recovery;
mod sending;

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
    /// A copy on a lost connection may still arrive.
    pub(crate) may_arrive_late: bool,
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
    /// The same records without timestamps.
    Untimely,
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
    pub(crate) marks: Marks,
    pub(crate) phase: Phase,
    pub(crate) log_start_offset: i64,
    /// Records from here on were appended by this process: its clock corrects them.
    pub(crate) own_offset: i64,
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
    /// Until then batches carry no timestamps: the centre refuses those of this clock.
    pub(crate) timestamps_omitted_until: Option<Duration>,
    /// The centre has forgotten this producer before its time, or somebody has.
    pub(crate) is_forgettable: bool,
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
            may_arrive_late: true,
            version: 0,
        };
        Self {
            key,
            topic: topic.to_owned(),
            target_topic,
            priority: 0,
            marks: Marks::default(),
            phase: Phase::Placing,
            log_start_offset: 0,
            own_offset: 0,
            high_watermark: 0,
            batches: progress.in_flight.iter().map(batch).collect(),
            read_offset: progress.next_offset(),
            reading: None,
            linger_until: None,
            retry_at: None,
            retry: Backoff::default(),
            is_proven: false,
            narrow: None,
            timestamps_omitted_until: None,
            is_forgettable: false,
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

    /// Something stands behind what was read. What was removed does not: the gap is announced with
    /// the next record, whenever that comes.
    pub(crate) fn has_unread(&self) -> bool {
        self.read_offset.max(self.log_start_offset) < self.high_watermark
    }

    /// The centre does not have everything that is there, or was not told of what it has.
    pub(crate) fn is_lagging(&self) -> bool {
        !self.batches.is_empty() || self.waits_from() < self.high_watermark
    }

    /// First offset that is there and not acknowledged.
    pub(crate) fn waits_from(&self) -> i64 {
        self.progress.cursor.max(self.log_start_offset)
    }

    /// Records that were removed before they were read, and are to be announced.
    pub(crate) fn unannounced(&self) -> u64 {
        let removed = match self.gap_start() {
            Some(start) => self.log_start_offset.saturating_sub(start),
            None => 0,
        };
        u64::try_from(removed).unwrap_or(0)
    }

    /// Changes the progress; the change is written down before anything that depends on it leaves.
    pub(crate) fn touch(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn has_failed(&self) -> bool {
        let mut states = self.batches.iter().map(|batch| &batch.state);
        states.any(|state| matches!(state, BatchState::Failed(..)))
    }

    pub(super) fn settle_lag(&mut self) {
        if !self.is_lagging() {
            self.lagging_since_ms = None;
        }
    }

    /// Bytes of the batches that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        let bytes = self.batches.iter().filter_map(|batch| batch.bytes.as_ref());
        bytes.map(Bytes::len).sum()
    }

    /// Whether there is something that needs the centre.
    pub(crate) fn wants_link(&self) -> bool {
        self.is_lagging() && self.dead_letter.is_none()
    }
}
