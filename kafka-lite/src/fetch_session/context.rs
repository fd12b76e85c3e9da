//! Words of fetch sessions: requests, partitions, answers, faults.
//!
//! What it is        plain values between the owner and the session cache.
//! What it is not    the wire structs of the Fetch API.
//! Source            KIP-227; Fetch versions 7 to 17.

use std::sync::Arc;

use thiserror::Error;

use crate::error_code::ErrorCode;

/// A topic as the request names it: by name up to Fetch 12, by id from 13.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    /// Name.
    Name(Arc<str>),
    /// Topic id.
    Id([u8; 16]),
}

/// One partition to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Topic.
    pub topic: TopicKey,
    /// Partition number.
    pub partition: i32,
    /// Leader epoch that the client knows; `None` does not check.
    pub current_leader_epoch: Option<i32>,
    /// First offset wanted, inclusive.
    pub fetch_offset: i64,
    /// Epoch of the last record the client has, to detect divergence (Fetch 12).
    pub last_fetched_epoch: Option<i32>,
    /// Bytes wanted from this partition; soft: the first batch comes whole.
    pub max_bytes: i32,
}

/// One partition to take out of the session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForgottenPartition {
    /// Topic.
    pub topic: TopicKey,
    /// Partition number.
    pub partition: i32,
}

/// The session part of a Fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Session id; 0 for none.
    pub session_id: i32,
    /// Session epoch; 0 starts a session, -1 wants none (and closes the one named).
    pub session_epoch: i32,
    /// Whether topics are named by id (Fetch 13 and later).
    pub uses_topic_ids: bool,
    /// Partitions of the request, in its order.
    pub partitions: Vec<FetchPartition>,
    /// Partitions to take out of the session.
    pub forgotten: Vec<ForgottenPartition>,
}

impl SessionRequest {
    /// Session epoch that starts a session.
    pub const INITIAL_EPOCH: i32 = 0;
    /// Session epoch that wants no session.
    pub const FINAL_EPOCH: i32 = -1;
}

/// What a Fetch reads and how its response is chosen; made by `handle_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchContext {
    /// Partitions to read, in order; the response keeps this order.
    pub partitions: Vec<FetchPartition>,
    pub(super) kind: ContextKind,
}

/// Which rules the response follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContextKind {
    /// Everything that was asked for, session id 0.
    Sessionless,
    /// Everything that was asked for; a session starts if there is room.
    Full { uses_topic_ids: bool },
    /// What has changed; `epoch` is the session's after this request.
    Incremental { session_id: i32, epoch: i32 },
}

/// What reading one partition gave, in the order of [`FetchContext::partitions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionAnswer {
    /// Kafka error code.
    pub error_code: ErrorCode,
    /// Bytes of records in the answer.
    pub records_bytes: usize,
    /// High watermark, exclusive end; -1 with an error.
    pub high_watermark: i64,
    /// Last stable offset, exclusive end; -1 with an error.
    pub last_stable_offset: i64,
    /// Log start offset, inclusive; -1 with an error.
    pub log_start_offset: i64,
    /// Whether the answer names a preferred read replica or a diverging epoch.
    pub has_redirection: bool,
}

/// How to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionResponse {
    /// Session id of the response; 0 for none.
    pub session_id: i32,
    /// For each partition of the context, whether the response carries it.
    pub is_included: Vec<bool>,
}

/// Why a session cannot be used: the top-level error of a response without partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FetchSessionFault {
    /// Never known, evicted, or closed: the client starts anew with a full fetch.
    #[error("fetch session {session_id} is not known")]
    SessionIdNotFound {
        /// Id of the request.
        session_id: i32,
    },
    /// A request was lost, doubled or reordered.
    #[error("fetch session {session_id} is at epoch {expected}, the request has {got}")]
    InvalidSessionEpoch {
        /// Id of the request.
        session_id: i32,
        /// Epoch that was due.
        expected: i32,
        /// Epoch of the request.
        got: i32,
    },
    /// The session names topics one way, the request the other.
    #[error("fetch session {session_id} names topics another way than the request")]
    TopicIdError {
        /// Id of the request.
        session_id: i32,
    },
}

impl FetchSessionFault {
    /// Returns the Kafka error code of the answer.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::SessionIdNotFound { .. } => ErrorCode::FetchSessionIdNotFound,
            Self::InvalidSessionEpoch { .. } => ErrorCode::InvalidFetchSessionEpoch,
            Self::TopicIdError { .. } => ErrorCode::FetchSessionTopicIdError,
        }
    }
}
