//! The answers of the coordinator that are not success.
//!
//! What it is        one enum for every Kafka error code that a group request can be answered with.
//! What it is not    an error of ours: each of these is a normal reply to a client.
//! Source            Kafka protocol error codes, `Errors.java` of Apache Kafka 4.x.

use thiserror::Error;

use crate::error_code::ErrorCode;

/// An error code in a group reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum GroupError {
    /// The record could not be written for a reason that retrying does not cure.
    #[error("the coordinator could not write the change")]
    UnknownServerError,
    /// The metadata string of a committed offset is longer than allowed.
    #[error("the metadata of the committed offset is too large")]
    OffsetMetadataTooLarge,
    /// The partition of `__consumer_offsets` is still being read. Retriable.
    #[error("the coordinator is loading the group")]
    CoordinatorLoadInProgress,
    /// The group is being removed, or the write was not acknowledged in time. Retriable.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// The group's partition of `__consumer_offsets` is not served here. Retriable after a lookup.
    #[error("this node does not coordinate the group")]
    NotCoordinator,
    /// The generation of the request is not the generation of the group.
    #[error("the generation is not the current one")]
    IllegalGeneration,
    /// The protocol type differs, or no protocol is supported by every member.
    #[error("the protocols of the member do not fit the group")]
    InconsistentGroupProtocol,
    /// The group id is empty or too long.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// The group does not know the member id.
    #[error("the member id is unknown")]
    UnknownMemberId,
    /// The session timeout is outside the configured bounds.
    #[error("the session timeout is out of bounds")]
    InvalidSessionTimeout,
    /// The member must rejoin: a rebalance runs.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// The commit does not fit the limits of this coordinator.
    #[error("the committed offsets do not fit")]
    InvalidCommitOffsetSize,
    /// The operation needs an empty group.
    #[error("the group has members")]
    NonEmptyGroup,
    /// There is no such group.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// The member must join again with the member id that the reply carries (KIP-394).
    #[error("the member must join with the id it is given")]
    MemberIdRequired,
    /// The group, or this coordinator, takes no further member.
    #[error("the group takes no further member")]
    GroupMaxSizeReached,
    /// Another member with the same instance id has taken over (KIP-345).
    #[error("another member uses the instance id")]
    FencedInstanceId,
    /// A subscribed topic keeps its offsets.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
}

impl GroupError {
    /// Returns the code of the protocol.
    #[must_use]
    pub const fn error_code(self) -> ErrorCode {
        match self {
            Self::UnknownServerError => ErrorCode::UnknownServerError,
            Self::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            Self::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            Self::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::IllegalGeneration => ErrorCode::IllegalGeneration,
            Self::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::UnknownMemberId => ErrorCode::UnknownMemberId,
            Self::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
            Self::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            Self::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            Self::MemberIdRequired => ErrorCode::MemberIdRequired,
            Self::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            Self::FencedInstanceId => ErrorCode::FencedInstanceId,
            Self::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        }
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self.error_code().code()
    }
}

impl From<GroupError> for ErrorCode {
    fn from(error: GroupError) -> Self {
        error.error_code()
    }
}

/// Why an append to `__consumer_offsets` did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The record batch is larger than the topic takes.
    #[error("the records are larger than the topic takes")]
    TooLarge,
    /// This node no longer leads the partition, or its log has failed.
    #[error("the partition is no longer led here")]
    NotLeader,
    /// The append was not committed in time, or the disk is full; a retry may succeed.
    #[error("the append was not committed")]
    Unavailable,
}

impl AppendError {
    /// Returns the code for members and administrators (Kafka's rule for group metadata).
    #[must_use]
    pub const fn for_group(self) -> GroupError {
        match self {
            Self::TooLarge => GroupError::UnknownServerError,
            Self::NotLeader => GroupError::NotCoordinator,
            Self::Unavailable => GroupError::CoordinatorNotAvailable,
        }
    }

    /// Returns the code for offset commits.
    #[must_use]
    pub const fn for_commit(self) -> GroupError {
        match self {
            Self::TooLarge => GroupError::InvalidCommitOffsetSize,
            Self::NotLeader => GroupError::NotCoordinator,
            Self::Unavailable => GroupError::CoordinatorNotAvailable,
        }
    }
}
