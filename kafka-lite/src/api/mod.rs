//! The APIs: one file each, as tables of fields and versions.
//!
//! What it is        the list of APIs, the advertised ranges, and the way from a body to a
//!                   message ([`Request::decode`]) and from a message to a frame
//!                   ([`encode_response`], [`encode_request`]).
//! What it is not    rules of the APIs; a decoded message is only well formed.
//! Invariants        1. a response is decoded exactly: bytes left over are an error. A request may
//!                   have bytes behind it, which are ignored as Kafka ignores them: librdkafka
//!                   sends Metadata 13 for no topics with an array count of the older form.
//! Source            Apache Kafka 4.1 message schemas; the ranges are those of Kafka 4.x, less
//!                   what is not implemented. KAFKA-18659: Produce is advertised from 0.

pub(crate) mod table;

#[cfg(test)]
mod tests;

use crate::error::{DecodeError, EncodeError};
use crate::header::RequestHeader;
use crate::primitive::{Decoder, EncodedFrame, Encoder, Wire};

/// Version of a message that has no flexible version.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// The ranges of versions of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiTable {
    /// The key.
    pub key: ApiKey,
    /// First version that is answered, inclusive.
    pub first_accepted: i16,
    /// First version that is advertised, inclusive; below `first_accepted` only for Produce.
    pub first_advertised: i16,
    /// Last version that is answered and advertised, inclusive.
    pub last: i16,
    /// First version with compact lengths and tagged fields, inclusive.
    pub first_flexible: i16,
}

impl ApiTable {
    /// Returns whether requests of this version are answered.
    #[must_use]
    pub const fn is_accepted(&self, version: i16) -> bool {
        self.first_accepted <= version && version <= self.last
    }

    /// Returns whether the body of this version is flexible.
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.first_flexible
    }

    /// Returns the version of the request header: 1, or 2 with tagged fields.
    #[must_use]
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Returns the version of the response header: 0, or 1 with tagged fields.
    ///
    /// ApiVersions always has 0: its reader does not know yet what the broker speaks (KIP-511).
    #[must_use]
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self.key, ApiKey::ApiVersions) {
            1
        } else {
            0
        }
    }
}

/// A message of a known API.
pub trait Message<'a>: Wire<'a> {
    /// The ranges of versions of the API.
    const API: &'static ApiTable;

    /// Whether it goes from client to broker.
    const IS_REQUEST: bool;
}

/// A message from client to broker.
pub trait RequestMessage<'a>: Message<'a> {}

/// A message from broker to client.
pub trait ResponseMessage<'a>: Message<'a> {}

/// Decodes the body of one message; see the invariants for bytes behind it.
///
/// # Errors
/// If the version is not accepted, the body is not well formed, or bytes are left over behind a
/// response.
pub fn decode_body<'a, M: Message<'a>>(version: i16, body: &'a [u8]) -> Result<M, DecodeError> {
    if !M::API.is_accepted(version) {
        return Err(DecodeError::new(
            "a supported version",
            i64::from(version),
            0,
        ));
    }
    let mut decoder = Decoder::new(body, version, M::API.is_flexible(version));
    let message = M::decode(&mut decoder)?;
    if !M::IS_REQUEST {
        decoder.finish()?;
    }
    Ok(message)
}

/// Encodes a request with its header as one frame.
///
/// # Errors
/// If the version is not accepted, or a field has no form in it.
pub fn encode_request<'a, M: RequestMessage<'a>>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &M,
) -> Result<EncodedFrame, EncodeError> {
    let mut encoder = Encoder::new();
    RequestHeader {
        key: M::API.key.code(),
        version,
        correlation_id,
        client_id,
    }
    .encode(&mut encoder)?;
    encode_body(encoder, version, request)
}

