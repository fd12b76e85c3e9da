//! Answers of the centre, given to the lanes that asked.

use kafka_lite::api::describe_producers::DescribeProducersResponse;
use kafka_lite::api::fetch::FetchResponse;
use kafka_lite::api::init_producer_id::InitProducerIdResponse;
use kafka_lite::api::list_offsets::ListOffsetsResponse;
use kafka_lite::api::produce::{PartitionProduceResponse, ProduceResponse};
use kafka_lite::error_code::ErrorCode;

use super::Mirror;
use crate::lane::{Lane, Phase};
use crate::link::{Answer, Purpose};
use crate::progress::{LaneKey, Producer};
use crate::tail::{Landed, TailFault};
use crate::time::Now;

impl Mirror {
    /// Gives an answer to whom it is for. Errors: it is not Kafka's.
    pub(super) fn handle_answer(&mut self, now: &Now, answer: &Answer) -> Result<(), String> {
        match &answer.purpose {
            Purpose::Produce(batches) => self.handle_produced(now, batches, &answer.read()?),
            Purpose::ProducerId(key) => {
                let response: InitProducerIdResponse = answer.read()?;
                self.with_lane(*key, |mirror, lane| {
                    mirror.handle_producer_id(now, lane, &response);
                });
            }
            Purpose::Describe(key) => {
                let response: DescribeProducersResponse<'_> = answer.read()?;
                self.with_lane(*key, |mirror, lane| {
                    let Phase::Checking(tail) = &mut lane.phase else {
                        return;
                    };
                    let found = tail.handle_described(&lane.progress, &response);
                    mirror.handle_found(now, lane, found);
                });
            }
            Purpose::ListOffsets(key) => {
                let response: ListOffsetsResponse<'_> = answer.read()?;
                self.with_lane(*key, |mirror, lane| {
                    mirror.handle_offset(now, lane, &response);
                });
            }
            Purpose::TailFetch(key) => {
                let response: FetchResponse<'_> = answer.read()?;
                self.with_lane(*key, |mirror, lane| {
                    let Phase::Checking(tail) = &mut lane.phase else {
                        return;
                    };
                    let site = &mirror.options.site;
                    let found =
                        tail.handle_fetched(site, &lane.key.source, &lane.progress, &response);
                    mirror.handle_found(now, lane, found);
                });
            }
            Purpose::Versions(_)
            | Purpose::Handshake
            | Purpose::Token
            | Purpose::Metadata
            | Purpose::CreateTopics
            | Purpose::Downlink(_) => {}
        }
        // The connection has room for another request.
        self.due.extend(self.waiting());
        Ok(())
    }

    /// Lanes that may wait for room on a connection.
    fn waiting(&self) -> Vec<LaneKey> {
        let lanes = self.lanes.iter();
        lanes
            .filter(|(_, lane)| !matches!(lane.phase, Phase::Flowing) && lane.wants_link())
            .map(|(key, _)| *key)
            .collect()
    }

    fn with_lane(&mut self, key: LaneKey, then: impl FnOnce(&mut Self, &mut Lane)) {
        if let Some(mut lane) = self.lanes.remove(&key) {
            then(self, &mut lane);
            self.lanes.insert(key, lane);
            self.due.insert(key);
        }
    }

    fn handle_produced(
        &mut self,
        now: &Now,
        batches: &[(LaneKey, i64)],
        response: &ProduceResponse<'_>,
    ) {
        for (key, first_offset) in batches {
            let Some(lane) = self.lanes.get_mut(key) else {
                continue;
            };
            let result = result_for(lane, response);
            let bytes = lane
                .progress
                .in_flight
                .iter()
                .position(|intent| intent.first_offset == *first_offset)
                .and_then(|place| lane.batches.get(place)?.bytes.as_ref())
                .map_or(0, bytes::Bytes::len);
            let records = lane.handle_answer(now, *first_offset, result);
            self.due.insert(*key);
            if records > 0 {
                self.counters.records += records;
                self.counters.batches += 1;
                self.counters.batch_bytes += u64::try_from(bytes).unwrap_or(0);
                self.progressed_at = now.monotonic;
            }
        }
        self.due.append(&mut self.crowded);
    }

