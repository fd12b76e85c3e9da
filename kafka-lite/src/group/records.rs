//! The records of `__consumer_offsets`, in Apache Kafka's own formats.
//!
//! What it is        keys and values of committed offsets and of group metadata, read in every
//!                   version that Kafka 4.x reads and written in the versions that Kafka 4.x
//!                   writes.
//! What it is not    the records of KIP-848, share and streams groups: their keys are recognised as
//!                   foreign and left alone.
//! Layout            `docs/formats/consumer-offsets.md`.
//! Source            `group-coordinator/src/main/resources/common/message/*.json` of Apache Kafka
//!                   4.x.

use bytes::Bytes;

use super::request::Record;
pub use super::wire::RecordError;
use super::wire::{Reader, Writer};

/// Version prefix of the key of an offset as it is written; 0 is read as well.
const OFFSET_KEY_VERSION: i16 = 1;
/// Version prefix of the key of group metadata.
const GROUP_KEY_VERSION: i16 = 2;
/// Version of an offset's value: the last one without tagged fields.
const OFFSET_VALUE_VERSION: i16 = 3;
/// Version of an offset's value that carries its own expiry.
const OFFSET_VALUE_VERSION_EXPIRE: i16 = 1;
/// Version of group metadata: the last one without tagged fields.
const GROUP_VALUE_VERSION: i16 = 3;
/// First version of both values with compact lengths and tagged fields.
const FLEXIBLE_VERSION: i16 = 4;
/// Last version of both values that is known.
const VERSION_MAX: i16 = 4;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    /// The committed offset of one partition.
    Offset {
        /// The group.
        group_id: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The members of a group.
    Group {
        /// The group.
        group_id: String,
    },
    /// A kind of record that this coordinator does not keep.
    Foreign {
        /// The version prefix of the key.
        version: i16,
    },
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to be read.
    pub offset: i64,
    /// The leader epoch of the last record read.
    pub leader_epoch: Option<i32>,
    /// Any text of the client.
    pub metadata: String,
    /// Milliseconds since 1970.
    pub commit_timestamp_ms: i64,
    /// Milliseconds since 1970 after which it may be forgotten; `None` for the broker's retention.
    pub expire_timestamp_ms: Option<i64>,
}

/// The members of a group at the end of a rebalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty for a group that only stores offsets.
    pub protocol_type: String,
    /// The last generation.
    pub generation_id: i32,
    /// The chosen protocol; `None` without members.
    pub protocol_name: Option<String>,
    /// The leader; `None` without members.
    pub leader: Option<String>,
    /// Milliseconds since 1970 of the last change of state.
    pub state_timestamp_ms: Option<i64>,
    /// The members.
    pub members: Vec<MemberMetadata>,
}

/// One member in [`GroupMetadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// The client id of its requests.
    pub client_id: String,
    /// The address of its requests.
    pub client_host: String,
    /// Milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Milliseconds.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// Encodes the key of an offset.
#[must_use]
pub fn encode_offset_key(group_id: &str, topic: &str, partition: i32) -> Bytes {
    let mut writer = Writer::with_version(OFFSET_KEY_VERSION);
    writer.string(group_id);
    writer.string(topic);
    writer.int32(partition);
    writer.finish()
}

/// Encodes the key of group metadata.
#[must_use]
pub fn encode_group_key(group_id: &str) -> Bytes {
    let mut writer = Writer::with_version(GROUP_KEY_VERSION);
    writer.string(group_id);
    writer.finish()
}

/// Encodes a committed offset: version 1 if it carries its own expiry, else version 3.
#[must_use]
pub fn encode_offset_value(committed: &CommittedOffset) -> Bytes {
    let version = if committed.expire_timestamp_ms.is_some() {
        OFFSET_VALUE_VERSION_EXPIRE
    } else {
        OFFSET_VALUE_VERSION
    };
    let mut writer = Writer::with_version(version);
    writer.int64(committed.offset);
    if version == OFFSET_VALUE_VERSION {
        writer.int32(committed.leader_epoch.unwrap_or(-1));
    }
    writer.string(&committed.metadata);
    writer.int64(committed.commit_timestamp_ms);
    if let Some(expire_timestamp_ms) = committed.expire_timestamp_ms {
        writer.int64(expire_timestamp_ms);
    }
    writer.finish()
}

/// Encodes group metadata in version 3.
#[must_use]
pub fn encode_group_value(group: &GroupMetadata) -> Bytes {
    let mut writer = Writer::with_version(GROUP_VALUE_VERSION);
    writer.string(&group.protocol_type);
    writer.int32(group.generation_id);
    writer.nullable_string(group.protocol_name.as_deref());
    writer.nullable_string(group.leader.as_deref());
    writer.int64(group.state_timestamp_ms.unwrap_or(-1));
    writer.count(group.members.len());
    for member in &group.members {
        writer.string(&member.member_id);
        writer.nullable_string(member.group_instance_id.as_deref());
        writer.string(&member.client_id);
        writer.string(&member.client_host);
        writer.int32(member.rebalance_timeout_ms);
        writer.int32(member.session_timeout_ms);
        writer.byte_array(&member.subscription);
        writer.byte_array(&member.assignment);
    }
    writer.finish()
}

