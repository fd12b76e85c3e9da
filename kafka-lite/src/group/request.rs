//! Requests, replies and outputs of the group coordinator.
//!
//! What it is        Kafka's fields as plain structs; the owner converts from and to the wire.
//! What it is not    codec types: no tagged fields, no version differences. Where a version
//!                   changes a rule, the request carries `api_version` and the coordinator decides.
//! Source            JoinGroup v0–v9, SyncGroup v0–v5, Heartbeat v0–v4, LeaveGroup v0–v5,
//!                   OffsetCommit v2–v10, OffsetDelete v0, DeleteGroups v0–v2.

use bytes::Bytes;

use super::error::GroupError;

/// Names the request that a reply answers; chosen by the owner, unique among unanswered requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyToken(pub u64);

/// Names an append; its completion comes back with it. Rises by one with every append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppendId(pub u64);

/// One record for `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key with its version prefix.
    pub key: Bytes,
    /// The value with its version prefix; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// What the owner has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the reply to the request that brought the token.
    Reply {
        /// The token of the request.
        token: ReplyToken,
        /// Its answer.
        reply: Reply,
    },
    /// Append the records as one batch to the partition of `__consumer_offsets`, in the order of
    /// the ids, and report durability by [`Coordinator::handle_persisted`] in the same order.
    ///
    /// [`Coordinator::handle_persisted`]: super::Coordinator::handle_persisted
    Append {
        /// The name of the append.
        id: AppendId,
        /// The partition of `__consumer_offsets`.
        partition: i32,
        /// At least one record.
        records: Vec<Record>,
    },
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answers [`JoinGroupRequest`].
    JoinGroup(JoinGroupReply),
    /// Answers [`SyncGroupRequest`].
    SyncGroup(SyncGroupReply),
    /// Answers [`HeartbeatRequest`]; `None` is success.
    Heartbeat(Option<GroupError>),
    /// Answers [`LeaveGroupRequest`].
    LeaveGroup(LeaveGroupReply),
    /// Answers [`OffsetCommitRequest`].
    OffsetCommit(OffsetsReply),
    /// Answers [`OffsetDeleteRequest`].
    OffsetDelete(OffsetsReply),
    /// Answers a DeleteGroups request: one entry per named group, in order.
    DeleteGroups(Vec<(String, Option<GroupError>)>),
}

/// A protocol that a member can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, for example `range`.
    pub name: String,
    /// Bytes that only the members understand.
    pub metadata: Bytes,
}

/// A member asks to take part in the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequest {
    /// Version of the request: from 4 a new member is first given an id, from 9 the reply can skip
    /// the assignment.
    pub api_version: i16,
    /// The group.
    pub group_id: String,
    /// Milliseconds without a sign of life after which the member is removed.
    pub session_timeout_ms: i32,
    /// Milliseconds that a rebalance waits for the member; `None` in version 0, where the session
    /// timeout stands for it.
    pub rebalance_timeout_ms: Option<i32>,
    /// Empty when the member has none yet.
    pub member_id: String,
    /// The name of a static member (KIP-345).
    pub group_instance_id: Option<String>,
    /// For example `consumer` or `connect`.
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// The client id of the request header.
    pub client_id: String,
    /// The address of the client, as Kafka prints it (`/10.0.0.1`).
    pub client_host: String,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JoinGroupReply {
    /// `None` is success.
    pub error: Option<GroupError>,
    /// The generation; -1 in an error.
    pub generation_id: i32,
    /// The protocol type of the group.
    pub protocol_type: Option<String>,
    /// The chosen protocol.
    pub protocol_name: Option<String>,
    /// The member id of the leader.
    pub leader: String,
    /// The leader need not compute an assignment (KIP-814).
    pub skip_assignment: bool,
    /// The id of the member that is answered.
    pub member_id: String,
    /// All members for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

/// What the leader is told of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequest {
    /// The group.
    pub group_id: String,
    /// The generation that the join reply named.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// From version 5; checked when present.
    pub protocol_type: Option<String>,
    /// From version 5; checked when present.
    pub protocol_name: Option<String>,
    /// Member id and assignment; empty from all but the leader.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to a sync.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SyncGroupReply {
    /// `None` is success.
    pub error: Option<GroupError>,
    /// The protocol type of the group.
    pub protocol_type: Option<String>,
    /// The chosen protocol.
    pub protocol_name: Option<String>,
    /// The leader's bytes, unchanged; empty when the leader named none.
    pub assignment: Bytes,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: String,
    /// The member's generation.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
}

/// Members leave, or an administrator removes static members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequest {
    /// The group.
    pub group_id: String,
    /// One before version 3, any number after.
    pub members: Vec<LeavingMember>,
}

/// Who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty when only the instance id is known.
    pub member_id: String,
    /// The instance id, if static.
    pub group_instance_id: Option<String>,
}

/// The answer to a leave.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LeaveGroupReply {
    /// An error of the whole request. Before version 3 the owner puts the member's error here.
    pub error: Option<GroupError>,
    /// One entry per named member, in order; empty when `error` is set.
    pub members: Vec<(LeavingMember, Option<GroupError>)>,
}

/// Offsets to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// Version of the request: from 9 a missing group is answered GROUP_ID_NOT_FOUND.
    pub api_version: i16,
    /// The group; may be empty (old simple consumers).
    pub group_id: String,
    /// The member's generation; negative from consumers that assign partitions themselves.
    pub generation_id: i32,
    /// The member; empty from consumers that assign partitions themselves.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Milliseconds (versions 2 to 4); `None` for the retention of the broker.
    pub retention_time_ms: Option<i64>,
    /// What to commit. The owner has taken out partitions that do not exist.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// The offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The next offset to be read.
    pub offset: i64,
    /// The leader epoch of the last record read.
    pub leader_epoch: Option<i32>,
    /// Any text of the client; null on the wire is empty here.
    pub metadata: String,
}

/// Offsets to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group_id: String,
    /// Topics with their partitions.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// Partition and result; `None` is success.
pub type PartitionResults = Vec<(i32, Option<GroupError>)>;

/// The answer to a commit or to a deletion of offsets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OffsetsReply {
    /// An error of the whole request; only OffsetDelete has a place for it.
    pub error: Option<GroupError>,
    /// Per topic and partition, in the order of the request.
    pub topics: Vec<(String, PartitionResults)>,
}
