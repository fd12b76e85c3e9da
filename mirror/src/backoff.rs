//! Pauses that grow with each failure in a row, each with jitter.

use std::time::Duration;

use crate::random::Random;

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure; returns how long to wait: `first` doubled per failure, at most `longest`,
    /// and of that a random part between a half and the whole.
    pub(crate) fn fail(
        &mut self,
        random: &mut Random,
        first: Duration,
        longest: Duration,
    ) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let whole = first.saturating_mul(factor).min(longest);
        let half_ms = u64::try_from(whole.as_millis() >> 1).unwrap_or(u64::MAX);
        Duration::from_millis(half_ms + random.below(half_ms.saturating_add(1)))
    }

    /// Notes a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use crate::random::Random;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_after_a_success() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut random = Random::new(7);
        let mut backoff = Backoff::default();
        for failures in 0..40 {
            let whole = first.saturating_mul(1 << failures.min(6)).min(longest);
            let pause = backoff.fail(&mut random, first, longest);
            assert!(
                pause <= whole && pause >= whole / 2,
                "{failures}: {pause:?}"
            );
        }
        backoff.reset();
        assert!(backoff.fail(&mut random, first, longest) <= first);
    }
}
