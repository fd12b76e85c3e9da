//! The answer of a fetch.

use kafka_lite::api::fetch::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::fetch_session::{FetchPartition, PartitionAnswer, TopicKey};
use kafka_lite::primitive::{RecordData, Uuid};

use super::Fetch;
use super::read::PartitionRead;
use crate::handlers::Reply;
use crate::shard::memory_budget::Reservation;

/// A whole answer that is an error.
pub(super) fn refuse(reply: Reply, error_code: ErrorCode) {
    reply.send(&FetchResponse {
        error_code,
        ..FetchResponse::default()
    });
}

/// Answers with what was read, as the session has it.
pub(super) fn send(
    fetch: &Fetch,
    reads: Vec<PartitionRead>,
    reservation: Option<Reservation>,
    reply: Reply,
) {
    let answers: Vec<PartitionAnswer> = reads.iter().map(partition_answer).collect();
    let now_ms = fetch.shard.wall_clock_ms();
    let chosen = fetch
        .shard
        .state()
        .fetch_sessions()
        .borrow_mut()
        .handle_response(now_ms, &fetch.context, &answers);
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(fault) => return refuse(reply, fault.error_code()),
    };
    if let Some(reservation) = reservation {
        reply.hold(reservation);
    }
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let parts = fetch
        .context
        .partitions
        .iter()
        .zip(reads)
        .zip(chosen.is_included);
    for ((partition, read), is_included) in parts {
        if is_included {
            let topic = topic_of(&mut responses, partition);
            topic
                .partitions
                .push(partition_data(fetch, partition.partition, read));
        }
    }
    reply.send(&FetchResponse {
        session_id: chosen.session_id,
        responses,
        ..FetchResponse::default()
    });
}

fn partition_answer(read: &PartitionRead) -> PartitionAnswer {
    PartitionAnswer {
        error_code: read.error_code,
        records_bytes: read.byte_count(),
        high_watermark: read.high_watermark,
        last_stable_offset: read.high_watermark,
        log_start_offset: read.log_start_offset,
        has_redirection: read.diverging.is_some(),
    }
}

/// The topic's part of the answer; partitions of one topic follow each other.
fn topic_of<'a, 'r>(
    responses: &'r mut Vec<FetchableTopicResponse<'a>>,
    partition: &'a FetchPartition,
) -> &'r mut FetchableTopicResponse<'a> {
    let (name, topic_id): (&str, Uuid) = match &partition.topic {
        TopicKey::Name(name) => (name, Uuid::ZERO),
        TopicKey::Id(id) => ("", Uuid(*id)),
    };
    let is_same = responses
        .last()
        .is_some_and(|last| last.topic == name && last.topic_id == topic_id);
    if !is_same {
        responses.push(FetchableTopicResponse {
            topic: name.into(),
            topic_id,
            ..FetchableTopicResponse::default()
        });
    }
    #[expect(clippy::expect_used, reason = "one was pushed if there was none")]
    responses.last_mut().expect("there is one")
}

fn partition_data(
    fetch: &Fetch,
    partition_index: i32,
    read: PartitionRead,
) -> PartitionData<'static> {
    let diverging_epoch = read
        .diverging
        .map_or_else(EpochEndOffset::default, |(epoch, end)| EpochEndOffset {
            epoch: Some(epoch),
            end_offset: Some(end),
        });
    PartitionData {
        partition_index,
        error_code: read.error_code,
        high_watermark: read.high_watermark,
        last_stable_offset: read.high_watermark,
        log_start_offset: read.log_start_offset,
        diverging_epoch,
        // Without transactions none was aborted; null is for those who did not ask.
        aborted_transactions: fetch.wants_committed.then(Vec::new),
        records: Some(RecordData::Pieces(read.pieces)),
        ..PartitionData::default()
    }
}
