//! ListOffsets: offsets by timestamp, and the ends of partitions.
//!
//! What it is        the meaning of the special timestamps; the search itself is the log's.
//! Invariants        1. nothing at or above the high watermark is told. Without transactions the
//! last
//!                   stable offset is the high watermark, so the isolation level changes nothing.
//!                   2. what is not found has no offset and no error.
//! Source            Kafka 4.3 `ListOffsetsRequest`, `KafkaApis.handleListOffsetRequest`,
//!                   `UnifiedLog.fetchOffsetByTimestamp`; ListOffsets 1–10.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use kafka_lite::error_code::ErrorCode;
use storage::ReadError;

use super::deadline::within;
use super::fan_out::{Place, ask_partitions, find};
use super::{Reply, RequestContext};
use crate::partition::Partition;
use crate::shard::Shard;

/// What a timestamp asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// The first record with at least this timestamp, ms since 1970.
    At(i64),
    Latest,
    Earliest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// Where tiered data ends: there is none.
    LatestTiered,
}

/// What is asked of one partition.
#[derive(Clone, Copy, Debug)]
struct Search {
    wanted: Wanted,
    current_leader_epoch: Option<i32>,
}

/// An offset, its timestamp and its leader epoch; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    offset: Option<i64>,
    timestamp: Option<i64>,
    leader_epoch: Option<i32>,
}

/// Answers ListOffsets.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: ListOffsetsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let repeated = repeated(&body);
    let mut searches = Vec::new();
    let mut topics: Vec<(String, Vec<i32>)> = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let name: &str = &topic.name;
        for partition in &topic.partitions {
            let is_repeated = repeated.contains(&(name, partition.partition_index));
            searches.push(if is_repeated {
                Err(ErrorCode::InvalidRequest)
            } else {
                search(shard, request.version, name, partition)
            });
        }
        let indexes = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        topics.push((name.to_owned(), indexes.collect()));
    }
    let timeout_ms = body.timeout_ms;
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let asked = async { Ok(ask_partitions(&shard, searches, look).await) };
        let found = within(timeout_ms, asked).await;
        let timed_out = found.as_ref().err().copied();
        let mut found = found.unwrap_or_default().into_iter();
        let mut next = || {
            found
                .next()
                .unwrap_or_else(|| Err(timed_out.unwrap_or_default()))
        };
        let topics = topics
            .iter()
            .map(|(name, indexes)| ListOffsetsTopicResponse {
                name: name.as_str().into(),
                partitions: indexes
                    .iter()
                    .map(|index| response(*index, next()))
                    .collect(),
            });
        reply.send(&ListOffsetsResponse {
            topics: topics.collect(),
            ..ListOffsetsResponse::default()
        });
    }));
}

/// Partitions that stand more than once in the request.
fn repeated<'a>(body: &'a ListOffsetsRequest<'_>) -> BTreeSet<(&'a str, i32)> {
    let mut seen = BTreeSet::new();
    let all = body.topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(|partition| (topic.name.as_ref(), partition.partition_index))
    });
    all.filter(|key| !seen.insert(*key)).collect()
}

