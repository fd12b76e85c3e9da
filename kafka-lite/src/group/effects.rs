//! What the inputs of the coordinator leave behind: outputs, appends in flight, waiting tokens.
//!
//! Invariants        1. a token waits in at most one place; answering removes it.
//!                   2. every append in flight has exactly one entry in `pending`, and
//!                      `in_flight_bytes` is the sum of theirs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::options::{Now, Options};
use super::records::CommittedOffset;
use super::request::{AppendId, OffsetsReply, Output, Record, Reply, ReplyToken};

/// Where a held join or sync stands.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) group_id: Arc<str>,
    pub(super) member_id: String,
}

/// An append in flight and what its completion means.
#[derive(Clone, Debug)]
pub(super) struct PendingAppend {
    pub(super) group_id: Arc<str>,
    pub(super) partition: i32,
    pub(super) change: Change,
    /// Bytes of its records, which the change holds once more until they are durable.
    pub(super) bytes: usize,
}

/// What becomes true when the append is durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// The leader's assignment of a generation.
    Assignment {
        assignments: BTreeMap<String, Bytes>,
    },
    /// A static member has a new member id.
    StaticMember(Box<StaticReplacement>),
    /// The group became empty; nothing waits for it.
    Empty,
    /// Offsets are committed; the reply is the success.
    Commit {
        token: ReplyToken,
        reply: OffsetsReply,
        offsets: Vec<(String, i32, CommittedOffset)>,
    },
    /// Offsets are forgotten.
    Forget {
        offsets: Vec<(String, i32)>,
        then: Forgotten,
    },
}

/// What hangs on forgotten offsets.
#[derive(Clone, Debug)]
pub(super) enum Forgotten {
    /// Nothing: a topic is gone or the offsets have expired.
    Nothing,
    /// The reply to an OffsetDelete request.
    Reply {
        token: ReplyToken,
        reply: OffsetsReply,
    },
    /// The whole group goes; the group counts the appends that are left.
    Group,
}

/// A static member that came back, and what to restore should the append fail.
#[derive(Clone, Debug)]
pub(super) struct StaticReplacement {
    pub(super) token: ReplyToken,
    pub(super) api_version: i16,
    pub(super) old_leader: Option<String>,
    pub(super) new_member_id: String,
    pub(super) old: super::member::Member,
}

/// Outputs and appends of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) outputs: VecDeque<Output>,
    pub(super) pending: BTreeMap<AppendId, PendingAppend>,
    pub(super) waiting: BTreeMap<ReplyToken, Waiting>,
    /// Bytes of all appends in flight.
    pub(super) in_flight_bytes: usize,
    next_append_id: u64,
}

impl Effects {
    /// Answers a request; its token waits no longer.
    pub(super) fn reply(&mut self, token: ReplyToken, reply: Reply) {
        self.waiting.remove(&token);
        self.outputs.push_back(Output::Reply { token, reply });
    }

    /// Holds a token for a member until a join or sync completes.
    pub(super) fn hold(&mut self, token: ReplyToken, group_id: &Arc<str>, member_id: &str) {
        let waiting = Waiting {
            group_id: Arc::clone(group_id),
            member_id: member_id.to_owned(),
        };
        self.waiting.insert(token, waiting);
    }

    /// Sends records to the log.
    pub(super) fn append(&mut self, mut pending: PendingAppend, records: Vec<Record>) -> AppendId {
        let bytes = |one: &Record| 128 + one.key.len() + one.value.as_ref().map_or(0, Bytes::len);
        pending.bytes = records.iter().map(bytes).sum();
        self.in_flight_bytes += pending.bytes;
        let id = AppendId(self.next_append_id);
        self.next_append_id += 1;
        let partition = pending.partition;
        self.pending.insert(id, pending);
        self.outputs.push_back(Output::Append {
            id,
            partition,
            records,
        });
        id
    }

    /// Takes an append that has ended, or that nobody waits for any more.
    pub(super) fn take(&mut self, id: AppendId) -> Option<PendingAppend> {
        let pending = self.pending.remove(&id)?;
        self.in_flight_bytes -= pending.bytes;
        Some(pending)
    }
}

/// What every rule may use besides the group itself.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) options: &'a Options,
    pub(super) effects: &'a mut Effects,
}
