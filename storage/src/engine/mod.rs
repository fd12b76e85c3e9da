//! The engine of one shard: open, create and find logs, hard states and cursors, stop.
//!
//! What it is        the handle that the shard keeps, and the futures that do its work.
//! What it is not    an executor: the owner spawns what [`Engine::open`] returns.
//! Invariants        1. a `RefCell` is never borrowed across an await. 2. events come only from
//!                   workers.
//! Reading order     [`Engine::open`], `recovery.rs`, then `write_back.rs`.

mod early;
mod recovery;
mod redistribute;
pub(crate) mod replay;
mod shortage;
mod state;
mod stats;
mod tails;
#[cfg(test)]
pub(crate) mod tests;
mod write;
mod write_back;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use kafka_lite::producer::ProducerTable;
pub use redistribute::prepare_shards;
pub(crate) use state::EngineState;
pub use stats::EngineStats;

use crate::disk::{Clock, Disk, DiskError};
use crate::disk_budget::DiskBudget;
use crate::error::Corrupt;
use crate::errors::OpenError;
use crate::events::LogEvents;
use crate::journal::Release;
use crate::journal::format::JournalEntry;
use crate::limits;
use crate::log_key::LogKey;
use crate::options::{LogConfig, Options};
use crate::partition::PartitionLog;
use crate::partition::state::{Log, LogState};
use crate::side_table::SideTable;

/// A future that the owner of the engine runs until it ends.
pub type Worker = Pin<Box<dyn Future<Output = ()>>>;

/// What recovery knows of one log.
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    /// Key of the log.
    pub key: LogKey,
    /// Topic name.
    pub name: Rc<str>,
    /// Number that events use for it.
    pub slot: u32,
    /// Raft's term.
    pub term: u32,
    /// Raft's vote in that term.
    pub vote: Option<i32>,
    /// The side entries.
    pub side_table: SideTable,
    /// Index of the record at the log start offset.
    pub first_index: u64,
    /// Index of the last entry; `first_index - 1` when there is none.
    pub last_index: u64,
    /// First readable offset.
    pub log_start_offset: i64,
    /// Offset of the next record (exclusive).
    pub log_end_offset: i64,
    /// The damage that halted the log, if any: it reads what is good and refuses appends.
    pub damaged: Option<Corrupt>,
}

/// An opened engine with what it found and what must be run.
pub struct Opened<D: Disk, C: Clock> {
    /// The handle.
    pub engine: Engine<D, C>,
    /// Every log of the shard.
    pub logs: Vec<RecoveredLog>,
    /// Futures that the owner spawns; they end after [`Engine::shutdown`] or a failure of the
    /// journal.
    pub workers: Vec<Worker>,
}

/// The log engine of one shard; clones share it.
pub struct Engine<D: Disk, C: Clock> {
    pub(crate) shared: Rc<EngineState<D, C>>,
}

impl<D: Disk, C: Clock> Clone for Engine<D, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
        }
    }
}

impl<D: Disk, C: Clock> std::fmt::Debug for Engine<D, C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("shard", &self.shared.options.shard)
            .finish_non_exhaustive()
    }
}

impl<D: Disk, C: Clock> Engine<D, C> {
    /// Opens the shard's journal and logs; creates them when there are none.
    ///
    /// Cost: reads the checkpoint and the used part of the ring; logs that the journal does not
    /// mention are
    /// not touched.
    ///
    /// # Errors
    /// [`OpenError`]; nothing on the disk was changed then.
    pub async fn open(
        disk: D,
        clock: C,
        options: Options,
        events: Rc<dyn LogEvents>,
    ) -> Result<Opened<D, C>, OpenError> {
        let options = options.checked();
        let recovered = recovery::recover(disk, clock, options, events).await?;
        let engine = Self {
            shared: recovered.shared,
        };
        let workers = engine.workers();
        Ok(Opened {
            engine,
            logs: recovered.logs,
            workers,
        })
    }

    fn workers(&self) -> Vec<Worker> {
        let mut workers: Vec<Worker> = Vec::new();
        for _ in 0..self.shared.options.commits_in_flight {
            let shared = Rc::clone(&self.shared);
            workers.push(Box::pin(async move {
                shared.journal.run_writer(&*shared).await;
            }));
        }
        let shared = Rc::clone(&self.shared);
        workers.push(Box::pin(async move {
            shared.journal.run_ring_keeper(&*shared).await;
        }));
        let shared = Rc::clone(&self.shared);
        workers.push(Box::pin(async move { shared.run_write_back().await }));
        let shared = Rc::clone(&self.shared);
        workers.push(Box::pin(async move { shared.run_early().await }));
        for _ in 0..self.shared.options.segment_writers {
            let shared = Rc::clone(&self.shared);
            workers.push(Box::pin(async move { shared.run_segment_writer().await }));
        }
        workers
    }

