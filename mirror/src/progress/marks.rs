//! How far a lane was at some moments: what was mirrored long enough ago may go.
//!
//! What it is        a few marks, each an offset and when everything below it had been
//!                   acknowledged; what follows for retention, and their record in
//!                   `__sluice_mirror`.
//! What it is not    the cursor: losing marks keeps records longer and costs nothing else.
//! Layout            kind 4 of `docs/formats/mirror-state.md`.
//! Invariants        1. offsets and ages rise from mark to mark. 2. at most [`MARKS_MAX`].
//!                   3. nothing is released before its time by the clock that counted it: the
//!                   monotonic one within a process, and between processes the wall clock while
//!                   it can be believed.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ProgressError, Reader, VERSION, Writer};
use crate::limits::{MARK_PAUSE_MIN, MARKS_MAX};
use crate::time::Now;

/// One moment of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// Everything below it had been acknowledged.
    offset: i64,
    /// When, in monotonic time of this process; for what an earlier one made, when it was loaded.
    made_at: Duration,
    /// When, as an earlier process wrote it down, ms; -1 if this one made it or nobody knows.
    wall_ms: i64,
}

impl Mark {
    fn age(&self, now: &Now) -> Duration {
        let in_process = now.monotonic.saturating_sub(self.made_at);
        let by_wall = now.age_ms(self.wall_ms).unwrap_or(0);
        let by_wall = u64::try_from(by_wall).unwrap_or(0);
        in_process.max(Duration::from_millis(by_wall))
    }

    /// The wall clock at its making; -1 while that cannot be told.
    fn wall_ms(&self, now: &Now) -> i64 {
        if self.wall_ms >= 0 || !now.is_synchronised {
            return self.wall_ms;
        }
        let ago = now.monotonic.saturating_sub(self.made_at).as_millis();
        let ago = i64::try_from(ago).unwrap_or(i64::MAX);
        now.wall_ms.saturating_sub(ago).max(0)
    }
}

/// The marks of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Leader epoch of the source partition under which this is written.
    pub leader_epoch: i32,
    /// Everything below it has had its time.
    released: i64,
    marks: VecDeque<Mark>,
}

impl Marks {
    /// Takes marks that an earlier process wrote: what it did not know the time of counts from now.
    pub(crate) fn begin(&mut self, now: &Now, leader_epoch: i32) {
        self.leader_epoch = leader_epoch;
        for mark in &mut self.marks {
            mark.made_at = now.monotonic;
        }
    }

    /// First offset that was acknowledged less than `keep` ago, or not at all; never too high.
    #[must_use]
    pub(crate) fn kept_from(&self, now: &Now, keep: Duration) -> i64 {
        let old = self.marks.iter().take_while(|mark| mark.age(now) >= keep);
        old.last().map_or(self.released, |mark| mark.offset)
    }

    /// Lets go of what has had its time, and marks how far the lane is if that is due; returns
    /// whether there is something new to write down.
    pub(crate) fn advance(&mut self, now: &Now, keep: Duration, cursor: i64) -> bool {
        while let Some(first) = self.marks.front()
            && first.age(now) >= keep
        {
            self.released = first.offset;
            self.marks.pop_front();
        }
        let is_due = self.due(keep, cursor).is_some_and(|at| at <= now.monotonic);
        if keep.is_zero() || !is_due || self.marks.len() >= MARKS_MAX {
            return false;
        }
        self.marks.push_back(Mark {
            offset: cursor,
            made_at: now.monotonic,
            wall_ms: -1,
        });
        true
    }

