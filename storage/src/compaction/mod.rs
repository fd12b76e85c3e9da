//! Log compaction: of the closed segments of a log, keep the latest record of each key.
//!
//! What it is        a plan from facts ([`plan_compaction`]), one round over the log
//!                   ([`compact_log`]), and what finishes or drops a round that a crash interrupted
//!                   ([`recover_interrupted`]).
//! What it is not    retention, nor a scheduler: the owner chooses the log, the time and the pace.
//! Invariants        1. offsets never change: base offset and last offset delta of a batch survive.
//!                   2. nothing at or behind the round's end offset changes.
//!                   3. a tombstone goes only after its delete horizon, which is set in the round
//!                   that removed every older value of its key.
//!                   4. groups are replaced oldest first, each by one durable rename.
//!                   5. a batch whose CRC is wrong stops the round; it is never rewritten.
//! Source            Kafka 4.3 `LogCleaner`, `Cleaner`, `MemoryRecords.filterTo`; KIP-534
//!                   (horizon).
//! Reading order     `plan`, [`compact_log`], `filter`, `swap`.

mod filter;
mod key_map;
mod pace;
mod plan;
mod round;
mod stream;
mod swap;
mod writer;

pub use pace::Pace;
pub use plan::{CompactionFacts, CompactionPlan, CompactionRules, plan_compaction};
pub use round::{AbortedTransaction, CompactionFigures, CompactionJob, compact_log};
pub use swap::{SegmentSwitch, recover_interrupted};

#[cfg(test)]
mod tests;
