//! The committed offsets of one group.
//!
//! What it is        what is durable per topic and partition, and how many changes are on their
//!                   way.
//! What it is not    the rules of who may commit; those are in `commit.rs`.
//! Invariants        1. an entry holds an offset, or a change of it is on its way.
//!                   2. `count` and `bytes` are those of the entries.

use std::collections::BTreeMap;

use super::limits;
use super::records::CommittedOffset;

/// One partition.
#[derive(Clone, Debug, Default)]
pub(super) struct OffsetEntry {
    /// What a fetch returns: the last durable commit.
    pub(super) committed: Option<CommittedOffset>,
    /// Commits and deletions in the log's queue.
    pub(super) pending: u32,
}

/// Offsets by topic and partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets {
    topics: BTreeMap<String, BTreeMap<i32, OffsetEntry>>,
    count: usize,
    bytes: usize,
}

impl Offsets {
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) const fn memory_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, OffsetEntry>)> {
        self.topics
            .iter()
            .map(|(name, partitions)| (name.as_str(), partitions))
    }

    /// Every durable commit.
    pub(super) fn committed_mut(&mut self) -> impl Iterator<Item = &mut CommittedOffset> {
        let partitions = self.topics.values_mut();
        let entries = partitions.flat_map(|partitions| partitions.values_mut());
        entries.filter_map(|entry| entry.committed.as_mut())
    }

    pub(super) fn partitions(&self, topic: &str) -> Option<&BTreeMap<i32, OffsetEntry>> {
        self.topics.get(topic)
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&OffsetEntry> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Returns every partition with an entry.
    pub(super) fn keys(&self) -> Vec<(String, i32)> {
        let one = |(topic, partitions): (&String, &BTreeMap<i32, OffsetEntry>)| {
            partitions
                .keys()
                .map(|partition| (topic.clone(), *partition))
                .collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(one).collect()
    }

    /// A change of the partition goes to the log.
    pub(super) fn begin(&mut self, topic: &str, partition: i32) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), BTreeMap::new());
            self.bytes += topic_bytes(topic);
        }
        let Some(partitions) = self.topics.get_mut(topic) else {
            return;
        };
        let entry = partitions.entry(partition).or_insert_with(|| {
            self.count += 1;
            self.bytes += limits::OFFSET_OVERHEAD_BYTES;
            OffsetEntry::default()
        });
        entry.pending += 1;
    }

    /// A change that went to the log has ended, durable or not.
    pub(super) fn end(&mut self, topic: &str, partition: i32) {
        if let Some(entry) = self.entry_mut(topic, partition) {
            entry.pending = entry.pending.saturating_sub(1);
        }
        self.drop_if_unused(topic, partition);
    }

    /// The commit is durable.
    pub(super) fn set(&mut self, topic: &str, partition: i32, committed: CommittedOffset) {
        self.begin(topic, partition);
        self.bytes += committed.metadata.len();
        let before = self
            .entry_mut(topic, partition)
            .and_then(|entry| entry.committed.replace(committed));
        self.bytes -= before.map_or(0, |committed| committed.metadata.len());
        self.end(topic, partition);
    }

    /// The deletion is durable.
    pub(super) fn clear(&mut self, topic: &str, partition: i32) {
        let before = self
            .entry_mut(topic, partition)
            .and_then(|entry| entry.committed.take());
        self.bytes -= before.map_or(0, |committed| committed.metadata.len());
        self.drop_if_unused(topic, partition);
    }

    fn entry_mut(&mut self, topic: &str, partition: i32) -> Option<&mut OffsetEntry> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    fn drop_if_unused(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.topics.get_mut(topic) else {
            return;
        };
        let unused = partitions
            .get(&partition)
            .is_some_and(|entry| entry.committed.is_none() && entry.pending == 0);
        if unused {
            partitions.remove(&partition);
            self.count -= 1;
            self.bytes -= limits::OFFSET_OVERHEAD_BYTES;
        }
        if partitions.is_empty() {
            self.topics.remove(topic);
            self.bytes -= topic_bytes(topic);
        }
    }
}

const fn topic_bytes(topic: &str) -> usize {
    topic.len() + 96
}
