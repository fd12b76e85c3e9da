//! The handle of one log: append, read, side table, bounds.

use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::record_batch::BatchHeader;

use crate::disk::{Clock, Disk};
use crate::engine::EngineState;
use crate::errors::AppendError;
use crate::journal::Release;
use crate::journal::format::JournalEntry;
use crate::limits;
use crate::log_key::LogKey;
use crate::options::LogConfig;
use crate::partition::append_buffer::{BufferedBatch, DIRECT};
use crate::partition::durable::Awaits;
use crate::partition::state::{Log, LogState};
use crate::side_table::{SideEntry, SideKind, SideTable};

/// What is appended.
#[derive(Clone, Debug)]
pub enum Entry {
    /// One record batch; it covers as many indices as `last_offset_delta + 1`.
    Batch {
        /// The batch as it came; base offset and leader epoch are written by the log.
        bytes: Bytes,
        /// Raft index of its first record; must be the log's next index.
        first_index: u64,
        /// Term of the entry.
        term: u32,
    },
    /// A side entry; it covers one index and no offset.
    Side {
        /// Raft index; must be the log's next index.
        index: u64,
        /// Term of the entry.
        term: u32,
        /// What it says.
        kind: SideKind,
        /// Bytes that only `replication` reads.
        payload: Bytes,
    },
}

/// Where an entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedEntry {
    /// Offset of the first record; for a side entry the log end offset.
    pub base_offset: i64,
    /// Log end offset after the entry (exclusive).
    pub log_end_offset: i64,
    /// Raft index of the last record or of the side entry.
    pub last_index: u64,
}

/// The log of one partition; clones share it.
pub struct PartitionLog<D: Disk, C: Clock> {
    pub(crate) shared: Rc<EngineState<D, C>>,
    pub(crate) log: Rc<Log<D>>,
}

impl<D: Disk, C: Clock> Clone for PartitionLog<D, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            log: Rc::clone(&self.log),
        }
    }
}

impl<D: Disk, C: Clock> std::fmt::Debug for PartitionLog<D, C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PartitionLog")
            .field("name", &self.log.name)
            .field("key", &self.log.key)
            .finish_non_exhaustive()
    }
}

impl<D: Disk, C: Clock> PartitionLog<D, C> {
    /// Appends an entry. It is durable when `LogEvents::handle_persisted` reports its index, unless
    /// [`LogConfig::flush_messages`] lets it be reported before.
    ///
    /// # Errors
    /// [`AppendError::NoRoom`]: wait with [`Self::wait_room`] and try again; every other error is
    /// final for this entry. Nothing is kept of an entry that was refused.
    ///
    /// # Panics
    /// When index or term do not follow the log's last entry: the caller's Raft state is not this
    /// log's.
    pub fn append(&self, entry: Entry) -> Result<AppendedEntry, AppendError> {
        match entry {
            Entry::Batch {
                bytes,
                first_index,
                term,
            } => self.append_batch(&bytes, first_index, term),
            Entry::Side {
                index,
                term,
                kind,
                payload,
            } => self.append_side(index, term, kind, &payload),
        }
    }

