//! OffsetCommit, OffsetDelete, DeleteGroups.
//!
//! Source            OffsetCommit 2–10 (topic ids from 10), OffsetDelete 0, DeleteGroups 0–2.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use kafka_lite::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use kafka_lite::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::group::{self, CommitPartition, CommitTopic, GroupError, OffsetsReply};
use kafka_lite::primitive::Uuid;

use super::{Reply, RequestContext, code_of, owner_of, submit};
use crate::shard::{Shard, ShardId};

/// The answer to one topic of a commit, in the order of the request; codes are filled in later.
struct CommitAnswer {
    name: String,
    topic_id: Uuid,
    partitions: Vec<(i32, ErrorCode)>,
}

/// Answers OffsetCommit when the offsets are on stable storage.
pub(crate) fn offset_commit(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: OffsetCommitRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let (answers, topics) = split_known(shard, request.version, &body);
    let commit = group::OffsetCommitRequest {
        api_version: request.version,
        group_id: body.group_id.as_ref().to_owned(),
        generation_id: body.generation_id_or_member_epoch,
        member_id: body.member_id.as_ref().to_owned(),
        group_instance_id: body.group_instance_id.as_deref().map(str::to_owned),
        retention_time_ms: body.retention_time_ms,
        topics,
    };
    submit(
        shard,
        &body.group_id,
        reply,
        move |coordinator, now, token| coordinator.handle_offset_commit(now, token, &commit),
        |reply| {
            if let group::Reply::OffsetCommit(offsets) = reply {
                Some(offsets)
            } else {
                None
            }
        },
        move |reply, result| answer_commit(reply, answers, result),
    );
}

/// Takes partitions that do not exist out of the commit; their answers are known at once.
fn split_known(
    shard: &Rc<Shard>,
    version: i16,
    body: &OffsetCommitRequest<'_>,
) -> (Vec<CommitAnswer>, Vec<CommitTopic>) {
    let catalog = shard.catalog();
    let mut answers = Vec::with_capacity(body.topics.len());
    let mut topics = Vec::with_capacity(body.topics.len());
    for wanted in &body.topics {
        let (topic, unknown) = if version >= 10 {
            (
                catalog.topic_by_id(&wanted.topic_id.0),
                ErrorCode::UnknownTopicId,
            )
        } else {
            (
                catalog.topic(&wanted.name),
                ErrorCode::UnknownTopicOrPartition,
            )
        };
        let mut known = CommitTopic {
            name: topic.map_or_else(
                || wanted.name.as_ref().to_owned(),
                |one| one.name.to_string(),
            ),
            partitions: Vec::new(),
        };
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for one in &wanted.partitions {
            let index = one.partition_index;
            let exists = topic.is_some_and(|topic| topic.partition(index).is_some());
            let missing = if topic.is_none() {
                unknown
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            partitions.push((index, if exists { ErrorCode::None } else { missing }));
            if exists {
                known.partitions.push(CommitPartition {
                    partition: index,
                    offset: one.committed_offset,
                    leader_epoch: one.committed_leader_epoch,
                    metadata: one
                        .committed_metadata
                        .as_deref()
                        .unwrap_or_default()
                        .to_owned(),
                });
            }
        }
        let name = known.name.clone();
        answers.push(CommitAnswer {
            name,
            topic_id: wanted.topic_id,
            partitions,
        });
        if !known.partitions.is_empty() {
            topics.push(known);
        }
    }
    (answers, topics)
}

fn answer_commit(
    reply: Reply,
    answers: Vec<CommitAnswer>,
    result: Result<OffsetsReply, GroupError>,
) {
    let whole = match &result {
        Ok(offsets) => code_of(offsets.error),
        Err(error) => error.error_code(),
    };
    let codes = codes_by_partition(result);
    let topics = answers.iter().map(|answer| OffsetCommitResponseTopic {
        name: answer.name.as_str().into(),
        topic_id: answer.topic_id,
        partitions: answer
            .partitions
            .iter()
            .map(|(index, code)| OffsetCommitResponsePartition {
                partition_index: *index,
                error_code: if code.is_none() {
                    codes
                        .get(&(answer.name.clone(), *index))
                        .copied()
                        .unwrap_or(whole)
                } else {
                    *code
                },
            })
            .collect(),
    });
    reply.send(&OffsetCommitResponse {
        topics: topics.collect(),
        ..OffsetCommitResponse::default()
    });
}

/// Answers OffsetDelete.
pub(crate) fn offset_delete(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: OffsetDeleteRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let catalog = shard.catalog();
    let mut wanted: Vec<(String, Vec<i32>)> = Vec::with_capacity(body.topics.len());
    let mut known = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let name = topic.name.as_ref().to_owned();
        let indexes = topic.partitions.iter().map(|one| one.partition_index);
        let there = catalog.topic(&name);
        let exists = |index: &i32| there.is_some_and(|topic| topic.partition(*index).is_some());
        known.push((name.clone(), indexes.clone().filter(exists).collect()));
        wanted.push((name, indexes.collect()));
    }
    let delete = group::OffsetDeleteRequest {
        group_id: body.group_id.as_ref().to_owned(),
        topics: known,
    };
    submit(
        shard,
        &body.group_id,
        reply,
        move |coordinator, now, token| coordinator.handle_offset_delete(now, token, &delete),
        |reply| {
            if let group::Reply::OffsetDelete(offsets) = reply {
                Some(offsets)
            } else {
                None
            }
        },
        move |reply, result| answer_delete(reply, &wanted, result),
    );
}

