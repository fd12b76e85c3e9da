//! One partition of the centre on its way to the local partition of the same number.
//!
//! Invariants        1. one local batch at a time is not durable. 2. the cursor that is written
//!                   down never stands ahead of the local log: what is appended behind it is found
//!                   by its origin headers. 3. nothing is fetched before the start is written down.

use std::time::Duration;

use kafka_lite::error_code::ErrorCode;

use super::InletStart;
use super::records::{Fetched, Taken};
use crate::backoff::Backoff;
use crate::limits::{CURSOR_DELAY, RETRY_PAUSE, WRITE_PAUSE};
use crate::output::SourceKey;
use crate::progress::{Cursor, Identity};
use crate::random::Random;
use crate::time::Now;

/// What a partition waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The centre and the topic there are not known yet.
    Unplaced,
    /// What stands in the local log is looked through from this offset on.
    Scanning(i64),
    /// The centre is asked where the partition begins or ends.
    Locating(Locating),
    /// The place where it begins is written down.
    Storing,
    /// Records are fetched and appended.
    Flowing,
}

/// Why the centre is asked for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locating {
    /// To begin with the first record.
    Earliest,
    /// To begin behind the last one.
    Latest,
    /// The offset wanted is not there: is it gone at the beginning?
    LostStart,
    /// Or at the end, as after the election of a leader that had not everything?
    LostEnd,
}

/// A batch that is being appended.
#[derive(Debug)]
pub(super) struct Appending {
    pub(super) taken: Taken,
    pub(super) bytes: usize,
}

/// The state of one partition.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one partition"
)]
#[derive(Debug)]
pub(super) struct Inlet {
    pub(super) key: SourceKey,
    /// Topic at the centre.
    pub(super) topic: String,
    /// Topic here.
    pub(super) local: String,
    pub(super) cursor: Cursor,
    /// Something was known of the partition before.
    pub(super) is_known: bool,
    pub(super) phase: Phase,
    /// A request, or a read of the local log, is under way.
    pub(super) is_asking: bool,
    pub(super) fetched: Option<Fetched>,
    pub(super) appending: Option<Appending>,
    /// Why the last record was refused, and it is the only one of its batch.
    pub(super) refusal: Option<ErrorCode>,
    /// Most records of the next batch, and offsets below which this holds.
    pub(super) narrow: Option<(i64, usize)>,
    pub(super) omits_timestamps: bool,
    /// An append failed: the next fetch is a small one.
    pub(super) is_cautious: bool,
    /// Whether the centre is told the epoch of the last batch.
    pub(super) asks_divergence: bool,
    pub(super) local_start: i64,
    pub(super) local_end: i64,
    /// First local offset that must stay until more of the cursor is durable.
    held_from: i64,
    /// Committed end at the centre for a reader of committed records, as far as it was said.
    pub(super) centre_end: Option<i64>,
    pub(super) last_success_ms: Option<i64>,
    pub(super) fault: Option<String>,
    retry: Backoff,
    pub(super) retry_at: Option<Duration>,
    write_at: Option<Duration>,
    writing: Option<i64>,
}

impl Inlet {
    pub(super) fn new(key: SourceKey, topic: &str, start: InletStart) -> Self {
        let is_known = start.cursor.is_some();
        let mut cursor = start.cursor.unwrap_or_else(|| Cursor {
            next_offset: -1,
            ..Cursor::default()
        });
        if cursor.local_topic_id != key.topic_id {
            cursor.local_topic_id = key.topic_id;
            cursor.local_offset = 0;
        }
        cursor.leader_epoch = start.leader_epoch;
        Self {
            key,
            topic: topic.to_owned(),
            local: start.topic,
            held_from: cursor.local_offset,
            cursor,
            is_known,
            phase: Phase::Unplaced,
            is_asking: false,
            fetched: None,
            appending: None,
            refusal: None,
            narrow: None,
            omits_timestamps: false,
            is_cautious: false,
            asks_divergence: true,
            local_start: start.log_start_offset,
            local_end: start.high_watermark,
            centre_end: None,
            last_success_ms: None,
            fault: None,
            retry: Backoff::default(),
            retry_at: None,
            write_at: None,
            writing: None,
        }
    }

    /// Takes what the centre is now: goes on where it was, or begins with another topic.
    pub(super) fn place(&mut self, identity: Identity) {
        if self.cursor.identity != identity {
            if self.is_known {
                self.cursor.recreations += 1;
            }
            self.cursor.identity = identity;
            self.cursor.next_offset = -1;
            self.cursor.centre_epoch = None;
            self.cursor.gap = None;
        }
        self.scan();
    }

    /// Looks through the local log again, from what is known of it.
    pub(super) fn scan(&mut self) {
        self.fetched = None;
        self.appending = None;
        let from = self.cursor.local_offset.max(self.local_start);
        self.phase = Phase::Scanning(from);
    }

    /// A record of the local log came from this offset of the centre.
    pub(super) fn handle_found(&mut self, offset: i64) {
        if offset >= self.cursor.next_offset {
            self.cursor.next_offset = offset.saturating_add(1);
            self.cursor.gap = None;
        }
    }

