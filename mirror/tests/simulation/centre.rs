//! A centre of one broker, in memory: logs, producer states, and the faults of both.

use std::collections::{BTreeMap, BTreeSet};

use kafka_lite::api::api_versions::{ApiVersion, ApiVersionsResponse};
use kafka_lite::api::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use kafka_lite::api::describe_producers::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use kafka_lite::api::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_lite::api::init_producer_id::InitProducerIdResponse;
use kafka_lite::api::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_lite::api::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_lite::api::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use kafka_lite::api::{ApiKey, Request, encode_response};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::header::RequestHeader;
use kafka_lite::primitive::{RecordData, Uuid};
use kafka_lite::producer::{ProducerCheck, ProducerTable, ProducerTableOptions};
use kafka_lite::record_batch::{BatchView, DecompressLimits, patch_base_offset_and_leader_epoch};
use mirror::Origin;

use crate::random::Random;

/// A record as the judge sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) site: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: u64,
    pub(crate) gap: Option<(i64, i64)>,
    pub(crate) timestamp: i64,
}

#[derive(Default)]
struct Partition {
    batches: Vec<Vec<u8>>,
    end_offset: i64,
    producers: Option<ProducerTable>,
}

struct Topic {
    id: Uuid,
    partitions: Vec<Partition>,
}

/// How often the centre misbehaves, in per mille of produce requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) refuse_before: u64,
    pub(crate) refuse_after: u64,
    /// At any time, even between two batches in flight.
    pub(crate) forget_producers: u64,
    /// While the link is cut.
    pub(crate) forget_at_cut: u64,
    pub(crate) move_leader: u64,
}

pub(crate) struct Centre {
    pub(crate) cluster_id: String,
    topics: BTreeMap<String, Topic>,
    next_producer: i64,
    next_topic: u8,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) now_ms: i64,
    /// Batches that hold one of these values are refused for good.
    pub(crate) poison: BTreeSet<u64>,
    pub(crate) partitions: i32,
    /// Whether somebody may read: tail checks need it.
    pub(crate) may_read: bool,
    pub(crate) produced_requests: u64,
}

impl Centre {
    pub(crate) fn new(random: Random, partitions: i32) -> Self {
        Self {
            cluster_id: "centre".to_owned(),
            topics: BTreeMap::new(),
            next_producer: 1000,
            next_topic: 1,
            random,
            faults: Faults::default(),
            now_ms: 0,
            poison: BTreeSet::new(),
            partitions,
            may_read: true,
            produced_requests: 0,
        }
    }

