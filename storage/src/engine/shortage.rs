//! A shortage of room: since when there is one, and what the operator is told of it.
//!
//! What it is        the state between the first write that finds no room and the next that does,
//!                   and how seldom it is said: once, and not twice in a minute, however often it
//!                   begins and ends.
//! What it is not    the decision what is refused meanwhile (`state`), nor who makes room (the
//!                   owner).
//! Invariants        1. a byte budget that room is made in by removing the oldest records, as its
//!                   operator wants it, is not told: only one that stays used up.

use std::cell::Cell;
use std::time::Duration;

use crate::disk::Shortage;
use crate::limits;

/// What there is no room for, and what was said of it.
#[derive(Debug, Default)]
pub(crate) struct Shortages {
    /// What has run out, and when that was seen first.
    current: Cell<Option<(Shortage, Duration)>>,
    is_told: Cell<bool>,
    told_at: Cell<Option<Duration>>,
}

impl Shortages {
    /// What has run out now.
    pub(crate) fn current(&self) -> Option<Shortage> {
        self.current.get().map(|(shortage, _)| shortage)
    }

    /// Whether anything has.
    pub(crate) fn is_any(&self) -> bool {
        self.current.get().is_some()
    }

    /// A write found no room. Returns whether it is the first.
    pub(crate) fn begin(&self, shortage: Shortage, now: Duration) -> bool {
        let before = self.current.get();
        let since = before.map_or(now, |(_, since)| since);
        self.current.set(Some((shortage, since)));
        before.is_none()
    }

    /// Whether the operator is to be told now; true once for what lasts.
    pub(crate) fn take_telling(&self, now: Duration) -> bool {
        let Some((shortage, since)) = self.current.get() else {
            return false;
        };
        let patience = match shortage {
            Shortage::ByteBudget => limits::ROOM_IS_MADE_WITHIN,
            Shortage::Device | Shortage::AboveReserve | Shortage::FileSize => Duration::ZERO,
        };
        let told_at = self.told_at.get();
        let is_early = now.saturating_sub(since) < patience;
        let is_repeated =
            told_at.is_some_and(|at| now.saturating_sub(at) < limits::SHORTAGE_TOLD_INTERVAL);
        if self.is_told.get() || is_early || is_repeated {
            return false;
        }
        self.is_told.set(true);
        self.told_at.set(Some(now));
        true
    }

    /// There is room again. Returns whether there was none, and whether that was told.
    pub(crate) fn end(&self) -> (bool, bool) {
        let had = self.current.take().is_some();
        (had, self.is_told.replace(false))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Shortages;
    use crate::disk::Shortage;

    /// Moments at which it is told, in ms, when every `step_ms` a write finds no room and the
    /// writes at `succeeds` do.
    fn told(
        shortage: Shortage,
        step_ms: u64,
        end_ms: u64,
        succeeds: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        let shortages = Shortages::default();
        let mut told = Vec::new();
        for now_ms in (0..end_ms).step_by(usize::try_from(step_ms).unwrap()) {
            let now = Duration::from_millis(now_ms);
            if succeeds(now_ms) {
                shortages.end();
                continue;
            }
            shortages.begin(shortage, now);
            if shortages.take_telling(now) {
                told.push(now_ms);
            }
        }
        told
    }

    #[test]
    fn a_shortage_is_told_once_while_it_lasts() {
        assert_eq!(told(Shortage::Device, 500, 600_000, |_| false), [0]);
        assert_eq!(told(Shortage::FileSize, 500, 600_000, |_| false), [0]);
    }

    #[test]
    fn one_that_comes_and_goes_is_told_once_in_a_minute() {
        let comes_and_goes = |now_ms: u64| now_ms % 1_000 == 500;
        let told = told(Shortage::AboveReserve, 500, 180_000, comes_and_goes);
        assert_eq!(told, [0, 60_000, 120_000]);
    }

    #[test]
    fn a_byte_budget_in_which_room_is_made_is_not_told_and_one_that_stays_used_up_is() {
        let is_made = |now_ms: u64| now_ms % 300 == 200;
        let moments = told(Shortage::ByteBudget, 100, 600_000, is_made);
        assert_eq!(moments, []);
        let moments = told(Shortage::ByteBudget, 500, 600_000, |_| false);
        assert_eq!(moments, [2_000]);
    }

    #[test]
    fn the_end_is_known_once() {
        let shortages = Shortages::default();
        assert_eq!(shortages.end(), (false, false));
        assert!(shortages.begin(Shortage::Device, Duration::ZERO));
        assert!(!shortages.begin(Shortage::ByteBudget, Duration::ZERO));
        assert_eq!(shortages.current(), Some(Shortage::ByteBudget));
        assert_eq!(shortages.end(), (true, false));
        assert!(!shortages.is_any() && shortages.current().is_none());
        shortages.begin(Shortage::Device, Duration::ZERO);
        assert!(shortages.take_telling(Duration::ZERO));
        assert_eq!(shortages.end(), (true, true));
    }
}
