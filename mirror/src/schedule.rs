//! When bytes may go onto the link: rate, monthly cap, time windows.
//!
//! What it is        one gate for all lanes of a mirror. Bytes are those of whole request frames.
//! Invariants        1. over any second the link gets at most the rate and one request. 2. nothing
//!                   leaves once the month's bytes are used up, until the next month (UTC). 3. only
//!                   a synchronised clock begins a month; until there is one, bytes count for the
//!                   last month that was known, and for the one that it turns out to be.

use std::time::Duration;

use crate::options::Options;
use crate::time::Now;

/// Binary logarithm of the parts of the month's bytes of which a crash may forget one.
const USAGE_STEP_SHIFT: u32 = 8;

/// Time after which a count is written down, however small it is.
const USAGE_DELAY: Duration = Duration::from_secs(60);

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Bytes of the present month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Months since 1970 (UTC); `None` before a synchronised clock was seen.
    pub month: Option<i64>,
    /// Bytes sent and received in it.
    pub bytes: u64,
}

/// What keeps bytes from leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    Open,
    /// Until this monotonic time.
    ClosedUntil(Duration),
}

/// The gate.
#[derive(Debug)]
pub(crate) struct Schedule {
    rate: Option<u64>,
    month_bytes_max: Option<u64>,
    windows: Vec<(u16, u16)>,
    usage: Usage,
    /// Bytes counted while the clock was not synchronised.
    undated: u64,
    /// What was written down last, and when.
    written: Usage,
    written_at: Duration,
    /// The rate is kept when nothing is sent before this time.
    clear_at: Duration,
}

impl Schedule {
    pub(crate) fn new(options: &Options, usage: Usage) -> Self {
        Self {
            rate: options.rate_bytes_per_second.filter(|rate| *rate > 0),
            month_bytes_max: options.month_bytes_max,
            windows: options.windows.clone(),
            usage,
            undated: 0,
            written: usage,
            written_at: Duration::ZERO,
            clear_at: Duration::ZERO,
        }
    }

    /// Whether a request may leave now.
    pub(crate) fn gate(&self, now: &Now) -> Gate {
        let month = now.is_synchronised.then(|| month_of(now.wall_ms));
        let is_new = month.is_some() && month != self.usage.month;
        let bytes = if is_new {
            self.undated
        } else {
            self.usage.bytes
        };
        let is_spent = self.month_bytes_max.is_some_and(|most| bytes >= most);
        if is_spent || !self.is_in_window(now.wall_ms) {
            // Looked at again at the next minute: windows and months begin at one.
            let left = MINUTE_MS - now.wall_ms.rem_euclid(MINUTE_MS);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(1));
            return Gate::ClosedUntil(now.monotonic + left);
        }
        if self.clear_at > now.monotonic {
            return Gate::ClosedUntil(self.clear_at);
        }
        Gate::Open
    }

    /// Counts bytes for the month.
    pub(crate) fn count(&mut self, now: &Now, bytes: u64) {
        self.settle_month(now);
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
        if !now.is_synchronised {
            self.undated = self.undated.saturating_add(bytes);
        }
    }

    /// Begins a month, when a synchronised clock says so.
    fn settle_month(&mut self, now: &Now) {
        if !now.is_synchronised {
            return;
        }
        let month = Some(month_of(now.wall_ms));
        if self.usage.month != month {
            let bytes = self.undated;
            self.usage = Usage { month, bytes };
        }
        self.undated = 0;
    }

    /// What is to be written down now, if the month has a bound.
    pub(crate) fn poll_write(&mut self, now: &Now) -> Option<Usage> {
        let most = self.month_bytes_max?;
        let step = most >> USAGE_STEP_SHIFT;
        let is_new_month = self.usage.month != self.written.month;
        let new_bytes = self.usage.bytes.saturating_sub(self.written.bytes);
        let is_due = now.monotonic >= self.written_at + USAGE_DELAY;
        let must_write = is_new_month || new_bytes > step || (is_due && new_bytes > 0);
        if !must_write {
            return None;
        }
        self.written = self.usage;
        self.written_at = now.monotonic;
        Some(self.usage)
    }

    /// When a count that was not written down is due.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let waits = self.month_bytes_max.is_some() && self.usage != self.written;
        waits.then(|| self.written_at + USAGE_DELAY)
    }

    /// The write failed: it is due again after the usual time.
    pub(crate) fn handle_not_written(&mut self) {
        self.written.bytes = 0;
    }

    /// Spends the rate on bytes that leave.
    pub(crate) fn spend(&mut self, now: &Now, bytes: u64) {
        if let Some(rate) = self.rate {
            let micros = bytes.saturating_mul(1_000_000).div_ceil(rate);
            let from = self.clear_at.max(now.monotonic);
            self.clear_at = from + Duration::from_micros(micros);
        }
    }

    /// Bytes of the present month.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    fn is_in_window(&self, wall_ms: i64) -> bool {
        let minute = wall_ms.rem_euclid(DAY_MS).div_euclid(MINUTE_MS);
        let minute = u16::try_from(minute).unwrap_or(0);
        let is_inside = |(start, end): &(u16, u16)| {
            if start <= end {
                (*start..*end).contains(&minute)
            } else {
                minute >= *start || minute < *end
            }
        };
        self.windows.is_empty() || self.windows.iter().any(is_inside)
    }
}

