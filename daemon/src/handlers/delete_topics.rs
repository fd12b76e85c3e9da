//! DeleteTopics: by name, from version 6 also by id.
//!
//! Source            Kafka 4.3 `ControllerApis.deleteTopics`.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_lite::catalog::{Catalog, CatalogFault, Command, Planner, TopicId};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::primitive::{Text, Uuid};

use super::deadline::within;
use super::{Reply, RequestContext};
use crate::controller::{self, PlanContext};
use crate::shard::Shard;

/// A topic that is to go, as the client says it.
#[derive(Clone, Debug)]
struct Wanted {
    name: Option<String>,
    topic_id: TopicId,
}

/// What became of it.
#[derive(Clone, Debug)]
struct Deleted {
    name: Option<String>,
    topic_id: TopicId,
    fault: Option<CatalogFault>,
}

/// Answers DeleteTopics.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DeleteTopicsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let wanted = wanted(&body);
    let (version, timeout_ms) = (request.version, body.timeout_ms);
    let asked = wanted.clone();
    let deleted = controller::change(shard, move |catalog, context| {
        plan(catalog, context, &asked)
    });
    drop(monoio::spawn(async move {
        let outcomes = within(timeout_ms, deleted).await.unwrap_or_else(|code| {
            let failed = |topic: Wanted| topic.refused(code, code.name());
            wanted.into_iter().map(failed).collect()
        });
        // As with Kafka, what stood twice is answered once.
        let mut told = BTreeSet::new();
        let outcomes = outcomes.iter().filter_map(|outcome| {
            let is_new = told.insert((outcome.name.as_deref(), outcome.topic_id));
            is_new.then(|| response(version, outcome))
        });
        reply.send(&DeleteTopicsResponse {
            responses: outcomes.collect(),
            ..DeleteTopicsResponse::default()
        });
    }));
}

fn wanted(body: &DeleteTopicsRequest<'_>) -> Vec<Wanted> {
    let by_state = body.topics.iter().map(|topic| Wanted {
        name: topic.name.as_ref().map(|name| name.clone().into_owned()),
        topic_id: topic.topic_id.0,
    });
    let by_name = body.topic_names.iter().map(|name| Wanted {
        name: Some(name.clone().into_owned()),
        topic_id: Uuid::ZERO.0,
    });
    by_state.chain(by_name).collect()
}

impl Wanted {
    fn has_id(&self) -> bool {
        !Uuid(self.topic_id).is_zero()
    }

    fn refused(self, error_code: ErrorCode, message: &str) -> Deleted {
        let fault = CatalogFault {
            error_code,
            message: message.to_owned(),
        };
        Deleted {
            name: self.name,
            topic_id: self.topic_id,
            fault: Some(fault),
        }
    }
}

fn plan(
    catalog: &Catalog,
    context: &PlanContext,
    wanted: &[Wanted],
) -> (Vec<Command>, Vec<Deleted>) {
    let layers = catalog
        .view()
        .layers(context.node_id, &context.static_configs);
    let planner = Planner::new(catalog, layers);
    let repeated = repeated(catalog, wanted);
    let (mut commands, mut outcomes) = (Vec::new(), Vec::with_capacity(wanted.len()));
    for (place, topic) in wanted.iter().cloned().enumerate() {
        let outcome = if let Some(message) = repeated.get(place).copied().flatten() {
            topic.refused(ErrorCode::InvalidRequest, message)
        } else {
            plan_one(catalog, &planner, topic, &mut commands)
        };
        outcomes.push(outcome);
    }
    (commands, outcomes)
}

fn plan_one(
    catalog: &Catalog,
    planner: &Planner<'_>,
    topic: Wanted,
    commands: &mut Vec<Command>,
) -> Deleted {
    let planned = match (&topic.name, topic.has_id()) {
        (Some(_), true) => {
            let message = "You may not specify both topic name and topic id.";
            return topic.refused(ErrorCode::InvalidRequest, message);
        }
        (None, false) => {
            let message = "Neither topic name nor id were specified.";
            return topic.refused(ErrorCode::InvalidRequest, message);
        }
        (Some(name), false) => planner.delete_topic(name),
        (None, true) => planner.delete_topic_by_id(&topic.topic_id),
    };
    match planned {
        Err(fault) => topic.refused(fault.error_code, &fault.message),
        Ok(command) => {
            commands.push(command);
            let found = find(catalog, &topic);
            Deleted {
                name: found.as_ref().map(|(_, name)| name.clone()).or(topic.name),
                topic_id: found.map_or(topic.topic_id, |(topic_id, _)| topic_id),
                fault: None,
            }
        }
    }
}

/// Id and name of the topic that is meant.
fn find(catalog: &Catalog, topic: &Wanted) -> Option<(TopicId, String)> {
    let view = catalog.view();
    let found = match &topic.name {
        Some(name) => view.topic(name),
        None => view.topic_by_id(&topic.topic_id),
    };
    found.map(|found| (found.topic_id, found.name.as_ref().to_owned()))
}

