//! What the engine tells its owner.

use crate::errors::AppendError;

/// Called by the engine's workers, never from inside a call of the owner; the owner may append from
/// here.
pub trait LogEvents {
    /// Every entry of the log up to `last_index` (inclusive), whose term is `term`, is on stable
    /// storage; of a log with [`crate::LogConfig::flush_messages`] above 1, batches at the end may
    /// not be yet. Side entries always are, and so is what stands before them.
    fn handle_persisted(&self, slot: u32, last_index: u64, term: u32);

    /// Term and vote of the log are on stable storage.
    fn handle_hard_state_persisted(&self, slot: u32, term: u32, vote: Option<i32>);

    /// The log accepts no more appends; what was not reported as persisted may be lost.
    fn handle_failed(&self, slot: u32, error: &AppendError);
}
