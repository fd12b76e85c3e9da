//! Where decoded requests go: the seam between connections and the rooms behind the Kafka API.
//!
//! What it is        [`handle_request`] is called by the connection's reader, on the connection's
//!                   shard, once per request and in the order in which the requests arrived on that
//!                   connection. It returns at once.
//! What it is not    a place where anybody waits, or where a rule of the protocol is decided: those
//!                   live in the cores.
//!
//! A request has two phases, as in Kafka and Redpanda:
//!
//! 1. **Enqueue**, inside [`handle_request`], synchronous. Whatever must keep the order of arrival
//!    happens here: decode, check, append to a local partition's log, or send one message per
//!    target shard ([`crate::shard::Shard::send`], [`crate::shard::Shard::call`] evaluated before
//!    the first await). Messages of one shard to another keep their order too, so that two produce
//!    requests of one connection meet a remote partition in order.
//! 2. **Answer**, at any later time: [`Reply`] is an owned value that travels into a task
//!    (`monoio::spawn`), into a partition's list of waiters, or into a message's answer. It is used
//!    up by [`Reply::send`], [`Reply::send_frame`], [`Reply::send_nothing`] (acks=0) or
//!    [`Reply::close`].
//!
//! The connection writes answers in the order of the requests, whatever order they are given in.
//!
//! Invariants        1. a [`Reply`] that is dropped unused closes its connection: a hole in the
//!                      order of answers would give a client somebody else's answer.
//!                   2. [`handle_request`] never blocks and never awaits.
//!                   3. a [`Reply`] stays on the shard of its connection; for work elsewhere keep
//!                      it here and `call` the other shard.
//!
//! What a handler has at hand
//! * [`RequestContext::body`] for `kafka_lite::api::decode_body`, and [`RequestContext::bytes_of`],
//!   which turns a sub-slice of the decoded message (record data) into `Bytes` without a copy.
//! * [`RequestContext::connection`]: who asks, and whether the connection is still open, for long
//!   polls ([`crate::connection::Connection::closed`]).
//! * `shard.state()`, everything the handlers keep per shard (`ShardState`).
//! * memory: the frame is reserved already (until the answer is written). A handler that builds a
//!   large answer reserves from `shard.budgets().responses` first.

mod acls;
mod alter_configs;
mod api_versions;
mod cluster_view;
mod config_resource;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod deadline;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod elect_leaders;
mod fan_out;
mod fetch;
mod find_coordinator;
mod group;
mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod produce_deadlines;
mod sasl;
mod transactions;

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use kafka_lite::api::{self, ApiKey, ResponseMessage};
use kafka_lite::error::DecodeError;
use kafka_lite::primitive::EncodedFrame;
use tracing::{debug, error};

use crate::connection::Connection;
use crate::shard::Shard;
use crate::shard::memory_budget::Reservation;

pub(crate) use fetch::ReadAhead;
pub use produce_deadlines::{ProduceDeadlines, expire_produces};

/// One request as the connection read it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The API.
    pub key: ApiKey,
    /// The version of the body; supported.
    pub version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
    /// The connection it came from.
    pub connection: Rc<Connection>,
    frame: Bytes,
    client_id: Option<(usize, usize)>,
    body_start: usize,
}

/// The duty to answer one request.
#[derive(Debug)]
pub struct Reply {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    connection: Rc<Connection>,
    sequence: u64,
    used: bool,
}

/// Takes one request. Phase one happens before it returns; the answer may come later.
pub fn handle_request(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    match request.key {
        ApiKey::ApiVersions => api_versions::handle(shard, request, reply),
        ApiKey::Produce => produce::handle(shard, request, reply),
        ApiKey::Fetch => fetch::handle(shard, request, reply),
        ApiKey::JoinGroup => group::join_group(shard, request, reply),
        ApiKey::SyncGroup => group::sync_group(shard, request, reply),
        ApiKey::Heartbeat => group::heartbeat(shard, request, reply),
        ApiKey::LeaveGroup => group::leave_group(shard, request, reply),
        ApiKey::OffsetCommit => group::offset_commit(shard, request, reply),
        ApiKey::OffsetFetch => group::offset_fetch(shard, request, reply),
        ApiKey::OffsetDelete => group::offset_delete(shard, request, reply),
        ApiKey::DescribeGroups => group::describe_groups(shard, request, reply),
        ApiKey::ListGroups => group::list_groups(shard, request, reply),
        ApiKey::DeleteGroups => group::delete_groups(shard, request, reply),
        ApiKey::Metadata => metadata::handle(shard, request, reply),
        ApiKey::CreateTopics => create_topics::handle(shard, request, reply),
        ApiKey::DeleteTopics => delete_topics::handle(shard, request, reply),
        ApiKey::CreatePartitions => create_partitions::handle(shard, request, reply),
        ApiKey::DescribeConfigs => describe_configs::handle(shard, request, reply),
        ApiKey::AlterConfigs => alter_configs::handle(shard, request, reply),
        ApiKey::IncrementalAlterConfigs => {
            alter_configs::handle_incremental(shard, request, reply);
        }
        ApiKey::ListConfigResources => list_config_resources::handle(shard, request, reply),
        ApiKey::DescribeCluster => describe_cluster::handle(shard, request, reply),
        ApiKey::DescribeTopicPartitions => {
            describe_topic_partitions::handle(shard, request, reply);
        }
        ApiKey::DescribeLogDirs => describe_log_dirs::handle(shard, request, reply),
        ApiKey::DescribeProducers => describe_producers::handle(shard, request, reply),
        ApiKey::ElectLeaders => elect_leaders::handle(shard, request, reply),
        ApiKey::FindCoordinator => find_coordinator::handle(shard, request, reply),
        ApiKey::InitProducerId => init_producer_id::handle(shard, request, reply),
        ApiKey::ListOffsets => list_offsets::handle(shard, request, reply),
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::handle(shard, request, reply),
        ApiKey::DeleteRecords => delete_records::handle(shard, request, reply),
        ApiKey::ListPartitionReassignments => {
            list_partition_reassignments::handle(request, reply);
        }
        ApiKey::SaslHandshake => sasl::handshake(request, reply),
        ApiKey::SaslAuthenticate => sasl::authenticate(request, reply),
        ApiKey::DescribeAcls => acls::describe(request, reply),
        ApiKey::CreateAcls => acls::create(request, reply),
        ApiKey::DeleteAcls => acls::delete(request, reply),
        ApiKey::ConsumerGroupHeartbeat => consumer_group_heartbeat::handle(request, reply),
        ApiKey::ListTransactions => transactions::list(request, reply),
        ApiKey::DescribeTransactions => transactions::describe(request, reply),
    }
}

