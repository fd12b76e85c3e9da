//! ListConfigResources: what has configs.
//!
//! Source            KIP-1142; Kafka 4.3 `KafkaApis.handleListConfigResources`. Version 0 lists
//! client
//!                   metrics only, which nobody has here.

use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use kafka_lite::error_code::ErrorCode;

use super::cluster_view::brokers;
use super::config_resource::ResourceType;
use super::{Reply, RequestContext};
use crate::shard::Shard;

/// Answers ListConfigResources.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: ListConfigResourcesRequest = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let wanted = match wanted(request.version, &body.resource_types) {
        Ok(wanted) => wanted,
        Err(error_code) => {
            return reply.send(&ListConfigResourcesResponse {
                error_code,
                ..ListConfigResourcesResponse::default()
            });
        }
    };
    let catalog = shard.catalog();
    let mut config_resources = Vec::new();
    if wanted.contains(&ResourceType::Topic) {
        config_resources.extend(
            catalog
                .topics_by_name()
                .into_iter()
                .map(|topic| ConfigResource {
                    resource_name: topic.name.as_ref().into(),
                    resource_type: ResourceType::Topic.id(),
                }),
        );
    }
    if wanted.contains(&ResourceType::Broker) {
        config_resources.extend(brokers(shard).into_iter().map(|broker| ConfigResource {
            resource_name: broker.node_id.to_string().into(),
            resource_type: ResourceType::Broker.id(),
        }));
    }
    reply.send(&ListConfigResourcesResponse {
        config_resources,
        ..ListConfigResourcesResponse::default()
    });
}

/// The kinds that are asked for; none is all.
fn wanted(version: i16, ids: &[i8]) -> Result<Vec<ResourceType>, ErrorCode> {
    if version == 0 {
        return Ok(vec![ResourceType::ClientMetrics]);
    }
    if ids.is_empty() {
        return Ok(vec![ResourceType::Topic, ResourceType::Broker]);
    }
    let known = ids.iter().map(|id| ResourceType::from_id(*id));
    known
        .collect::<Option<_>>()
        .ok_or(ErrorCode::UnsupportedVersion)
}

#[cfg(test)]
mod tests {
    use kafka_lite::error_code::ErrorCode;

    use super::super::config_resource::ResourceType;
    use super::wanted;

    #[test]
    fn kinds_are_what_the_version_and_the_list_say() {
        assert_eq!(wanted(0, &[]), Ok(vec![ResourceType::ClientMetrics]));
        assert_eq!(
            wanted(1, &[]),
            Ok(vec![ResourceType::Topic, ResourceType::Broker])
        );
        assert_eq!(
            wanted(1, &[2, 32]),
            Ok(vec![ResourceType::Topic, ResourceType::Group])
        );
        assert_eq!(wanted(1, &[2, 3]), Err(ErrorCode::UnsupportedVersion));
    }
}
