//! Side table: where Raft's indices and Kafka's offsets differ.
//!
//! What it is        the sorted list of side entries of one log (term starts and voter sets). A
//!                   side entry
//!                   covers one index and no offset; every other index is one record.
//! What it is not    a copy of the log; it holds nothing per record.
//! Invariants        1. entries strictly rise in index and do not fall in offset.
//!                   2. `offset = index - 1 - side entries before it`, for every entry and record.
//!                   3. terms of entries do not fall.
//! Source            decision 2026-11-23 "one gateway"; Raft §5.3; OffsetForLeaderEpoch (KIP-101,
//!                   KIP-279).
//!                   (KIP-101, KIP-279).

use serde::{Deserialize, Serialize};

/// What a side entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SideKind {
    /// The first entry of a term.
    TermStart,
    /// A new set of voters.
    VoterSet,
}

/// One side entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideEntry {
    /// Raft index of the entry, from 1.
    pub index: u64,
    /// Offset of the first record behind it.
    pub offset: i64,
    /// Term (leader epoch) of the entry.
    pub term: u32,
    /// What it says.
    pub kind: SideKind,
    /// Bytes that only `replication` reads.
    pub payload: Vec<u8>,
}

/// The side entries of one log and what is left of those that were pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideTable {
    pruned_count: u64,
    pruned_term: Option<(u32, i64)>,
    entries: Vec<SideEntry>,
}

impl SideTable {
    /// Whether the invariants hold: what was read from a disk may break them.
    pub(crate) fn is_sound(&self) -> bool {
        let places = (self.pruned_count..).zip(&self.entries);
        let mut counted = places.map(|(place, entry)| (Some(place), entry));
        let numbers_fit = counted.all(|(place, entry)| side_entries_before(entry) == place);
        let pruned_term = self.pruned_term.map(|(term, _)| term);
        let terms = pruned_term
            .into_iter()
            .chain(self.entries.iter().map(|entry| entry.term));
        numbers_fit
            && terms.is_sorted()
            && self.entries.iter().map(|entry| entry.offset).is_sorted()
            && self.pruned_count <= u64::from(u32::MAX)
    }

    /// The kept entries in the order of their indices.
    pub fn entries(&self) -> &[SideEntry] {
        &self.entries
    }

    /// Adds an entry behind all others; `index` and `offset` are the log's next ones.
    pub(crate) fn push(&mut self, entry: SideEntry) {
        debug_assert!(
            self.entries
                .last()
                .is_none_or(|last| last.index < entry.index && last.offset <= entry.offset),
            "side entries rise"
        );
        self.entries.push(entry);
    }

    /// Takes an entry that the journal tells again over a later state: what was pruned since stays
    /// pruned, and an entry of a history that a later cut removes is passed over.
    pub(crate) fn replay(&mut self, entry: SideEntry) {
        let Some(before) = side_entries_before(&entry) else {
            return;
        };
        if before < self.pruned_count {
            return;
        }
        self.truncate_from(entry.index);
        let follows = self.entries.last().is_none_or(|last| {
            last.index < entry.index && last.offset <= entry.offset && last.term <= entry.term
        });
        if before == self.count() && follows {
            self.push(entry);
        }
    }

    /// Offset of the record at `index`; for a side entry the offset of the first record behind it.
    pub fn offset_of_index(&self, index: u64) -> i64 {
        let before = self.entries.partition_point(|side| side.index < index);
        to_offset(
            index
                .saturating_sub(1)
                .saturating_sub(self.pruned_count)
                .saturating_sub(before as u64),
        )
    }

    /// Index of the record with `offset`.
    pub fn index_of_offset(&self, offset: i64) -> u64 {
        let before = self.entries.partition_point(|side| side.offset <= offset);
        u64::try_from(offset).unwrap_or(0) + 1 + self.pruned_count + before as u64
    }

    /// Term of the entry at `index`; `None` below what the table still knows.
    pub fn term_of_index(&self, index: u64) -> Option<u32> {
        self.entries
            .iter()
            .rev()
            .find(|side| side.index <= index)
            .map(|side| side.term)
            .or_else(|| self.pruned_term.map(|(term, _)| term))
    }

    /// Term of the record at `offset`; `None` below what the table still knows.
    pub fn term_at_offset(&self, offset: i64) -> Option<u32> {
        let before = self.entries.partition_point(|side| side.offset <= offset);
        before
            .checked_sub(1)
            .and_then(|last| self.entries.get(last))
            .map(|side| side.term)
            .or_else(|| self.pruned_term.map(|(term, _)| term))
    }

    /// The latest term; `None` for a log without entries.
    pub fn last_term(&self) -> Option<u32> {
        self.entries
            .last()
            .map(|side| side.term)
            .or_else(|| self.pruned_term.map(|(term, _)| term))
    }

