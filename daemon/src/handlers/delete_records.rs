//! DeleteRecords: moves the start of partitions up.
//!
//! Invariants        1. the new start is on stable storage before it is answered.
//! Source            Kafka 4.3 `Partition.deleteRecordsOnLeader`, `ReplicaManager.deleteRecords`.

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use kafka_lite::catalog::is_internal;
use kafka_lite::error_code::ErrorCode;
use tracing::warn;

use super::deadline::within;
use super::fan_out::{ask_partitions, find};
use super::{Reply, RequestContext};
use crate::partition::Partition;
use crate::shard::Shard;

/// Stands for the high watermark in the request.
const HIGH_WATERMARK: i64 = -1;

/// Answers DeleteRecords.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DeleteRecordsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let mut deletions = Vec::new();
    let mut topics: Vec<(String, Vec<i32>)> = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        for partition in &topic.partitions {
            deletions.push(if is_internal(&topic.name) {
                Err(ErrorCode::InvalidTopicException)
            } else {
                let place = find(shard, &topic.name, partition.partition_index);
                place.map(|place| (place, partition.offset))
            });
        }
        let indexes = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        topics.push((topic.name.clone().into_owned(), indexes.collect()));
    }
    let timeout_ms = body.timeout_ms;
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let deleted = async { Ok(ask_partitions(&shard, deletions, delete).await) };
        let deleted = within(timeout_ms, deleted).await;
        let timed_out = deleted.as_ref().err().copied();
        let mut deleted = deleted.unwrap_or_default().into_iter();
        let mut next = || {
            deleted
                .next()
                .unwrap_or_else(|| Err(timed_out.unwrap_or_default()))
        };
        let topics = topics
            .iter()
            .map(|(name, indexes)| DeleteRecordsTopicResult {
                name: name.as_str().into(),
                partitions: indexes
                    .iter()
                    .map(|index| response(*index, next()))
                    .collect(),
            });
        reply.send(&DeleteRecordsResponse {
            topics: topics.collect(),
            ..DeleteRecordsResponse::default()
        });
    }));
}

/// Moves the start of one partition; returns where it is then.
async fn delete(partition: Rc<Partition>, offset: i64) -> Result<i64, ErrorCode> {
    if !partition.config().cleanup_policy.is_delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let start = new_start(offset, partition.high_watermark())?;
    if let Err(error) = partition.set_log_start_offset(start).await {
        warn!(?partition, start, %error, "records are not deleted");
        return Err(ErrorCode::KafkaStorageError);
    }
    Ok(partition.log().log_start_offset())
}

/// Where the log shall start: never above what is committed.
fn new_start(offset: i64, high_watermark: i64) -> Result<i64, ErrorCode> {
    match offset {
        HIGH_WATERMARK => Ok(high_watermark),
        0.. if offset <= high_watermark => Ok(offset),
        _ => Err(ErrorCode::OffsetOutOfRange),
    }
}

fn response(index: i32, low_watermark: Result<i64, ErrorCode>) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult {
        partition_index: index,
        low_watermark: low_watermark.unwrap_or(-1),
        error_code: low_watermark.err().unwrap_or(ErrorCode::None),
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::error_code::ErrorCode;

    use super::new_start;

    #[test]
    fn only_committed_records_go() {
        assert_eq!(new_start(-1, 7), Ok(7));
        assert_eq!(new_start(0, 7), Ok(0));
        assert_eq!(new_start(7, 7), Ok(7));
        for offset in [8, -2, i64::MAX, i64::MIN] {
            assert_eq!(
                new_start(offset, 7),
                Err(ErrorCode::OffsetOutOfRange),
                "{offset}"
            );
        }
    }
}
