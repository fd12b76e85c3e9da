//! What can go wrong between the command line and a broker, in words for its user.
//!
//! What it is        one enum; each text names the place (address, topic, partition, group).
//! Source            the texts of Kafka's codes follow Apache Kafka 4.x, `Errors`.

use std::io;

use kafka_lite::api::ApiKey;
use kafka_lite::error::{DecodeError, EncodeError};
use kafka_lite::error_code::ErrorCode;
use thiserror::Error;

use super::address::Address;

/// Why an operation did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection could be opened.
    #[error("cannot reach {address}: {reason}{hint}")]
    Unreachable {
        /// Where we tried.
        address: Address,
        /// What the system says.
        reason: String,
        /// What to do about it; starts with `; `.
        hint: &'static str,
    },
    /// The connection broke after the request was written: its outcome is unknown.
    #[error("{api} to {address}: {reason}")]
    Lost {
        /// The broker.
        address: Address,
        /// Name of the request.
        api: &'static str,
        /// What the system says.
        reason: String,
    },
    /// The broker does not speak a version that we do.
    #[error("{address} does not support {api} in a version that sluice speaks")]
    Version {
        /// The broker.
        address: Address,
        /// Name of the request.
        api: &'static str,
    },
    /// The broker sent something that is not the answer.
    #[error("{api} from {address}: the answer is not understood: {error}")]
    Decode {
        /// The broker.
        address: Address,
        /// Name of the request.
        api: &'static str,
        /// Where it differs.
        error: DecodeError,
    },
    /// A value has no form on the wire.
    #[error("{api}: {error}")]
    Encode {
        /// Name of the request.
        api: &'static str,
        /// Why.
        error: EncodeError,
    },
    /// The broker refused.
    #[error("{subject}: {code}: {message}", code = code.name())]
    Refused {
        /// What was worked on, for example `topic orders, partition 3`.
        subject: String,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's words, or ours for the code.
        message: String,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl ClientError {
    /// The refusal of a code; the broker's own words are preferred.
    #[must_use]
    pub fn refused(subject: impl Into<String>, code: ErrorCode, message: Option<&str>) -> Self {
        let message = message.filter(|text| !text.is_empty());
        Self::Refused {
            subject: subject.into(),
            code,
            message: message.map_or_else(|| meaning(code).to_owned(), one_line),
        }
    }

    pub(super) fn lost(address: &Address, api: ApiKey, error: &io::Error) -> Self {
        Self::Lost {
            address: address.clone(),
            api: api.name(),
            reason: system_words(error),
        }
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Version { .. }
            | Self::Decode { .. }
            | Self::Encode { .. }
            | Self::Other(_) => None,
        }
    }

    /// Whether the connection failed, so that another broker or a later moment may do.
    #[must_use]
    pub const fn is_connection(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. })
    }

    /// Whether leaders or coordinators have to be looked up again.
    #[must_use]
    pub fn is_stale_metadata(&self) -> bool {
        self.code().is_some_and(is_stale_metadata)
    }
}

/// Returns an error for any code but `NONE`.
///
/// # Errors
/// [`ClientError::Refused`].
pub fn check(
    code: ErrorCode,
    message: Option<&str>,
    subject: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    if code.is_none() {
        return Ok(());
    }
    Err(ClientError::refused(subject(), code, message))
}

/// Whether the code says that someone else leads or coordinates by now, or nobody yet.
#[must_use]
pub fn is_stale_metadata(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::BrokerNotAvailable
            | ErrorCode::NotController
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
    )
}

/// What the system says, in few words: the kinds that everybody meets, else its own text.
#[must_use]
pub fn system_words(error: &io::Error) -> String {
    let kind = error.kind();
    let words = SYSTEM_WORDS.iter().find(|(known, _)| *known == kind);
    words.map_or_else(
        || one_line(&error.to_string()),
        |(_, words)| (*words).to_owned(),
    )
}

/// Kinds of failures that everybody meets.
const SYSTEM_WORDS: [(io::ErrorKind, &str); 8] = [
    (io::ErrorKind::ConnectionRefused, "connection refused"),
    (io::ErrorKind::ConnectionReset, "the connection was reset"),
    (io::ErrorKind::BrokenPipe, "the connection was reset"),
    (
        io::ErrorKind::UnexpectedEof,
        "the broker closed the connection",
    ),
    (io::ErrorKind::TimedOut, "no answer in time"),
    (io::ErrorKind::WouldBlock, "no answer in time"),
    (io::ErrorKind::HostUnreachable, "no route to host"),
    (io::ErrorKind::NetworkUnreachable, "no route to host"),
];

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The meaning of a code for which the broker sent no words.
fn meaning(code: ErrorCode) -> &'static str {
    let found = MEANINGS.iter().find(|(known, _)| *known == code);
    found.map_or("the broker gave no further reason", |(_, text)| text)
}

