//! The behaviours that break other implementations, as far as they concern the codec.
//!
//! Source            the list is kept by number; every test names its number.

use std::borrow::Cow;

use bytes::Bytes;

use crate::api::api_versions::{
    ApiVersionsRequest, ApiVersionsResponse, advertised, check_client_software,
    encode_unsupported_version,
};
use crate::api::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use crate::api::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::api::offset_fetch::OffsetFetchRequest;
use crate::api::sync_group::SyncGroupResponse;
use crate::api::{ApiKey, decode_body, encode_request, encode_response};
use crate::error_code::ErrorCode;
use crate::header::{RequestHeader, Support};
use crate::primitive::RecordData;

#[test]
fn section_8_01_api_versions_response_header_is_v0() {
    for version in 0..=4 {
        let response = ApiVersionsResponse::default();
        let frame = encode_response(0x0102_0304, version, &response)
            .unwrap()
            .to_vec();
        assert_eq!(frame[4..8], [1, 2, 3, 4]);
        // The error code follows at once: a header of version 1 would have a byte more.
        assert_eq!(frame[8..10], [0, 0]);
        assert!(decode_body::<ApiVersionsResponse<'_>>(version, &frame[8..]).is_ok());
    }
}

#[test]
fn section_8_01_unknown_api_versions_version_gets_the_v0_layout() {
    let frame = [0, 18, 0, 5, 0, 0, 0, 9, 0xff, 0xff, 0xde, 0xad];
    let (header, _) = RequestHeader::decode(&frame).unwrap();
    assert_eq!(header.support(), Support::UnknownApiVersions);
    let answer = encode_unsupported_version(header.correlation_id)
        .unwrap()
        .to_vec();
    let expected = [
        0, 0, 0, 16, 0, 0, 0, 9, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4,
    ];
    assert_eq!(answer, expected);
}

#[test]
fn section_8_01_only_implemented_ranges_are_advertised() {
    let table: Vec<(i16, i16, i16)> = advertised()
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    let expected = [
        (0, 0, 13),
        (1, 4, 17),
        (2, 1, 10),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (17, 0, 1),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (29, 1, 3),
        (30, 1, 3),
        (31, 1, 3),
        (32, 1, 4),
        (33, 0, 2),
        (35, 1, 4),
        (36, 0, 2),
        (37, 0, 3),
        (42, 0, 2),
        (43, 0, 2),
        (44, 0, 1),
        (46, 0, 0),
        (47, 0, 0),
        (60, 0, 2),
        (61, 0, 0),
        (65, 0, 0),
        (66, 0, 2),
        (68, 0, 1),
        (74, 0, 1),
        (75, 0, 0),
    ];
    assert_eq!(table, expected);
}

#[test]
fn section_8_01_client_software_names_are_checked() {
    for good in [
        "a",
        "librdkafka",
        "apache-kafka-java",
        "4.1.0",
        "v2.11.1-RC1",
        "0",
    ] {
        assert_eq!(check_client_software(good, "1"), Ok(()), "{good}");
    }
    for bad in ["", "-a", "a-", ".1", "a b", "a_b", "é", "a\n"] {
        assert_eq!(
            check_client_software(bad, "1"),
            Err(ErrorCode::InvalidRequest),
            "{bad}"
        );
        assert_eq!(
            check_client_software("a", bad),
            Err(ErrorCode::InvalidRequest),
            "{bad}"
        );
    }
}

#[test]
fn section_8_02_produce_is_advertised_from_0_and_accepted_from_3() {
    let produce = advertised()[0].clone();
    assert_eq!((produce.api_key, produce.min_version), (0, 0));
    for version in [0, 1, 2] {
        assert!(!ApiKey::Produce.table().is_accepted(version));
    }
    assert!(ApiKey::Produce.table().is_accepted(3));
}

#[test]
fn section_8_09_list_offsets_v0_is_not_advertised() {
    assert_eq!(ApiKey::ListOffsets.table().first_advertised, 1);
    assert!(!ApiKey::ListOffsets.table().is_accepted(0));
}

#[test]
fn section_8_13_commit_metadata_and_leader_epoch_come_back() {
    let partition = OffsetCommitRequestPartition {
        partition_index: 3,
        committed_offset: 42,
        committed_leader_epoch: Some(7),
        committed_metadata: Some(Cow::Borrowed("where I was")),
    };
    let topic = OffsetCommitRequestTopic {
        name: Cow::Borrowed("t"),
        partitions: vec![partition],
        ..OffsetCommitRequestTopic::default()
    };
    let request = OffsetCommitRequest {
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    };
    let frame = encode_request(1, None, 8, &request).unwrap().to_vec();
    let (_, body) = RequestHeader::decode(&frame[4..]).unwrap();
    assert_eq!(decode_body(8, body), Ok(request));
}

#[test]
fn section_8_13_offset_fetch_of_all_topics_is_null() {
    let request = OffsetFetchRequest {
        topics: None,
        ..OffsetFetchRequest::default()
    };
    for version in 2..=7 {
        let frame = encode_request(1, None, version, &request).unwrap().to_vec();
        let (_, body) = RequestHeader::decode(&frame[4..]).unwrap();
        let decoded: OffsetFetchRequest<'_> = decode_body(version, body).unwrap();
        assert_eq!(decoded.topics, None);
    }
    assert!(encode_request(1, None, 1, &request).is_err());
}

#[test]
fn section_8_14_an_empty_assignment_is_empty_bytes_and_not_null() {
    let response = SyncGroupResponse::default();
    let frame = encode_response(1, 3, &response).unwrap().to_vec();
    assert_eq!(frame[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(
        decode_body::<SyncGroupResponse<'_>>(3, &[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]).is_err()
    );
}

fn fetch_response(partition: PartitionData<'_>) -> FetchResponse<'_> {
    let topic = FetchableTopicResponse {
        partitions: vec![partition],
        ..FetchableTopicResponse::default()
    };
    FetchResponse {
        responses: vec![topic],
        ..FetchResponse::default()
    }
}

#[test]
fn section_8_16_null_and_empty_aborted_transactions_stay_apart() {
    for aborted_transactions in [None, Some(Vec::new())] {
        for version in 4..=17 {
            let partition = PartitionData {
                aborted_transactions: aborted_transactions.clone(),
                ..PartitionData::default()
            };
            let frame = encode_response(1, version, &fetch_response(partition))
                .unwrap()
                .to_vec();
            let start = if version >= 12 { 9 } else { 8 };
            let decoded: FetchResponse<'_> = decode_body(version, &frame[start..]).unwrap();
            let partition = &decoded.responses[0].partitions[0];
            assert_eq!(partition.aborted_transactions, aborted_transactions);
        }
    }
}

#[test]
fn section_8_21_null_arrays_are_minus_one_or_compact_zero() {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let body = |version| {
        let frame = encode_request(1, None, version, &request).unwrap().to_vec();
        let (_, body) = RequestHeader::decode(&frame[4..]).unwrap();
        body.to_vec()
    };
    assert_eq!(body(8), [255, 255, 255, 255, 1, 0, 0]);
    assert_eq!(body(9), [0, 1, 0, 0, 0]);
    assert!(encode_request(1, None, 0, &request).is_err());
    assert!(decode_body::<MetadataRequest<'_>>(0, &[255; 4]).is_err());
}

#[test]
fn section_8_21_every_structure_of_a_flexible_version_ends_with_tagged_fields() {
    let topic = MetadataRequestTopic {
        name: Some(Cow::Borrowed("t")),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        ..MetadataRequest::default()
    };
    let frame = encode_request(1, None, 9, &request).unwrap().to_vec();
    assert_eq!(frame[14..], [0, 2, 2, b't', 0, 1, 0, 0, 0]);
}

#[test]
fn section_8_21_unknown_tags_are_skipped_at_every_level() {
    // One topic with tag 5, then the message with tags 3 and 300.
    let body = [2, 2, b't', 1, 5, 2, 9, 9, 1, 0, 0, 2, 3, 0, 0xac, 2, 1, 7];
    let request: MetadataRequest<'_> = decode_body(9, &body).unwrap();
    let names: Vec<_> = request
        .topics
        .unwrap()
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    assert_eq!(names, [Some(Cow::Borrowed("t"))]);
}

#[test]
fn section_8_21_a_known_tag_must_have_the_size_that_it_says() {
    // Fetch version 12, only tag 0 (cluster id "c"), once right and once a byte too long.
    let start = [&[255; 4][..], &[0; 12], &[0; 1], &[0; 8], &[1, 1, 1]].concat();
    let decode = |tagged: &[u8]| {
        let body = [&start, tagged].concat();
        decode_body::<crate::api::fetch::FetchRequest<'_>>(12, &body)
            .map(|request| request.cluster_id.map(Cow::into_owned))
    };
    assert_eq!(decode(&[1, 0, 2, 2, b'c']), Ok(Some("c".to_owned())));
    assert!(decode(&[1, 0, 3, 2, b'c', 0]).is_err());
    assert!(decode(&[1, 0, 1, 2, b'c']).is_err());
}

#[test]
fn section_8_21_request_header_version_follows_the_flexible_version() {
    for &key in ApiKey::ALL {
        let table = key.table();
        for version in table.first_accepted..=table.last {
            let flexible = version >= table.first_flexible;
            assert_eq!(
                table.request_header_version(version),
                if flexible { 2 } else { 1 }
            );
        }
    }
    assert_eq!(ApiKey::OffsetDelete.table().request_header_version(0), 1);
}

#[test]
fn section_8_23_unknown_keys_and_versions_are_for_closing() {
    for (key, version) in [
        (4, 0),
        (71, 0),
        (1, 3),
        (1, 18),
        (0, 2),
        (0, 14),
        (2, 0),
        (17, 2),
    ] {
        let header = RequestHeader {
            key,
            version,
            correlation_id: 1,
            client_id: None,
        };
        assert_eq!(header.support(), Support::Unsupported, "{key} {version}");
    }
}

#[test]
fn fetched_records_reach_the_frame_without_a_copy() {
    let batches = Bytes::from(vec![3; 100_000]);
    let partition = PartitionData {
        records: Some(RecordData::Pieces(vec![
            batches.slice(..40_000),
            batches.slice(40_000..),
        ])),
        ..PartitionData::default()
    };
    for version in 4..=17 {
        let frame = encode_response(1, version, &fetch_response(partition.clone())).unwrap();
        assert_eq!(frame.pieces[1].as_ptr(), batches.as_ptr());
        assert_eq!(frame.pieces[2].as_ptr(), batches.slice(40_000..).as_ptr());
        let length = i32::from_be_bytes(frame.to_vec()[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap() + 4, frame.byte_count());
    }
}

#[test]
fn produced_records_are_a_part_of_the_frame() {
    use crate::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    let partition = PartitionProduceData {
        index: 0,
        records: Some(&[5; 300]),
    };
    let topic = TopicProduceData {
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        topic_data: vec![topic],
        ..ProduceRequest::default()
    };
    let frame = Bytes::from(encode_request(1, None, 9, &request).unwrap().to_vec());
    let (_, body) = RequestHeader::decode(&frame[4..]).unwrap();
    let decoded: ProduceRequest<'_> = decode_body(9, body).unwrap();
    let records = decoded.topic_data[0].partition_data[0].records.unwrap();
    assert_eq!(frame.slice_ref(records), &[5; 300][..]);
}

#[test]
fn api_versions_requests_of_old_versions_have_no_body() {
    for version in 0..=2 {
        let request = decode_body::<ApiVersionsRequest<'_>>(version, &[]);
        assert_eq!(request, Ok(ApiVersionsRequest::default()));
    }
    assert!(decode_body::<ApiVersionsRequest<'_>>(3, &[]).is_err());
}

#[test]
fn section_8_25_what_is_not_served_is_said_and_not_advertised() {
    let readme = include_str!("../../../../README.md");
    let said = [
        // 65 and 66 are advertised and tell that there is none.
        ("transactions", vec![24, 25, 26, 28]),
        // 17, 36, 29 to 31 and 68 are advertised for the refusal that clients understand.
        ("SASL", vec![50, 51]),
        ("ACLs", vec![]),
        ("quotas", vec![48, 49]),
        ("KIP-848", vec![69]),
    ];
    let not_served = readme.split("Not served:").nth(1).unwrap();
    let advertised: Vec<i16> = advertised().iter().map(|api| api.api_key).collect();
    for (word, keys) in said {
        assert!(not_served.contains(word), "{word}");
        assert!(keys.iter().all(|key| !advertised.contains(key)), "{word}");
    }
}