    fn handle_producer_id(
        &mut self,
        now: &Now,
        lane: &mut Lane,
        response: &InitProducerIdResponse,
    ) {
        lane.is_asking = false;
        match response
            .producer_id
            .filter(|_| response.error_code.is_none())
        {
            Some(id) => {
                let epoch = response.producer_epoch;
                lane.handle_producer(Producer { id, epoch });
            }
            None => {
                lane.last_fault = Some(format!("InitProducerId: {}", response.error_code.name()));
                lane.retry_later(now, &mut self.random);
            }
        }
    }

    fn handle_offset(&mut self, now: &Now, lane: &mut Lane, response: &ListOffsetsResponse<'_>) {
        if let Phase::Checking(tail) = &mut lane.phase {
            let found = tail.handle_earliest(response);
            return self.handle_found(now, lane, found);
        }
        lane.is_asking = false;
        let partition = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .next();
        match partition {
            Some(found) if found.error_code.is_none() => {
                let end = found.offset.unwrap_or(0);
                lane.progress.acknowledged_offset = Some(end - 1);
                lane.touch();
            }
            Some(_) | None => {
                self.link.metadata.mark_stale();
                lane.retry_later(now, &mut self.random);
            }
        }
    }

    /// What a step of the tail check has found.
    fn handle_found(
        &mut self,
        now: &Now,
        lane: &mut Lane,
        found: Result<Option<Landed>, TailFault>,
    ) {
        let landed = match found {
            Ok(None) => return,
            Ok(Some(landed)) => landed,
            Err(TailFault::Again(code)) => {
                lane.last_fault = Some(format!("tail check: {}", code.name()));
                lane.retry_later(now, &mut self.random);
                self.link.metadata.mark_stale();
                return lane.enter_placing();
            }
        };
        let must_renew = match &lane.phase {
            Phase::Checking(tail) => tail.must_renew || lane.is_stuck(),
            Phase::Placing | Phase::Flowing => false,
        };
        if let Landed::Elsewhere {
            last_sequence,
            next_offset,
            end_offset,
        } = landed
        {
            self.counters.conflicts += 1;
            lane.follow(now, last_sequence, next_offset, end_offset);
            lane.phase = Phase::Flowing;
            lane.last_fault = Some("another process sends as this gateway".to_owned());
            return;
        }
        if let Phase::Checking(tail) = &lane.phase {
            lane.is_forgettable |= tail.is_forgotten;
        }
        let records = lane.handle_checked(now, &landed);
        self.counters.records += records;
        if records > 0 {
            self.progressed_at = now.monotonic;
        }
        if lane.must_recut {
            lane.recut(now);
        }
        if must_renew && !lane.has_landed() {
            return lane.renumber();
        }
        lane.phase = Phase::Flowing;
    }
}

/// What the response says of the lane's target partition.
fn result_for(
    lane: &Lane,
    response: &ProduceResponse<'_>,
) -> Result<Option<i64>, (ErrorCode, String)> {
    let nothing = || (ErrorCode::UnknownServerError, "no answer".to_owned());
    let target = lane.progress.target.as_ref().ok_or_else(nothing)?;
    let answer: &PartitionProduceResponse<'_> = response
        .responses
        .iter()
        .filter(|topic| {
            topic.name == target.topic || is_same_id(topic.topic_id.0, target.topic_id.0)
        })
        .flat_map(|topic| &topic.partition_responses)
        .find(|partition| partition.index == target.partition)
        .ok_or_else(nothing)?;
    let code = answer.error_code;
    if code.is_none() {
        return Ok(Some(answer.base_offset).filter(|offset| *offset >= 0));
    }
    if code == ErrorCode::DuplicateSequenceNumber {
        // It stands there; where, the leader does not remember.
        return Ok(None);
    }
    let sentence = answer.error_message.as_deref().unwrap_or_default();
    Err((code, sentence.to_owned()))
}

fn is_same_id(left: [u8; 16], right: [u8; 16]) -> bool {
    left == right && left != [0; 16]
}
