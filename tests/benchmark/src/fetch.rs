//! Bare Fetch requests: what the broker can give, without a client library that takes records
//! apart.
//!
//! What it is        one connection, one request at a time for all partitions, answers read whole
//!                   and looked at no deeper than the headers of the batches.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kafka_lite::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafka_lite::api::{ApiKey, decode_body, encode_request};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::header::decode_response_header;

use crate::load::ReadBack;

/// Names topics, and is spoken by every system that keeps data.
const VERSION: i16 = 12;

/// Bytes of one answer: librdkafka's and the Java client's default.
const ANSWER_BYTES: i32 = 52_428_800;

/// Bytes of one partition in an answer: their default as well.
const PARTITION_BYTES: i32 = 1_048_576;

/// The first bytes of a batch up to and including the last offset delta.
const BATCH_HEAD_BYTES: usize = 27;

/// Reads all partitions until `bytes` bytes of batches came, or the limit is over.
pub(crate) fn read_all(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    (bytes, limit): (u64, Duration),
) -> Result<ReadBack, String> {
    let mut connection = Connection::open(bootstrap).map_err(|error| error.to_string())?;
    let mut offsets: BTreeMap<i32, i64> = (0..partitions).map(|partition| (partition, 0)).collect();
    let mut read = ReadBack::default();
    let start = Instant::now();
    while read.bytes < bytes && start.elapsed() < limit {
        let answer = connection.fetch(topic, &offsets)?;
        read.bytes += take_offsets(answer, &mut offsets)?;
    }
    read.seconds = start.elapsed().as_secs_f64();
    Ok(read)
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    fn open(bootstrap: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(bootstrap)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let answer = Vec::new();
        Ok(Self { stream, answer })
    }

    /// Asks for all partitions from their offsets on; the answer without its length.
    fn fetch(&mut self, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<&[u8], String> {
        let partition = |(partition, offset): (&i32, &i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *offset,
            partition_max_bytes: PARTITION_BYTES,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: ANSWER_BYTES,
            topics: vec![FetchTopic {
                topic: topic.into(),
                partitions: offsets.iter().map(partition).collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let frame = encode_request(1, Some("benchmark"), VERSION, &request)
            .map_err(|error| error.to_string())?;
        self.exchange(&frame.to_vec())
            .map_err(|error| format!("fetch: {error}"))?;
        Ok(&self.answer)
    }

    fn exchange(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(frame)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        // The memory is used again: zeroing it for each answer would be a cost of our own.
        let length = u32::from_be_bytes(length) as usize;
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        self.answer.truncate(length);
        self.stream.read_exact(&mut self.answer)
    }
}

/// Moves the offsets behind what the answer holds; its bytes of batches.
fn take_offsets(answer: &[u8], offsets: &mut BTreeMap<i32, i64>) -> Result<u64, String> {
    let (_, body) = decode_response_header(ApiKey::Fetch.table(), VERSION, answer)
        .map_err(|error| error.to_string())?;
    let response: FetchResponse<'_> =
        decode_body(VERSION, body).map_err(|error| error.to_string())?;
    let mut bytes = 0;
    for partition in response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
    {
        if partition.error_code != ErrorCode::None {
            return Err(format!("fetch: {:?}", partition.error_code));
        }
        let Some(records) = &partition.records else {
            continue;
        };
        let (next, whole) = end_of(&records.contiguous());
        bytes += whole;
        if let (Some(next), Some(offset)) = (next, offsets.get_mut(&partition.partition_index)) {
            *offset = next;
        }
    }
    Ok(bytes)
}

/// The offset behind the last whole batch, and the bytes of the whole batches.
fn end_of(mut records: &[u8]) -> (Option<i64>, u64) {
    let (mut next, mut bytes) = (None, 0);
    while let Some(head) = records.get(..BATCH_HEAD_BYTES) {
        let number = |start: usize, end: usize| {
            let field = head.get(start..end).unwrap_or_default();
            field
                .iter()
                .fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte))
        };
        let length = 12 + usize::try_from(number(8, 12)).unwrap_or(usize::MAX - 12);
        let Some(rest) = records.get(length..) else {
            break;
        };
        next = Some(number(0, 8) + number(23, 27) + 1);
        bytes += length as u64;
        records = rest;
    }
    (next, bytes)
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_is_behind_the_last_whole_batch() {
        let mut batch = vec![0_u8; 61];
        batch[7] = 40; // base offset
        batch[11] = 49; // length behind these 12 bytes
        batch[26] = 9; // last offset delta
        let torn = [batch.clone(), batch[..30].to_vec()].concat();
        assert_eq!(end_of(&torn), (Some(50), 61));
        assert_eq!(end_of(&[]), (None, 0));
    }
}
