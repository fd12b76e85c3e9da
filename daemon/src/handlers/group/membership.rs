//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! Source            JoinGroup 0–9, SyncGroup 0–5, Heartbeat 0–4, LeaveGroup 0–5.

use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::api::decode_body;
use kafka_lite::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use kafka_lite::api::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use kafka_lite::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use kafka_lite::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::group::{self, GroupError, LeavingMember, Protocol};
use kafka_lite::primitive::Text;

use super::{Reply, RequestContext, client_host, code_of, submit};
use crate::shard::Shard;

fn owned(text: &Text<'_>) -> String {
    text.as_ref().to_owned()
}

fn owned_option(text: Option<&Text<'_>>) -> Option<String> {
    text.map(owned)
}

/// Answers JoinGroup when the group is complete.
pub(crate) fn join_group(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: JoinGroupRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let protocol = |one: &kafka_lite::api::join_group::JoinGroupRequestProtocol<'_>| Protocol {
        name: owned(&one.name),
        metadata: Bytes::copy_from_slice(&one.metadata),
    };
    let join = group::JoinGroupRequest {
        api_version: request.version,
        group_id: owned(&body.group_id),
        session_timeout_ms: body.session_timeout_ms,
        rebalance_timeout_ms: body.rebalance_timeout_ms,
        member_id: owned(&body.member_id),
        group_instance_id: owned_option(body.group_instance_id.as_ref()),
        protocol_type: owned(&body.protocol_type),
        protocols: body.protocols.iter().map(protocol).collect(),
        client_id: request.client_id().unwrap_or_default().to_owned(),
        client_host: client_host(request),
    };
    let member_id = join.member_id.clone();
    let uuid = uuid::Uuid::new_v4().as_u128();
    let version = request.version;
    submit(
        shard,
        &body.group_id,
        reply,
        move |coordinator, now, token| coordinator.handle_join_group(now, token, &join, uuid),
        |reply| {
            if let group::Reply::JoinGroup(join) = reply {
                Some(join)
            } else {
                None
            }
        },
        move |reply, result| answer_join(reply, version, result, &member_id),
    );
}

fn answer_join(
    reply: Reply,
    version: i16,
    result: Result<group::JoinGroupReply, GroupError>,
    member_id: &str,
) {
    let join = match result {
        Ok(join) => join,
        Err(error) => {
            return reply.send(&JoinGroupResponse {
                error_code: error.error_code(),
                member_id: member_id.into(),
                ..JoinGroupResponse::default()
            });
        }
    };
    let members = join.members.iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id.as_str().into(),
        group_instance_id: member.group_instance_id.as_deref().map(Into::into),
        metadata: member.metadata.as_ref().into(),
    });
    let protocol_name = join.protocol_name.as_deref().map(Into::into);
    reply.send(&JoinGroupResponse {
        error_code: code_of(join.error),
        generation_id: join.generation_id,
        protocol_type: join.protocol_type.as_deref().map(Into::into),
        // Before version 7 the name cannot be null.
        protocol_name: protocol_name.or_else(|| (version < 7).then(Text::default)),
        leader: join.leader.as_str().into(),
        skip_assignment: join.skip_assignment,
        member_id: join.member_id.as_str().into(),
        members: members.collect(),
        ..JoinGroupResponse::default()
    });
}