    /// Answers one frame, given and returned without length prefix.
    #[expect(
        clippy::too_many_lines,
        clippy::wildcard_enum_match_arm,
        reason = "one arm for each API that the mirror speaks"
    )]
    pub(crate) fn answer(&mut self, frame: &[u8]) -> Vec<u8> {
        let (header, body) = RequestHeader::decode(frame).expect("a request header");
        let key = ApiKey::from_code(header.key).expect("a known API");
        let request = Request::decode(key, header.version, body).expect("a request");
        let (id, version) = (header.correlation_id, header.version);
        let frame = match request {
            Request::ApiVersions(_) => encode_response(id, version, &versions()),
            Request::Metadata(request) => {
                let names = request.topics.unwrap_or_default();
                let names = names
                    .iter()
                    .map(|topic| topic.name.clone().expect("by name"));
                let names: Vec<String> = names.map(|name| name.to_string()).collect();
                encode_response(id, version, &self.metadata(&names))
            }
            Request::CreateTopics(request) => {
                let topics = request.topics.iter();
                let topics = topics.map(|topic| self.create(&topic.name)).collect();
                let response = CreateTopicsResponse {
                    topics,
                    ..CreateTopicsResponse::default()
                };
                encode_response(id, version, &response)
            }
            Request::InitProducerId(_) => {
                self.next_producer += 1;
                let response = InitProducerIdResponse {
                    producer_id: Some(self.next_producer),
                    ..InitProducerIdResponse::default()
                };
                encode_response(id, version, &response)
            }
            Request::Produce(request) => encode_response(id, version, &self.produce(&request)),
            Request::ListOffsets(request) => {
                let topic = &request.topics[0];
                let wanted = &topic.partitions[0];
                let partition = self.partition(&topic.name, wanted.partition_index);
                let offset = if wanted.timestamp == -1 {
                    partition.end_offset
                } else {
                    0
                };
                let response = ListOffsetsResponse {
                    topics: vec![ListOffsetsTopicResponse {
                        name: topic.name.to_string().into(),
                        partitions: vec![ListOffsetsPartitionResponse {
                            partition_index: wanted.partition_index,
                            offset: Some(offset),
                            ..ListOffsetsPartitionResponse::default()
                        }],
                    }],
                    ..ListOffsetsResponse::default()
                };
                encode_response(id, version, &response)
            }
            Request::DescribeProducers(request) => {
                let topic = &request.topics[0];
                let index = topic.partition_indexes[0];
                let response = self.describe(&topic.name, index);
                encode_response(id, version, &response)
            }
            Request::Fetch(request) => {
                let topic = &request.topics[0];
                let wanted = &topic.partitions[0];
                let name = self.name_of(&topic.topic, topic.topic_id);
                let response =
                    self.fetch(&name, topic.topic_id, wanted.partition, wanted.fetch_offset);
                encode_response(id, version, &response)
            }
            other => panic!("the mirror sent {:?}", other.key()),
        };
        frame.expect("an answer").to_vec().split_off(4)
    }

    fn name_of(&self, name: &str, id: Uuid) -> String {
        if !name.is_empty() {
            return name.to_owned();
        }
        let found = self.topics.iter().find(|(_, topic)| topic.id == id);
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn partition(&mut self, topic: &str, index: i32) -> &mut Partition {
        let topic = self.topics.get_mut(topic).expect("a topic");
        &mut topic.partitions[usize::try_from(index).expect("an index")]
    }

    fn metadata(&self, names: &[String]) -> MetadataResponse<'static> {
        let topics = names.iter().map(|name| {
            let mut answer = MetadataResponseTopic {
                name: Some(name.clone().into()),
                ..MetadataResponseTopic::default()
            };
            let Some(topic) = self.topics.get(name) else {
                answer.error_code = ErrorCode::UnknownTopicOrPartition;
                return answer;
            };
            answer.topic_id = topic.id;
            answer.partitions = (0..topic.partitions.len())
                .map(|index| MetadataResponsePartition {
                    partition_index: i32::try_from(index).expect("few"),
                    leader_id: Some(1),
                    ..MetadataResponsePartition::default()
                })
                .collect();
            answer
        });
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: "centre".into(),
                port: 9092,
                rack: None,
            }],
            cluster_id: Some(self.cluster_id.clone().into()),
            topics: topics.collect(),
            ..MetadataResponse::default()
        }
    }

    fn create(&mut self, name: &str) -> CreatableTopicResult<'static> {
        let mut result = CreatableTopicResult {
            name: name.to_owned().into(),
            ..CreatableTopicResult::default()
        };
        if self.topics.contains_key(name) {
            result.error_code = ErrorCode::TopicAlreadyExists;
        } else {
            self.create_topic(name);
        }
        result
    }

    pub(crate) fn create_topic(&mut self, name: &str) {
        let partitions = (0..self.partitions).map(|_| Partition::default());
        let topic = Topic {
            id: Uuid([self.next_topic; 16]),
            partitions: partitions.collect(),
        };
        self.next_topic += 1;
        self.topics.insert(name.to_owned(), topic);
    }

    /// What stood in the topic is gone, as if it never had been.
    pub(crate) fn recreate_topic(&mut self, name: &str) -> Vec<Seen> {
        let seen = self.seen(name);
        self.topics.remove(name);
        self.create_topic(name);
        seen
    }

    pub(crate) fn forget_producers(&mut self) {
        for topic in self.topics.values_mut() {
            for partition in &mut topic.partitions {
                partition.producers = None;
            }
        }
    }

    fn produce(&mut self, request: &ProduceRequest<'_>) -> ProduceResponse<'static> {
        self.produced_requests += 1;
        if self.random.below(1000) < self.faults.forget_producers {
            self.forget_producers();
        }
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut answers = Vec::new();
            for data in &topic.partition_data {
                let id = topic.topic_id;
                answers.push(self.produce_one(&topic.name, id, data.index, data.records));
            }
            responses.push(TopicProduceResponse {
                name: topic.name.to_string().into(),
                topic_id: topic.topic_id,
                partition_responses: answers,
            });
        }
        ProduceResponse {
            responses,
            ..ProduceResponse::default()
        }
    }

    fn produce_one(
        &mut self,
        name: &str,
        id: Uuid,
        index: i32,
        records: Option<&[u8]>,
    ) -> PartitionProduceResponse<'static> {
        let mut answer = PartitionProduceResponse {
            index,
            base_offset: -1,
            ..PartitionProduceResponse::default()
        };
        let name = self.name_of(name, id);
        if !self.topics.contains_key(&name) {
            answer.error_code = ErrorCode::UnknownTopicId;
            return answer;
        }
        if self.random.below(1000) < self.faults.refuse_before {
            answer.error_code = ErrorCode::NotEnoughReplicas;
            return answer;
        }
        if self.random.below(1000) < self.faults.move_leader {
            answer.error_code = ErrorCode::NotLeaderOrFollower;
            return answer;
        }
        match self.append(&name, index, records.expect("records")) {
            Ok(offset) => answer.base_offset = offset,
            Err(code) => answer.error_code = code,
        }
        if self.random.below(1000) < self.faults.refuse_after && answer.error_code.is_none() {
            answer.error_code = ErrorCode::NotEnoughReplicasAfterAppend;
        }
        answer
    }

    fn append(&mut self, name: &str, index: i32, bytes: &[u8]) -> Result<i64, ErrorCode> {
        let view = BatchView::new(bytes).expect("a batch");
        view.check_crc().expect("a sound batch");
        let values = values(&view);
        if values.iter().any(|value| self.poison.contains(value)) {
            return Err(ErrorCode::InvalidRecord);
        }
        let now_ms = self.now_ms;
        let partition = self.partition(name, index);
        let producers = partition
            .producers
            .get_or_insert_with(|| ProducerTable::new(ProducerTableOptions::default()));
        match producers.check(now_ms, view.header()) {
            ProducerCheck::Append => {}
            ProducerCheck::Duplicate { base_offset, .. } => return Ok(base_offset),
            ProducerCheck::Refuse(fault) => return Err(fault.error_code()),
        }
        let base = partition.end_offset;
        producers.record(view.header(), base, None, now_ms);
        let mut stored = bytes.to_vec();
        patch_base_offset_and_leader_epoch(&mut stored, base, 1).expect("a header");
        partition.end_offset = base + i64::from(view.header().last_offset_delta) + 1;
        partition.batches.push(stored);
        Ok(base)
    }

    fn describe(&mut self, name: &str, index: i32) -> DescribeProducersResponse<'static> {
        let may_read = self.may_read;
        let mut answer = PartitionResponse {
            partition_index: index,
            ..PartitionResponse::default()
        };
        if may_read {
            let producers = self.partition(name, index).producers.as_ref();
            answer.active_producers = producers
                .into_iter()
                .flat_map(ProducerTable::describe)
                .map(|one| ProducerState {
                    producer_id: one.producer_id,
                    producer_epoch: i32::from(one.producer_epoch),
                    last_sequence: Some(one.last_sequence),
                    ..ProducerState::default()
                })
                .collect();
        } else {
            answer.error_code = ErrorCode::TopicAuthorizationFailed;
        }
        DescribeProducersResponse {
            topics: vec![TopicResponse {
                name: name.to_owned().into(),
                partitions: vec![answer],
            }],
            ..DescribeProducersResponse::default()
        }
    }

    fn fetch(&mut self, name: &str, id: Uuid, index: i32, offset: i64) -> FetchResponse<'static> {
        let may_read = self.may_read;
        if !self.topics.contains_key(name) {
            return FetchResponse {
                responses: vec![FetchableTopicResponse {
                    topic: name.to_owned().into(),
                    topic_id: id,
                    partitions: vec![PartitionData {
                        error_code: ErrorCode::UnknownTopicId,
                        ..PartitionData::default()
                    }],
                }],
                ..FetchResponse::default()
            };
        }
        let partition = self.partition(name, index);
        let mut answer = PartitionData {
            partition_index: index,
            high_watermark: partition.end_offset,
            ..PartitionData::default()
        };
        if !may_read {
            answer.error_code = ErrorCode::TopicAuthorizationFailed;
        } else if offset > partition.end_offset {
            answer.error_code = ErrorCode::OffsetOutOfRange;
        } else {
            // One batch at a time: the scan must go on by itself.
            let batch = partition.batches.iter().find(|batch| {
                let header = *BatchView::new(batch).expect("a batch").header();
                header.next_offset() > offset
            });
            let pieces = batch
                .into_iter()
                .map(|batch| batch.clone().into())
                .collect();
            answer.records = Some(RecordData::Pieces(pieces));
        }
        FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic: name.to_owned().into(),
                topic_id: id,
                partitions: vec![answer],
            }],
            ..FetchResponse::default()
        }
    }

    /// Everything in a topic, partition by partition.
    pub(crate) fn seen(&self, name: &str) -> Vec<Seen> {
        let mut all = Vec::new();
        let partitions = self.topics.get(name).map(|topic| topic.partitions.iter());
        for batch in partitions
            .into_iter()
            .flatten()
            .flat_map(|one| &one.batches)
        {
            let view = BatchView::new(batch).expect("a batch");
            let mut scratch = Vec::new();
            let records = view.records(&DecompressLimits::default(), &mut scratch);
            for record in records.expect("records") {
                let record = record.expect("a record");
                let mut headers = record.headers;
                let gap = headers.find(|header| header.key == b"_gap").map(|header| {
                    let value = header.value.expect("a value");
                    let number = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().expect("8"));
                    (number(&value[..8]), number(&value[8..]))
                });
                let origin = record.headers.filter(|header| header.key == b"_o").last();
                let origin = origin.and_then(|header| Origin::decode(header.value?));
                let origin = origin.expect("an origin");
                all.push(Seen {
                    site: origin.site.to_owned(),
                    partition: origin.source.partition,
                    offset: origin.offset,
                    value: value_of(record.value),
                    gap,
                    timestamp: record.timestamp,
                });
            }
        }
        all
    }
}

fn value_of(value: Option<&[u8]>) -> u64 {
    let bytes = value.and_then(|value| value.first_chunk::<8>());
    u64::from_be_bytes(*bytes.expect("8 bytes"))
}

fn values(view: &BatchView<'_>) -> Vec<u64> {
    let mut scratch = Vec::new();
    let records = view.records(&DecompressLimits::default(), &mut scratch);
    let records = records.expect("records");
    records
        .map(|record| value_of(record.expect("a record").value))
        .collect()
}

fn versions() -> ApiVersionsResponse<'static> {
    let keys = ApiKey::ALL.iter().map(|key| {
        let table = key.table();
        ApiVersion {
            api_key: key.code(),
            min_version: table.first_accepted,
            max_version: table.last,
        }
    });
    ApiVersionsResponse {
        api_keys: keys.collect(),
        ..ApiVersionsResponse::default()
    }
}
