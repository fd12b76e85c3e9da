//! DescribeTopicPartitions: topics in pages.
//!
//! Source            KIP-966; Kafka 4.3 `DescribeTopicPartitionsRequestHandler`,
//!                   `KRaftMetadataCache.describeTopicResponse`.
//! Reading order     [`handle`], [`page`].

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_lite::catalog::{CatalogSnapshot, Topic, check_topic_name};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;

use super::cluster_view::{
    Broker, TOPIC_OPERATIONS, brokers, leader_epochs, replica_nodes, reserve_answer,
};
use super::{Reply, RequestContext};
use crate::limits::DESCRIBED_PARTITIONS_MAX;
use crate::shard::Shard;

/// A topic of the answer: its name, and what it is if it exists.
struct Entry {
    name: String,
    topic: Option<Arc<Topic>>,
}

/// Which partitions of which entries make the page, and where the next one starts.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// Number of the entry and its partitions; empty for a topic that does not exist.
    parts: Vec<(usize, Range<usize>)>,
    /// Number of the entry and of its partition; `None` if this is the last page.
    next: Option<(usize, usize)>,
}

/// Answers DescribeTopicPartitions.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DescribeTopicPartitionsRequest<'_> =
        match decode_body(request.version, request.body()) {
            Ok(body) => body,
            Err(error) => return reply.close_undecodable(&error),
        };
    let cursor = body.cursor.as_ref();
    let first = cursor.map_or(Ok(0), |cursor| usize::try_from(cursor.partition_index));
    let Ok(first) = first else {
        return reply.send(&refusal(&body));
    };
    let entries = entries(&shard.catalog(), &body);
    let starts_there = entries
        .first()
        .zip(cursor)
        .is_some_and(|(entry, cursor)| entry.name == cursor.topic_name);
    let limit = usize::try_from(body.response_partition_limit).unwrap_or(0);
    let counts: Vec<usize> = entries
        .iter()
        .map(|entry| {
            entry
                .topic
                .as_ref()
                .map_or(0, |topic| topic.partitions.len())
        })
        .collect();
    let first = if starts_there { first } else { 0 };
    let page = page(&counts, first, limit.clamp(1, DESCRIBED_PARTITIONS_MAX));
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        answer(&shard, &entries, &page, reply).await
    }));
}

/// The answer to a cursor with a partition number below 0.
fn refusal<'a>(
    body: &'a DescribeTopicPartitionsRequest<'a>,
) -> DescribeTopicPartitionsResponse<'a> {
    let topics = body
        .topics
        .iter()
        .map(|topic| DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::InvalidRequest,
            name: Some(topic.name.clone()),
            ..DescribeTopicPartitionsResponseTopic::default()
        });
    DescribeTopicPartitionsResponse {
        topics: topics.collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}

/// The topics of all pages from the cursor on, by name; no names in the request are all topics.
fn entries(catalog: &CatalogSnapshot, body: &DescribeTopicPartitionsRequest<'_>) -> Vec<Entry> {
    let from = body
        .cursor
        .as_ref()
        .map_or("", |cursor| cursor.topic_name.as_ref());
    let names: BTreeSet<&str> = if body.topics.is_empty() {
        catalog.topics().map(|topic| topic.name.as_ref()).collect()
    } else {
        body.topics
            .iter()
            .map(|topic| topic.name.as_ref())
            .collect()
    };
    let from_cursor = names.into_iter().filter(|name| *name >= from);
    from_cursor
        .map(|name| Entry {
            name: name.to_owned(),
            topic: catalog.topic(name).cloned(),
        })
        .collect()
}

/// Cuts a page of at most `limit` partitions, from partition `first` of the first topic on.
fn page(counts: &[usize], first: usize, limit: usize) -> Page {
    let mut parts = Vec::new();
    let mut left = limit;
    for (number, count) in counts.iter().enumerate() {
        if left == 0 {
            return Page {
                parts,
                next: Some((number, 0)),
            };
        }
        let start = if number == 0 { first.min(*count) } else { 0 };
        let end = count.saturating_sub(start).min(left) + start;
        parts.push((number, start..end));
        if end < *count {
            return Page {
                parts,
                next: Some((number, end)),
            };
        }
        left -= end - start;
    }
    Page { parts, next: None }
}

