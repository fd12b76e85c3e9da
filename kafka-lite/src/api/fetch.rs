//! Fetch: reads record batches of partitions, with incremental sessions.
//!
//! Versions          4 isolation level; 5 log start offset; 7 sessions (KIP-227); 9 leader epoch;
//!                   10 zstd; 11 rack and preferred read replica; 12 flexible, diverging epochs;
//!                   13 topic ids instead of names; 15 replica state; 16 node endpoints.
//! Rules             record data in a response goes to the socket by reference.
//! Source            Apache Kafka 4.1, `FetchRequest`, `FetchResponse`.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::{RecordData, Text, Uuid};

api! {
    Fetch, accepted 4..=17, advertised from 4, flexible from 12,
    FetchRequest<'a>, FetchResponse<'a>
}

structs! {
    /// A Fetch request.
    struct FetchRequest<'a> {
        cluster_id: Option<Text<'a>>, 12.., null 12.., tag 0;
        /// -1 is a consumer, -2 a debugging consumer.
        replica_id: i32, 4..=14, default -1;
        replica_state: ReplicaState, 15.., tag 1;
        /// Milliseconds to wait for `min_bytes`.
        max_wait_ms: i32, 4..;
        /// Bytes of records to wait for.
        min_bytes: i32, 4..;
        /// Bytes of records in the whole response; the first batch may exceed it (KIP-74).
        max_bytes: i32, 4.., default i32::MAX;
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: i8, 4..;
        /// 0 is no session.
        session_id: i32, 7..;
        /// -1 closes or goes without a session, 0 opens one, above 0 continues it.
        session_epoch: i32, 7.., default -1;
        topics: Vec<FetchTopic<'a>>, 4..;
        /// What leaves the session.
        forgotten_topics_data: Vec<ForgottenTopic<'a>>, 7..;
        /// Rack of the consumer; empty is none.
        rack_id: Text<'a>, 11..;
    }

    /// Identity of a replica that fetches; absent for consumers.
    struct ReplicaState {
        /// -1 is a consumer, -2 a debugging consumer.
        replica_id: i32, 15.., default -1;
        replica_epoch: i64, 15.., default -1;
    }

    /// Partitions of one topic to read.
    struct FetchTopic<'a> {
        topic: Text<'a>, 4..=12;
        /// All zero is none.
        topic_id: Uuid, 13..;
        partitions: Vec<FetchPartition>, 4..;
    }

    /// Partitions that leave the session.
    struct ForgottenTopic<'a> {
        topic: Text<'a>, 7..=12;
        /// All zero is none.
        topic_id: Uuid, 13..;
        partitions: Vec<i32>, 7..;
    }

    /// A partition to read.
    struct FetchPartition {
        partition: i32, 4..;
        /// The epoch that the client believes; `None` asks for no check.
        current_leader_epoch: Option<i32>, 9..;
        /// First offset wanted.
        fetch_offset: i64, 4..;
        /// Epoch of the last record fetched; `None` is none.
        last_fetched_epoch: Option<i32>, 12..;
        /// First offset still served, inclusive; `None` is unknown.
        log_start_offset: Option<i64>, 5..;
        /// Bytes of records of this partition; the first batch may exceed it (KIP-74).
        partition_max_bytes: i32, 4..;
        replica_directory_id: Uuid, 17.., tag 0;
    }

    /// A Fetch response.
    struct FetchResponse<'a> {
        /// Milliseconds for which the broker will not read from this client; 0 is none.
        throttle_time_ms: i32, 4..;
        error_code: ErrorCode, 7..;
        /// 0 is no session.
        session_id: i32, 7..;
        responses: Vec<FetchableTopicResponse<'a>>, 4..;
        /// Where the leaders of the hints listen.
        node_endpoints: Vec<NodeEndpoint<'a>>, 16.., tag 0;
    }

    /// Partitions of one topic.
    struct FetchableTopicResponse<'a> {
        topic: Text<'a>, 4..=12;
        /// All zero is none.
        topic_id: Uuid, 13..;
        partitions: Vec<PartitionData<'a>>, 4..;
    }

    /// Where a node listens.
    struct NodeEndpoint<'a> {
        node_id: i32, 16..;
        host: Text<'a>, 16..;
        port: i32, 16..;
        /// `None` is none.
        rack: Option<Text<'a>>, 16.., null 16..;
    }

    /// What was read from one partition.
    struct PartitionData<'a> {
        partition_index: i32, 4..;
        error_code: ErrorCode, 4..;
        /// Exclusive end of what is committed.
        high_watermark: i64, 4..;
        /// Exclusive end of what a read_committed reader sees; never above the high watermark.
        last_stable_offset: i64, 4.., default -1;
        /// First offset still served, inclusive; `None` is unknown.
        log_start_offset: i64, 5.., default -1;
        /// Where the log of the reader and this one part.
        diverging_epoch: EpochEndOffset, 12.., tag 0;
        /// Hint after NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH.
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        snapshot_id: SnapshotId, 12.., tag 2;
        /// Sorted by first offset; `None` for read_uncommitted.
        aborted_transactions: Option<Vec<AbortedTransaction>>, 4.., null 4..;
        /// Node to read from instead; `None` is this one.
        preferred_read_replica: Option<i32>, 11..;
        /// Record batches, opaque. `None` is null.
        records: Option<RecordData<'a>>, 4.., null 4..;
    }

    /// End of a leader epoch.
    struct EpochEndOffset {
        epoch: Option<i32>, 12..;
        /// Exclusive end of the epoch; `None` is unknown.
        end_offset: Option<i64>, 12..;
    }

    /// The present leader of a partition.
    struct LeaderIdAndEpoch {
        /// Node id; `None` is no leader.
        leader_id: Option<i32>, 12..;
        /// `None` is unknown.
        leader_epoch: Option<i32>, 12..;
    }

    /// A KRaft snapshot to fetch instead; never sent by us.
    struct SnapshotId {
        end_offset: Option<i64>, 4..;
        epoch: Option<i32>, 4..;
    }

    /// A transaction that a read_committed reader must skip.
    struct AbortedTransaction {
        producer_id: i64, 4..;
        first_offset: i64, 4..;
    }
}
