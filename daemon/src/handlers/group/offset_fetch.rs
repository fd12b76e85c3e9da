//! OffsetFetch: what groups have committed.
//!
//! Source            OffsetFetch 1–10: one group up to 7, many from 8, topic ids from 10. Version 1
//! has
//!                   no place for an error of the group: it goes to every partition (KAFKA-19439).

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::group::{CommittedOffset, Coordinator, GroupError};
use kafka_lite::primitive::Uuid;

use super::{Reply, RequestContext, gather, owner_of};
use crate::shard::{Shard, ShardId};

/// What one group is asked for; `None` is everything.
#[derive(Clone)]
struct Wanted {
    place: usize,
    group_id: String,
    topics: Option<Vec<(String, Vec<i32>)>>,
}

type Offsets = Vec<(String, Vec<(i32, Option<CommittedOffset>)>)>;
type Found = (usize, Result<Offsets, GroupError>);

/// Answers OffsetFetch.
pub(crate) fn offset_fetch(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: OffsetFetchRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let version = request.version;
    let (wanted, unknown) = wanted(shard, version, &body);
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let mut results: Vec<Result<Offsets, GroupError>> = wanted
            .iter()
            .map(|_| Err(GroupError::NotCoordinator))
            .collect();
        let mut by_owner: BTreeMap<ShardId, Vec<Wanted>> = BTreeMap::new();
        for one in &wanted {
            if let Ok(owner) = owner_of(&shard, &one.group_id) {
                by_owner.entry(owner).or_default().push(one.clone());
            }
        }
        for (place, result) in gather(&shard, by_owner, fetch_all)
            .await
            .into_iter()
            .flatten()
        {
            if let Some(slot) = results.get_mut(place) {
                *slot = result;
            }
        }
        if version >= 8 {
            answer_many(&shard, version, reply, &wanted, &results, unknown);
        } else {
            answer_one(version, reply, &wanted, &results);
        }
    }));
}

/// Topics that ids in the request do not name, by place of the group.
type UnknownIds = BTreeMap<usize, Vec<(Uuid, Vec<i32>)>>;

fn wanted(
    shard: &Rc<Shard>,
    version: i16,
    body: &OffsetFetchRequest<'_>,
) -> (Vec<Wanted>, UnknownIds) {
    let mut unknown = UnknownIds::new();
    if version < 8 {
        let topics = body.topics.as_ref().map(|topics| {
            let topic = |one: &kafka_lite::api::offset_fetch::OffsetFetchRequestTopic<'_>| {
                (one.name.as_ref().to_owned(), one.partition_indexes.clone())
            };
            topics.iter().map(topic).collect()
        });
        let group_id = body.group_id.as_ref().to_owned();
        return (
            vec![Wanted {
                place: 0,
                group_id,
                topics,
            }],
            unknown,
        );
    }
    let catalog = shard.catalog();
    let mut groups = Vec::with_capacity(body.groups.len());
    for (place, group) in body.groups.iter().enumerate() {
        let topics = group.topics.as_ref().map(|topics| {
            let mut known = Vec::with_capacity(topics.len());
            for topic in topics {
                let name = if version >= 10 {
                    catalog
                        .topic_by_id(&topic.topic_id.0)
                        .map(|found| found.name.to_string())
                } else {
                    Some(topic.name.as_ref().to_owned())
                };
                let indexes = topic.partition_indexes.clone();
                match name {
                    Some(name) => known.push((name, indexes)),
                    None => unknown
                        .entry(place)
                        .or_default()
                        .push((topic.topic_id, indexes)),
                }
            }
            known
        });
        groups.push(Wanted {
            place,
            group_id: group.group_id.as_ref().to_owned(),
            topics,
        });
    }
    (groups, unknown)
}

fn fetch_all(coordinator: &Coordinator, wanted: Vec<Wanted>) -> Vec<Found> {
    let fetch = |one: Wanted| {
        let found = coordinator.fetch_offsets(&one.group_id, one.topics.as_deref());
        let owned = found.map(|topics| {
            let topics = topics.into_iter().map(|topic| {
                let partitions = topic.partitions.into_iter();
                (
                    topic.name,
                    partitions
                        .map(|(index, offset)| (index, offset.cloned()))
                        .collect(),
                )
            });
            topics.collect()
        });
        (one.place, owned)
    };
    wanted.into_iter().map(fetch).collect()
}

