//! CreatePartitions: more partitions for topics, or a check whether they could be made.
//!
//! Source            Kafka 4.3 `ReplicationControlManager.createPartitions`; one result for each
//! topic
//!                   of the request, in its order.

use std::rc::Rc;

use kafka_lite::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use kafka_lite::api::decode_body;
use kafka_lite::catalog::{Catalog, CatalogFault, Command, NewPartitions, Planner};
use kafka_lite::error_code::ErrorCode;

use super::deadline::within;
use super::{Reply, RequestContext, each_name_once};
use crate::controller::{self, PlanContext};
use crate::shard::Shard;

/// What a client wants, free of its frame.
#[derive(Clone, Debug)]
struct Wanted {
    name: String,
    partitions_count: i32,
    assignments: Option<Vec<Vec<i32>>>,
}

/// Answers CreatePartitions.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: CreatePartitionsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let wanted: Vec<Wanted> = body.topics.iter().map(Wanted::new).collect();
    let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let (validate_only, timeout_ms) = (body.validate_only, body.timeout_ms);
    let created = controller::change(shard, move |catalog, context| {
        plan(catalog, context, &wanted, validate_only)
    });
    drop(monoio::spawn(async move {
        let faults = within(timeout_ms, created).await;
        let results = each_name_once(&names).map(|(place, name)| {
            let (error_code, message) = match &faults {
                Err(code) => (*code, None),
                Ok(faults) => match faults.get(place).and_then(Option::as_ref) {
                    Some(fault) => (fault.error_code, Some(fault.message.as_str())),
                    None => (ErrorCode::None, None),
                },
            };
            CreatePartitionsTopicResult {
                name: name.as_str().into(),
                error_code,
                error_message: message.map(Into::into),
            }
        });
        reply.send(&CreatePartitionsResponse {
            results: results.collect(),
            ..CreatePartitionsResponse::default()
        });
    }));
}

impl Wanted {
    fn new(topic: &CreatePartitionsTopic<'_>) -> Self {
        let assignments = topic.assignments.as_ref().map(|assignments| {
            assignments
                .iter()
                .map(|assignment| assignment.broker_ids.clone())
                .collect()
        });
        Self {
            name: topic.name.clone().into_owned(),
            partitions_count: topic.count,
            assignments,
        }
    }
}

/// Commands, and for each topic why it is refused.
fn plan(
    catalog: &Catalog,
    context: &PlanContext,
    wanted: &[Wanted],
    validate_only: bool,
) -> (Vec<Command>, Vec<Option<CatalogFault>>) {
    let assignments: Vec<Option<Vec<&[i32]>>> = wanted
        .iter()
        .map(|topic| {
            let assignments = topic.assignments.as_ref()?;
            Some(assignments.iter().map(Vec::as_slice).collect())
        })
        .collect();
    let requests: Vec<NewPartitions<'_>> = wanted
        .iter()
        .zip(&assignments)
        .map(|(topic, assignments)| NewPartitions {
            name: &topic.name,
            partitions_count: topic.partitions_count,
            assignments: assignments.as_deref(),
        })
        .collect();
    let layers = catalog
        .view()
        .layers(context.node_id, &context.static_configs);
    let planned = Planner::new(catalog, layers)
        .with_partitions_max(context.partitions_max)
        .create_partitions(&requests);
    let faults = planned
        .iter()
        .map(|result| result.as_ref().err().cloned())
        .collect();
    let commands = if validate_only { Vec::new() } else { planned };
    (commands.into_iter().flatten().collect(), faults)
}
