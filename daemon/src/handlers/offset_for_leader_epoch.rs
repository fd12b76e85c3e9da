//! OffsetForLeaderEpoch: where a leader epoch ended, for readers that check for truncation.
//!
//! Source            KIP-320; Kafka 4.3 `LeaderEpochFileCache.endOffsetFor`.

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use kafka_lite::error_code::ErrorCode;

use super::fan_out::{ask_partitions, find};
use super::{Reply, RequestContext};
use crate::partition::Partition;
use crate::shard::Shard;

/// What is asked of one partition.
#[derive(Clone, Copy, Debug)]
struct Question {
    current_leader_epoch: Option<i32>,
    leader_epoch: i32,
}

/// An epoch and its exclusive end; `None` is unknown.
type End = Option<(i32, i64)>;

/// Answers OffsetForLeaderEpoch.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: OffsetForLeaderEpochRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let mut questions = Vec::new();
    let mut topics: Vec<(String, Vec<i32>)> = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        for partition in &topic.partitions {
            let question = Question {
                current_leader_epoch: partition.current_leader_epoch,
                leader_epoch: partition.leader_epoch,
            };
            let place = find(shard, &topic.topic, partition.partition);
            questions.push(place.map(|place| (place, question)));
        }
        let indexes = topic.partitions.iter().map(|partition| partition.partition);
        topics.push((topic.topic.clone().into_owned(), indexes.collect()));
    }
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let found = ask_partitions(&shard, questions, look).await;
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap_or(Err(ErrorCode::NotLeaderOrFollower));
        let topics = topics
            .iter()
            .map(|(name, indexes)| OffsetForLeaderTopicResult {
                topic: name.as_str().into(),
                partitions: indexes
                    .iter()
                    .map(|index| response(*index, next()))
                    .collect(),
            });
        reply.send(&OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..OffsetForLeaderEpochResponse::default()
        });
    }));
}

async fn look(partition: Rc<Partition>, question: Question) -> Result<End, ErrorCode> {
    partition.check_leader_epoch(question.current_leader_epoch)?;
    let log = partition.log();
    let known = log.with_side_table(|table| table.last_term());
    let end = |term| log.end_offset_of_term(term);
    Ok(end_of_epoch(
        question.leader_epoch,
        known,
        end,
        log.log_start_offset(),
    ))
}

/// The end of an epoch: unknown when it is newer than all, the start of the log when it is older
/// than all. `newest` is the newest epoch of the log.
fn end_of_epoch(
    epoch: i32,
    newest: Option<u32>,
    end_of: impl FnOnce(u32) -> Option<(u32, i64)>,
    log_start_offset: i64,
) -> End {
    let term = u32::try_from(epoch).ok()?;
    if newest.is_none_or(|newest| term > newest) {
        return None;
    }
    match end_of(term) {
        Some((found, end_offset)) => Some((i32::try_from(found).ok()?, end_offset)),
        None => Some((epoch, log_start_offset)),
    }
}

fn response(partition: i32, end: Result<End, ErrorCode>) -> EpochEndOffset {
    let error_code = end.err().unwrap_or(ErrorCode::None);
    let end = end.unwrap_or_default();
    EpochEndOffset {
        error_code,
        partition,
        leader_epoch: end.map(|(epoch, _)| epoch),
        end_offset: end.map(|(_, end_offset)| end_offset),
    }
}

#[cfg(test)]
mod tests {
    use super::end_of_epoch;

    /// Epochs 2 (ends at 10) and 5 (ends at 30) of a log that starts at 4.
    fn end(epoch: i32) -> Option<(i32, i64)> {
        let end_of = |term| match term {
            0 | 1 => None,
            2..=4 => Some((2, 10)),
            _ => Some((5, 30)),
        };
        end_of_epoch(epoch, Some(5), end_of, 4)
    }

    #[test]
    fn the_largest_known_epoch_up_to_the_asked_one_answers() {
        assert_eq!(end(5), Some((5, 30)));
        assert_eq!(end(2), Some((2, 10)));
        assert_eq!(end(4), Some((2, 10)));
    }

    #[test]
    fn newer_than_all_is_unknown_and_older_than_all_ends_at_the_start() {
        assert_eq!(end(6), None);
        assert_eq!(end(-1), None);
        assert_eq!(end(1), Some((1, 4)));
        assert_eq!(end_of_epoch(0, None, |_| None, 0), None);
    }
}