    /// When the next mark is made; `None` while the lane is no further than the last one.
    pub(crate) fn due(&self, keep: Duration, cursor: i64) -> Option<Duration> {
        let Some(last) = self.marks.back() else {
            return (cursor > self.released).then_some(Duration::ZERO);
        };
        let pause = keep.checked_div(3).unwrap_or_default().max(MARK_PAUSE_MIN);
        let is_full = self.marks.len() >= MARKS_MAX;
        let oldest = self.marks.front().filter(|_| is_full);
        let has_room = oldest.map_or(Duration::ZERO, |oldest| oldest.made_at + keep);
        (cursor > last.offset).then(|| has_room.max(last.made_at + pause))
    }

    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self, now: &Now) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        out.number(&self.leader_epoch.to_be_bytes());
        out.number(&self.released.to_be_bytes());
        out.number(&[u8::try_from(self.marks.len()).unwrap_or(u8::MAX)]);
        for mark in &self.marks {
            out.number(&mark.offset.to_be_bytes());
            out.number(&mark.wall_ms(now).to_be_bytes());
        }
        out.0
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`ProgressError`].
    pub fn decode(value: &[u8]) -> Result<Self, ProgressError> {
        let mut reader = Reader(value);
        reader.version()?;
        let mut marks = Self {
            leader_epoch: i32::from_be_bytes(reader.take("leader epoch")?),
            released: i64::from_be_bytes(reader.take("released")?),
            marks: VecDeque::new(),
        };
        let count = usize::from(reader.byte("marks")?);
        if count > MARKS_MAX {
            return Err(ProgressError::Damaged { field: "marks" });
        }
        let mut last = marks.released;
        for _ in 0..count {
            let offset = i64::from_be_bytes(reader.take("mark")?);
            let wall_ms = i64::from_be_bytes(reader.take("time of a mark")?);
            if offset <= last {
                return Err(ProgressError::Damaged { field: "mark" });
            }
            last = offset;
            marks.marks.push_back(Mark {
                offset,
                made_at: Duration::ZERO,
                wall_ms,
            });
        }
        reader.end()?;
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use crate::limits::MARKS_MAX;
    use crate::progress::{LaneKey, ProgressError, ProgressTable, StateKey};
    use crate::time::Now;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);
    const WALL_MS: i64 = 1_795_500_000_000;

    /// So many minutes after the start, with the clock set.
    fn at(minutes: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(60 * minutes),
            wall_ms: WALL_MS + i64::try_from(minutes).unwrap() * 60_000,
            is_synchronised: true,
        }
    }

    /// A record a minute is acknowledged: after minute `m` the cursor is `m`.
    fn steady(minutes: std::ops::RangeInclusive<u64>, marks: &mut Marks) -> usize {
        let mut step = |minute| marks.advance(&at(minute), HOUR, i64::try_from(minute).unwrap());
        minutes.filter(|minute| step(*minute)).count()
    }

    #[test]
    fn what_was_mirrored_stays_so_long_and_at_most_a_third_longer() {
        let mut marks = Marks::default();
        let writes = steady(1..=600, &mut marks);
        assert!((28..=31).contains(&writes), "three an hour: {writes}");
        for minute in 600..700 {
            marks.advance(&at(minute), HOUR, 600);
            let from = marks.kept_from(&at(minute), HOUR);
            let minute = i64::try_from(minute).unwrap();
            assert!(from <= (minute - 60).min(600), "{minute}: {from}");
            assert!(from >= (minute - 81).min(600), "{minute}: {from}");
        }
        assert_eq!(marks.kept_from(&at(700), HOUR), 600);
        assert_eq!(marks.due(HOUR, 600), None, "nothing to wake up for");
    }

    #[test]
    fn nothing_is_released_before_its_time_and_zero_keeps_nothing() {
        let mut marks = Marks::default();
        assert!(marks.advance(&at(0), HOUR, 10));
        assert_eq!(marks.kept_from(&at(59), HOUR), 0);
        assert_eq!(marks.kept_from(&at(60), HOUR), 10);
        assert!(!marks.advance(&at(1), HOUR, 11), "the next one comes later");
        assert_eq!(marks.due(HOUR, 11), Some(Duration::from_secs(20 * 60)));
        let mut none = Marks::default();
        assert!(!none.advance(&at(0), Duration::ZERO, 10));
    }

    #[test]
    fn time_without_power_counts_by_a_clock_that_can_be_believed() {
        let mut marks = Marks::default();
        marks.advance(&at(100), HOUR, 10);
        let value = marks.encode(&at(130));
        // The process starts again: its monotonic clock begins anew.
        let started = |minutes: u64, is_synchronised| Now {
            monotonic: Duration::from_secs(1),
            is_synchronised,
            ..at(minutes)
        };
        let load = |now: &Now| {
            let mut marks = Marks::decode(&value).unwrap();
            marks.begin(now, 0);
            marks
        };
        let early = started(159, true);
        assert_eq!(load(&early).kept_from(&early, HOUR), 0);
        let late = started(160, true);
        assert_eq!(load(&late).kept_from(&late, HOUR), 10);
        // Without a clock it counts from the start, and by the clock once that is set.
        let unset = started(0, false);
        let marks = load(&unset);
        assert_eq!(marks.kept_from(&unset, HOUR), 0);
        assert_eq!(marks.kept_from(&late, HOUR), 10);
        let mut an_hour_on = unset;
        an_hour_on.monotonic += HOUR;
        assert_eq!(marks.kept_from(&an_hour_on, HOUR), 10);
        // A clock that went back counts from the start too.
        let back = started(0, true);
        assert_eq!(load(&back).kept_from(&back, HOUR), 0);
    }

    #[test]
    fn a_step_of_the_clock_releases_nothing_that_this_process_has_marked() {
        let unset = Now {
            wall_ms: 5,
            is_synchronised: false,
            ..at(0)
        };
        let mut marks = Marks::default();
        marks.advance(&unset, HOUR, 10);
        assert_eq!(marks.kept_from(&at(1), HOUR), 0);
        // Once the clock is set it is known when that was.
        let known = Marks::decode(&marks.encode(&at(1))).unwrap();
        assert_eq!(known.marks[0].wall_ms, WALL_MS);
        let unknown = Marks::decode(&marks.encode(&unset)).unwrap();
        assert_eq!(unknown.marks[0].wall_ms, -1);
    }

    #[test]
    fn marks_come_back_every_cut_is_an_error_and_so_are_too_many() {
        let mut marks = Marks::default();
        steady(1..=70, &mut marks);
        let value = marks.encode(&at(70));
        let decoded = Marks::decode(&value).unwrap();
        assert_eq!(decoded.encode(&at(900)), value);
        for end in 0..value.len() {
            assert!(Marks::decode(&value[..end]).is_err(), "{end}");
        }
        let mut too_many = value.clone();
        too_many[13] = u8::try_from(MARKS_MAX).unwrap() + 1;
        let damaged = |field| Err(ProgressError::Damaged { field });
        assert_eq!(Marks::decode(&too_many), damaged("marks"));
        let mut falling = value;
        falling[14..22].copy_from_slice(&0_i64.to_be_bytes());
        assert_eq!(Marks::decode(&falling), damaged("mark"));
    }

    #[test]
    fn a_deposed_leader_writes_no_marks() {
        let lane = LaneKey {
            source: crate::output::SourceKey {
                topic_id: kafka_lite::primitive::Uuid([1; 16]),
                partition: 0,
            },
            lane: 0,
        };
        let key = StateKey::Marks("m".to_owned(), lane).encode();
        let of_epoch = |leader_epoch| {
            let marks = Marks {
                leader_epoch,
                ..Marks::default()
            };
            marks.encode(&at(0))
        };
        let mut table = ProgressTable::default();
        table.load(&key, Some(&of_epoch(3)));
        for (epoch, may_write) in [(2, false), (3, true), (4, true)] {
            assert_eq!(table.may_write(&key, &of_epoch(epoch)), may_write);
        }
    }
}
