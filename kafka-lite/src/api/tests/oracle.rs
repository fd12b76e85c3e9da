//! Round trips against an independent implementation, for every key, version and direction.
//!
//! Method            a seeded generator fills every field of the version; our bytes are decoded
//!                   and encoded again by the `kafka-protocol` crate; the bytes must be the same,
//!                   and we must decode them to what we started from.

use bytes::Bytes;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::api::{ApiKey, Request, Response};
use crate::header::{RequestHeader, Support, decode_response_header};
use crate::primitive::sample::Generator;

/// Versions that the oracle does not have: only our own round trip is checked for them.
const REQUESTS_WITHOUT_ORACLE: [(ApiKey, i16); 2] =
    [(ApiKey::OffsetCommit, 10), (ApiKey::OffsetFetch, 10)];

/// Messages per key, version and direction.
const SEEDS: u64 = 24;

fn again<T: Encodable + Decodable>(version: i16, body: &[u8]) -> Vec<u8> {
    let mut rest = Bytes::copy_from_slice(body);
    let message = T::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty(), "the oracle leaves {} bytes", rest.len());
    let mut bytes = Vec::new();
    message.encode(&mut bytes, version).unwrap();
    bytes
}

macro_rules! oracle {
    ($($key:ident $request:ident $response:ident;)*) => {
        fn their_request(key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
            match key {
                $(ApiKey::$key => again::<theirs::$request>(version, body),)*
            }
        }

        fn their_response(key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
            match key {
                $(ApiKey::$key => again::<theirs::$response>(version, body),)*
            }
        }
    };
}

oracle! {
    Produce ProduceRequest ProduceResponse;
    Fetch FetchRequest FetchResponse;
    ListOffsets ListOffsetsRequest ListOffsetsResponse;
    Metadata MetadataRequest MetadataResponse;
    OffsetCommit OffsetCommitRequest OffsetCommitResponse;
    OffsetFetch OffsetFetchRequest OffsetFetchResponse;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse;
    JoinGroup JoinGroupRequest JoinGroupResponse;
    Heartbeat HeartbeatRequest HeartbeatResponse;
    LeaveGroup LeaveGroupRequest LeaveGroupResponse;
    SyncGroup SyncGroupRequest SyncGroupResponse;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse;
    ListGroups ListGroupsRequest ListGroupsResponse;
    ApiVersions ApiVersionsRequest ApiVersionsResponse;
    CreateTopics CreateTopicsRequest CreateTopicsResponse;
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse;
    InitProducerId InitProducerIdRequest InitProducerIdResponse;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
    AlterConfigs AlterConfigsRequest AlterConfigsResponse;
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
    ElectLeaders ElectLeadersRequest ElectLeadersResponse;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse;
    DescribeProducers DescribeProducersRequest DescribeProducersResponse;
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse;
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse;
    DescribeAcls DescribeAclsRequest DescribeAclsResponse;
    CreateAcls CreateAclsRequest CreateAclsResponse;
    DeleteAcls DeleteAclsRequest DeleteAclsResponse;
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse;
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse;
    ListTransactions ListTransactionsRequest ListTransactionsResponse;
}

fn every_version(mut check: impl FnMut(ApiKey, i16, u64)) {
    for &key in ApiKey::ALL {
        for version in key.table().first_accepted..=key.table().last {
            for seed in 0..SEEDS {
                check(key, version, seed);
            }
        }
    }
}

#[test]
fn requests_of_every_key_and_version_survive_the_oracle() {
    every_version(|key, version, seed| {
        let request = Request::sample(key, &mut Generator::new(seed, version));
        let frame = request.encode(7, Some("oracle"), version).unwrap().to_vec();
        let (header, body) = RequestHeader::decode(&frame[4..]).unwrap();
        assert_eq!(header.support(), Support::Supported(key));
        let header_version = key.table().request_header_version(version);
        let header_bytes = &frame[4..frame.len() - body.len()];
        assert_eq!(
            again::<theirs::RequestHeader>(header_version, header_bytes),
            header_bytes
        );
        if !REQUESTS_WITHOUT_ORACLE.contains(&(key, version)) {
            assert_eq!(
                their_request(key, version, body),
                body,
                "{key:?} {version}: {request:?}"
            );
        }
        assert_eq!(Request::decode(key, version, body), Ok(request));
    });
}

#[test]
fn responses_of_every_key_and_version_survive_the_oracle() {
    every_version(|key, version, seed| {
        let response = Response::sample(key, &mut Generator::new(seed, version));
        let frame = response.encode(7, version).unwrap().to_vec();
        let (correlation_id, body) =
            decode_response_header(key.table(), version, &frame[4..]).unwrap();
        assert_eq!(correlation_id, 7);
        let header_version = key.table().response_header_version(version);
        let header_bytes = &frame[4..frame.len() - body.len()];
        assert_eq!(
            again::<theirs::ResponseHeader>(header_version, header_bytes),
            header_bytes
        );
        assert_eq!(
            their_response(key, version, body),
            body,
            "{key:?} {version}: {response:?}"
        );
        assert_eq!(Response::decode(key, version, body), Ok(response));
    });
}

#[test]
fn header_versions_are_those_of_the_oracle() {
    every_version(|key, version, _| {
        let their_key = theirs::ApiKey::try_from(key.code()).unwrap();
        let table = key.table();
        assert_eq!(
            table.request_header_version(version),
            their_key.request_header_version(version)
        );
        let response_header_version = their_key.response_header_version(version);
        assert_eq!(
            table.response_header_version(version),
            response_header_version,
            "{key:?}"
        );
        assert_eq!(key.name(), format!("{their_key:?}").trim_end_matches("Key"));
    });
}