fn search(
    shard: &Shard,
    version: i16,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<(Place, Search), ErrorCode> {
    let wanted = Wanted::new(version, partition.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
    let place = find(shard, topic, partition.partition_index)?;
    Ok((
        place,
        Search {
            wanted,
            current_leader_epoch: partition.current_leader_epoch,
        },
    ))
}

impl Wanted {
    /// The meaning of a timestamp in this version; `None` if it has none there.
    fn new(version: i16, timestamp: i64) -> Option<Self> {
        match timestamp {
            0.. => Some(Self::At(timestamp)),
            -1 => Some(Self::Latest),
            // -4 is the earliest offset on local disks: everything is there.
            -2 => Some(Self::Earliest),
            -4 if version >= 8 => Some(Self::Earliest),
            -3 if version >= 7 => Some(Self::MaxTimestamp),
            -5 if version >= 9 => Some(Self::LatestTiered),
            _ => None,
        }
    }
}

async fn look(partition: Rc<Partition>, search: Search) -> Result<Found, ErrorCode> {
    partition.check_leader_epoch(search.current_leader_epoch)?;
    let log = partition.log();
    let high_watermark = partition.high_watermark();
    let timestamp = match search.wanted {
        Wanted::Latest => {
            let leader_epoch = Some(partition.leader_epoch());
            return Ok(Found {
                offset: Some(high_watermark),
                timestamp: None,
                leader_epoch,
            });
        }
        Wanted::Earliest => {
            let offset = log.log_start_offset();
            let leader_epoch = epoch_at(&partition, offset);
            return Ok(Found {
                offset: Some(offset),
                timestamp: None,
                leader_epoch,
            });
        }
        Wanted::LatestTiered => return Ok(Found::default()),
        Wanted::At(timestamp) => timestamp,
        Wanted::MaxTimestamp => match log.max_timestamp() {
            Some(timestamp) => timestamp,
            None => return Ok(Found::default()),
        },
    };
    let found = log.offset_for_timestamp(timestamp, high_watermark).await;
    let found = found.map_err(|error| error_code(&error))?;
    Ok(found.map_or_else(Found::default, |found| Found {
        offset: Some(found.offset),
        timestamp: Some(found.timestamp),
        leader_epoch: epoch_at(&partition, found.offset),
    }))
}

/// Leader epoch of the record at `offset`.
fn epoch_at(partition: &Partition, offset: i64) -> Option<i32> {
    let term = partition
        .log()
        .with_side_table(|table| table.term_at_offset(offset))?;
    i32::try_from(term).ok()
}

fn error_code(error: &ReadError) -> ErrorCode {
    match error {
        // The start moved between the question and the search: the client asks again.
        ReadError::OutOfRange { .. } => ErrorCode::LeaderNotAvailable,
        ReadError::Disk(_) => ErrorCode::KafkaStorageError,
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
    }
}

fn response(index: i32, found: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    let error_code = found.err().unwrap_or(ErrorCode::None);
    let found = found.unwrap_or_default();
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code,
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::api::list_offsets::{
        ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    };
    use kafka_lite::error_code::ErrorCode;

    use super::{Found, Wanted, repeated, response};

    #[test]
    fn special_timestamps_come_with_their_versions() {
        for (timestamp, since, wanted) in [
            (-1, 1, Wanted::Latest),
            (-2, 1, Wanted::Earliest),
            (-3, 7, Wanted::MaxTimestamp),
            (-4, 8, Wanted::Earliest),
            (-5, 9, Wanted::LatestTiered),
        ] {
            for version in 1..=10 {
                let expected = (version >= since).then_some(wanted);
                assert_eq!(
                    Wanted::new(version, timestamp),
                    expected,
                    "{timestamp} v{version}"
                );
            }
        }
        for version in 1..=10 {
            assert_eq!(Wanted::new(version, 0), Some(Wanted::At(0)));
            assert_eq!(Wanted::new(version, -6), None);
            assert_eq!(Wanted::new(version, i64::MIN), None);
        }
    }

    #[test]
    fn what_is_not_found_is_no_error() {
        let answer = response(4, Ok(Found::default()));
        assert_eq!(
            (answer.offset, answer.timestamp, answer.leader_epoch),
            (None, None, None)
        );
        assert_eq!(
            (answer.error_code, answer.partition_index),
            (ErrorCode::None, 4)
        );
        let answer = response(4, Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(
            (answer.error_code, answer.offset),
            (ErrorCode::FencedLeaderEpoch, None)
        );
    }

    #[test]
    fn partitions_that_stand_twice_are_found() {
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            ..ListOffsetsPartition::default()
        };
        let topic = |name: &'static str, indexes: &[i32]| ListOffsetsTopic {
            name: name.into(),
            partitions: indexes.iter().copied().map(partition).collect(),
        };
        let body = ListOffsetsRequest {
            topics: vec![
                topic("a", &[0, 1, 1]),
                topic("b", &[0]),
                topic("a", &[2, 0]),
            ],
            ..ListOffsetsRequest::default()
        };
        assert_eq!(
            repeated(&body).into_iter().collect::<Vec<_>>(),
            [("a", 0), ("a", 1)]
        );
    }
}
