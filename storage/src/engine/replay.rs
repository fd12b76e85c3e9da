//! Replay: what the checkpoint and the journal say about each log, before segments are looked at.
//!
//! What it is        a state machine over entries in the order of their commits; no I/O.
//! What it is not    the last word: candidates become records only if they continue the segments
//!                   without gap.
//! Invariants        1. later entries win over earlier ones and over the checkpoint.
//! Source            docs/formats/journal.md "Recovery"; decision 2026-11-23 "one gateway".

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_lite::record_batch::BatchHeader;

use crate::checkpoint::{Checkpoint, LogCheckpoint};
use crate::journal::format::{CommitHeader, FoundCommit, JournalEntry, decode_entry};
use crate::log_key::LogKey;
use crate::partition::append_buffer::SharedBlock;
use crate::side_table::{SideEntry, SideTable};

/// A batch of the journal that may belong to the end of a log.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) header: BatchHeader,
    pub(crate) commit: u64,
    pub(crate) bytes: Bytes,
}

/// What is known of one log.
#[derive(Clone, Debug)]
pub(crate) struct ReplayedLog {
    pub(crate) checkpoint: LogCheckpoint,
    /// By base offset; a batch that was carried forward in the ring comes late.
    pub(crate) candidates: BTreeMap<i64, Candidate>,
    /// The segments hold everything below, said after the checkpoint.
    pub(crate) marked_end_offset: i64,
    /// A cut whose execution in the segments is not recorded: first offset to remove.
    pub(crate) open_cut: Option<i64>,
    /// The lowest cut at all: what the checkpoint says about segments holds only below it.
    pub(crate) lowest_cut: Option<i64>,
    /// Closed segments that begin below may have been compacted since the checkpoint.
    pub(crate) compacted_end: Option<i64>,
    /// The journal mentions entries of the log, so its segments are looked at.
    pub(crate) mentioned: bool,
    /// Highest offset and index that any entry spoke of (exclusive).
    pub(crate) seen_end: i64,
}

/// All logs and cursors of a shard.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) logs: BTreeMap<u32, ReplayedLog>,
    pub(crate) deleted: Vec<(LogKey, String)>,
    pub(crate) cursors: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) next_slot: u32,
    /// Time of the producers' clock at the checkpoint, ms.
    pub(crate) producer_time_ms: i64,
    block: SharedBlock,
}

impl Replay {
    /// Starts from a checkpoint, or from nothing.
    pub(crate) fn new(checkpoint: Option<Checkpoint>) -> Self {
        let Some(checkpoint) = checkpoint else {
            return Self::default();
        };
        let logs = checkpoint.logs.into_iter();
        Self {
            logs: logs.map(|log| (log.slot, ReplayedLog::new(log))).collect(),
            deleted: Vec::new(),
            cursors: checkpoint.cursors.into_iter().collect(),
            next_slot: checkpoint.next_slot,
            producer_time_ms: checkpoint.producer_time_ms,
            block: SharedBlock::default(),
        }
    }

    /// Takes all entries of a commit; false when they do not decode.
    pub(crate) fn handle_commit(&mut self, commit: &FoundCommit<'_>) -> bool {
        let mut body = commit.body;
        for _ in 0..commit.header.entry_count {
            let Some((slot, entry)) = decode_entry(&mut body) else {
                return false;
            };
            if !self.handle_entry(&commit.header, slot, entry) {
                return false;
            }
        }
        body.is_empty()
    }

    fn handle_entry(&mut self, header: &CommitHeader, slot: u32, entry: JournalEntry<'_>) -> bool {
        let (commit, shard) = (header.number, header.shard);
        match entry {
            JournalEntry::Cursor { key, value } => {
                if value.is_empty() {
                    self.cursors.remove(key);
                } else {
                    self.cursors.insert(key.to_vec(), value.to_vec());
                }
                return true;
            }
            JournalEntry::Created { key, name } => {
                self.next_slot = self.next_slot.max(slot.saturating_add(1));
                self.logs
                    .entry(slot)
                    .or_insert_with(|| ReplayedLog::created(slot, key, name, shard));
                return true;
            }
            JournalEntry::Deleted => {
                if let Some(log) = self.logs.remove(&slot) {
                    self.deleted.push((log.checkpoint.key, log.checkpoint.name));
                }
                return true;
            }
            JournalEntry::Append { .. }
            | JournalEntry::Side { .. }
            | JournalEntry::HardState { .. }
            | JournalEntry::Truncate { .. }
            | JournalEntry::TruncateDone { .. }
            | JournalEntry::LogStart { .. }
            | JournalEntry::Mark { .. }
            | JournalEntry::Compacted { .. } => {}
        }
        match self.logs.get_mut(&slot) {
            Some(log) => log.handle_entry(commit, entry, &mut self.block),
            // Entries of a log that was deleted before the checkpoint.
            None => true,
        }
    }
}