async fn answer(shard: &Rc<Shard>, entries: &[Entry], page: &Page, reply: Reply) {
    let on_page: Vec<(&Entry, Range<usize>)> = page
        .parts
        .iter()
        .filter_map(|(number, range)| Some((entries.get(*number)?, range.clone())))
        .collect();
    let topics: Vec<Arc<Topic>> = on_page
        .iter()
        .filter_map(|(entry, _)| entry.topic.clone())
        .collect();
    let names = on_page.iter().map(|(entry, _)| entry.name.len());
    let partitions_count = on_page.iter().map(|(_, range)| range.len()).sum();
    let reservation = reserve_answer(shard, names, partitions_count).await;
    let epochs = leader_epochs(shard, &topics).await;
    let mut epochs = epochs.iter();
    let brokers = brokers(shard);
    let node_id = shard.node_id();
    let topics = on_page
        .into_iter()
        .map(|(entry, range)| match &entry.topic {
            None => missing(&entry.name),
            Some(topic) => {
                let epochs = epochs.next().map(Vec::as_slice).unwrap_or_default();
                DescribeTopicPartitionsResponseTopic {
                    name: Some(entry.name.as_str().into()),
                    topic_id: Uuid(topic.topic_id),
                    is_internal: topic.is_internal(),
                    partitions: partitions(node_id, &brokers, topic, epochs, range),
                    topic_authorized_operations: TOPIC_OPERATIONS,
                    ..DescribeTopicPartitionsResponseTopic::default()
                }
            }
        });
    let next_cursor = page.next.and_then(|(number, partition)| {
        Some(Cursor {
            topic_name: entries.get(number)?.name.as_str().into(),
            partition_index: i32::try_from(partition).ok()?,
        })
    });
    reply.send(&DescribeTopicPartitionsResponse {
        topics: topics.collect(),
        next_cursor,
        ..DescribeTopicPartitionsResponse::default()
    });
    drop(reservation);
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic<'_> {
    let is_valid = check_topic_name(name).is_ok();
    DescribeTopicPartitionsResponseTopic {
        error_code: if is_valid {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::InvalidTopicException
        },
        name: Some(name.into()),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn partitions(
    node_id: i32,
    brokers: &[Broker],
    topic: &Topic,
    epochs: &[Option<i32>],
    range: Range<usize>,
) -> Vec<DescribeTopicPartitionsResponsePartition> {
    let all = (0..).zip(topic.partitions.iter().zip(epochs));
    let on_page = all.skip(range.start).take(range.len());
    on_page
        .map(|(index, (assignment, epoch))| {
            let replicas = replica_nodes(assignment);
            let offline = replicas.iter().copied();
            DescribeTopicPartitionsResponsePartition {
                error_code: match epoch {
                    Some(_) => ErrorCode::None,
                    None => ErrorCode::LeaderNotAvailable,
                },
                partition_index: index,
                leader_id: epoch.map(|_| node_id),
                leader_epoch: *epoch,
                isr_nodes: vec![node_id],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                offline_replicas: offline
                    .filter(|replica| brokers.iter().all(|broker| broker.node_id != *replica))
                    .collect(),
                replica_nodes: replicas,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Page, page};

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let counts = [5, 0, 1, 4];
        for limit in 1..12 {
            let (mut seen, mut from, mut first) = (Vec::new(), 0, 0);
            loop {
                let page = page(&counts[from..], first, limit);
                let on_page: usize = page.parts.iter().map(|(_, range)| range.len()).sum();
                assert!(on_page <= limit);
                for (number, range) in page.parts {
                    seen.extend(range.map(|partition| (from + number, partition)));
                }
                match page.next {
                    None => break,
                    Some((number, partition)) => (from, first) = (from + number, partition),
                }
            }
            let all: Vec<_> = (0..4)
                .flat_map(|topic| (0..counts[topic]).map(move |one| (topic, one)))
                .collect();
            assert_eq!(seen, all, "limit {limit}");
        }
    }

    #[test]
    fn the_next_page_starts_at_the_next_topic_when_one_ends_with_the_page() {
        let parts = vec![(0, 0..2)];
        assert_eq!(
            page(&[2, 3], 0, 2),
            Page {
                parts,
                next: Some((1, 0))
            }
        );
        let parts = vec![(0, 1..2), (1, 0..1)];
        assert_eq!(
            page(&[2, 3], 1, 2),
            Page {
                parts,
                next: Some((1, 1))
            }
        );
    }

    #[test]
    fn a_cursor_behind_the_last_partition_goes_on_with_the_next_topic() {
        let parts = vec![(0, 2..2), (1, 0..3)];
        assert_eq!(page(&[2, 3], 9, 10), Page { parts, next: None });
    }
}
