//! Metadata: brokers, topics and their leaders; makes topics that do not exist yet.
//!
//! What it is        resolution of names and ids against the catalog, automatic creation, and the
//!                   answer.
//! Invariants        1. a topic that is made here is answered with its leaders, not with a promise.
//! Source            Kafka 4.3 `KafkaApis.handleTopicMetadataRequest`; Metadata 0–13.
//! Reading order     [`handle`], [`Question`], [`answer`].

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::api::decode_body;
use kafka_lite::api::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use kafka_lite::catalog::{
    CatalogSnapshot, Command, PartitionAssignment, Planner, Topic, check_topic_name,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::Uuid;

use super::cluster_view::{
    Broker, CLUSTER_OPERATIONS, TOPIC_OPERATIONS, brokers, leader_epochs, replica_nodes,
    reserve_answer,
};
use super::{Reply, RequestContext};
use crate::controller;
use crate::shard::Shard;

/// A request, free of its frame.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    /// `None` is all topics.
    topics: Option<Vec<Wanted>>,
    may_create: bool,
    cluster_operations: bool,
    topic_operations: bool,
}

/// A topic that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Name(String),
    Id([u8; 16]),
    /// Neither name nor id.
    Nothing,
}

/// A topic of the answer.
struct Found {
    name: Option<String>,
    topic_id: Uuid,
    topic: Result<Arc<Topic>, ErrorCode>,
}

/// Answers Metadata.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: MetadataRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    if names_are_missing(request.version, &body) {
        return reply.send(&refusal(&body));
    }
    let question = Question::new(request.version, &body);
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        answer(&shard, question, reply).await
    }));
}

/// Whether topics are asked for in a way that the version does not have (ids come with 12).
fn names_are_missing(version: i16, body: &MetadataRequest<'_>) -> bool {
    let mut topics = body.topics.iter().flatten();
    version < 12 && topics.any(|topic| topic.name.is_none() || !topic.topic_id.is_zero())
}

/// The answer to a request that is wrong as a whole.
fn refusal<'a>(body: &'a MetadataRequest<'a>) -> MetadataResponse<'a> {
    let topics = body
        .topics
        .iter()
        .flatten()
        .map(|topic| MetadataResponseTopic {
            error_code: ErrorCode::InvalidRequest,
            name: Some(topic.name.clone().unwrap_or_default()),
            topic_id: topic.topic_id,
            ..MetadataResponseTopic::default()
        });
    MetadataResponse {
        topics: topics.collect(),
        error_code: ErrorCode::InvalidRequest,
        ..MetadataResponse::default()
    }
}

impl Question {
    fn new(version: i16, body: &MetadataRequest<'_>) -> Self {
        let listed = body
            .topics
            .as_ref()
            .filter(|topics| version > 0 || !topics.is_empty());
        let topics = listed.map(|topics| {
            // A topic that is asked for twice is answered once.
            let mut seen = BTreeSet::new();
            let wanted = topics.iter().map(|topic| match &topic.name {
                _ if !topic.topic_id.is_zero() => Wanted::Id(topic.topic_id.0),
                Some(name) => Wanted::Name(name.clone().into_owned()),
                None => Wanted::Nothing,
            });
            wanted
                .filter(|wanted| seen.insert(wanted.clone()))
                .collect()
        });
        Self {
            topics,
            may_create: body.allow_auto_topic_creation,
            cluster_operations: body.include_cluster_authorized_operations,
            topic_operations: body.include_topic_authorized_operations,
        }
    }

    /// Names that no topic has and that a topic may have.
    fn names_to_create(&self, catalog: &CatalogSnapshot) -> Vec<String> {
        let names = self
            .topics
            .iter()
            .flatten()
            .filter_map(|wanted| match wanted {
                Wanted::Name(name) => Some(name),
                Wanted::Id(_) | Wanted::Nothing => None,
            });
        names
            .filter(|name| catalog.topic(name).is_none() && check_topic_name(name).is_ok())
            .cloned()
            .collect()
    }
}

