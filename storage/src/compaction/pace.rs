//! Low priority: background work pauses so that it stays under a rate.

use std::time::Duration;

use crate::disk::Clock;

/// Spreads bytes over time; one per background task.
#[derive(Clone, Debug)]
pub struct Pace<C: Clock> {
    clock: C,
    bytes_per_second: u64,
    ready_at: Duration,
}

impl<C: Clock> Pace<C> {
    /// A pace of `bytes_per_second`, read and written together; 0 is no limit.
    pub fn new(clock: C, bytes_per_second: u64) -> Self {
        let ready_at = clock.now();
        Self {
            clock,
            bytes_per_second,
            ready_at,
        }
    }

    /// Accounts for `bytes` and waits until as many more may move. Idle time is not saved up.
    pub async fn spend(&mut self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let nanoseconds = bytes
            .saturating_mul(1_000_000_000)
            .checked_div(self.bytes_per_second);
        let now = self.clock.now();
        self.ready_at = self.ready_at.max(now) + Duration::from_nanos(nanoseconds.unwrap_or(0));
        let pause = self.ready_at.saturating_sub(now);
        if pause >= PAUSE_MIN {
            self.clock.sleep(pause).await;
        }
    }
}

/// Shorter pauses are collected into one: a timer costs more than they are worth.
const PAUSE_MIN: Duration = Duration::from_millis(2);
