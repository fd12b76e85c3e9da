//! Writing records: one round of batches at a time.
//!
//! What it is        records collected into one batch per partition, sent to the leaders, their
//!                   offsets returned in the order in which the records came.
//! What it is not    idempotent: after a lost connection the outcome of the round is unknown, and
//!                   that is the error.
//! Invariants        1. a round is sent again only when the broker said that it stored nothing.
//! Source            Produce 3 to 12 (names, not ids).

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_lite::api::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::{BatchBuilder, BatchOptions, Compression, RecordHeader};

use super::cluster::{Cluster, Topic};
use super::error::{ClientError, check};
use super::limits::{BATCH_BYTES_MAX, REQUEST_TIMEOUT, ROUND_BYTES_MAX, ROUND_RECORDS_MAX};
use super::offsets::TopicPartition;

/// Last version of Produce that names topics.
const PRODUCE_VERSION: i16 = 12;

/// How records are written.
#[derive(Clone, Copy, Debug)]
pub struct ProduceOptions {
    /// -1 for all replicas, 1 for the leader, 0 for no answer.
    pub acks: i16,
    /// Codec of the batches.
    pub compression: Compression,
    /// Time that the broker may take.
    pub timeout: Duration,
}

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Partition.
    pub partition: i32,
    /// Offset; `None` with acks 0.
    pub offset: Option<i64>,
    /// Timestamp in the log, ms since 1970.
    pub timestamp: i64,
}

/// Whether a record found room in the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It is in.
    Taken,
    /// It is in, and the round should be sent now.
    Full,
}

/// Collects one round and sends it.
#[derive(Debug)]
pub struct Producer {
    topic: Topic,
    options: ProduceOptions,
    builders: BTreeMap<i32, BatchBuilder>,
    /// Partition, place in its batch, and timestamp of each record, in the order of the records.
    order: Vec<(i32, i32, i64)>,
    round_bytes: usize,
}

impl Producer {
    /// Writes to a topic.
    #[must_use]
    pub const fn new(topic: Topic, options: ProduceOptions) -> Self {
        Self {
            topic,
            options,
            builders: BTreeMap::new(),
            order: Vec::new(),
            round_bytes: 0,
        }
    }

