//! One member of a group, and the votes of all members for a protocol.
//!
//! Source            `ClassicGroupMember`, `ClassicGroup.selectProtocol` of Apache Kafka 4.x.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::limits;
use super::records::MemberMetadata;
use super::request::{JoinGroupRequest, JoinedMember, Protocol, ReplyToken};

/// A member that has joined, or is about to.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) member_id: String,
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: u64,
    pub(super) rebalance_timeout_ms: u64,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// The unanswered join.
    pub(super) awaiting_join: Option<ReplyToken>,
    /// The unanswered sync.
    pub(super) awaiting_sync: Option<ReplyToken>,
    /// It has never completed a join.
    pub(super) is_new: bool,
    /// Its client was told the member id, so that it can come back after a lost connection.
    pub(super) knows_id: bool,
    /// Monotonic milliseconds.
    pub(super) session_deadline_ms: u64,
}

/// Timeouts of a request, never negative.
pub(super) fn join_timeouts(request: &JoinGroupRequest) -> (u64, u64) {
    let session = u64::try_from(request.session_timeout_ms).unwrap_or(0);
    let rebalance = request.rebalance_timeout_ms.map_or(session, |timeout_ms| {
        // Some clients send -1 for "none": the session timeout is the only sane bound.
        u64::try_from(timeout_ms).unwrap_or(session)
    });
    (session, rebalance)
}

/// Copies protocols, so that they do not hold the frame of the request in memory.
pub(super) fn copy_protocols(protocols: &[Protocol]) -> Vec<Protocol> {
    let copy = |protocol: &Protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    protocols.iter().map(copy).collect()
}

impl Member {
    pub(super) fn new(member_id: String, request: &JoinGroupRequest) -> Self {
        let (session_timeout_ms, rebalance_timeout_ms) = join_timeouts(request);
        Self {
            member_id,
            group_instance_id: request.group_instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            session_timeout_ms,
            rebalance_timeout_ms,
            protocols: copy_protocols(&request.protocols),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
            knows_id: !request.member_id.is_empty() || request.group_instance_id.is_some(),
            session_deadline_ms: 0,
        }
    }

    /// Takes a member over from the log; it knows only the chosen protocol.
    pub(super) fn from_record(record: MemberMetadata, protocol_name: Option<&str>) -> Self {
        let session = u64::try_from(record.session_timeout_ms).unwrap_or(0);
        Self {
            member_id: record.member_id,
            group_instance_id: record.group_instance_id,
            client_id: record.client_id,
            client_host: record.client_host,
            session_timeout_ms: session,
            rebalance_timeout_ms: u64::try_from(record.rebalance_timeout_ms).unwrap_or(session),
            protocols: vec![Protocol {
                name: protocol_name.unwrap_or_default().to_owned(),
                metadata: record.subscription,
            }],
            assignment: record.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            knows_id: true,
            session_deadline_ms: 0,
        }
    }

    /// Returns when the session ends, unless a pending request proves that the client lives.
    ///
    /// A new member is bounded even while it waits: its client may be gone without a trace.
    pub(super) fn session_deadline(&self) -> Option<u64> {
        let waits = self.awaiting_join.is_some() || self.awaiting_sync.is_some();
        (self.is_new || !waits).then_some(self.session_deadline_ms)
    }

    /// The member proposes exactly these protocols, in this order.
    pub(super) fn matches(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    /// Returns the metadata for a protocol; empty if the member does not know it.
    pub(super) fn metadata(&self, protocol_name: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|protocol| protocol.name == protocol_name)
            .map(|protocol| protocol.metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn joined(&self, protocol_name: &str) -> JoinedMember {
        JoinedMember {
            member_id: self.member_id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            metadata: self.metadata(protocol_name),
        }
    }

    pub(super) fn to_record(&self, protocol_name: &str, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member_id: self.member_id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: i32::try_from(self.rebalance_timeout_ms).unwrap_or(i32::MAX),
            session_timeout_ms: i32::try_from(self.session_timeout_ms).unwrap_or(i32::MAX),
            subscription: self.metadata(protocol_name),
            assignment,
        }
    }

    /// Bytes that the member is counted with.
    pub(super) fn memory_bytes(&self) -> usize {
        limits::MEMBER_OVERHEAD_BYTES
            + 2 * self.member_id.len()
            + 2 * self.group_instance_id.as_ref().map_or(0, String::len)
            + self.client_id.len()
            + self.client_host.len()
            + protocol_bytes(&self.protocols)
            + self.assignment.len()
    }
}

/// Bytes of names and metadata.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols
        .iter()
        .map(|protocol| 64 + protocol.name.len() + protocol.metadata.len())
        .sum()
}

/// The members of a group by id.
pub(super) type Members = BTreeMap<String, Member>;

fn supported_by_all(members: &Members, name: &str) -> bool {
    members
        .values()
        .all(|member| member.protocols.iter().any(|known| known.name == name))
}

/// At least one of the protocols is supported by every member.
pub(super) fn supports_any(members: &Members, protocols: &[Protocol]) -> bool {
    protocols
        .iter()
        .any(|protocol| supported_by_all(members, &protocol.name))
}

/// Chooses the protocol of a generation: each member votes for the first in its list that all
/// support; most votes win, and among equals the one that the leader prefers.
pub(super) fn select_protocol(members: &Members, leader: Option<&str>) -> Option<String> {
    let first = leader
        .and_then(|leader| members.get(leader))
        .or_else(|| members.values().next())?;
    let candidates: Vec<&str> = first
        .protocols
        .iter()
        .map(|protocol| protocol.name.as_str())
        .filter(|name| supported_by_all(members, name))
        .collect();
    let votes = |candidate: &str| {
        members
            .values()
            .filter(|member| vote(member, &candidates) == Some(candidate))
            .count()
    };
    let mut best: Option<(usize, &str)> = None;
    for candidate in &candidates {
        let count = votes(candidate);
        if best.is_none_or(|(most, _)| count > most) {
            best = Some((count, candidate));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

fn vote<'a>(member: &'a Member, candidates: &[&str]) -> Option<&'a str> {
    member
        .protocols
        .iter()
        .map(|known| known.name.as_str())
        .find(|name| candidates.contains(name))
}