/// Answers SyncGroup when the leader's assignment is stored.
pub(crate) fn sync_group(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: SyncGroupRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let assignments = body.assignments.iter();
    let sync = group::SyncGroupRequest {
        group_id: owned(&body.group_id),
        generation_id: body.generation_id,
        member_id: owned(&body.member_id),
        group_instance_id: owned_option(body.group_instance_id.as_ref()),
        protocol_type: owned_option(body.protocol_type.as_ref()),
        protocol_name: owned_option(body.protocol_name.as_ref()),
        assignments: assignments
            .map(|one| {
                (
                    owned(&one.member_id),
                    Bytes::copy_from_slice(&one.assignment),
                )
            })
            .collect(),
    };
    submit(
        shard,
        &body.group_id,
        reply,
        move |coordinator, now, token| coordinator.handle_sync_group(now, token, &sync),
        |reply| {
            if let group::Reply::SyncGroup(sync) = reply {
                Some(sync)
            } else {
                None
            }
        },
        |reply, result| match result {
            Ok(sync) => reply.send(&SyncGroupResponse {
                error_code: code_of(sync.error),
                protocol_type: sync.protocol_type.as_deref().map(Into::into),
                protocol_name: sync.protocol_name.as_deref().map(Into::into),
                assignment: sync.assignment.as_ref().into(),
                ..SyncGroupResponse::default()
            }),
            Err(error) => reply.send(&SyncGroupResponse {
                error_code: error.error_code(),
                ..SyncGroupResponse::default()
            }),
        },
    );
}

/// Answers Heartbeat.
pub(crate) fn heartbeat(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: HeartbeatRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let beat = group::HeartbeatRequest {
        group_id: owned(&body.group_id),
        generation_id: body.generation_id,
        member_id: owned(&body.member_id),
        group_instance_id: owned_option(body.group_instance_id.as_ref()),
    };
    submit(
        shard,
        &body.group_id,
        reply,
        move |coordinator, now, token| coordinator.handle_heartbeat(now, token, &beat),
        |reply| {
            if let group::Reply::Heartbeat(error) = reply {
                Some(error)
            } else {
                None
            }
        },
        |reply, result| {
            let error_code = match result {
                Ok(error) => code_of(error),
                Err(error) => error.error_code(),
            };
            reply.send(&HeartbeatResponse {
                error_code,
                ..HeartbeatResponse::default()
            });
        },
    );
}

/// Answers LeaveGroup; up to version 2 it names one member, from 3 on many.
pub(crate) fn leave_group(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: LeaveGroupRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let version = request.version;
    let members = if version >= 3 {
        let member = |one: &kafka_lite::api::leave_group::MemberIdentity<'_>| LeavingMember {
            member_id: owned(&one.member_id),
            group_instance_id: owned_option(one.group_instance_id.as_ref()),
        };
        body.members.iter().map(member).collect()
    } else {
        vec![LeavingMember {
            member_id: owned(&body.member_id),
            group_instance_id: None,
        }]
    };
    let leave = group::LeaveGroupRequest {
        group_id: owned(&body.group_id),
        members,
    };
    submit(
        shard,
        &body.group_id,
        reply,
        move |coordinator, now, token| coordinator.handle_leave_group(now, token, &leave),
        |reply| {
            if let group::Reply::LeaveGroup(leave) = reply {
                Some(leave)
            } else {
                None
            }
        },
        move |reply, result| answer_leave(reply, version, result),
    );
}

fn answer_leave(reply: Reply, version: i16, result: Result<group::LeaveGroupReply, GroupError>) {
    let leave = match result {
        Ok(leave) => leave,
        Err(error) => {
            let error_code = error.error_code();
            return reply.send(&LeaveGroupResponse {
                error_code,
                ..LeaveGroupResponse::default()
            });
        }
    };
    let only = leave.members.first().and_then(|(_, error)| *error);
    let error_code = match leave.error {
        Some(error) => error.error_code(),
        None if version < 3 => code_of(only),
        None => ErrorCode::None,
    };
    let members = leave.members.iter().map(|(member, error)| MemberResponse {
        member_id: member.member_id.as_str().into(),
        group_instance_id: member.group_instance_id.as_deref().map(Into::into),
        error_code: code_of(*error),
    });
    let members = if version >= 3 {
        members.collect()
    } else {
        Vec::new()
    };
    reply.send(&LeaveGroupResponse {
        error_code,
        members,
        ..LeaveGroupResponse::default()
    });
}
