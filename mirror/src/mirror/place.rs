//! Where a lane writes to and who it is; and the questions of its tail check.

use kafka_lite::api::describe_producers::{DescribeProducersRequest, TopicRequest};
use kafka_lite::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka_lite::api::init_producer_id::InitProducerIdRequest;
use kafka_lite::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka_lite::partitioner::murmur2;

use super::Mirror;
use crate::lane::{Lane, Phase};
use crate::limits::TAIL_FETCH_BYTES;
use crate::link::metadata::TopicInfo;
use crate::link::{Purpose, SendFault};
use crate::options::PartitionMapping;
use crate::output::ConnectionId;
use crate::progress::Target;
use crate::tail::{Question, Tail};
use crate::time::Now;

/// ListOffsets' timestamps for the end and the start of the log.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Time that the centre gets for small questions, ms.
const QUESTION_TIMEOUT_MS: i32 = 30_000;

impl Mirror {
    /// Finds the target, the producer id, and what comes next.
    pub(super) fn place(&mut self, now: &Now, lane: &mut Lane) {
        let has_work = lane.is_lagging() || lane.needs_check();
        if !has_work || !lane.has_paused(now) || !self.link.metadata.is_current() {
            return;
        }
        let Some(info) = self.link.metadata.topic(&lane.target_topic).cloned() else {
            let fault = self.link.metadata.fault(&lane.target_topic);
            lane.last_fault = fault.map(str::to_owned);
            return;
        };
        if let Err(fault) = self.settle_target(now, lane, &info) {
            lane.last_fault = Some(fault);
            return;
        }
        if lane.progress.producer.is_none() {
            self.ask_producer_id(now, lane);
            return;
        }
        if lane.progress.acknowledged_offset.is_none() && lane.progress.in_flight.is_empty() {
            self.ask_end(now, lane);
            return;
        }
        if lane.needs_check() {
            self.counters.tail_checks += 1;
            lane.phase = Phase::Checking(Tail::new());
            self.ask_tail(now, lane);
        } else {
            lane.phase = Phase::Flowing;
        }
    }

    /// Compares the target with what the centre has.
    fn settle_target(&self, now: &Now, lane: &mut Lane, info: &TopicInfo) -> Result<(), String> {
        let cluster_id = self.link.metadata.cluster_id().to_owned();
        let count = i32::try_from(info.leaders.len()).unwrap_or(i32::MAX);
        let topic = lane.target_topic.clone();
        let fresh = |partition| Target {
            cluster_id: cluster_id.clone(),
            topic: topic.clone(),
            topic_id: info.topic_id,
            partition,
        };
        let present = lane.progress.target.clone();
        match present {
            Some(target)
                if target.cluster_id == cluster_id && target.topic == lane.target_topic =>
            {
                let has_place = target.partition < count;
                if target.topic_id == info.topic_id {
                    let missing =
                        || format!("partition {} of {} is gone", target.partition, target.topic);
                    return has_place.then_some(()).ok_or_else(missing);
                }
                // The topic was deleted and created again: nothing we knew of it is there.
                let partition = match has_place {
                    true => target.partition,
                    false => self.choose_partition(lane, count)?,
                };
                if !has_place {
                    lane.recut(now);
                }
                lane.progress.target = Some(fresh(partition));
                lane.progress.acknowledged_offset = Some(-1);
            }
            Some(target) => {
                let partition = self.choose_partition(lane, count)?;
                let next = fresh(partition);
                lane.recut(now);
                lane.progress.acknowledged_offset = None;
                if target.cluster_id != next.cluster_id {
                    // Producer ids belong to a cluster.
                    lane.progress.producer = None;
                }
                lane.progress.target = Some(next);
            }
            None => {
                let partition = self.choose_partition(lane, count)?;
                lane.progress.target = Some(fresh(partition));
            }
        }
        lane.touch();
        Ok(())
    }

    fn choose_partition(&self, lane: &Lane, count: i32) -> Result<i32, String> {
        let source = lane.key.source.partition;
        match self.options.mapping {
            PartitionMapping::Sticky => {
                let mut name = self.options.site.name().as_bytes().to_vec();
                name.extend_from_slice(lane.topic.as_bytes());
                let start = i64::from(murmur2(&name));
                let place = (start + i64::from(source)).checked_rem(i64::from(count));
                Ok(place
                    .and_then(|place| i32::try_from(place).ok())
                    .unwrap_or(0))
            }
            PartitionMapping::Preserve if source < count => Ok(source),
            PartitionMapping::Key if lane.key.lane < count => Ok(lane.key.lane),
            PartitionMapping::Preserve | PartitionMapping::Key => Err(format!(
                "topic {} has {count} partitions at the centre, too few",
                lane.target_topic
            )),
        }
    }