    /// Whether an append of `bytes` would find room now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.shared.has_room(bytes, self.log.uses_reserve())
    }

    /// Waits until an append of `bytes` finds room.
    ///
    /// # Errors
    /// The engine stops or its journal has failed: there will be no room.
    pub async fn wait_room(&self, bytes: usize) -> Result<(), AppendError> {
        loop {
            let seen = self.shared.journal.ring_changed.seen();
            self.shared.check_open()?;
            if self.has_room(bytes) {
                return Ok(());
            }
            self.shared.journal.ring_changed.after(seen).await;
        }
    }

    /// Whether the disk is full and an append of `bytes` finds no room in the reserve either:
    /// nothing but the operator makes room for it.
    pub fn is_reserve_spent(&self, bytes: usize) -> bool {
        let is_busy = !self.shared.journal.has_room(bytes);
        let may_wait = !self.log.uses_reserve() || is_busy;
        !may_wait && self.shared.shortages.is_any() && !self.has_room(bytes)
    }

    fn append_batch(
        &self,
        bytes: &Bytes,
        first_index: u64,
        term: u32,
    ) -> Result<AppendedEntry, AppendError> {
        let header =
            BatchHeader::decode(bytes).map_err(|_| AppendError::Malformed("no record batch"))?;
        if header.size_bytes != bytes.len() || header.last_offset_delta < 0 {
            return Err(AppendError::Malformed("not exactly one record batch"));
        }
        self.shared.check_open()?;
        let mut state = self.log.state.borrow_mut();
        check_next(&state, first_index, term)?;
        if !self.shared.has_room(bytes.len(), state.config.uses_reserve) {
            return Err(self.shared.no_room());
        }
        let direct = self.shared.is_direct(bytes.len());
        let records = u64::try_from(header.last_offset_delta).unwrap_or(0) + 1;
        let is_early = self.is_early(&state, first_index + records - 1)
            && !(direct && self.shared.holds_much_bulk(bytes.len()));
        let mut batch = BufferedBatch {
            base_offset: state.log_end_offset,
            last_offset: state.log_end_offset + i64::from(header.last_offset_delta),
            max_timestamp: header.max_timestamp,
            term,
            commit: DIRECT,
            head: None,
            bytes: Bytes::new(),
        };
        let base_offset = batch.base_offset;
        let end_offset = batch.last_offset + 1;
        let awaits = if direct {
            self.note_direct(&mut state)?;
            batch.head = Some(BufferedBatch::patched_head(bytes, base_offset, term));
            batch.bytes = bytes.clone();
            Awaits::Segment
        } else {
            self.journal_batch(&mut batch, bytes, first_index, is_early)?;
            Awaits::Commit(batch.commit)
        };
        state.log_end_offset = end_offset;
        state.max_timestamp = state.max_timestamp.max(Some(header.max_timestamp));
        let last_index = state.next_index() - 1;
        if is_early {
            state.durable.push_early(last_index, term, awaits);
            self.shared.note_early(self.log.slot, &state.config);
        } else {
            state.durable.push(last_index, term, awaits);
        }
        self.keep(&mut state, batch);
        let has_more = self.note_producer(&mut state, &header, base_offset);
        drop(state);
        if has_more {
            self.shared.limit_producers();
        }
        Ok(AppendedEntry {
            base_offset,
            log_end_offset: end_offset,
            last_index,
        })
    }

    /// Whether the batch that ends at `last_index` is acknowledged before its flush: fewer than
    /// `flush.messages` records would be unflushed with it.
    fn is_early(&self, state: &LogState<D>, last_index: u64) -> bool {
        let unflushed = state.durable.unflushed_to(last_index);
        !self.shared.options.store_nothing && unflushed < state.config.flush_messages
    }

    /// Puts a batch into the append buffer and sees to it that somebody writes it.
    fn keep(&self, state: &mut LogState<D>, batch: BufferedBatch) {
        let shared = &self.shared;
        if shared.options.store_nothing {
            state.segments_end_offset = state.log_end_offset;
            state.log_start_offset = state.log_end_offset;
            return;
        }
        let (bytes, direct) = (batch.bytes.len(), batch.commit == DIRECT);
        state.buffer.push(batch);
        if direct {
            shared.add_bulk(bytes);
            state.write_goal = state.log_end_offset;
            shared.queue_write(&self.log, state);
            return;
        }
        shared.add_buffered(bytes);
        if state.dirty_commit.is_none() {
            shared.update_dirty(self.log.slot, state);
        }
        if state.buffer.bytes() > shared.options.log_buffer_bytes {
            shared.note_full_log();
        }
    }

    /// The journal must know that the log's segments grow beside it before the first large append
    /// since the last checkpoint is acknowledged: recovery looks only at logs that it mentions.
    fn note_direct(&self, state: &mut LogState<D>) -> Result<(), AppendError> {
        self.shared.journal.end_append();
        if state.noted_commit >= self.shared.replay_from.get() && state.noted_commit > 0 {
            return Ok(());
        }
        let entry = JournalEntry::Mark {
            end_offset: state.segments_end_offset,
        };
        let number = self
            .shared
            .journal
            .add(self.log.slot, &entry, Some(self.release()), false)
            .map_err(|_| self.shared.no_room())?;
        state.noted_commit = number;
        state.durable.push_barrier(number);
        Ok(())
    }

    /// Copies the batch into the shared block and queues it for the journal.
    fn journal_batch(
        &self,
        batch: &mut BufferedBatch,
        bytes: &Bytes,
        first_index: u64,
        is_early: bool,
    ) -> Result<(), AppendError> {
        let shared = &self.shared;
        if !shared.options.store_nothing {
            let mut block = shared.block.borrow_mut();
            batch.bytes = block.copy_patched(bytes, batch.base_offset, batch.term);
        }
        let entry = JournalEntry::Append {
            first_index,
            batches: &batch.bytes,
        };
        let (journal, release) = (&shared.journal, Some(self.release()));
        let added = if is_early {
            journal.add_unhurried(self.log.slot, &entry, release)
        } else {
            journal.add(self.log.slot, &entry, release, false)
        };
        batch.commit = added.map_err(|_| shared.no_room())?;
        Ok(())
    }

    fn append_side(
        &self,
        index: u64,
        term: u32,
        kind: SideKind,
        payload: &[u8],
    ) -> Result<AppendedEntry, AppendError> {
        if payload.len() > limits::SIDE_PAYLOAD_BYTES_MAXIMUM {
            return Err(AppendError::Malformed("the payload is too long"));
        }
        self.shared.check_open()?;
        let mut state = self.log.state.borrow_mut();
        check_next(&state, index, term)?;
        let offset = state.log_end_offset;
        let entry = JournalEntry::Side {
            index,
            offset,
            term,
            kind,
            payload,
        };
        let commit = self
            .shared
            .journal
            .add(self.log.slot, &entry, Some(self.release()), true)
            .map_err(|_| AppendError::NoRoom)?;
        state.side.push(SideEntry {
            index,
            offset,
            term,
            kind,
            payload: payload.to_vec(),
        });
        state.last_side_commit = commit;
        state.durable.push(index, term, Awaits::Commit(commit));
        Ok(AppendedEntry {
            base_offset: offset,
            log_end_offset: offset,
            last_index: index,
        })
    }

    pub(crate) fn release(&self) -> Release {
        Release::Entries {
            slot: self.log.slot,
            commit: 0,
        }
    }

    /// Key of the log.
    pub fn key(&self) -> LogKey {
        self.log.key
    }

    /// Topic name.
    pub fn name(&self) -> &str {
        &self.log.name
    }

    /// Number that events use for this log.
    pub fn slot(&self) -> u32 {
        self.log.slot
    }

    /// First offset that can be read (inclusive).
    pub fn log_start_offset(&self) -> i64 {
        self.log.state.borrow().log_start_offset
    }

    /// Offset of the next record (exclusive end).
    pub fn log_end_offset(&self) -> i64 {
        self.log.state.borrow().log_end_offset
    }

    /// Index of the next entry.
    pub fn next_index(&self) -> u64 {
        self.log.state.borrow().next_index()
    }

    /// Term and vote as last given or recovered.
    pub fn hard_state(&self) -> (u32, Option<i32>) {
        let state = self.log.state.borrow();
        (state.term, state.vote)
    }

    /// Calls `read` with the side table.
    pub fn with_side_table<T>(&self, read: impl FnOnce(&SideTable) -> T) -> T {
        read(&self.log.state.borrow().side)
    }

    /// The answer of OffsetForLeaderEpoch: the largest epoch up to `term` and its end offset
    /// (exclusive).
    pub fn end_offset_of_term(&self, term: u32) -> Option<(u32, i64)> {
        let state = self.log.state.borrow();
        state.side.end_offset_of_term(term, state.log_end_offset)
    }

    /// Largest timestamp of any record, ms since 1970; `None` for an empty log.
    pub fn max_timestamp(&self) -> Option<i64> {
        self.log.state.borrow().max_timestamp
    }

    /// Bytes of all segments and of the append buffer.
    pub fn size_bytes(&self) -> u64 {
        let state = self.log.state.borrow();
        state.segments.size_bytes() + state.buffer.bytes() as u64
    }

    /// Takes new settings; they hold from the next segment on.
    pub fn apply_config(&self, config: LogConfig) {
        self.log.state.borrow_mut().config = config;
    }

    /// Why the log accepts nothing more; `None` while it does.
    pub fn failure(&self) -> Option<AppendError> {
        self.log.state.borrow().failure.clone()
    }
}

fn check_next<D: Disk>(state: &LogState<D>, index: u64, term: u32) -> Result<(), AppendError> {
    if let Some(failure) = &state.failure {
        return Err(failure.clone());
    }
    assert_eq!(index, state.next_index(), "entries are dense");
    assert!(
        state.side.last_term().is_none_or(|last| last <= term),
        "terms do not fall"
    );
    Ok(())
}