    /// Creates a log; its first entry makes it durable. An existing log of that key is returned as
    /// it is.
    ///
    /// # Panics
    /// When the topic name is longer than Kafka allows.
    pub fn create_log(&self, key: LogKey, name: &str, config: LogConfig) -> PartitionLog<D, C> {
        assert!(name.len() <= limits::TOPIC_NAME_BYTES_MAXIMUM, "checked");
        if let Some(log) = self.log(key) {
            log.apply_config(config);
            return log;
        }
        let slot = self.shared.next_slot.get();
        self.shared.next_slot.set(slot + 1);
        let entry = JournalEntry::Created { key, name };
        // Refused only when poisoned; then the log's appends say so.
        let _ignored = self.shared.journal.add(slot, &entry, None, true);
        let state = LogState {
            config,
            home: self.shared.options.shard,
            is_fresh: true,
            producers: ProducerTable::new(self.shared.options.producer_options()),
            ..LogState::default()
        };
        let log = Rc::new(Log::new(slot, key, name, state));
        self.shared.add_log(Rc::clone(&log));
        PartitionLog {
            shared: Rc::clone(&self.shared),
            log,
        }
    }

    /// The log of that key.
    pub fn log(&self, key: LogKey) -> Option<PartitionLog<D, C>> {
        let slot = self.shared.slots.borrow().get(&key).copied()?;
        self.log_by_slot(slot)
    }

    /// The log that events call `slot`.
    pub fn log_by_slot(&self, slot: u32) -> Option<PartitionLog<D, C>> {
        Some(PartitionLog {
            log: self.shared.log(slot)?,
            shared: Rc::clone(&self.shared),
        })
    }

    /// Keys of all logs in their order.
    pub fn keys(&self) -> Vec<LogKey> {
        self.shared.slots.borrow().keys().copied().collect()
    }

    /// Makes term and vote of a log durable; `LogEvents::handle_hard_state_persisted` tells when
    /// they are.
    pub fn journal_hard_state(&self, slot: u32, term: u32, vote: Option<i32>) {
        if let Some(log) = self.shared.log(slot) {
            let mut state = log.state.borrow_mut();
            state.term = term;
            state.vote = vote;
        }
        let entry = JournalEntry::HardState { term, vote };
        let release = Release::HardState { slot, term, vote };
        let _ignored = self.shared.journal.add(slot, &entry, Some(release), true);
    }

    /// Makes a named value durable before it returns; an empty value removes the name.
    ///
    /// # Errors
    /// The failure of the disk that stopped the journal.
    ///
    /// # Panics
    /// When name or value is longer than [`limits::CURSOR_BYTES_MAXIMUM`].
    pub async fn journal_cursor(&self, key: &[u8], value: &[u8]) -> Result<(), DiskError> {
        assert!(key.len() <= limits::CURSOR_BYTES_MAXIMUM, "short name");
        assert!(value.len() <= limits::CURSOR_BYTES_MAXIMUM, "short value");
        {
            let mut cursors = self.shared.cursors.borrow_mut();
            if value.is_empty() {
                cursors.remove(key);
            } else {
                cursors.insert(key.to_vec(), value.to_vec());
            }
        }
        let entry = JournalEntry::Cursor { key, value };
        let number = self.shared.journal.add(u32::MAX, &entry, None, true);
        match number {
            Ok(number) => self.shared.journal.wait_released(number).await,
            Err(_) => self.shared.journal.flush().await,
        }
    }

    /// The named values in the order of their names.
    pub fn cursors(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let cursors = self.shared.cursors.borrow();
        cursors
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Deletes a log with its files; the deletion is durable when it returns.
    ///
    /// # Errors
    /// The failure of the disk: of the journal, then the log is still there; of a removal, then the
    /// next start removes the rest.
    pub async fn delete_log(&self, key: LogKey) -> Result<(), DiskError> {
        let Some(log) = self.log(key) else {
            return Ok(());
        };
        let shared = &self.shared;
        // No checkpoint in between: it would bring the log back without its deletion.
        let _no_checkpoint = shared.write_back_gate.enter().await;
        shared.close_log(&log.log);
        let _turn = log.log.gate.enter().await;
        let added = shared
            .journal
            .add(log.slot(), &JournalEntry::Deleted, None, true);
        let number = added.unwrap_or_else(|_| shared.journal.open_number());
        shared.journal.wait_released(number).await?;
        shared.forget_log(&log.log);
        log.remove_files().await
    }

    /// Tells that space was freed on the device: writers that met a full disk try again at once.
    pub fn handle_space_freed(&self) {
        self.shared.set_disk_full(false);
        self.shared.space_freed.notify();
        self.shared.journal.ring_changed.notify();
        self.shared.write_queue_changed.notify();
        self.shared.write_back.notify();
    }

    /// Forgets the idempotent producers that have not appended for the expiration time; returns how
    /// many.
    pub fn expire_producers(&self) -> usize {
        self.shared.expire_producers()
    }

    /// The disk budget of the shard's segments, to set device figures and limits.
    pub fn disk_budget(&self) -> &DiskBudget {
        self.shared.store.budget()
    }

    /// Refuses further appends, writes everything to segments and a last checkpoint, and lets the
    /// workers end.
    ///
    /// # Errors
    /// The failure of the disk; nothing that was acknowledged is lost.
    pub async fn shutdown(&self) -> Result<(), DiskError> {
        self.shared.closing.set(true);
        self.shared.journal.ring_changed.notify();
        let finished = self.shared.finish().await;
        self.shared.stop();
        finished
    }
}
