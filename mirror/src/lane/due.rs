//! What of a lane is due: writes of its progress, pauses, timers.
//!
//! Invariants        1. one write is under way at a time; a failed one is made again after a pause.
//!                   2. a cursor that nothing followed is written down within [`CURSOR_DELAY`].

use std::time::Duration;

use super::Lane;
use crate::limits::{CURSOR_DELAY, RETRY_PAUSE, WRITE_PAUSE};
use crate::random::Random;
use crate::time::Now;

impl Lane {
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

    /// First offset that was mirrored less than `keep` ago, or that a crash may need.
    pub(crate) fn keep_from(&self, now: &Now, keep: Duration) -> i64 {
        let held = self.hold_from();
        match keep.is_zero() {
            true => held,
            false => held.min(self.marks.kept_from(now, keep)),
        }
    }

    /// The change must be durable soon, though no batch depends on it.
    pub(crate) fn write_soon(&mut self, now: &Now) {
        self.cursor_write_at = Some(now.monotonic);
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

    /// When something behind `after` is due without an input.
    pub(crate) fn poll_timeout(&self, after: Duration, keep: Duration) -> Option<Duration> {
        let cursor = self
            .cursor_write_at
            .map(|at| at.max(self.write_not_before))
            .filter(|_| self.writing.is_none() && self.written < self.version);
        let linger = self.linger_until.filter(|_| self.has_unread());
        let mark = self.marks.due(keep, self.progress.cursor);
        let mark = mark.filter(|_| !keep.is_zero());
        let rest = Some(self.write_not_before);
        let all = [cursor, linger, mark, self.retry_at, rest];
        all.into_iter().flatten().filter(|at| *at > after).min()
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
}