/// Encodes a response with its header as one frame.
///
/// # Errors
/// If the version is not accepted, or a field has no form in it.
pub fn encode_response<'a, M: ResponseMessage<'a>>(
    correlation_id: i32,
    version: i16,
    response: &M,
) -> Result<EncodedFrame, EncodeError> {
    let mut encoder = Encoder::new();
    crate::header::encode_response_header(&mut encoder, M::API, version, correlation_id);
    encode_body(encoder, version, response)
}

fn encode_body<'a, M: Message<'a>>(
    mut encoder: Encoder,
    version: i16,
    message: &M,
) -> Result<EncodedFrame, EncodeError> {
    if !M::API.is_accepted(version) {
        return Err(EncodeError::new("the version is not supported"));
    }
    encoder.set_version(version, M::API.is_flexible(version));
    message.encode(&mut encoder)?;
    encoder.finish()
}

macro_rules! apis {
    ($($code:literal $key:ident $module:ident $request:ty, $response:ty;)*) => {
        $(pub mod $module;)*

        /// The supported APIs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!(stringify!($key), " (", $code, ").")]
                $key = $code,
            )*
        }

        impl ApiKey {
            /// Every supported API, in ascending order of key.
            pub const ALL: &'static [Self] = &[$(Self::$key,)*];

            /// Returns the supported API of a number from the wire.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$key),)*
                    _ => None,
                }
            }

            /// Returns the number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$key => $code,)*
                }
            }

            /// Returns Kafka's name, for example `ListOffsets`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$key => stringify!($key),)*
                }
            }

            /// Returns the ranges of versions.
            #[must_use]
            pub const fn table(self) -> &'static ApiTable {
                match self {
                    $(Self::$key => &$module::API,)*
                }
            }
        }

        /// A request of any supported API.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request<'a> {
            $(
                #[doc = concat!("A ", stringify!($key), " request.")]
                $key($request),
            )*
        }

        impl<'a> Request<'a> {
            /// Decodes the body of a request, exactly; the header was read before.
            ///
            /// # Errors
            /// If the version is not accepted, the body is not well formed, or bytes are left
            /// over.
            pub fn decode(key: ApiKey, version: i16, body: &'a [u8]) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$key => decode_body(version, body).map(Self::$key),)*
                }
            }

            /// Encodes the request with its header as one frame.
            ///
            /// # Errors
            /// If the version is not accepted, or a field has no form in it.
            pub fn encode(
                &self,
                correlation_id: i32,
                client_id: Option<&str>,
                version: i16,
            ) -> Result<EncodedFrame, EncodeError> {
                match self {
                    $(Self::$key(body) => {
                        encode_request(correlation_id, client_id, version, body)
                    })*
                }
            }

            /// Returns the API of the request.
            #[must_use]
            pub const fn key(&self) -> ApiKey {
                match self {
                    $(Self::$key(_) => ApiKey::$key,)*
                }
            }
        }

        /// A response of any supported API.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Response<'a> {
            $(
                #[doc = concat!("A ", stringify!($key), " response.")]
                $key($response),
            )*
        }

        impl<'a> Response<'a> {
            /// Decodes the body of a response, exactly; the header was read before.
            ///
            /// # Errors
            /// If the version is not accepted, the body is not well formed, or bytes are left
            /// over.
            pub fn decode(key: ApiKey, version: i16, body: &'a [u8]) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$key => decode_body(version, body).map(Self::$key),)*
                }
            }

            /// Encodes the response with its header as one frame.
            ///
            /// # Errors
            /// If the version is not accepted, or a field has no form in it.
            pub fn encode(
                &self,
                correlation_id: i32,
                version: i16,
            ) -> Result<EncodedFrame, EncodeError> {
                match self {
                    $(Self::$key(body) => encode_response(correlation_id, version, body),)*
                }
            }

            /// Returns the API of the response.
            #[must_use]
            pub const fn key(&self) -> ApiKey {
                match self {
                    $(Self::$key(_) => ApiKey::$key,)*
                }
            }
        }

        #[cfg(test)]
        impl<'a> Request<'a> {
            pub(crate) fn sample(
                key: ApiKey,
                generator: &mut crate::primitive::sample::Generator,
            ) -> Self {
                use crate::primitive::sample::Sample as _;
                match key {
                    $(ApiKey::$key => Self::$key(<$request>::sample(generator)),)*
                }
            }

            pub(crate) fn encode_body(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                match self {
                    $(Self::$key(body) => body.encode(encoder),)*
                }
            }

            pub(crate) fn decode_with(
                key: ApiKey,
                decoder: &mut Decoder<'a>,
            ) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$key => Wire::decode(decoder).map(Self::$key),)*
                }
            }
        }

        #[cfg(test)]
        impl<'a> Response<'a> {
            pub(crate) fn sample(
                key: ApiKey,
                generator: &mut crate::primitive::sample::Generator,
            ) -> Self {
                use crate::primitive::sample::Sample as _;
                match key {
                    $(ApiKey::$key => Self::$key(<$response>::sample(generator)),)*
                }
            }

            pub(crate) fn encode_body(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                match self {
                    $(Self::$key(body) => body.encode(encoder),)*
                }
            }

            pub(crate) fn decode_with(
                key: ApiKey,
                decoder: &mut Decoder<'a>,
            ) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$key => Wire::decode(decoder).map(Self::$key),)*
                }
            }
        }
    };
}

