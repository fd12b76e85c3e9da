//! How the scripts write replies and records.

use std::fmt::Write as _;

use kafka_lite::group::records::{RecordKey, decode_group_value, decode_key, decode_offset_value};
use kafka_lite::group::{GroupError, OffsetsReply, Record, Reply};

pub(super) fn error_name(error: Option<GroupError>) -> String {
    error.map_or_else(
        || "ok".to_owned(),
        |error| error.error_code().name().to_owned(),
    )
}

fn show_offsets(reply: &OffsetsReply) -> String {
    let mut text = reply
        .error
        .map(|error| error_name(Some(error)))
        .unwrap_or_default();
    for (topic, partitions) in &reply.topics {
        for (partition, error) in partitions {
            write!(text, " {topic}/{partition} {}", error_name(*error)).unwrap();
        }
    }
    text.trim_start().to_owned()
}

pub(super) fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::JoinGroup(reply) => {
            if let Some(error) = reply.error {
                return format!(
                    "join {} member [{}]",
                    error_name(Some(error)),
                    reply.member_id
                );
            }
            let members: Vec<String> = reply
                .members
                .iter()
                .map(|member| match &member.group_instance_id {
                    Some(instance) => format!("{}/{instance}", member.member_id),
                    None => member.member_id.clone(),
                })
                .collect();
            format!(
                "join ok generation {} {}/{} leader {} member {} members {members:?}{}",
                reply.generation_id,
                reply.protocol_type.as_deref().unwrap_or("null"),
                reply.protocol_name.as_deref().unwrap_or("null"),
                reply.leader,
                reply.member_id,
                if reply.skip_assignment { " skip" } else { "" }
            )
            .replace('"', "")
        }
        Reply::SyncGroup(reply) => match reply.error {
            Some(error) => format!("sync {}", error_name(Some(error))),
            None => format!(
                "sync ok {}/{} {:?}",
                reply.protocol_type.as_deref().unwrap_or("null"),
                reply.protocol_name.as_deref().unwrap_or("null"),
                String::from_utf8_lossy(&reply.assignment)
            ),
        },
        Reply::Heartbeat(error) => format!("heartbeat {}", error_name(*error)),
        Reply::LeaveGroup(reply) => {
            let mut text = format!("leave {}", error_name(reply.error));
            for (member, error) in &reply.members {
                let instance = member.group_instance_id.as_deref();
                let instance = instance.map(|name| format!("/{name}")).unwrap_or_default();
                write!(
                    text,
                    " {}{instance} {}",
                    member.member_id,
                    error_name(*error)
                )
                .unwrap();
            }
            text
        }
        Reply::OffsetCommit(reply) => format!("commit {}", show_offsets(reply)),
        Reply::OffsetDelete(reply) => format!("delete-offsets {}", show_offsets(reply)),
        Reply::DeleteGroups(results) => {
            let mut text = "delete-groups".to_owned();
            for (group, error) in results {
                write!(text, " {group} {}", error_name(*error)).unwrap();
            }
            text
        }
    }
}

pub(super) fn show_record(record: &Record) -> String {
    let value = record.value.as_deref();
    match decode_key(&record.key).expect("a key") {
        RecordKey::Foreign { version } => panic!("a foreign key {version}"),
        RecordKey::Offset {
            group_id,
            topic,
            partition,
        } => {
            let head = format!("offset {group_id} {topic}/{partition}");
            match value.map(|value| decode_offset_value(value).expect("an offset")) {
                None => format!("{head} tombstone"),
                Some(committed) => match committed.expire_timestamp_ms {
                    Some(expire) => format!("{head} {} expires {expire}", committed.offset),
                    None => format!("{head} {}", committed.offset),
                },
            }
        }
        RecordKey::Group { group_id } => {
            let Some(value) = value else {
                return format!("group {group_id} tombstone");
            };
            let group = decode_group_value(value).expect("a group");
            let members: Vec<String> = group
                .members
                .iter()
                .map(|member| {
                    format!(
                        "{}={}",
                        member.member_id,
                        String::from_utf8_lossy(&member.assignment)
                    )
                })
                .collect();
            format!(
                "group {group_id} generation {} members {members:?}",
                group.generation_id
            )
            .replace('"', "")
        }
    }
}