/// Months since 1970-01 in the Gregorian calendar.
///
/// Source: the civil-from-days algorithm over eras of 400 years from 0000-03-01.
fn month_of(wall_ms: i64) -> i64 {
    let days = wall_ms.div_euclid(DAY_MS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era.div_euclid(1_460) + day_of_era.div_euclid(36_524)
        - day_of_era.div_euclid(146_096))
    .div_euclid(365);
    let day_of_year =
        day_of_era - (365 * year_of_era + year_of_era.div_euclid(4) - year_of_era.div_euclid(100));
    let march_month = (5 * day_of_year + 2).div_euclid(153);
    // March is 0 here; January and February belong to the next civil year.
    (year_of_era + era * 400 - 1970) * 12 + march_month + 2
}

#[cfg(test)]
mod tests {
    use super::{Gate, Schedule, Usage, month_of};
    use crate::options::Options;
    use crate::origin::Site;
    use crate::time::Now;
    use std::time::Duration;

    const DAY_MS: i64 = 86_400_000;

    fn options() -> Options {
        Options::new("m", Site::new("s", [0; 8]).unwrap(), Vec::new())
    }

    fn at(monotonic_ms: u64, wall_ms: i64) -> Now {
        Now {
            monotonic: Duration::from_millis(monotonic_ms),
            wall_ms,
            is_synchronised: true,
        }
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let rows = [
            (0, 0),
            (30, 0),
            (31, 1),
            (58, 1),
            (59, 2),
            (364, 11),
            (365, 12),
            (19_782, 649), // 2024-02-29
            (19_783, 650), // 2024-03-01
            (20_088, 659), // 2024-12-31
            (20_089, 660), // 2025-01-01
        ];
        for (day, month) in rows {
            assert_eq!(month_of(day * DAY_MS), month, "day {day}");
        }
    }

    #[test]
    fn the_rate_holds_over_time() {
        let mut schedule = Schedule::new(
            &Options {
                rate_bytes_per_second: Some(1000),
                ..options()
            },
            Usage::default(),
        );
        assert_eq!(schedule.gate(&at(0, 0)), Gate::Open);
        schedule.spend(&at(0, 0), 500);
        let half = Duration::from_millis(500);
        assert_eq!(schedule.gate(&at(499, 0)), Gate::ClosedUntil(half));
        assert_eq!(schedule.gate(&at(500, 0)), Gate::Open);
    }

    #[test]
    fn a_spent_month_closes_until_the_next_one() {
        let mut schedule = Schedule::new(
            &Options {
                month_bytes_max: Some(1000),
                ..options()
            },
            Usage::default(),
        );
        schedule.count(&at(0, 0), 1000);
        assert!(matches!(
            schedule.gate(&at(0, 30 * DAY_MS)),
            Gate::ClosedUntil(_)
        ));
        assert_eq!(schedule.gate(&at(0, 31 * DAY_MS)), Gate::Open);
        schedule.count(&at(0, 31 * DAY_MS), 10);
        assert_eq!(
            schedule.usage(),
            Usage {
                month: Some(1),
                bytes: 10
            }
        );
    }

    #[test]
    fn an_unsynchronised_clock_begins_no_month_and_its_bytes_count_for_the_next() {
        let unset = |monotonic_ms, wall_ms| Now {
            is_synchronised: false,
            ..at(monotonic_ms, wall_ms)
        };
        let known = Usage {
            month: Some(20),
            bytes: 950,
        };
        let bounded = Options {
            month_bytes_max: Some(1000),
            ..options()
        };
        let mut schedule = Schedule::new(&bounded, known);
        schedule.count(&unset(0, 0), 60);
        assert!(matches!(schedule.gate(&unset(0, 0)), Gate::ClosedUntil(_)));
        assert!(matches!(
            schedule.gate(&unset(0, 900 * DAY_MS)),
            Gate::ClosedUntil(_)
        ));
        let next = at(1, 640 * DAY_MS);
        assert_eq!(schedule.gate(&next), Gate::Open);
        schedule.count(&next, 5);
        let expected = Usage {
            month: Some(21),
            bytes: 65,
        };
        assert_eq!(schedule.usage(), expected);
        // The same month in a process that never knew one.
        let mut fresh = Schedule::new(&bounded, Usage::default());
        fresh.count(&unset(0, 0), 60);
        fresh.count(&next, 5);
        assert_eq!(fresh.usage(), expected);
    }

    #[test]
    fn the_count_is_written_down_by_steps_and_by_time() {
        let mut schedule = Schedule::new(
            &Options {
                month_bytes_max: Some(25_600),
                ..options()
            },
            Usage::default(),
        );
        schedule.count(&at(0, 0), 1);
        assert!(schedule.poll_write(&at(0, 0)).is_some(), "a new month");
        schedule.count(&at(1, 0), 100);
        assert_eq!(schedule.poll_write(&at(1, 0)), None);
        assert_eq!(schedule.poll_timeout(), Some(Duration::from_secs(60)));
        schedule.count(&at(2, 0), 1);
        let bytes = schedule.poll_write(&at(2, 0)).map(|usage| usage.bytes);
        assert_eq!(bytes, Some(102));
        schedule.count(&at(3, 0), 1);
        assert_eq!(schedule.poll_write(&at(60_001, 0)), None);
        assert!(schedule.poll_write(&at(60_002, 0)).is_some());
        assert_eq!(schedule.poll_timeout(), None);
        schedule.handle_not_written();
        assert!(schedule.poll_timeout().is_some());
    }

    #[test]
    fn windows_may_go_over_midnight() {
        let schedule = Schedule::new(
            &Options {
                windows: vec![(22 * 60, 2 * 60), (12 * 60, 13 * 60)],
                ..options()
            },
            Usage::default(),
        );
        for (hour, is_open) in [
            (0, true),
            (1, true),
            (2, false),
            (12, true),
            (13, false),
            (22, true),
        ] {
            let gate = schedule.gate(&at(0, DAY_MS + hour * 3_600_000));
            assert_eq!(gate == Gate::Open, is_open, "{hour}");
        }
    }
}
