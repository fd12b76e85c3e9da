//! All partitions of a shard, and the ear that hears the log engine.
//!
//! Invariants        1. a partition is found by its log's slot and by topic id and number, or by
//! neither.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::primitive::Uuid;
use storage::disk::Clock;
use storage::{AppendError, LogEvents};
use tracing::error;

use super::Partition;
use crate::io::clock::ShardClock;
use crate::shard::{Process, Shard, ShardId};

/// Topic id and partition number.
type Name = ([u8; 16], i32);

/// The partitions of one shard.
pub(crate) struct PartitionSet {
    clock: ShardClock,
    process: Arc<Process>,
    shard: ShardId,
    by_slot: RefCell<BTreeMap<u32, Rc<Partition>>>,
    by_name: RefCell<BTreeMap<Name, Rc<Partition>>>,
}

impl PartitionSet {
    /// An empty set.
    pub(crate) fn new(shard: &Shard) -> Rc<Self> {
        Rc::new(Self {
            clock: shard.clock(),
            process: Arc::clone(shard.process()),
            shard: shard.id(),
            by_slot: RefCell::default(),
            by_name: RefCell::default(),
        })
    }

    /// Adds a partition and lets its group elect itself.
    pub(crate) fn insert(&self, partition: Rc<Partition>) {
        let key = (partition.topic_id().0, partition.index());
        self.by_slot
            .borrow_mut()
            .insert(partition.log().slot(), Rc::clone(&partition));
        self.by_name.borrow_mut().insert(key, Rc::clone(&partition));
        partition.drive();
    }

    /// Takes a partition out and tells those who wait for it.
    pub(crate) fn remove(&self, topic_id: Uuid, index: i32) -> Option<Rc<Partition>> {
        let partition = self.by_name.borrow_mut().remove(&(topic_id.0, index))?;
        self.by_slot.borrow_mut().remove(&partition.log().slot());
        partition.handle_deleted();
        Some(partition)
    }

    /// The partition of that topic and number.
    pub(crate) fn get(&self, topic_id: Uuid, index: i32) -> Option<Rc<Partition>> {
        self.by_name.borrow().get(&(topic_id.0, index)).cloned()
    }

    /// All partitions, in the order of topic id and number.
    pub(crate) fn all(&self) -> Vec<Rc<Partition>> {
        self.by_name.borrow().values().cloned().collect()
    }

    /// How many partitions take no records.
    pub(crate) fn stopped_count(&self) -> usize {
        let partitions = self.by_name.borrow();
        let stopped = partitions.values().filter(|one| one.failure().is_some());
        stopped.count()
    }

    /// A disk that failed ends the process: what its files hold is known only to a recovery.
    fn fatal_reason(&self, partition: &Partition, error: &AppendError) -> Option<String> {
        let AppendError::Poisoned(failure) = error else {
            return None;
        };
        let shard = self.shard;
        Some(match partition.journal_failure() {
            Some(failure) => format!("journal of shard {shard} failed: {failure}"),
            None => format!("log {partition:?} of shard {shard} failed: {failure}"),
        })
    }

    fn of_slot(&self, slot: u32) -> Option<Rc<Partition>> {
        self.by_slot.borrow().get(&slot).cloned()
    }
}

impl LogEvents for PartitionSet {
    fn handle_persisted(&self, slot: u32, last_index: u64, term: u32) {
        if let Some(partition) = self.of_slot(slot) {
            partition.handle_persisted(self.clock.now(), last_index, term);
        }
    }

    fn handle_hard_state_persisted(&self, slot: u32, term: u32, vote: Option<i32>) {
        if let Some(partition) = self.of_slot(slot) {
            partition.handle_hard_state_persisted(self.clock.now(), term, vote);
        }
    }

    fn handle_failed(&self, slot: u32, error: &AppendError) {
        if let Some(partition) = self.of_slot(slot) {
            if let Some(reason) = self.fatal_reason(&partition, error) {
                if self.process.failure.note(reason.clone()) {
                    error!(%reason, "the broker stops; the next start recovers");
                }
            } else {
                error!(?partition, %error, "a log stopped taking records");
            }
            partition.handle_failed(error);
        }
    }
}