/// Codes that users meet; others stand for themselves.
const MEANINGS: [(ErrorCode, &str); 32] = [
    (
        ErrorCode::OffsetOutOfRange,
        "the offset is not in the range that the broker keeps",
    ),
    (
        ErrorCode::CorruptMessage,
        "a record failed its checks or has no valid key",
    ),
    (
        ErrorCode::UnknownTopicOrPartition,
        "the broker has no such topic or partition",
    ),
    (
        ErrorCode::LeaderNotAvailable,
        "the partition has no leader at the moment",
    ),
    (
        ErrorCode::NotLeaderOrFollower,
        "the broker does not lead the partition any more",
    ),
    (
        ErrorCode::RequestTimedOut,
        "the broker did not finish in time",
    ),
    (
        ErrorCode::MessageTooLarge,
        "the batch is larger than max.message.bytes of the topic",
    ),
    (
        ErrorCode::CoordinatorLoadInProgress,
        "the coordinator is still loading",
    ),
    (
        ErrorCode::CoordinatorNotAvailable,
        "the group has no coordinator at the moment",
    ),
    (
        ErrorCode::NotCoordinator,
        "the broker does not coordinate the group any more",
    ),
    (
        ErrorCode::InvalidTopicException,
        "the name of the topic is not valid",
    ),
    (
        ErrorCode::NotEnoughReplicas,
        "fewer replicas are in sync than min.insync.replicas",
    ),
    (
        ErrorCode::UnknownMemberId,
        "the group has active members, or does not know this one",
    ),
    (ErrorCode::RebalanceInProgress, "the group is rebalancing"),
    (
        ErrorCode::TopicAuthorizationFailed,
        "not authorized for the topic",
    ),
    (
        ErrorCode::GroupAuthorizationFailed,
        "not authorized for the group",
    ),
    (
        ErrorCode::ClusterAuthorizationFailed,
        "not authorized for the cluster",
    ),
    (ErrorCode::TopicAlreadyExists, "a topic of this name exists"),
    (
        ErrorCode::InvalidPartitions,
        "the number of partitions is not valid",
    ),
    (
        ErrorCode::InvalidReplicationFactor,
        "not as many brokers as replicas",
    ),
    (ErrorCode::InvalidConfig, "the configuration is not valid"),
    (ErrorCode::NotController, "the broker is not the controller"),
    (
        ErrorCode::PolicyViolation,
        "forbidden by a policy of the broker",
    ),
    (
        ErrorCode::KafkaStorageError,
        "the disk of the broker failed; see its log",
    ),
    (
        ErrorCode::UnsupportedCompressionType,
        "the codec is not supported",
    ),
    (ErrorCode::NonEmptyGroup, "the group has members"),
    (ErrorCode::GroupIdNotFound, "there is no such group"),
    (
        ErrorCode::InvalidGroupId,
        "the name of the group is not valid",
    ),
    (
        ErrorCode::InvalidRecord,
        "the broker did not accept a record",
    ),
    (
        ErrorCode::GroupSubscribedToTopic,
        "a member of the group consumes the topic",
    ),
    (ErrorCode::ThrottlingQuotaExceeded, "a quota is used up"),
    (
        ErrorCode::UnknownServerError,
        "the broker failed unexpectedly; see its log",
    ),
];

#[cfg(test)]
mod tests {
    use super::{ClientError, ErrorCode};

    #[test]
    fn a_refusal_names_subject_code_and_message_in_one_line() {
        let text = |message| {
            ClientError::refused("topic t, partition 3", ErrorCode::InvalidRecord, message)
                .to_string()
        };
        assert_eq!(
            text(Some("no key\n  here")),
            "topic t, partition 3: INVALID_RECORD: no key here"
        );
        for message in [None, Some("")] {
            assert_eq!(
                text(message),
                "topic t, partition 3: INVALID_RECORD: the broker did not accept a record"
            );
        }
    }
}