impl RequestContext {
    /// A request from its frame without the length prefix; `body` is a part of the frame.
    pub(crate) fn new(
        connection: Rc<Connection>,
        frame: Bytes,
        key: ApiKey,
        header: &kafka_lite::header::RequestHeader<'_>,
        body_length: usize,
    ) -> Self {
        // Header versions 1 and 2: key, version, correlation id and the two bytes of the length
        // before the client id.
        let client_id = header.client_id.map(|text| (10, 10 + text.len()));
        Self {
            key,
            version: header.version,
            correlation_id: header.correlation_id,
            connection,
            body_start: frame.len() - body_length,
            client_id,
            frame,
        }
    }

    /// The body, for `kafka_lite::api::decode_body`.
    pub fn body(&self) -> &[u8] {
        self.frame.get(self.body_start..).unwrap_or_default()
    }

    /// The name that the client gives itself.
    pub fn client_id(&self) -> Option<&str> {
        let (start, end) = self.client_id?;
        std::str::from_utf8(self.frame.get(start..end)?).ok()
    }

    /// The part of the frame that `part` points to, kept by reference count instead of by borrow.
    ///
    /// # Panics
    /// If `part` is not a sub-slice of [`RequestContext::body`].
    pub fn bytes_of(&self, part: &[u8]) -> Bytes {
        self.frame.slice_ref(part)
    }
}

/// The names with their places, without repetitions: clients expect one answer for each name, also
/// where it was refused because it stood twice.
fn each_name_once(names: &[String]) -> impl Iterator<Item = (usize, &String)> {
    let mut told = BTreeSet::new();
    let named = names.iter().enumerate();
    named.filter(move |(_, name)| told.insert(name.as_str()))
}

impl Reply {
    pub(crate) fn new(request: &RequestContext, sequence: u64) -> Self {
        Self {
            key: request.key,
            version: request.version,
            correlation_id: request.correlation_id,
            connection: Rc::clone(&request.connection),
            sequence,
            used: false,
        }
    }

    /// Answers with a message of the request's API and version.
    pub fn send<'a, M: ResponseMessage<'a>>(self, response: &M) {
        debug_assert_eq!(M::API.key, self.key, "the answer is of the request's API");
        match api::encode_response(self.correlation_id, self.version, response) {
            Ok(frame) => self.send_frame(frame),
            Err(reason) => {
                error!(api = self.key.name(), version = self.version, %reason, "an answer has no form");
                self.close("the answer cannot be encoded");
            }
        }
    }

    /// Answers with a frame that is encoded already, length prefix and header included.
    pub fn send_frame(mut self, frame: EncodedFrame) {
        self.used = true;
        self.connection.answer(self.sequence, Some(frame));
    }

    /// Keeps the memory of the answer reserved until it is written.
    pub fn hold(&self, memory: Reservation) {
        self.connection.hold(self.sequence, memory);
    }

    /// Ends the request without an answer, as Kafka does for produce with acks=0.
    pub fn send_nothing(mut self) {
        self.used = true;
        self.connection.answer(self.sequence, None);
    }

    /// Closes the connection instead of answering.
    pub fn close(mut self, reason: &'static str) {
        self.used = true;
        self.connection.close(reason);
    }

    /// Closes the connection since the body is not what its version asks for.
    pub fn close_undecodable(self, decode_error: &DecodeError) {
        debug!(
            api = self.key.name(),
            version = self.version,
            peer = %self.connection.peer(),
            error = %decode_error,
            "a request cannot be decoded"
        );
        self.close("a request cannot be decoded");
    }

    /// The version of the request, for answers that depend on it.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The correlation id, for frames that the handler encodes itself.
    pub fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// The connection that waits for the answer.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.used {
            error!(
                api = self.key.name(),
                "a request was dropped without an answer"
            );
            self.connection
                .close("a request was dropped without an answer");
        }
    }
}
