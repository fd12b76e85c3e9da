//! Questions to partitions, on whatever shard of this node they live.
//!
//! What it is        one message per shard and request; the answers in the order of the questions.
//! Invariants        1. every question has exactly one answer.
//! Source            the APIs that name partitions: ListOffsets, OffsetForLeaderEpoch,
//!                   DeleteRecords, DescribeProducers.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;

use crate::controller;
use crate::limits::PARTITION_QUESTIONS_AT_ONCE;
use crate::partition::Partition;
use crate::shard::{Shard, ShardId};

/// Where a partition lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) shard: ShardId,
    pub(super) topic_id: Uuid,
    pub(super) index: i32,
}

/// Finds the partition of that topic and number.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER when another node has it.
pub(super) fn find(shard: &Shard, topic: &str, index: i32) -> Result<Place, ErrorCode> {
    let catalog = shard.catalog();
    let topic = catalog
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    topic
        .partition(index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let owner = controller::place(shard, topic, index).ok_or(ErrorCode::NotLeaderOrFollower)?;
    Ok(Place {
        shard: owner,
        topic_id: Uuid(topic.topic_id),
        index,
    })
}

/// Asks each partition on its shard; a question that is an error already is its own answer.
pub(super) async fn ask_partitions<K, T, L>(
    shard: &Rc<Shard>,
    questions: Vec<Result<(Place, K), ErrorCode>>,
    look: L,
) -> Vec<Result<T, ErrorCode>>
where
    K: Send + 'static,
    T: Send + 'static,
    L: AsyncFn(Rc<Partition>, K) -> Result<T, ErrorCode> + Copy + Send + 'static,
{
    let mut answers: Vec<Result<T, ErrorCode>> = Vec::with_capacity(questions.len());
    let mut by_shard: BTreeMap<ShardId, Vec<(usize, Place, K)>> = BTreeMap::new();
    for (number, question) in questions.into_iter().enumerate() {
        answers.push(Err(question
            .as_ref()
            .err()
            .copied()
            .unwrap_or(ErrorCode::NotLeaderOrFollower)));
        if let Ok((place, what)) = question {
            by_shard
                .entry(place.shard)
                .or_default()
                .push((number, place, what));
        }
    }
    let calls: Vec<_> = by_shard
        .into_iter()
        .map(|(owner, questions)| {
            shard.call_with(owner, move |there, answer| {
                let there = Rc::clone(there);
                drop(monoio::spawn(async move {
                    let found = ask_here(&there, questions, look).await;
                    answer.send(&there, found);
                }));
            })
        })
        .collect();
    for call in calls {
        for (number, found) in call.await {
            if let Some(answer) = answers.get_mut(number) {
                *answer = found;
            }
        }
    }
    answers
}

/// Asks partitions of this shard, a bounded number at a time.
async fn ask_here<K, T, L>(
    shard: &Rc<Shard>,
    questions: Vec<(usize, Place, K)>,
    look: L,
) -> Vec<(usize, Result<T, ErrorCode>)>
where
    K: 'static,
    T: 'static,
    L: AsyncFn(Rc<Partition>, K) -> Result<T, ErrorCode> + Copy + 'static,
{
    let mut answers = Vec::with_capacity(questions.len());
    let mut questions = questions.into_iter().peekable();
    while questions.peek().is_some() {
        let asked: Vec<_> = questions
            .by_ref()
            .take(PARTITION_QUESTIONS_AT_ONCE)
            .map(|(number, place, what)| {
                let partition = serving(shard, place);
                let answer = async move { look(partition?, what).await };
                (number, monoio::spawn(answer))
            })
            .collect();
        for (number, answer) in asked {
            answers.push((number, answer.await));
        }
    }
    answers
}

/// The partition, if it serves clients now.
fn serving(shard: &Shard, place: Place) -> Result<Rc<Partition>, ErrorCode> {
    let partition = shard.state().partitions().get(place.topic_id, place.index);
    let partition = partition.ok_or(ErrorCode::NotLeaderOrFollower)?;
    if partition.is_deleted() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    if !partition.is_ready() {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(partition)
}
