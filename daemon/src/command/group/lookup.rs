//! What the coordinator knows of a group.

use kafka_lite::api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use kafka_lite::error_code::ErrorCode;

use crate::client::consumer_protocol::{PROTOCOL_TYPE, assigned_partitions};
use crate::client::error::check;
use crate::client::offsets::TopicPartition;
use crate::client::{ClientError, Cluster};

/// State of a group that does not exist, in versions that have no error for it.
const STATE_DEAD: &str = "Dead";

/// A group.
pub(super) struct Group {
    pub(super) state: String,
    /// Name of the assignor.
    pub(super) balancer: String,
    pub(super) members: Vec<GroupMember>,
}

/// A member of it.
pub(super) struct GroupMember {
    pub(super) id: String,
    pub(super) client_id: String,
    pub(super) host: String,
    pub(super) partitions: Vec<TopicPartition>,
}

impl Group {
    /// Asks the coordinator.
    pub(super) fn find(cluster: &mut Cluster, name: &str) -> Result<Self, ClientError> {
        let request = DescribeGroupsRequest {
            groups: vec![name.into()],
            ..DescribeGroupsRequest::default()
        };
        let subject = || format!("group {name}");
        let missing = || ClientError::refused(subject(), ErrorCode::GroupIdNotFound, None);
        cluster.at_coordinator(name, |coordinator| {
            let answer = coordinator.call(&request)?;
            let response: DescribeGroupsResponse<'_> = answer.read()?;
            let group = response.groups.first().ok_or_else(missing)?;
            check(group.error_code, group.error_message.as_deref(), subject)?;
            if group.group_state == STATE_DEAD {
                return Err(missing());
            }
            let is_consumer = group.protocol_type == PROTOCOL_TYPE;
            let members = group.members.iter().map(|member| GroupMember {
                id: member.member_id.to_string(),
                client_id: member.client_id.to_string(),
                host: member.client_host.trim_start_matches('/').to_owned(),
                partitions: if is_consumer {
                    assigned_partitions(&member.member_assignment)
                } else {
                    Vec::new()
                },
            });
            Ok(Self {
                state: group.group_state.to_string(),
                balancer: group.protocol_data.to_string(),
                members: members.collect(),
            })
        })
    }
}
