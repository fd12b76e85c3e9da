//! DescribeGroups and ListGroups.
//!
//! Source            DescribeGroups 0–6 (a missing group is an error from 6), ListGroups 0–5.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use kafka_lite::api::list_groups::{self, ListGroupsRequest, ListGroupsResponse};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::group::{
    Coordinator, GroupDescription, GroupError, ListedGroup, MemberDescription,
};

use super::{Reply, RequestContext, code_of, gather, owner_of};
use crate::shard::{Shard, ShardId};

/// All operations on a group: read, delete, describe, describe and alter its configs (bits of
/// `AclOperation`).
const GROUP_OPERATIONS: i32 = (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11);

type Described = (String, Result<GroupDescription, GroupError>);

/// Answers DescribeGroups.
pub(crate) fn describe_groups(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DescribeGroupsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let names: Vec<String> = body
        .groups
        .iter()
        .map(|name| name.as_ref().into())
        .collect();
    let operations = body.include_authorized_operations;
    let version = request.version;
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let mut by_owner: BTreeMap<ShardId, Vec<String>> = BTreeMap::new();
        for name in &names {
            if let Ok(owner) = owner_of(&shard, name) {
                by_owner.entry(owner).or_default().push(name.clone());
            }
        }
        let found = gather(&shard, by_owner, describe_all).await;
        let found: BTreeMap<String, _> = found.into_iter().flatten().collect();
        let groups = names.iter().map(|name| {
            let mut group = described(name, found.get(name), version);
            if operations {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            group
        });
        reply.send(&DescribeGroupsResponse {
            groups: groups.collect(),
            ..DescribeGroupsResponse::default()
        });
    }));
}

fn describe_all(coordinator: &Coordinator, names: Vec<String>) -> Vec<Described> {
    let describe = |name: String| {
        let description = coordinator.describe(&name);
        (name, description)
    };
    names.into_iter().map(describe).collect()
}

fn described<'a>(
    name: &'a str,
    found: Option<&'a Result<GroupDescription, GroupError>>,
    version: i16,
) -> DescribedGroup<'a> {
    let group_id = name.into();
    match found {
        Some(Ok(group)) => DescribedGroup {
            group_id,
            group_state: group.state.to_string().into(),
            protocol_type: group.protocol_type.as_str().into(),
            protocol_data: group.protocol_name.as_str().into(),
            members: group.members.iter().map(described_member).collect(),
            ..DescribedGroup::default()
        },
        None | Some(Err(GroupError::GroupIdNotFound)) if version < 6 => DescribedGroup {
            group_id,
            group_state: "Dead".into(),
            ..DescribedGroup::default()
        },
        None | Some(Err(GroupError::GroupIdNotFound)) => DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound,
            error_message: Some(format!("Group {name} not found.").into()),
            group_id,
            group_state: "Dead".into(),
            ..DescribedGroup::default()
        },
        Some(Err(error)) => DescribedGroup {
            error_code: error.error_code(),
            group_id,
            ..DescribedGroup::default()
        },
    }
}

fn described_member(member: &MemberDescription) -> DescribedGroupMember<'_> {
    DescribedGroupMember {
        member_id: member.member_id.as_str().into(),
        group_instance_id: member.group_instance_id.as_deref().map(Into::into),
        client_id: member.client_id.as_str().into(),
        client_host: member.client_host.as_str().into(),
        member_metadata: member.metadata.as_ref().into(),
        member_assignment: member.assignment.as_ref().into(),
    }
}

type Filters = (Vec<String>, Vec<String>);

/// Answers ListGroups with the groups of all shards.
pub(crate) fn list_groups(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: ListGroupsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let states: Vec<String> = body
        .states_filter
        .iter()
        .map(|one| one.as_ref().into())
        .collect();
    let types: Vec<String> = body
        .types_filter
        .iter()
        .map(|one| one.as_ref().into())
        .collect();
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let everywhere: BTreeMap<ShardId, Filters> = (0..shard.shard_count())
            .map(|id| (id, (states.clone(), types.clone())))
            .collect();
        let found = gather(&shard, everywhere, list_all).await;
        let error = found.iter().find_map(|(error, _)| *error);
        let groups = found.iter().flat_map(|(_, groups)| groups).map(listed);
        reply.send(&ListGroupsResponse {
            error_code: code_of(error),
            groups: groups.collect(),
            ..ListGroupsResponse::default()
        });
    }));
}

fn list_all(
    coordinator: &Coordinator,
    (states, types): Filters,
) -> (Option<GroupError>, Vec<ListedGroup>) {
    coordinator.list(&states, &types)
}

fn listed(group: &ListedGroup) -> list_groups::ListedGroup<'_> {
    list_groups::ListedGroup {
        group_id: group.group_id.as_str().into(),
        protocol_type: group.protocol_type.as_str().into(),
        group_state: group.state.to_string().into(),
        group_type: group.group_type.into(),
    }
}