fn answer_delete(
    reply: Reply,
    wanted: &[(String, Vec<i32>)],
    result: Result<OffsetsReply, GroupError>,
) {
    let error_code = match &result {
        Ok(offsets) => code_of(offsets.error),
        Err(error) => error.error_code(),
    };
    let codes = codes_by_partition(result);
    let topics = wanted.iter().map(|(name, indexes)| {
        let partitions = indexes.iter().map(|index| OffsetDeleteResponsePartition {
            partition_index: *index,
            // What the coordinator was not asked for does not exist.
            error_code: codes
                .get(&(name.clone(), *index))
                .copied()
                .unwrap_or(ErrorCode::UnknownTopicOrPartition),
        });
        OffsetDeleteResponseTopic {
            name: name.as_str().into(),
            partitions: partitions.collect(),
        }
    });
    let topics = if error_code.is_none() {
        topics.collect()
    } else {
        Vec::new()
    };
    reply.send(&OffsetDeleteResponse {
        error_code,
        topics,
        ..OffsetDeleteResponse::default()
    });
}

fn codes_by_partition(
    result: Result<OffsetsReply, GroupError>,
) -> BTreeMap<(String, i32), ErrorCode> {
    let mut codes = BTreeMap::new();
    for (name, partitions) in result.map(|offsets| offsets.topics).unwrap_or_default() {
        for (index, error) in partitions {
            codes.insert((name.clone(), index), code_of(error));
        }
    }
    codes
}

/// Answers DeleteGroups, one result per group in the order of the request.
pub(crate) fn delete_groups(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DeleteGroupsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let names: Vec<String> = body
        .groups_names
        .iter()
        .map(|name| name.as_ref().into())
        .collect();
    let mut by_owner: BTreeMap<ShardId, Vec<String>> = BTreeMap::new();
    for name in &names {
        if let Ok(owner) = owner_of(shard, name) {
            by_owner.entry(owner).or_default().push(name.clone());
        }
    }
    let calls: Vec<_> = by_owner
        .into_iter()
        .map(|(owner, group_ids)| {
            shard.call_with(owner, move |remote, answered| {
                let groups = Rc::clone(remote.state().groups());
                let home = Rc::clone(remote);
                groups.submit(
                    remote,
                    |coordinator, now, token| {
                        coordinator.handle_delete_groups(now, token, &group_ids);
                    },
                    move |reply| answered.send(&home, reply),
                );
            })
        })
        .collect();
    drop(monoio::spawn(async move {
        let mut codes: BTreeMap<String, ErrorCode> = BTreeMap::new();
        for call in calls {
            if let group::Reply::DeleteGroups(results) = call.await {
                codes.extend(
                    results
                        .into_iter()
                        .map(|(name, error)| (name, code_of(error))),
                );
            }
        }
        let results = names.iter().map(|name| DeletableGroupResult {
            group_id: name.as_str().into(),
            // Without `__consumer_offsets` there is no group at all.
            error_code: codes
                .get(name)
                .copied()
                .unwrap_or(ErrorCode::GroupIdNotFound),
        });
        reply.send(&DeleteGroupsResponse {
            results: results.collect(),
            ..DeleteGroupsResponse::default()
        });
    }));
}