/// Returns the record that forgets an offset.
#[must_use]
pub fn offset_tombstone(group_id: &str, topic: &str, partition: i32) -> Record {
    Record {
        key: encode_offset_key(group_id, topic, partition),
        value: None,
    }
}

/// Returns the record that forgets a group.
#[must_use]
pub fn group_tombstone(group_id: &str) -> Record {
    Record {
        key: encode_group_key(group_id),
        value: None,
    }
}

/// Decodes a key.
///
/// # Errors
/// [`RecordError`] if the bytes end early, or a string is not UTF-8.
pub fn decode_key(bytes: &[u8]) -> Result<RecordKey, RecordError> {
    let mut reader = Reader::new(bytes);
    match reader.int16("key version")? {
        0 | OFFSET_KEY_VERSION => Ok(RecordKey::Offset {
            group_id: reader.string("group")?,
            topic: reader.string("topic")?,
            partition: reader.int32("partition")?,
        }),
        GROUP_KEY_VERSION => Ok(RecordKey::Group {
            group_id: reader.string("group")?,
        }),
        version => Ok(RecordKey::Foreign { version }),
    }
}

fn value_version(reader: &mut Reader<'_>) -> Result<i16, RecordError> {
    let version = reader.int16("value version")?;
    if !(0..=VERSION_MAX).contains(&version) {
        return Err(RecordError {
            field: "value version",
        });
    }
    reader.set_flexible(version >= FLEXIBLE_VERSION);
    Ok(version)
}

fn not_negative(value: i64) -> Option<i64> {
    (value >= 0).then_some(value)
}

/// Decodes a committed offset of versions 0 to 4.
///
/// # Errors
/// [`RecordError`] if the version is unknown, the bytes end early, or a string is not UTF-8.
pub fn decode_offset_value(bytes: &[u8]) -> Result<CommittedOffset, RecordError> {
    let mut reader = Reader::new(bytes);
    let version = value_version(&mut reader)?;
    let offset = reader.int64("offset")?;
    let leader_epoch = if version >= 3 {
        reader.int32("leader epoch")?
    } else {
        -1
    };
    let metadata = reader.string("metadata")?;
    let commit_timestamp_ms = reader.int64("commit timestamp")?;
    let expire = if version == 1 {
        reader.int64("expire timestamp")?
    } else {
        -1
    };
    reader.skip_tags()?;
    Ok(CommittedOffset {
        offset,
        leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
        metadata,
        commit_timestamp_ms,
        expire_timestamp_ms: not_negative(expire),
    })
}

/// Decodes group metadata of versions 0 to 4.
///
/// # Errors
/// [`RecordError`] if the version is unknown, the bytes end early, or a string is not UTF-8.
pub fn decode_group_value(bytes: &[u8]) -> Result<GroupMetadata, RecordError> {
    /// Three strings, one timeout and two byte arrays, all empty and compact.
    const MEMBER_BYTES_MIN: usize = 9;
    let mut reader = Reader::new(bytes);
    let version = value_version(&mut reader)?;
    let protocol_type = reader.string("protocol type")?;
    let generation_id = reader.int32("generation")?;
    let protocol_name = reader.nullable_string("protocol")?;
    let leader = reader.nullable_string("leader")?;
    let timestamp = if version >= 2 {
        reader.int64("state timestamp")?
    } else {
        -1
    };
    let count = reader.array_length("members", MEMBER_BYTES_MIN)?;
    let members = (0..count)
        .map(|_| decode_member(&mut reader, version))
        .collect::<Result<_, _>>()?;
    reader.skip_tags()?;
    Ok(GroupMetadata {
        protocol_type,
        generation_id,
        protocol_name,
        leader,
        state_timestamp_ms: not_negative(timestamp),
        members,
    })
}

fn decode_member(reader: &mut Reader<'_>, version: i16) -> Result<MemberMetadata, RecordError> {
    let member_id = reader.string("member id")?;
    let group_instance_id = if version >= 3 {
        reader.nullable_string("group instance id")?
    } else {
        None
    };
    let client_id = reader.string("client id")?;
    let client_host = reader.string("client host")?;
    let rebalance = if version >= 1 {
        Some(reader.int32("rebalance timeout")?)
    } else {
        None
    };
    let session_timeout_ms = reader.int32("session timeout")?;
    let subscription = reader.bytes("subscription")?;
    let assignment = reader.bytes("assignment")?;
    reader.skip_tags()?;
    Ok(MemberMetadata {
        member_id,
        group_instance_id,
        client_id,
        client_host,
        // Version 0 had none; Kafka takes the session timeout.
        rebalance_timeout_ms: rebalance.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription,
        assignment,
    })
}

#[cfg(test)]
mod tests;