apis! {
    0 Produce produce
        produce::ProduceRequest<'a>,
        produce::ProduceResponse<'a>;
    1 Fetch fetch
        fetch::FetchRequest<'a>,
        fetch::FetchResponse<'a>;
    2 ListOffsets list_offsets
        list_offsets::ListOffsetsRequest<'a>,
        list_offsets::ListOffsetsResponse<'a>;
    3 Metadata metadata
        metadata::MetadataRequest<'a>,
        metadata::MetadataResponse<'a>;
    8 OffsetCommit offset_commit
        offset_commit::OffsetCommitRequest<'a>,
        offset_commit::OffsetCommitResponse<'a>;
    9 OffsetFetch offset_fetch
        offset_fetch::OffsetFetchRequest<'a>,
        offset_fetch::OffsetFetchResponse<'a>;
    10 FindCoordinator find_coordinator
        find_coordinator::FindCoordinatorRequest<'a>,
        find_coordinator::FindCoordinatorResponse<'a>;
    11 JoinGroup join_group
        join_group::JoinGroupRequest<'a>,
        join_group::JoinGroupResponse<'a>;
    12 Heartbeat heartbeat
        heartbeat::HeartbeatRequest<'a>,
        heartbeat::HeartbeatResponse;
    13 LeaveGroup leave_group
        leave_group::LeaveGroupRequest<'a>,
        leave_group::LeaveGroupResponse<'a>;
    14 SyncGroup sync_group
        sync_group::SyncGroupRequest<'a>,
        sync_group::SyncGroupResponse<'a>;
    15 DescribeGroups describe_groups
        describe_groups::DescribeGroupsRequest<'a>,
        describe_groups::DescribeGroupsResponse<'a>;
    16 ListGroups list_groups
        list_groups::ListGroupsRequest<'a>,
        list_groups::ListGroupsResponse<'a>;
    17 SaslHandshake sasl_handshake
        sasl_handshake::SaslHandshakeRequest<'a>,
        sasl_handshake::SaslHandshakeResponse<'a>;
    18 ApiVersions api_versions
        api_versions::ApiVersionsRequest<'a>,
        api_versions::ApiVersionsResponse<'a>;
    19 CreateTopics create_topics
        create_topics::CreateTopicsRequest<'a>,
        create_topics::CreateTopicsResponse<'a>;
    20 DeleteTopics delete_topics
        delete_topics::DeleteTopicsRequest<'a>,
        delete_topics::DeleteTopicsResponse<'a>;
    21 DeleteRecords delete_records
        delete_records::DeleteRecordsRequest<'a>,
        delete_records::DeleteRecordsResponse<'a>;
    22 InitProducerId init_producer_id
        init_producer_id::InitProducerIdRequest<'a>,
        init_producer_id::InitProducerIdResponse;
    23 OffsetForLeaderEpoch offset_for_leader_epoch
        offset_for_leader_epoch::OffsetForLeaderEpochRequest<'a>,
        offset_for_leader_epoch::OffsetForLeaderEpochResponse<'a>;
    29 DescribeAcls describe_acls
        describe_acls::DescribeAclsRequest<'a>,
        describe_acls::DescribeAclsResponse<'a>;
    30 CreateAcls create_acls
        create_acls::CreateAclsRequest<'a>,
        create_acls::CreateAclsResponse<'a>;
    31 DeleteAcls delete_acls
        delete_acls::DeleteAclsRequest<'a>,
        delete_acls::DeleteAclsResponse<'a>;
    32 DescribeConfigs describe_configs
        describe_configs::DescribeConfigsRequest<'a>,
        describe_configs::DescribeConfigsResponse<'a>;
    33 AlterConfigs alter_configs
        alter_configs::AlterConfigsRequest<'a>,
        alter_configs::AlterConfigsResponse<'a>;
    35 DescribeLogDirs describe_log_dirs
        describe_log_dirs::DescribeLogDirsRequest<'a>,
        describe_log_dirs::DescribeLogDirsResponse<'a>;
    36 SaslAuthenticate sasl_authenticate
        sasl_authenticate::SaslAuthenticateRequest<'a>,
        sasl_authenticate::SaslAuthenticateResponse<'a>;
    37 CreatePartitions create_partitions
        create_partitions::CreatePartitionsRequest<'a>,
        create_partitions::CreatePartitionsResponse<'a>;
    42 DeleteGroups delete_groups
        delete_groups::DeleteGroupsRequest<'a>,
        delete_groups::DeleteGroupsResponse<'a>;
    43 ElectLeaders elect_leaders
        elect_leaders::ElectLeadersRequest<'a>,
        elect_leaders::ElectLeadersResponse<'a>;
    44 IncrementalAlterConfigs incremental_alter_configs
        incremental_alter_configs::IncrementalAlterConfigsRequest<'a>,
        incremental_alter_configs::IncrementalAlterConfigsResponse<'a>;
    46 ListPartitionReassignments list_partition_reassignments
        list_partition_reassignments::ListPartitionReassignmentsRequest<'a>,
        list_partition_reassignments::ListPartitionReassignmentsResponse<'a>;
    47 OffsetDelete offset_delete
        offset_delete::OffsetDeleteRequest<'a>,
        offset_delete::OffsetDeleteResponse<'a>;
    60 DescribeCluster describe_cluster
        describe_cluster::DescribeClusterRequest,
        describe_cluster::DescribeClusterResponse<'a>;
    61 DescribeProducers describe_producers
        describe_producers::DescribeProducersRequest<'a>,
        describe_producers::DescribeProducersResponse<'a>;
    65 DescribeTransactions describe_transactions
        describe_transactions::DescribeTransactionsRequest<'a>,
        describe_transactions::DescribeTransactionsResponse<'a>;
    66 ListTransactions list_transactions
        list_transactions::ListTransactionsRequest<'a>,
        list_transactions::ListTransactionsResponse<'a>;
    68 ConsumerGroupHeartbeat consumer_group_heartbeat
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest<'a>,
        consumer_group_heartbeat::ConsumerGroupHeartbeatResponse<'a>;
    74 ListConfigResources list_config_resources
        list_config_resources::ListConfigResourcesRequest,
        list_config_resources::ListConfigResourcesResponse<'a>;
    75 DescribeTopicPartitions describe_topic_partitions
        describe_topic_partitions::DescribeTopicPartitionsRequest<'a>,
        describe_topic_partitions::DescribeTopicPartitionsResponse<'a>;
}
