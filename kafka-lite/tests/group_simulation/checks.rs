//! What must hold after every step and at the end.

use std::collections::BTreeMap;

use kafka_lite::group::records::{RecordKey, decode_key, decode_offset_value};

use crate::simulation::{GROUPS, MEMORY_BYTES_MAX, MEMORY_SLACK_BYTES, Simulation, group_name};

impl Simulation {
    pub(crate) fn check(&self) {
        self.coordinator.check_invariants();
        let memory = self.coordinator.memory_bytes();
        assert!(
            memory <= MEMORY_BYTES_MAX + MEMORY_SLACK_BYTES,
            "{memory} bytes"
        );
        assert!(self.coordinator.member_count() <= self.options.members_max + 1);
        assert!(self.coordinator.held_count() <= self.open.len() + self.append_count());
    }

    /// What is fetched is what the log says.
    pub(crate) fn check_offsets(&self) {
        let mut durable = BTreeMap::new();
        for (key, value) in self.log.values().flatten() {
            if let RecordKey::Offset {
                group_id,
                topic,
                partition,
            } = decode_key(key).unwrap()
            {
                durable.insert(
                    (group_id, topic, partition),
                    decode_offset_value(value).unwrap(),
                );
            }
        }
        let mut fetched = BTreeMap::new();
        for group in (0..GROUPS).map(group_name) {
            for topic in self.coordinator.fetch_offsets(&group, None).unwrap() {
                for (partition, committed) in topic.partitions {
                    let key = (group.clone(), topic.name.clone(), partition);
                    fetched.insert(key, committed.expect("all are committed").clone());
                }
            }
        }
        assert_eq!(fetched, durable);
    }

    pub(crate) fn finish(&mut self) {
        self.persist_all();
        self.check_offsets();
        // All clients are gone: every session ends, every offset expires.
        for _ in 0..200 {
            self.now.monotonic_ms += 5_000;
            self.now.timestamp_ms += 5_000;
            self.coordinator.handle_timeout(self.now);
            self.drain();
            self.persist_all();
            self.check();
        }
        // Nobody listens for the answers of lost connections; they may stay away.
        self.open.retain(|token, _| !self.dropped.contains(token));
        assert_eq!(self.open.len(), 0, "unanswered");
        assert_eq!(self.coordinator.group_count(), 0);
        assert_eq!(self.coordinator.member_count(), 0);
        assert_eq!(self.coordinator.held_count(), 0);
        assert_eq!(self.coordinator.memory_bytes(), 0);
        assert_eq!(self.coordinator.poll_timeout(), None);
        let left: usize = self.log.values().map(BTreeMap::len).sum();
        assert_eq!(left, 0, "records of a group outlive it");
    }
}