    fn ask_producer_id(&mut self, now: &Now, lane: &mut Lane) {
        if lane.is_asking {
            return;
        }
        let Some(id) = self.link.any_connection(now) else {
            return;
        };
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: None,
            producer_epoch: None,
        };
        let purpose = Purpose::ProducerId(lane.key);
        match self.link.send(now, id, &request, purpose) {
            Ok(()) => lane.is_asking = true,
            Err(SendFault::Busy) => {}
            Err(SendFault::Unsupported) => {
                lane.last_fault = Some("the centre has no idempotent producers".to_owned());
            }
        }
    }

    /// Asks for the end of the target: a later scan begins there.
    fn ask_end(&mut self, now: &Now, lane: &mut Lane) {
        if lane.is_asking {
            return;
        }
        let Some(id) = self.leader(now, lane) else {
            return;
        };
        match self.ask_offset(now, lane, id, LATEST) {
            Ok(()) => lane.is_asking = true,
            Err(SendFault::Busy) => {}
            Err(SendFault::Unsupported) => lane.progress.acknowledged_offset = Some(-1),
        }
    }

    fn ask_offset(
        &mut self,
        now: &Now,
        lane: &Lane,
        id: ConnectionId,
        timestamp: i64,
    ) -> Result<(), SendFault> {
        let Some(target) = &lane.progress.target else {
            return Err(SendFault::Busy);
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 0,
            topics: vec![ListOffsetsTopic {
                name: target.topic.clone().into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: target.partition,
                    current_leader_epoch: None,
                    timestamp,
                }],
            }],
            timeout_ms: QUESTION_TIMEOUT_MS,
        };
        self.link
            .send(now, id, &request, Purpose::ListOffsets(lane.key))
    }

    /// The connection to the leader of the target, once it is there.
    fn leader(&mut self, now: &Now, lane: &Lane) -> Option<ConnectionId> {
        let target = lane.progress.target.as_ref()?;
        let leader = self.link.metadata.leader(&target.topic, target.partition);
        let Some(leader) = leader else {
            self.link.metadata.mark_stale();
            return None;
        };
        self.link.connection_to(now, &leader)
    }

    /// Sends the next question of the tail check.
    pub(super) fn ask_tail(&mut self, now: &Now, lane: &mut Lane) {
        if !lane.has_paused(now) {
            return;
        }
        let Some(id) = self.leader(now, lane) else {
            return;
        };
        let Phase::Checking(tail) = &lane.phase else {
            return;
        };
        if tail.is_asked {
            return;
        }
        let sent = match tail.question {
            Question::Describe => self.ask_describe(now, lane, id),
            Question::Earliest => self.ask_offset(now, lane, id, EARLIEST),
            Question::Fetch(offset) => self.ask_fetch(now, lane, id, offset),
        };
        let progress = &lane.progress;
        let Phase::Checking(tail) = &mut lane.phase else {
            return;
        };
        match sent {
            Ok(()) => tail.is_asked = true,
            Err(SendFault::Busy) => {}
            Err(SendFault::Unsupported) => {
                tail.begin_scan(progress);
                self.due.insert(lane.key);
            }
        }
    }

    fn ask_describe(&mut self, now: &Now, lane: &Lane, id: ConnectionId) -> Result<(), SendFault> {
        let Some(target) = &lane.progress.target else {
            return Err(SendFault::Busy);
        };
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: target.topic.clone().into(),
                partition_indexes: vec![target.partition],
            }],
        };
        self.link
            .send(now, id, &request, Purpose::Describe(lane.key))
    }

    fn ask_fetch(
        &mut self,
        now: &Now,
        lane: &Lane,
        id: ConnectionId,
        offset: i64,
    ) -> Result<(), SendFault> {
        let Some(target) = &lane.progress.target else {
            return Err(SendFault::Busy);
        };
        let request = FetchRequest {
            replica_id: -1,
            min_bytes: 0,
            max_bytes: TAIL_FETCH_BYTES,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: target.topic.clone().into(),
                topic_id: target.topic_id,
                partitions: vec![FetchPartition {
                    partition: target.partition,
                    fetch_offset: offset,
                    partition_max_bytes: TAIL_FETCH_BYTES,
                    ..FetchPartition::default()
                }],
            }],
            ..FetchRequest::default()
        };
        self.link
            .send(now, id, &request, Purpose::TailFetch(lane.key))
    }
}