    /// The local log is looked through up to its end.
    pub(super) fn handle_scanned(&mut self, now: &Now, start: Locating) {
        if self.cursor.local_offset != self.local_end {
            self.cursor.local_offset = self.local_end;
            self.write_soon(now);
        }
        self.phase = match self.cursor.next_offset {
            0.. => Phase::Flowing,
            _ => Phase::Locating(start),
        };
    }

    /// The place to begin is known; it is written down before anything is fetched.
    pub(super) fn start_at(&mut self, now: &Now, offset: i64) {
        self.cursor.next_offset = offset;
        self.is_known = true;
        self.phase = Phase::Storing;
        self.write_at = Some(now.monotonic);
    }

    /// Goes on at an offset though others are missing: from `start` up to `end`.
    pub(super) fn skip(&mut self, now: &Now, (start, end): (i64, i64), next_offset: i64) {
        let missing = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
        self.cursor.missing_records = self.cursor.missing_records.saturating_add(missing);
        self.cursor.gaps += 1;
        if end > start {
            let first = self.cursor.gap.map_or(start, |(first, _)| first);
            self.cursor.gap = Some((first, end));
        }
        self.start_at(now, next_offset);
    }

    /// A batch, or what was left out, is dealt with. `local_end` is the local end behind it.
    pub(super) fn advance(&mut self, now: &Now, taken: &Taken, local_end: Option<i64>) {
        self.cursor.next_offset = self.cursor.next_offset.max(taken.next_offset);
        self.cursor.centre_epoch = taken.centre_epoch.or(self.cursor.centre_epoch);
        self.asks_divergence |= taken.centre_epoch.is_some();
        if let Some(end) = local_end {
            self.local_end = self.local_end.max(end);
            self.cursor.local_offset = self.cursor.local_offset.max(end);
        }
        if self
            .narrow
            .is_some_and(|(below, _)| self.cursor.next_offset >= below)
        {
            self.narrow = None;
            self.omits_timestamps = false;
        }
        self.write_soon(now);
    }

    /// Something went wrong; it is tried again a little later.
    pub(super) fn retry_later(&mut self, now: &Now, random: &mut Random, fault: String) {
        let (first, longest) = RETRY_PAUSE;
        self.fault = Some(fault);
        self.retry_at = Some(now.monotonic + self.retry.fail(random, first, longest));
    }

    /// It works.
    pub(super) fn succeed(&mut self) {
        self.retry.reset();
        self.retry_at = None;
        self.fault = None;
    }

    /// Whether the pause behind a failure is over.
    pub(super) fn has_paused(&self, now: &Now) -> bool {
        self.retry_at.is_none_or(|at| at <= now.monotonic)
    }

    /// Whether it may be part of a fetch.
    pub(super) fn may_fetch(&self, now: &Now) -> bool {
        self.phase == Phase::Flowing && self.is_idle() && self.has_paused(now)
    }

    /// Whether it will be ready in a moment, so that a long fetch without it would be a pity.
    pub(super) fn is_busy(&self, now: &Now) -> bool {
        self.has_paused(now)
            && match self.phase {
                Phase::Unplaced => false,
                Phase::Scanning(_) | Phase::Locating(_) | Phase::Storing => true,
                Phase::Flowing => !self.is_asking && !self.is_idle(),
            }
    }

    fn is_idle(&self) -> bool {
        !self.is_asking && self.fetched.is_none() && self.appending.is_none()
    }

    /// Whether it is known where it goes on.
    pub(super) fn has_start(&self) -> bool {
        matches!(self.phase, Phase::Storing | Phase::Flowing)
    }

    /// Bytes of records that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.fetched.as_ref().map_or(0, Fetched::byte_count)
            + self.appending.as_ref().map_or(0, |one| one.bytes)
    }

    pub(super) fn write_soon(&mut self, now: &Now) {
        self.write_at.get_or_insert(now.monotonic + CURSOR_DELAY);
    }

    /// The value to write down, if one is due.
    pub(super) fn poll_write(&mut self, now: &Now) -> Option<Vec<u8>> {
        let is_due = self.write_at.is_some_and(|at| at <= now.monotonic);
        if !is_due || self.writing.is_some() || self.phase == Phase::Unplaced {
            return None;
        }
        self.write_at = None;
        self.writing = Some(self.cursor.local_offset);
        Some(self.cursor.encode())
    }

    /// A write ended.
    pub(super) fn handle_written(&mut self, now: &Now, is_durable: bool) {
        let local_offset = self.writing.take();
        if !is_durable {
            self.write_at = Some(now.monotonic + WRITE_PAUSE);
        } else if let Some(offset) = local_offset {
            self.held_from = offset;
            if self.phase == Phase::Storing && self.write_at.is_none() {
                self.phase = Phase::Flowing;
            }
        }
    }

    /// First local offset that may not be removed.
    pub(super) const fn hold_from(&self) -> i64 {
        self.held_from
    }

    /// When something is due without an input.
    pub(super) fn poll_timeout(&self, after: Duration) -> Option<Duration> {
        let write_at = self.write_at.filter(|_| self.writing.is_none());
        let all = [self.retry_at, write_at].into_iter().flatten();
        all.filter(|at| *at > after).min()
    }
}