fn answer_one(
    version: i16,
    reply: Reply,
    wanted: &[Wanted],
    results: &[Result<Offsets, GroupError>],
) {
    let (topics, error_code) = match results.first() {
        Some(Ok(offsets)) => (offsets.clone(), ErrorCode::None),
        Some(Err(error)) if version == 1 => {
            let topics = wanted
                .first()
                .and_then(|one| one.topics.clone())
                .unwrap_or_default();
            let empty = |(name, indexes): (String, Vec<i32>)| {
                (
                    name,
                    indexes.into_iter().map(|index| (index, None)).collect(),
                )
            };
            (topics.into_iter().map(empty).collect(), error.error_code())
        }
        Some(Err(error)) => (Vec::new(), error.error_code()),
        None => (Vec::new(), ErrorCode::None),
    };
    let topics = topics
        .iter()
        .map(|(name, partitions)| OffsetFetchResponseTopic {
            name: name.as_str().into(),
            partitions: partitions
                .iter()
                .map(|(index, offset)| OffsetFetchResponsePartition {
                    partition_index: *index,
                    committed_offset: offset.as_ref().map(|one| one.offset),
                    committed_leader_epoch: offset.as_ref().and_then(|one| one.leader_epoch),
                    metadata: Some(
                        offset
                            .as_ref()
                            .map_or("", |one| one.metadata.as_ref())
                            .into(),
                    ),
                    error_code: if version == 1 {
                        error_code
                    } else {
                        ErrorCode::None
                    },
                })
                .collect(),
        });
    reply.send(&OffsetFetchResponse {
        topics: topics.collect(),
        error_code,
        ..OffsetFetchResponse::default()
    });
}

fn answer_many(
    shard: &Rc<Shard>,
    version: i16,
    reply: Reply,
    wanted: &[Wanted],
    results: &[Result<Offsets, GroupError>],
    mut unknown: UnknownIds,
) {
    let catalog = shard.catalog();
    let id_of = |name: &str| {
        catalog
            .topic(name)
            .map_or(Uuid::ZERO, |topic| Uuid(topic.topic_id))
    };
    let groups = wanted.iter().zip(results).map(|(one, result)| {
        let offsets = result.as_ref().map(Vec::as_slice).unwrap_or_default();
        let mut topics: Vec<OffsetFetchResponseTopics<'_>> = offsets
            .iter()
            .filter(|(name, _)| version < 10 || !id_of(name).is_zero())
            .map(|(name, partitions)| OffsetFetchResponseTopics {
                name: name.as_str().into(),
                topic_id: id_of(name),
                partitions: partitions.iter().map(many_partition).collect(),
            })
            .collect();
        for (topic_id, indexes) in unknown.remove(&one.place).unwrap_or_default() {
            topics.push(unknown_topic(topic_id, &indexes));
        }
        OffsetFetchResponseGroup {
            group_id: one.group_id.as_str().into(),
            topics,
            error_code: result
                .as_ref()
                .err()
                .map_or(ErrorCode::None, |e| e.error_code()),
        }
    });
    reply.send(&OffsetFetchResponse {
        groups: groups.collect(),
        ..OffsetFetchResponse::default()
    });
}

fn many_partition(
    (index, offset): &(i32, Option<CommittedOffset>),
) -> OffsetFetchResponsePartitions<'_> {
    OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: offset.as_ref().map(|one| one.offset),
        committed_leader_epoch: offset.as_ref().and_then(|one| one.leader_epoch),
        metadata: Some(
            offset
                .as_ref()
                .map_or("", |one| one.metadata.as_ref())
                .into(),
        ),
        error_code: ErrorCode::None,
    }
}

fn unknown_topic(topic_id: Uuid, indexes: &[i32]) -> OffsetFetchResponseTopics<'static> {
    OffsetFetchResponseTopics {
        topic_id,
        partitions: indexes
            .iter()
            .map(|index| OffsetFetchResponsePartitions {
                partition_index: *index,
                metadata: Some("".into()),
                error_code: ErrorCode::UnknownTopicId,
                ..OffsetFetchResponsePartitions::default()
            })
            .collect(),
        ..OffsetFetchResponseTopics::default()
    }
}
