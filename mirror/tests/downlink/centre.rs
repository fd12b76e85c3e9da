//! A centre of one broker with one topic: plain batches, transactions that end either way, records
//! that have been at the gateway.

use kafka_lite::api::api_versions::{ApiVersion, ApiVersionsResponse};
use kafka_lite::api::fetch::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_lite::api::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_lite::api::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_lite::api::{ApiKey, Request, encode_response};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::header::RequestHeader;
use kafka_lite::primitive::{RecordData, Uuid};
use kafka_lite::record_batch::{
    BatchBuilder, BatchOptions, BatchProducer, Compression, RecordHeader,
};

use crate::{PARTITIONS, Random, SITE, TOPIC};

/// Base offset, exclusive end and bytes of a batch.
type Batch = (i64, i64, Vec<u8>);

#[derive(Default)]
pub(crate) struct Partition {
    batches: Vec<Batch>,
    start: i64,
    end: i64,
    /// The open transaction: its first offset and values.
    open: Option<(i64, Vec<u64>)>,
    aborted: Vec<(AbortedTransaction, i64)>,
    /// Offset and value of every record that must arrive.
    pub(crate) wanted: Vec<(i64, u64)>,
}

pub(crate) struct Centre {
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: Vec<Partition>,
    next_value: u64,
}

impl Centre {
    pub(crate) fn new() -> Self {
        Self {
            topic_id: Uuid([1; 16]),
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            next_value: 0,
        }
    }

    /// Another topic of the same name; what the old one had is not wanted any more.
    pub(crate) fn recreate(&mut self) {
        self.topic_id.0[0] += 1;
        self.partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
    }

    /// Something happens in a partition.
    pub(crate) fn write(&mut self, random: &mut Random) {
        let place = usize::try_from(random.below(self.partitions.len() as u64)).expect("few");
        let partition = &mut self.partitions[place];
        self.next_value += 1;
        let value = self.next_value;
        match random.below(10) {
            0..3 => {
                let offset = partition.put(value, None, random);
                partition.wanted.push((offset, value));
            }
            3 => drop(partition.put_returned(value)),
            4..8 => {
                let offset = partition.put(value, Some(7), random);
                let (_, values) = partition.open.get_or_insert((offset, Vec::new()));
                values.push(value);
            }
            8 => partition.finish(true),
            _ => partition.finish(false),
        }
    }

    /// Ends what is open.
    pub(crate) fn finish(&mut self) {
        for partition in &mut self.partitions {
            partition.finish(true);
        }
    }

    /// Removes what stands in partitions without an open transaction.
    pub(crate) fn trim(&mut self) {
        for partition in &mut self.partitions {
            if partition.open.is_none() {
                partition.start = partition.end;
            }
        }
    }

    /// Answers one frame, given and returned without length prefix.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is asked")]
    pub(crate) fn answer(&self, frame: &[u8]) -> Vec<u8> {
        let (header, body) = RequestHeader::decode(frame).expect("a request header");
        let key = ApiKey::from_code(header.key).expect("a known API");
        let request = Request::decode(key, header.version, body).expect("a request");
        let (id, version) = (header.correlation_id, header.version);
        let frame = match request {
            Request::ApiVersions(_) => encode_response(id, version, &versions()),
            Request::Metadata(_) => encode_response(id, version, &self.metadata()),
            Request::ListOffsets(request) => {
                let wanted = &request.topics[0].partitions[0];
                let partition = &self.partitions[index(wanted.partition_index)];
                let offset = match wanted.timestamp {
                    -1 => partition.end,
                    _ => partition.start,
                };
                encode_response(id, version, &offsets(wanted.partition_index, offset))
            }
            Request::Fetch(request) => {
                let answers = request.topics.iter().map(|topic| {
                    let wanted = &topic.partitions[0];
                    let mut answer = PartitionData {
                        partition_index: wanted.partition,
                        ..PartitionData::default()
                    };
                    match topic.topic_id == self.topic_id {
                        true => self.partitions[index(wanted.partition)]
                            .fetch(wanted.fetch_offset, &mut answer),
                        false => answer.error_code = ErrorCode::UnknownTopicId,
                    }
                    FetchableTopicResponse {
                        topic: TOPIC.into(),
                        topic_id: topic.topic_id,
                        partitions: vec![answer],
                    }
                });
                let response = FetchResponse {
                    responses: answers.collect(),
                    ..FetchResponse::default()
                };
                encode_response(id, version, &response)
            }
            other => panic!("the downlink sent {:?}", other.key()),
        };
        frame.expect("an answer").to_vec().split_off(4)
    }