    /// The topic as it was last seen.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Puts a record into the round. A record larger than a batch goes in alone.
    ///
    /// # Errors
    /// A record that no batch can hold.
    pub fn append(
        &mut self,
        partition: i32,
        timestamp: i64,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: &[RecordHeader<'_>],
    ) -> Result<Room, ClientError> {
        let options = BatchOptions {
            compression: self.options.compression,
            ..BatchOptions::default()
        };
        let builder = self.builders.entry(partition);
        let builder = builder.or_insert_with(|| BatchBuilder::new(options));
        let before = builder.uncompressed_bytes();
        let place = builder.records_count();
        let appended = builder.append(timestamp, key, value, headers);
        appended.map_err(|error| ClientError::Other(error.to_string()))?;
        let after = builder.uncompressed_bytes();
        self.order.push((partition, place, timestamp));
        self.round_bytes = self
            .round_bytes
            .saturating_add(after.saturating_sub(before));
        if after >= BATCH_BYTES_MAX
            || self.round_bytes >= ROUND_BYTES_MAX
            || self.order.len() >= ROUND_RECORDS_MAX
        {
            return Ok(Room::Full);
        }
        Ok(Room::Taken)
    }

    /// Whether a record of so many bytes would make a batch too large that holds others.
    #[must_use]
    pub fn would_overflow(&self, partition: i32, record_bytes: usize) -> bool {
        let builder = self.builders.get(&partition);
        builder.is_some_and(|builder| {
            builder.uncompressed_bytes().saturating_add(record_bytes) > BATCH_BYTES_MAX
        })
    }

    /// Sends the round and empties it; the results are in the order of the records.
    ///
    /// # Errors
    /// The first partition that refused; what went to other partitions may be stored.
    pub fn send(&mut self, cluster: &mut Cluster) -> Result<Vec<Produced>, ClientError> {
        let order = std::mem::take(&mut self.order);
        self.round_bytes = 0;
        let mut batches = BTreeMap::new();
        for (partition, builder) in std::mem::take(&mut self.builders) {
            let bytes = builder.finish();
            let bytes = bytes.map_err(|error| ClientError::Other(error.to_string()))?;
            batches.insert(partition, bytes);
        }
        let name = self.topic.name.clone();
        let mut stored: BTreeMap<i32, (Option<i64>, Option<i64>)> = BTreeMap::new();
        let mut is_first = true;
        cluster.search(|cluster| {
            if !is_first {
                self.topic = cluster.topic(&name, false)?;
            }
            is_first = false;
            self.send_rest(cluster, &batches, &mut stored)
        })?;
        let produced = order.into_iter().map(|(partition, place, timestamp)| {
            let (base, log_append_time) = stored.get(&partition).copied().unwrap_or_default();
            Produced {
                partition,
                offset: base.map(|base| base + i64::from(place)),
                timestamp: log_append_time.unwrap_or(timestamp),
            }
        });
        Ok(produced.collect())
    }

    /// Sends what is not stored yet, leader by leader.
    fn send_rest(
        &self,
        cluster: &mut Cluster,
        batches: &BTreeMap<i32, Vec<u8>>,
        stored: &mut BTreeMap<i32, (Option<i64>, Option<i64>)>,
    ) -> Result<(), ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<(i32, &[u8])>> = BTreeMap::new();
        for (partition, bytes) in batches {
            if stored.contains_key(partition) {
                continue;
            }
            let leader = self.topic.partition(*partition).and_then(|one| one.leader);
            let leader = leader.ok_or_else(|| {
                ClientError::refused(
                    self.name_of(*partition),
                    ErrorCode::LeaderNotAvailable,
                    None,
                )
            })?;
            by_leader
                .entry(leader)
                .or_default()
                .push((*partition, bytes));
        }
        for (leader, batches) in by_leader {
            let request = self.request(&batches);
            let node = cluster.node(leader)?;
            if self.options.acks == 0 {
                node.tell(PRODUCE_VERSION, &request)?;
                stored.extend(
                    batches
                        .iter()
                        .map(|(partition, _)| (*partition, (None, None))),
                );
                continue;
            }
            let answer = node.call_up_to(PRODUCE_VERSION, self.options.timeout, &request)?;
            let response: ProduceResponse<'_> = answer.read()?;
            let partitions = response.responses.iter();
            let mut failure = None;
            for result in partitions.flat_map(|topic| &topic.partition_responses) {
                match self.outcome(result) {
                    Ok(outcome) => drop(stored.insert(result.index, outcome)),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }

    fn request<'b>(&'b self, batches: &[(i32, &'b [u8])]) -> ProduceRequest<'b> {
        let data = |(index, records): &(i32, &'b [u8])| PartitionProduceData {
            index: *index,
            records: Some(*records),
        };
        ProduceRequest {
            acks: self.options.acks,
            timeout_ms: i32::try_from(self.options.timeout.min(REQUEST_TIMEOUT).as_millis())
                .unwrap_or(i32::MAX),
            topic_data: vec![TopicProduceData {
                name: self.topic.name.as_str().into(),
                partition_data: batches.iter().map(data).collect(),
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        }
    }

    /// Base offset and append time of a stored batch.
    fn outcome(
        &self,
        result: &PartitionProduceResponse<'_>,
    ) -> Result<(Option<i64>, Option<i64>), ClientError> {
        let words = result.record_errors.first();
        let words = words.and_then(|error| error.batch_index_error_message.as_deref());
        let words = result.error_message.as_deref().or(words);
        check(result.error_code, words, || self.name_of(result.index))?;
        Ok((Some(result.base_offset), result.log_append_time_ms))
    }

    fn name_of(&self, partition: i32) -> String {
        TopicPartition::new(&self.topic.name, partition).to_string()
    }
}
