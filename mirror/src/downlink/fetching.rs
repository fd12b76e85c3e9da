//! Which partitions are fetched next, and from whom.
//!
//! Invariants        1. a connection has one fetch under way, of all partitions that its broker
//!                   leads and that are ready. 2. it does not wait long while another partition of
//!                   that broker will be ready soon.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_lite::api::fetch::{FetchPartition, FetchRequest, FetchTopic};

use super::{Downlink, Inlet};
use crate::limits::DOWNLINK_FETCH_BYTES;
use crate::link::{Purpose, Question};
use crate::output::{Address, ConnectionId, SourceKey};
use crate::time::Now;

/// Read only what is committed.
const READ_COMMITTED: i8 = 1;

/// Shortest time that the centre is asked to wait for records.
const WAIT_MIN: Duration = Duration::from_millis(100);

impl Downlink {
    /// Sends the fetches that may leave.
    pub(super) fn fetch(&mut self, now: &Now) {
        // A topic that is being made will have partitions in a moment.
        if self.creating.values().any(Option::is_none) {
            return;
        }
        for (address, keys) in self.ready_by_leader(now) {
            let Some(id) = self.link.connection_to(now, &address) else {
                continue;
            };
            if !self.fetching.contains(&id) {
                let wait = self.wait_for(now, &address);
                self.send_fetch(now, id, keys, wait);
            }
        }
    }

    /// The partitions that may be fetched, by where their leader listens; a leader with one that
    /// will be ready in a moment is left out.
    fn ready_by_leader(&mut self, now: &Now) -> BTreeMap<Address, Vec<SourceKey>> {
        let mut ready: BTreeMap<Address, Vec<SourceKey>> = BTreeMap::new();
        let mut busy = Vec::new();
        let mut is_leader_missing = false;
        for (key, inlet) in &self.inlets {
            let is_ready = inlet.may_fetch(now) && self.is_placed(inlet);
            if !is_ready && !inlet.is_busy(now) {
                continue;
            }
            let leader = self.link.metadata.leader(&inlet.topic, inlet.key.partition);
            match leader {
                Some(address) if is_ready => ready.entry(address).or_default().push(*key),
                Some(address) => busy.push(address),
                None => is_leader_missing |= is_ready,
            }
        }
        if is_leader_missing && self.link.metadata.is_current() {
            self.link.metadata.mark_stale_later(now, &mut self.random);
        }
        for address in busy {
            ready.remove(&address);
        }
        ready
    }

    /// Whether the topic at the centre is still the one that the cursor speaks of.
    fn is_placed(&self, inlet: &Inlet) -> bool {
        self.identity(inlet).as_ref() == Some(&inlet.cursor.identity)
    }

    /// How long the centre may wait: until a partition of this leader has paused.
    fn wait_for(&self, now: &Now, address: &Address) -> Duration {
        let is_led = |inlet: &&Inlet| {
            let leader = self.link.metadata.leader(&inlet.topic, inlet.key.partition);
            leader.as_ref() == Some(address)
        };
        let paused = self.inlets.values().filter(is_led);
        let paused = paused.filter_map(|inlet| inlet.retry_at);
        let left = paused.map(|at| at.saturating_sub(now.monotonic)).min();
        let wait = left.unwrap_or(self.options.fetch_wait);
        wait.clamp(WAIT_MIN, self.options.fetch_wait.max(WAIT_MIN))
    }

    fn send_fetch(
        &mut self,
        now: &Now,
        id: ConnectionId,
        mut keys: Vec<SourceKey>,
        wait: Duration,
    ) {
        // The broker fills the answer in this order.
        self.turns = self.turns.wrapping_add(1);
        let first = self.turns.checked_rem(keys.len()).unwrap_or(0);
        keys.rotate_left(first);
        let is_cautious = keys
            .iter()
            .filter_map(|key| self.inlets.get(key))
            .any(|inlet| inlet.is_cautious);
        let bytes = if is_cautious { 1 } else { DOWNLINK_FETCH_BYTES };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: bytes,
            isolation_level: READ_COMMITTED,
            session_epoch: -1,
            topics: keys
                .iter()
                .filter_map(|key| self.inlets.get(key))
                .map(|inlet| fetch_topic(inlet, bytes))
                .collect(),
            ..FetchRequest::default()
        };
        let purpose = Purpose::Downlink(Question::Records(keys.clone()));
        if self.link.send(now, id, &request, purpose).is_err() {
            return;
        }
        self.fetching.insert(id);
        for key in keys {
            if let Some(inlet) = self.inlets.get_mut(&key) {
                inlet.is_asking = true;
            }
        }
    }
}

fn fetch_topic(inlet: &Inlet, bytes: i32) -> FetchTopic<'static> {
    FetchTopic {
        topic: inlet.topic.clone().into(),
        topic_id: inlet.cursor.identity.topic_id,
        partitions: vec![FetchPartition {
            partition: inlet.key.partition,
            fetch_offset: inlet.cursor.next_offset,
            last_fetched_epoch: inlet.cursor.centre_epoch.filter(|_| inlet.asks_divergence),
            partition_max_bytes: bytes,
            ..FetchPartition::default()
        }],
    }
}