async fn answer(shard: &Rc<Shard>, question: Question, reply: Reply) {
    let faults = create_missing(shard, &question).await;
    let catalog = shard.catalog();
    let found = find_topics(&catalog, &question, &faults);
    let topics: Vec<Arc<Topic>> = found
        .iter()
        .filter_map(|found| found.topic.as_ref().ok().cloned())
        .collect();
    let names = topics.iter().map(|topic| topic.name.len());
    let partitions_count = topics.iter().map(|topic| topic.partitions.len()).sum();
    let reservation = reserve_answer(shard, names, partitions_count).await;
    let epochs = leader_epochs(shard, &topics).await;
    let brokers = brokers(shard);
    let mut epochs = epochs.iter();
    let mut topic = |found| {
        response_topic(found, &question, |topic| {
            let epochs = epochs.next().map(Vec::as_slice).unwrap_or_default();
            response_partitions(shard.node_id(), &brokers, topic, epochs)
        })
    };
    let operations = question.cluster_operations.then_some(CLUSTER_OPERATIONS);
    reply.send(&MetadataResponse {
        brokers: brokers.iter().map(response_broker).collect(),
        cluster_id: Some(shard.process().identity.cluster_id.as_str().into()),
        controller_id: Some(shard.node_id()),
        topics: found.iter().map(&mut topic).collect(),
        cluster_authorized_operations: operations.unwrap_or(i32::MIN),
        ..MetadataResponse::default()
    });
    drop(reservation);
}

/// Makes the topics that are asked for and may be made; returns the names that were refused.
async fn create_missing(shard: &Rc<Shard>, question: &Question) -> Vec<(String, ErrorCode)> {
    let catalog = shard.catalog();
    let layers = catalog.layers(shard.node_id(), shard.static_configs());
    if !question.may_create || !layers.broker_flag("auto.create.topics.enable") {
        return Vec::new();
    }
    let names = question.names_to_create(&catalog);
    if names.is_empty() {
        return Vec::new();
    }
    let wanted = names.clone();
    let created = controller::change(shard, move |catalog, context| {
        let layers = catalog
            .view()
            .layers(context.node_id, &context.static_configs);
        let mut planner = Planner::new(catalog, layers).with_partitions_max(context.partitions_max);
        let (mut commands, mut faults) = (Vec::<Command>::new(), Vec::new());
        for name in wanted {
            match planner.auto_create_topic(&name, uuid::Uuid::new_v4().into_bytes()) {
                Ok(command) => commands.push(command),
                // Somebody else was faster.
                Err(fault) if fault.error_code == ErrorCode::TopicAlreadyExists => {}
                Err(fault) => faults.push((name, fault.error_code)),
            }
        }
        (commands, faults)
    });
    match created.await {
        Ok(faults) => faults,
        Err(code) => names.into_iter().map(|name| (name, code)).collect(),
    }
}

fn find_topics(
    catalog: &CatalogSnapshot,
    question: &Question,
    faults: &[(String, ErrorCode)],
) -> Vec<Found> {
    let known = |topic: &Arc<Topic>| Found {
        name: Some(topic.name.as_ref().into()),
        topic_id: Uuid(topic.topic_id),
        topic: Ok(Arc::clone(topic)),
    };
    let Some(wanted) = &question.topics else {
        return catalog.topics_by_name().into_iter().map(known).collect();
    };
    let find = |wanted: &Wanted| match wanted {
        Wanted::Name(name) => catalog.topic(name).map_or_else(
            || Found {
                name: Some(name.clone()),
                topic_id: Uuid::ZERO,
                topic: Err(missing(name, faults)),
            },
            known,
        ),
        Wanted::Id(topic_id) => catalog.topic_by_id(topic_id).map_or_else(
            || Found {
                name: None,
                topic_id: Uuid(*topic_id),
                topic: Err(ErrorCode::UnknownTopicId),
            },
            known,
        ),
        Wanted::Nothing => Found {
            name: None,
            topic_id: Uuid::ZERO,
            topic: Err(ErrorCode::InvalidRequest),
        },
    };
    wanted.iter().map(find).collect()
}