    /// The largest known term up to `term` and the offset where the next term begins
    /// (`log_end_offset`
    /// for the latest): the answer of OffsetForLeaderEpoch.
    pub fn end_offset_of_term(&self, term: u32, log_end_offset: i64) -> Option<(u32, i64)> {
        let mut found = self.pruned_term.filter(|(known, _)| *known <= term);
        for side in &self.entries {
            if side.term > term {
                return found.map(|(known, _)| (known, side.offset));
            }
            found = Some((side.term, side.offset));
        }
        found.map(|(known, _)| (known, log_end_offset))
    }

    /// Removes the entries at `index` and above.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        let keep = self.entries.partition_point(|side| side.index < index);
        self.entries.truncate(keep);
    }

    /// Forgets entries that no record at or above `offset` needs; the last voter set stays, since
    /// it is
    /// the configuration in force.
    pub(crate) fn prune_below(&mut self, offset: i64) {
        let behind = self.entries.partition_point(|side| side.offset < offset);
        let newest_set = self
            .entries
            .iter()
            .rposition(|side| side.kind == SideKind::VoterSet);
        let remove = behind
            .saturating_sub(1)
            .min(newest_set.unwrap_or(usize::MAX));
        for side in self.entries.drain(..remove) {
            self.pruned_count += 1;
            self.pruned_term = Some((side.term, side.offset));
        }
    }

    /// Number of side entries ever, the pruned ones included.
    pub(crate) fn count(&self) -> u64 {
        self.pruned_count + self.entries.len() as u64
    }
}

/// Invariant 2 read backwards.
fn side_entries_before(entry: &SideEntry) -> Option<u64> {
    let records = u64::try_from(entry.offset).ok()?;
    entry.index.checked_sub(1)?.checked_sub(records)
}

fn to_offset(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{SideEntry, SideKind, SideTable};

    /// Builds a log from a pattern: `s` a term start, `r` a record.
    fn table(pattern: &str) -> (SideTable, Vec<(u64, i64, bool)>) {
        let mut side = SideTable::default();
        let mut all = Vec::new();
        let (mut offset, mut term) = (0_i64, 0_u32);
        for (position, letter) in pattern.chars().enumerate() {
            let index = position as u64 + 1;
            if letter == 's' {
                term += 1;
                side.push(SideEntry {
                    index,
                    offset,
                    term,
                    kind: SideKind::TermStart,
                    payload: Vec::new(),
                });
                all.push((index, offset, true));
            } else {
                all.push((index, offset, false));
                offset += 1;
            }
        }
        (side, all)
    }

    #[test]
    fn index_and_offset_are_inverse_for_every_pattern() {
        for bits in 0_u32..4096 {
            let pattern: String = (0..12)
                .map(|bit| if bits >> bit & 1 == 1 { 's' } else { 'r' })
                .collect();
            let (mut side, all) = table(&pattern);
            for prune in [0_i64, 3, 100] {
                side.prune_below(prune);
                for (index, offset, is_side) in all.iter().copied() {
                    if offset < prune {
                        continue;
                    }
                    assert_eq!(side.offset_of_index(index), offset, "{pattern} {index}");
                    if !is_side {
                        assert_eq!(side.index_of_offset(offset), index, "{pattern} {offset}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_replay_over_a_later_state_changes_nothing() {
        let (whole, _) = table("srrsrsrrs");
        for prune in [0_i64, 2, 3, 5] {
            let mut side = whole.clone();
            side.prune_below(prune);
            let before = side.clone();
            for from in 0..whole.entries().len() {
                for entry in &whole.entries()[from..] {
                    side.replay(entry.clone());
                }
                assert_eq!(side, before, "pruned below {prune}, replayed from {from}");
            }
        }
    }

    #[test]
    fn an_entry_that_does_not_fit_is_passed_over() {
        let (whole, _) = table("srrs");
        for (index, offset, term) in [(9, 2, 2), (3, -1, 2), (0, 0, 2), (1, 5, 2), (6, 3, 0)] {
            let mut side = whole.clone();
            side.replay(SideEntry {
                index,
                offset,
                term,
                kind: SideKind::TermStart,
                payload: Vec::new(),
            });
            assert_eq!(side, whole, "{index} {offset} {term}");
        }
    }

    #[test]
    fn the_end_of_a_term_is_the_start_of_the_next() {
        let (side, _) = table("srrsrsr");
        assert_eq!(side.end_offset_of_term(1, 4), Some((1, 2)));
        assert_eq!(side.end_offset_of_term(2, 4), Some((2, 3)));
        assert_eq!(side.end_offset_of_term(9, 4), Some((3, 4)));
        assert_eq!(side.end_offset_of_term(0, 4), None);
        assert_eq!(side.term_of_index(5), Some(2));
    }
}