    fn metadata(&self) -> MetadataResponse<'static> {
        let partitions = (0..PARTITIONS).map(|partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: Some(1),
            ..MetadataResponsePartition::default()
        });
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: "centre".into(),
                port: 9092,
                rack: None,
            }],
            cluster_id: Some("cluster".into()),
            topics: vec![MetadataResponseTopic {
                name: Some(TOPIC.into()),
                topic_id: self.topic_id,
                partitions: partitions.collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }
}

impl Partition {
    fn put(&mut self, value: u64, producer: Option<i64>, random: &mut Random) -> i64 {
        let compression = match random.below(2) {
            0 => Compression::None,
            _ => Compression::Zstd,
        };
        let options = BatchOptions {
            compression,
            ..options(producer)
        };
        self.add(options, None, &value.to_be_bytes(), &[])
    }

    /// A record with the origin header of this gateway.
    fn put_returned(&mut self, value: u64) -> i64 {
        let mut origin = vec![1, u8::try_from(SITE.len()).expect("short")];
        origin.extend_from_slice(SITE.as_bytes());
        origin.extend_from_slice(&[0; 8 + 16 + 4 + 8]);
        let header = RecordHeader {
            key: b"_o",
            value: Some(&origin),
        };
        self.add(options(None), None, &value.to_be_bytes(), &[header])
    }

    /// Ends the open transaction.
    fn finish(&mut self, is_commit: bool) {
        let Some((first_offset, values)) = self.open.take() else {
            return;
        };
        let options = BatchOptions {
            is_control: true,
            ..options(Some(7))
        };
        let marker = self.add(options, Some(&[0, 0, 0, u8::from(is_commit)]), &[0; 6], &[]);
        if is_commit {
            // Between them stand others.
            let offsets = self.batches.iter().filter_map(|(base, _, bytes)| {
                let view = kafka_lite::record_batch::BatchView::new(bytes).expect("a batch");
                let header = view.header();
                let is_own = header.is_transactional() && !header.is_control();
                (is_own && *base >= first_offset).then_some(*base)
            });
            let offsets: Vec<i64> = offsets.collect();
            assert_eq!(offsets.len(), values.len());
            self.wanted.extend(offsets.into_iter().zip(values));
            self.wanted.sort_unstable();
        } else {
            let one = AbortedTransaction {
                producer_id: 7,
                first_offset,
            };
            self.aborted.push((one, marker));
        }
    }

    fn add(
        &mut self,
        options: BatchOptions,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[RecordHeader<'_>],
    ) -> i64 {
        let base = self.end;
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: base,
            partition_leader_epoch: 1,
            ..options
        });
        let added = builder.append(1_795_500_000_000, key, Some(value), headers);
        added.expect("a record");
        self.end += 1;
        let bytes = builder.finish().expect("a batch");
        self.batches.push((base, self.end, bytes));
        base
    }

    fn fetch(&self, offset: i64, answer: &mut PartitionData<'static>) {
        let stable = self.open.as_ref().map_or(self.end, |(first, _)| *first);
        answer.high_watermark = self.end;
        answer.last_stable_offset = stable;
        if offset > self.end || offset < self.start {
            answer.error_code = ErrorCode::OffsetOutOfRange;
            return;
        }
        let batches = self.batches.iter();
        let wanted = batches.filter(|(_, end, _)| *end > offset && *end <= stable);
        let mut bytes: Vec<u8> = Vec::new();
        for (_, _, batch) in wanted.take(3) {
            bytes.extend_from_slice(batch);
        }
        // The end is cut, as Kafka does it.
        if let Some((_, _, next)) = batches_behind(&self.batches, offset, stable) {
            bytes.extend_from_slice(&next[..next.len() >> 1]);
        }
        let aborted = self.aborted.iter().filter(|(_, marker)| *marker >= offset);
        answer.aborted_transactions = Some(aborted.map(|(one, _)| one.clone()).collect());
        answer.records = Some(RecordData::Pieces(vec![bytes.into()]));
    }
}

/// The fourth batch from an offset on.
fn batches_behind(batches: &[Batch], offset: i64, stable: i64) -> Option<&Batch> {
    let mut wanted = batches
        .iter()
        .filter(|(_, end, _)| *end > offset && *end <= stable);
    wanted.nth(3)
}

fn options(producer: Option<i64>) -> BatchOptions {
    BatchOptions {
        producer: producer.map(|id| BatchProducer {
            id,
            epoch: 0,
            base_sequence: -1,
        }),
        is_transactional: producer.is_some(),
        ..BatchOptions::default()
    }
}

fn offsets(partition_index: i32, offset: i64) -> ListOffsetsResponse<'static> {
    ListOffsetsResponse {
        topics: vec![ListOffsetsTopicResponse {
            name: TOPIC.into(),
            partitions: vec![ListOffsetsPartitionResponse {
                partition_index,
                offset: Some(offset),
                ..ListOffsetsPartitionResponse::default()
            }],
        }],
        ..ListOffsetsResponse::default()
    }
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).expect("a partition")
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
