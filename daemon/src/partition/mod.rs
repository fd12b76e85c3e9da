//! A partition on its shard: one Raft group, one log, and those who wait for it.
//!
//! What it is        the glue that carries what `replication` decides to `storage` and back, and
//! turns
//!                   the commit index into the high watermark.
//! What it is not    a rule: batches are checked by `record_batch`, sequences by `producer`,
//! commitment
//!                   by `replication`, durability by `storage`.
//! Invariants        1. log start offset <= high watermark <= log end offset. 2. the high watermark
//! only
//!                   rises. 3. waiters are in index order, and each is told exactly once. 4. Raft
//!                   and
//!                   the log agree on the next index whenever no call is under way.
//! Reading order     [`Partition::append`], [`Partition::drive`], then [`set`].

mod append;
mod observe;
mod queue;
mod recovered;
pub(crate) mod set;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;
use kafka_lite::topic_config::TopicConfig;
use replication::{LogIndex, Raft, SideEntryKind, Term};
use storage::{AppendError, ChangeError, Entry, SideKind};

pub(crate) use self::append::{AppendRequest, AppendedBatch};
pub(crate) use self::observe::{AppendFault, AppendObserver, AppendResult, ReadSignal};
use self::queue::QueuedAppend;
pub(crate) use self::recovered::{log_config, sole_voter};
use crate::io::clock::ShardClock;
use crate::io::disk::FileDisk;

/// The log engine of this process.
pub(crate) type LogEngine = storage::Engine<FileDisk, ShardClock>;
/// A log of this process.
pub(crate) type Log = storage::PartitionLog<FileDisk, ShardClock>;

/// One partition; lives on its owner shard.
pub(crate) struct Partition {
    topic: Arc<str>,
    topic_id: Uuid,
    index: i32,
    engine: LogEngine,
    log: Log,
    raft: RefCell<Raft>,
    high_watermark: Cell<i64>,
    config: RefCell<Arc<TopicConfig>>,
    commit_waiters: RefCell<VecDeque<CommitWaiter>>,
    readers: RefCell<Vec<Weak<ReadSignal>>>,
    queue: RefCell<VecDeque<QueuedAppend>>,
    failure: RefCell<Option<AppendError>>,
    deleted: Cell<bool>,
}

/// One append that is answered when its last record is committed.
struct CommitWaiter {
    last_index: LogIndex,
    appended: AppendedBatch,
    observer: Rc<dyn AppendObserver>,
    place: usize,
}

/// What a partition is made of.
pub(crate) struct PartitionParts {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) index: i32,
    pub(crate) engine: LogEngine,
    pub(crate) log: Log,
    pub(crate) raft: Raft,
    pub(crate) config: Arc<TopicConfig>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.index)
    }
}

impl Partition {
    pub(crate) fn new(parts: PartitionParts) -> Rc<Self> {
        let log_start_offset = parts.log.log_start_offset();
        Rc::new(Self {
            topic: parts.topic,
            topic_id: parts.topic_id,
            index: parts.index,
            engine: parts.engine,
            log: parts.log,
            raft: RefCell::new(parts.raft),
            high_watermark: Cell::new(log_start_offset),
            config: RefCell::new(parts.config),
            commit_waiters: RefCell::default(),
            readers: RefCell::default(),
            queue: RefCell::default(),
            failure: RefCell::default(),
            deleted: Cell::new(false),
        })
    }

    /// Carries out what Raft asks for, until it asks for nothing.
    pub(crate) fn drive(&self) {
        loop {
            let Some(output) = self.raft.borrow_mut().poll_output() else {
                break;
            };
            if let Some(hard_state) = output.hard_state {
                let vote = hard_state
                    .vote
                    .map(|node| i32::try_from(node.0).unwrap_or(i32::MAX));
                let term = storage_term(hard_state.term);
                self.engine.journal_hard_state(self.log.slot(), term, vote);
            }
            for side in output.side_entries {
                let SideEntryKind::TermStart = side.kind else {
                    continue;
                };
                let entry = Entry::Side {
                    index: side.id.index.0,
                    term: storage_term(side.id.term),
                    kind: SideKind::TermStart,
                    payload: bytes::Bytes::new(),
                };
                if let Err(error) = self.log.append(entry) {
                    self.handle_failed(&error);
                }
            }
            if let Some(commit_index) = output.commit_index {
                self.handle_committed(commit_index);
            }
        }
    }

    /// Everything up to `last_index` is on stable storage.
    pub(crate) fn handle_persisted(&self, now: Duration, last_index: u64, term: u32) {
        let (index, term) = (LogIndex(last_index), Term(u64::from(term)));
        self.raft.borrow_mut().handle_persisted(now, index, term);
        self.drive();
    }

    /// Term and vote are on stable storage.
    pub(crate) fn handle_hard_state_persisted(&self, now: Duration, term: u32, vote: Option<i32>) {
        let hard_state = recovered::hard_state(term, vote);
        self.raft
            .borrow_mut()
            .handle_hard_state_persisted(now, hard_state);
        self.drive();
    }

