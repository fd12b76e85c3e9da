//! What a caller says of the time.

use std::time::Duration;

/// The clocks at the moment of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed moment; never goes back. Timeouts count by it.
    pub monotonic: Duration,
    /// The wall clock, ms since 1970; may be wrong and may jump.
    pub wall_ms: i64,
    /// Whether the wall clock can be believed.
    pub is_synchronised: bool,
}

impl Now {
    /// Age of a wall-clock time in ms; `None` when it cannot be told.
    #[must_use]
    pub fn age_ms(&self, wall_ms: i64) -> Option<i64> {
        let is_known = self.is_synchronised && (0..=self.wall_ms).contains(&wall_ms);
        is_known.then(|| self.wall_ms.saturating_sub(wall_ms))
    }
}