/// Why there is no topic of that name.
fn missing(name: &str, faults: &[(String, ErrorCode)]) -> ErrorCode {
    if check_topic_name(name).is_err() {
        return ErrorCode::InvalidTopicException;
    }
    let fault = faults.iter().find(|(refused, _)| refused == name);
    fault.map_or(ErrorCode::UnknownTopicOrPartition, |(_, code)| *code)
}

fn response_broker(broker: &Broker) -> MetadataResponseBroker<'_> {
    MetadataResponseBroker {
        node_id: broker.node_id,
        host: broker.host.as_str().into(),
        port: broker.port,
        rack: broker.rack.as_deref().map(Into::into),
    }
}

fn response_topic<'a>(
    found: &'a Found,
    question: &Question,
    mut partitions: impl FnMut(&Topic) -> Vec<MetadataResponsePartition>,
) -> MetadataResponseTopic<'a> {
    let topic = found.topic.as_ref();
    let operations = topic.is_ok() && question.topic_operations;
    MetadataResponseTopic {
        error_code: topic.err().copied().unwrap_or(ErrorCode::None),
        name: found.name.as_deref().map(Into::into),
        topic_id: found.topic_id,
        is_internal: topic.is_ok_and(|topic| topic.is_internal()),
        partitions: topic.map(|topic| partitions(topic)).unwrap_or_default(),
        topic_authorized_operations: if operations {
            TOPIC_OPERATIONS
        } else {
            i32::MIN
        },
    }
}

fn response_partitions(
    node_id: i32,
    brokers: &[Broker],
    topic: &Topic,
    epochs: &[Option<i32>],
) -> Vec<MetadataResponsePartition> {
    let partition = |(index, (assignment, epoch)): (i32, (&PartitionAssignment, &Option<i32>))| {
        let replicas = replica_nodes(assignment);
        let is_offline = |replica: &i32| brokers.iter().all(|broker| broker.node_id != *replica);
        MetadataResponsePartition {
            error_code: leader_error(*epoch),
            partition_index: index,
            leader_id: epoch.map(|_| node_id),
            leader_epoch: *epoch,
            isr_nodes: vec![node_id],
            offline_replicas: replicas.iter().copied().filter(is_offline).collect(),
            replica_nodes: replicas,
        }
    };
    (0..)
        .zip(topic.partitions.iter().zip(epochs))
        .map(partition)
        .collect()
}

/// A partition that is being opened or closed has no leader yet or any more: clients ask again.
fn leader_error(epoch: Option<i32>) -> ErrorCode {
    if epoch.is_some() {
        ErrorCode::None
    } else {
        ErrorCode::LeaderNotAvailable
    }
}
#[cfg(test)]
mod tests {
    use kafka_lite::api::metadata::{MetadataRequest, MetadataRequestTopic};
    use kafka_lite::catalog::{Catalog, Command, PartitionAssignment, Replica};
    use kafka_lite::error_code::ErrorCode;
    use kafka_lite::primitive::Uuid;
    use kafka_lite::topic_config::ConfigMap;

    use super::{
        Question, Wanted, find_topics, leader_error, names_are_missing, refusal,
        response_partitions,
    };