    /// The log accepts nothing more: those who wait are told, and so is everybody who comes.
    pub(crate) fn handle_failed(&self, error: &AppendError) {
        *self.failure.borrow_mut() = Some(error.clone());
        let fault = AppendFault::of_log(error);
        self.fail_waiters(&fault);
    }

    /// The topic is gone: nobody waits for it any longer.
    pub(crate) fn handle_deleted(&self) {
        self.deleted.set(true);
        self.fail_waiters(&AppendFault::code(ErrorCode::UnknownTopicOrPartition));
        self.wake_readers();
    }

    fn fail_waiters(&self, fault: &AppendFault) {
        let waiters = std::mem::take(&mut *self.commit_waiters.borrow_mut());
        for waiter in waiters {
            waiter
                .observer
                .handle_append(waiter.place, Err(fault.clone()));
        }
        self.refuse_queue(fault);
        self.wake_readers();
    }

    fn handle_committed(&self, commit_index: LogIndex) {
        // The one place where the commit index (inclusive) becomes the high watermark (exclusive
        // end).
        let next_index = commit_index.next().0;
        let offset = self
            .log
            .with_side_table(|table| table.offset_of_index(next_index));
        let end = self.log.log_end_offset();
        let high_watermark = offset.min(end).max(self.high_watermark.get());
        self.high_watermark.set(high_watermark);
        self.answer_committed(commit_index);
        self.wake_readers();
    }

    fn answer_committed(&self, commit_index: LogIndex) {
        loop {
            let waiter = {
                let mut waiters = self.commit_waiters.borrow_mut();
                match waiters.front() {
                    Some(first) if first.last_index <= commit_index => waiters.pop_front(),
                    Some(_) | None => None,
                }
            };
            let Some(waiter) = waiter else { return };
            waiter
                .observer
                .handle_append(waiter.place, Ok(waiter.appended));
        }
    }

    /// Tells `signal` whenever there is something new to read or the start of the log has moved,
    /// until it is dropped.
    pub(crate) fn watch(&self, signal: &Rc<ReadSignal>) {
        let mut readers = self.readers.borrow_mut();
        if readers.len() == readers.capacity() {
            readers.retain(|reader| reader.strong_count() > 0);
        }
        readers.push(Rc::downgrade(signal));
    }

    /// Moves the start of the log to `offset` (inclusive) and tells those who read: what they wait
    /// for may be gone. An offset at or below the present start changes nothing.
    ///
    /// Errors: the new start could not be made durable; see [`Log::set_log_start_offset`].
    pub(crate) async fn set_log_start_offset(&self, offset: i64) -> Result<(), ChangeError> {
        let result = self.log.set_log_start_offset(offset).await;
        self.wake_readers();
        result
    }

    fn wake_readers(&self) {
        let readers = std::mem::take(&mut *self.readers.borrow_mut());
        for reader in readers.iter().filter_map(Weak::upgrade) {
            reader.signal();
        }
    }

    /// Topic name.
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Topic id (KIP-516).
    pub(crate) fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Partition number.
    pub(crate) fn index(&self) -> i32 {
        self.index
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// First offset that is not known to be committed (exclusive end).
    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark.get().max(self.log.log_start_offset())
    }

    /// The leader epoch: Raft's term.
    pub(crate) fn leader_epoch(&self) -> i32 {
        i32::try_from(self.raft.borrow().term().0).unwrap_or(i32::MAX)
    }

    /// Waits until this replica leads and has committed an entry of its term, or never will.
    pub(crate) async fn wait_until_ready(&self) {
        while !self.is_ready() && self.failure().is_none() && !self.is_deleted() {
            let signal = ReadSignal::new();
            self.watch(&signal);
            signal.raised().await;
        }
    }

    /// Whether this replica leads and has committed an entry of its term.
    pub(crate) fn is_ready(&self) -> bool {
        self.raft.borrow().is_ready_leader() && !self.deleted.get()
    }

    /// The topic's configuration.
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// Takes a new configuration; it holds from the next append on.
    pub(crate) fn set_config(&self, config: Arc<TopicConfig>) {
        self.log.apply_config(log_config(&self.topic, &config));
        *self.config.borrow_mut() = config;
    }

    /// Why the partition accepts nothing, if so.
    pub(crate) fn failure(&self) -> Option<AppendError> {
        self.failure.borrow().clone().or_else(|| self.log.failure())
    }

    /// The failure of the disk that stopped all logs of the shard.
    pub(crate) fn journal_failure(&self) -> Option<storage::DiskError> {
        self.engine.journal_failure()
    }

    /// Whether the topic was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.get()
    }

    /// Checks the leader epoch that a client believes in (KIP-320).
    pub(crate) fn check_leader_epoch(&self, believed: Option<i32>) -> Result<(), ErrorCode> {
        match believed {
            None => Ok(()),
            Some(epoch) if epoch < self.leader_epoch() => Err(ErrorCode::FencedLeaderEpoch),
            Some(epoch) if epoch > self.leader_epoch() => Err(ErrorCode::UnknownLeaderEpoch),
            Some(_) => Ok(()),
        }
    }
}

/// Raft's term as the log stores it: Kafka's leader epoch has 31 bits.
fn storage_term(term: Term) -> u32 {
    u32::try_from(term.0).unwrap_or(u32::MAX)
}