/// Why an item of the request is refused for the sake of another one.
fn repeated(catalog: &Catalog, wanted: &[Wanted]) -> Vec<Option<&'static str>> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    let keys: Vec<(TopicId, Option<&str>)> = wanted
        .iter()
        .map(|topic| match find(catalog, topic) {
            Some((topic_id, _)) => (topic_id, None),
            None => (topic.topic_id, topic.name.as_deref()),
        })
        .collect();
    for key in &keys {
        if !seen.insert(*key) {
            twice.insert(*key);
        }
    }
    let message = |(topic, key)| {
        let topic: &Wanted = topic;
        let is_named = topic.name.is_some() || topic.has_id();
        let message = if topic.has_id() {
            "Duplicate topic id."
        } else {
            "Duplicate topic name."
        };
        (is_named && twice.contains(key)).then_some(message)
    };
    wanted.iter().zip(&keys).map(message).collect()
}

fn response(version: i16, outcome: &Deleted) -> DeletableTopicResult<'_> {
    let fault = outcome.fault.as_ref();
    let told = fault.map_or(ErrorCode::None, |fault| fault.error_code);
    // Version 3 brought the code.
    let is_too_new = told == ErrorCode::TopicDeletionDisabled && version < 3;
    let error_code = if is_too_new {
        ErrorCode::InvalidRequest
    } else {
        told
    };
    DeletableTopicResult {
        name: outcome
            .name
            .as_deref()
            .map(Into::into)
            .or_else(|| (version < 6).then(Text::default)),
        topic_id: Uuid(outcome.topic_id),
        error_code,
        error_message: fault.map(|fault| fault.message.as_str().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kafka_lite::catalog::{Catalog, Command, PartitionAssignment, Replica};
    use kafka_lite::error_code::ErrorCode;
    use kafka_lite::topic_config::ConfigMap;

    use super::{Wanted, plan};
    use crate::controller::PlanContext;

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
                partitions: vec![PartitionAssignment { replicas }],
                configs: ConfigMap::new(),
            });
        }
        catalog
    }

    fn named(name: &str) -> Wanted {
        Wanted {
            name: Some(name.to_owned()),
            topic_id: [0; 16],
        }
    }

    fn with_id(id: u8) -> Wanted {
        Wanted {
            name: None,
            topic_id: [id; 16],
        }
    }

    fn codes(catalog: &Catalog, wanted: &[Wanted]) -> (usize, Vec<ErrorCode>) {
        let static_configs = Arc::new(ConfigMap::new());
        let context = PlanContext {
            node_id: 1,
            static_configs,
            partitions_max: usize::MAX,
        };
        let (commands, outcomes) = plan(catalog, &context, wanted);
        let code = |fault: Option<super::CatalogFault>| fault.map(|fault| fault.error_code);
        let codes = outcomes
            .into_iter()
            .map(|one| code(one.fault).unwrap_or_default());
        (commands.len(), codes.collect())
    }

    #[test]
    fn every_item_is_answered_in_order() {
        let catalog = with_topics(&[("a", 1), ("b", 2)]);
        let both = Wanted {
            name: Some("b".to_owned()),
            topic_id: [2; 16],
        };
        let wanted = [
            named("none"),
            named("a"),
            with_id(9),
            with_id(0),
            both,
            with_id(2),
        ];
        let (commands, codes) = codes(&catalog, &wanted);
        assert_eq!(commands, 1, "b is asked for twice");
        assert_eq!(
            codes,
            [
                ErrorCode::UnknownTopicOrPartition,
                ErrorCode::None,
                ErrorCode::UnknownTopicId,
                ErrorCode::InvalidRequest,
                ErrorCode::InvalidRequest,
                ErrorCode::InvalidRequest,
            ]
        );
    }

    #[test]
    fn a_topic_that_stands_twice_stays() {
        let catalog = with_topics(&[("a", 1)]);
        let refused = vec![ErrorCode::InvalidRequest; 2];
        assert_eq!(
            codes(&catalog, &[named("a"), named("a")]),
            (0, refused.clone())
        );
        assert_eq!(codes(&catalog, &[named("a"), with_id(1)]), (0, refused));
    }

    #[test]
    fn the_answer_has_name_and_id_whichever_was_given() {
        let catalog = with_topics(&[("a", 1), ("b", 2)]);
        let static_configs = Arc::new(ConfigMap::new());
        let context = PlanContext {
            node_id: 1,
            static_configs,
            partitions_max: usize::MAX,
        };
        let (_, outcomes) = plan(&catalog, &context, &[named("a"), with_id(2)]);
        let told: Vec<_> = outcomes
            .into_iter()
            .map(|one| (one.name, one.topic_id))
            .collect();
        let expected = [
            (Some("a".to_owned()), [1; 16]),
            (Some("b".to_owned()), [2; 16]),
        ];
        assert_eq!(told, expected);
    }
}