impl ReplayedLog {
    fn new(checkpoint: LogCheckpoint) -> Self {
        let checkpoint_halted = checkpoint.halted;
        Self {
            marked_end_offset: checkpoint.marked_end_offset,
            seen_end: checkpoint.segments_end_offset,
            checkpoint,
            candidates: BTreeMap::new(),
            open_cut: None,
            lowest_cut: None,
            compacted_end: None,
            mentioned: checkpoint_halted,
        }
    }

    fn created(slot: u32, key: LogKey, name: &str, home: u32) -> Self {
        Self::new(LogCheckpoint {
            slot,
            key,
            name: name.to_owned(),
            home,
            term: 0,
            vote: None,
            side: SideTable::default(),
            log_start_offset: 0,
            segments_end_offset: 0,
            marked_end_offset: 0,
            closed: Vec::new(),
            active: None,
            halted: false,
            producers: Vec::new(),
        })
    }

    fn handle_entry(
        &mut self,
        commit: u64,
        entry: JournalEntry<'_>,
        block: &mut SharedBlock,
    ) -> bool {
        match entry {
            JournalEntry::Append { batches, .. } => {
                self.mentioned = true;
                return self.handle_batches(commit, batches, block);
            }
            JournalEntry::Side {
                index,
                offset,
                term,
                kind,
                payload,
            } => {
                self.mentioned = true;
                self.checkpoint.side.replay(SideEntry {
                    index,
                    offset,
                    term,
                    kind,
                    payload: payload.to_vec(),
                });
                self.seen_end = self.seen_end.max(offset);
            }
            JournalEntry::HardState { term, vote } => {
                self.checkpoint.term = term;
                self.checkpoint.vote = vote;
            }
            JournalEntry::Truncate {
                from_index,
                end_offset,
            } => {
                self.mentioned = true;
                self.checkpoint.side.truncate_from(from_index);
                self.candidates
                    .retain(|_, candidate| candidate.header.last_offset() < end_offset);
                self.marked_end_offset = self.marked_end_offset.min(end_offset);
                let lowest = |before: Option<i64>| Some(before.unwrap_or(i64::MAX).min(end_offset));
                self.open_cut = lowest(self.open_cut);
                self.lowest_cut = lowest(self.lowest_cut);
                self.seen_end = end_offset;
            }
            JournalEntry::TruncateDone { .. } => self.open_cut = None,
            JournalEntry::LogStart { offset } => {
                self.checkpoint.log_start_offset = self.checkpoint.log_start_offset.max(offset);
                // The active segment may have been closed and removed: the files tell.
                self.mentioned |= offset >= self.checkpoint.segments_end_offset;
            }
            JournalEntry::Mark { end_offset } => {
                self.mentioned = true;
                self.marked_end_offset = self.marked_end_offset.max(end_offset);
                self.seen_end = self.seen_end.max(end_offset);
            }
            JournalEntry::Compacted { end_offset } => {
                self.mentioned = true;
                self.compacted_end = self.compacted_end.max(Some(end_offset));
            }
            JournalEntry::Cursor { .. } | JournalEntry::Created { .. } | JournalEntry::Deleted => {}
        }
        true
    }

    fn handle_batches(&mut self, commit: u64, mut batches: &[u8], block: &mut SharedBlock) -> bool {
        // What the checkpoint's segments held at and above a cut is gone.
        let cut = self.lowest_cut.unwrap_or(i64::MAX);
        let in_segments_end = self.checkpoint.segments_end_offset.min(cut);
        while !batches.is_empty() {
            let Ok(header) = BatchHeader::decode(batches) else {
                return false;
            };
            let Some((batch, rest)) = batches.split_at_checked(header.size_bytes) else {
                return false;
            };
            batches = rest;
            self.seen_end = self.seen_end.max(header.next_offset());
            if header.last_offset() < in_segments_end {
                continue;
            }
            // A later copy of an offset wins: what was cut in between is gone already.
            self.candidates.insert(
                header.base_offset,
                Candidate {
                    header,
                    commit,
                    bytes: block.copy(batch),
                },
            );
        }
        true
    }
}
