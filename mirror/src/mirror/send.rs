//! Which batches leave next.
//!
//! Invariants        1. lower priority numbers first; every [`LOWEST_PRIORITY_TURN`]th request
//!                   begins with the highest number, so that it does not starve. 2. lanes of one
//!                   priority take turns. 3. a request has one batch of a lane and one of a target
//!                   partition.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_lite::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_lite::primitive::Uuid;

use super::Mirror;
use crate::limits::{LOWEST_PRIORITY_TURN, PRODUCE_TIMEOUT, REQUEST_BYTES_MAX};
use crate::link::Purpose;
use crate::output::{Address, ConnectionId};
use crate::progress::LaneKey;
use crate::schedule::Gate;
use crate::time::Now;

/// One batch on its way into a request.
struct Load {
    key: LaneKey,
    place: usize,
    first_offset: i64,
    topic: String,
    topic_id: Uuid,
    partition: i32,
    bytes: Bytes,
}

impl Mirror {
    /// Sends as long as something is ready and may leave.
    pub(super) fn pump(&mut self, now: &Now) {
        while self.schedule.gate(now) == Gate::Open {
            let Some((first, address, connection)) = self.pick(now) else {
                return;
            };
            let loads = self.gather(now, first, &address);
            if !self.send_loads(now, connection, loads) {
                return;
            }
        }
    }

    /// The lane whose turn it is, among those whose connection takes a request.
    fn pick(&mut self, now: &Now) -> Option<(LaneKey, Address, ConnectionId)> {
        let mut order: Vec<(u8, LaneKey)> = self.ready.iter().copied().collect();
        let last = self.last_sent;
        // Within one priority those behind the last one come first.
        order.sort_by_key(|(priority, key)| (*priority, last.is_some_and(|last| *key <= last)));
        if self.turns.wrapping_add(1).checked_rem(LOWEST_PRIORITY_TURN) == Some(0) {
            let lowest = order.last().map(|(priority, _)| *priority);
            order.sort_by_key(|(priority, _)| Some(*priority) != lowest);
        }
        for (_, key) in order {
            let address = self.leader_of(key);
            let Some(address) = address else { continue };
            let Some(connection) = self.link.connection_to(now, &address) else {
                continue;
            };
            if self.link.room(connection) > 0 {
                return Some((key, address, connection));
            }
        }
        None
    }

    fn leader_of(&self, key: LaneKey) -> Option<Address> {
        let target = self.lanes.get(&key)?.progress.target.as_ref()?;
        self.link.metadata.leader(&target.topic, target.partition)
    }

    /// Batches of other ready lanes that go to the same broker, as long as there is room.
    fn gather(&self, now: &Now, first: LaneKey, address: &Address) -> Vec<Load> {
        let mut loads = Vec::new();
        let mut partitions = BTreeSet::new();
        let mut bytes = 0;
        let others = self.ready.iter().map(|(_, key)| *key);
        for key in [first]
            .into_iter()
            .chain(others.filter(|key| *key != first))
        {
            if self.leader_of(key).as_ref() != Some(address) {
                continue;
            }
            let Some(load) = self.load(now, key) else {
                continue;
            };
            let fits = loads.is_empty() || bytes + load.bytes.len() <= REQUEST_BYTES_MAX;
            if fits && partitions.insert((load.topic.clone(), load.partition)) {
                bytes += load.bytes.len();
                loads.push(load);
            }
        }
        loads
    }

    fn load(&self, now: &Now, key: LaneKey) -> Option<Load> {
        let lane = self.lanes.get(&key)?;
        let place = lane.next_to_send(now)?;
        let target = lane.progress.target.as_ref()?;
        Some(Load {
            key,
            place,
            first_offset: lane.progress.in_flight.get(place)?.first_offset,
            topic: target.topic.clone(),
            topic_id: target.topic_id,
            partition: target.partition,
            bytes: lane.batches.get(place)?.bytes.clone()?,
        })
    }

    /// Sends one request; returns whether it left.
    fn send_loads(&mut self, now: &Now, connection: ConnectionId, loads: Vec<Load>) -> bool {
        let mut topics: BTreeMap<&str, TopicProduceData<'_>> = BTreeMap::new();
        for load in &loads {
            let topic = topics
                .entry(&load.topic)
                .or_insert_with(|| TopicProduceData {
                    name: load.topic.as_str().into(),
                    topic_id: load.topic_id,
                    partition_data: Vec::new(),
                });
            topic.partition_data.push(PartitionProduceData {
                index: load.partition,
                records: Some(&load.bytes),
            });
        }
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: i32::try_from(PRODUCE_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics.into_values().collect(),
        };
        let batches = loads.iter().map(|load| (load.key, load.first_offset));
        let purpose = Purpose::Produce(batches.collect());
        let before = self.link.sent_bytes;
        if self.link.send(now, connection, &request, purpose).is_err() {
            return false;
        }
        self.schedule.spend(now, self.link.sent_bytes - before);
        // The next request must see what this one has used.
        self.settle_usage(now);
        self.turns = self.turns.wrapping_add(1);
        self.last_sent = loads.first().map(|load| load.key);
        for load in loads {
            if let Some(lane) = self.lanes.get_mut(&load.key) {
                lane.handle_sent(load.place);
                if lane.next_to_send(now).is_none() {
                    self.ready.remove(&(lane.priority, load.key));
                }
                // The next batch may be read while this one is under way.
                self.due.insert(load.key);
            }
        }
        true
    }
}