    fn named(name: &str) -> MetadataRequestTopic<'_> {
        MetadataRequestTopic {
            name: Some(name.into()),
            ..MetadataRequestTopic::default()
        }
    }

    fn with_id(id: u8) -> MetadataRequestTopic<'static> {
        MetadataRequestTopic {
            name: None,
            topic_id: Uuid([id; 16]),
        }
    }

    fn request(topics: Option<Vec<MetadataRequestTopic<'_>>>) -> MetadataRequest<'_> {
        MetadataRequest {
            topics,
            ..MetadataRequest::default()
        }
    }

    fn with_topics(names: &[(&str, u8)]) -> Catalog {
        let mut catalog = Catalog::new();
        for (name, id) in names {
            let replicas = vec![Replica {
                node_id: 1,
                shard: 0,
            }]
            .into_boxed_slice();
            catalog.apply(&Command::CreateTopic {
                name: (*name).to_owned(),
                topic_id: [*id; 16],
                partitions: vec![PartitionAssignment { replicas }; 2],
                configs: ConfigMap::new(),
            });
        }
        catalog
    }

    #[test]
    fn all_topics_are_an_empty_list_in_version_0_and_null_later() {
        assert_eq!(Question::new(0, &request(Some(Vec::new()))).topics, None);
        assert_eq!(Question::new(1, &request(None)).topics, None);
        assert_eq!(
            Question::new(1, &request(Some(Vec::new()))).topics,
            Some(Vec::new())
        );
    }

    #[test]
    fn a_topic_that_is_asked_for_twice_is_answered_once() {
        let twice = request(Some(vec![
            named("b"),
            named("a"),
            named("b"),
            with_id(1),
            with_id(1),
        ]));
        let expected = vec![
            Wanted::Name("b".into()),
            Wanted::Name("a".into()),
            Wanted::Id([1; 16]),
        ];
        assert_eq!(Question::new(12, &twice).topics, Some(expected));
    }

    #[test]
    fn ids_come_with_version_12() {
        for (topics, is_wrong) in [
            (vec![named("a")], false),
            (vec![with_id(1)], true),
            (vec![named("a"), with_id(0)], true),
        ] {
            let body = request(Some(topics));
            assert_eq!(names_are_missing(10, &body), is_wrong);
            assert!(!names_are_missing(12, &body));
            assert_eq!(refusal(&body).error_code, ErrorCode::InvalidRequest);
            assert_eq!(
                refusal(&body).topics.len(),
                body.topics.iter().flatten().count()
            );
        }
    }

    #[test]
    fn what_does_not_exist_says_why() {
        let catalog = with_topics(&[("a", 1)]);
        let wanted = vec![
            named("a"),
            with_id(1),
            with_id(9),
            named("none"),
            named("full"),
            named("bad name"),
            with_id(0),
        ];
        let question = Question::new(12, &request(Some(wanted)));
        let faults = [("full".to_owned(), ErrorCode::InvalidPartitions)];
        let found = find_topics(catalog.view(), &question, &faults);
        let codes: Vec<_> = found
            .iter()
            .map(|one| one.topic.as_ref().err().copied().unwrap_or_default())
            .collect();
        let expected = [
            ErrorCode::None,
            ErrorCode::None,
            ErrorCode::UnknownTopicId,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidPartitions,
            ErrorCode::InvalidTopicException,
            ErrorCode::InvalidRequest,
        ];
        assert_eq!(codes, expected);
        assert_eq!(found[1].name.as_deref(), Some("a"), "the name of an id");
        assert_eq!(found[0].topic_id, Uuid([1; 16]), "the id of a name");
        assert_eq!(
            (found[2].name.as_deref(), found[2].topic_id),
            (None, Uuid([9; 16]))
        );
    }

    #[test]
    fn only_good_names_that_nobody_has_are_made() {
        let catalog = with_topics(&[("a", 1)]);
        let wanted = vec![named("a"), named("new"), named("bad name"), with_id(9)];
        let question = Question::new(12, &request(Some(wanted)));
        assert_eq!(question.names_to_create(catalog.view()), ["new"]);
        let all = Question::new(1, &request(None));
        assert!(all.names_to_create(catalog.view()).is_empty());
    }

    #[test]
    fn a_partition_that_does_not_serve_has_no_leader() {
        let catalog = with_topics(&[("a", 1)]);
        let topic = catalog.view().topic("a").unwrap();
        let partitions = response_partitions(1, &[], topic, &[Some(7), None]);
        let leaders: Vec<_> = partitions
            .iter()
            .map(|one| (one.error_code, one.leader_id, one.leader_epoch))
            .collect();
        let none = (ErrorCode::LeaderNotAvailable, None, None);
        assert_eq!(leaders, [(ErrorCode::None, Some(1), Some(7)), none]);
        assert_eq!(
            partitions[1].offline_replicas,
            [1],
            "the broker is not known"
        );
        assert_eq!(leader_error(None), ErrorCode::LeaderNotAvailable);
    }
}
