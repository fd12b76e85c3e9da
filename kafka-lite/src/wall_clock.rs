//! How much time lies between two times of a wall clock that may have been set in between.
//!
//! What it is        the one rule for gateways without a battery-backed clock, which begin in 1970
//!                   and jump to the present when somebody tells them the time.
//! What it is not    a clock.
//! Source            docs/decisions/2026-11-30-a-clock-that-was-set.md.

/// Times before 2001-09-09, ms since 1970, are those of a clock that was never set.
pub const CLOCK_SET_MS: i64 = 1_000_000_000_000;

/// Milliseconds from `from_ms` to `now_ms`, negative when it lies ahead; `None` when the clock was
/// set in between, so that nobody knows.
#[must_use]
pub const fn elapsed_ms(from_ms: i64, now_ms: i64) -> Option<i64> {
    if from_ms < CLOCK_SET_MS && now_ms >= CLOCK_SET_MS {
        return None;
    }
    Some(now_ms.saturating_sub(from_ms))
}

#[cfg(test)]
mod tests {
    use super::{CLOCK_SET_MS, elapsed_ms};

    #[test]
    fn time_counts_on_either_side_of_the_setting_and_not_across() {
        let present = CLOCK_SET_MS + 5_000;
        assert_eq!(elapsed_ms(60_000, 90_000), Some(30_000));
        assert_eq!(elapsed_ms(CLOCK_SET_MS, present), Some(5_000));
        assert_eq!(elapsed_ms(CLOCK_SET_MS - 1, present), None);
        assert_eq!(elapsed_ms(-1, CLOCK_SET_MS), None);
        assert_eq!(
            elapsed_ms(present, 60_000),
            Some(60_000 - present),
            "a clock that lost its time"
        );
        assert_eq!(elapsed_ms(i64::MIN, 0), Some(i64::MAX));
    }
}
