//! Frames of real clients and of Apache Kafka: decoded, and encoded again to the same bytes.
//!
//! Method            `testdata/frames` holds what the clients and the broker said to each other,
//!                   without the length prefix; each file names the programs.
//!                   `tests/capture-frames` records a file anew.

use std::collections::BTreeSet;

use crate::api::{ApiKey, Request, Response, api_versions};
use crate::header::{RequestHeader, Support, decode_response_header};

/// What a file covers: pairs of a key and a version, each direction counted once.
#[derive(Default)]
struct Covered {
    requests: BTreeSet<(i16, i16)>,
    responses: BTreeSet<(i16, i16)>,
    unsupported: BTreeSet<(i16, i16)>,
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn check_request(frame: &[u8], covered: &mut Covered) {
    let (header, body) = RequestHeader::decode(frame).unwrap();
    let RequestHeader {
        key,
        version,
        correlation_id,
        client_id,
    } = header;
    let Support::Supported(api_key) = header.support() else {
        covered.unsupported.insert((key, version));
        return;
    };
    let request = Request::decode(api_key, version, body).unwrap();
    let again = request
        .encode(correlation_id, client_id, version)
        .unwrap()
        .to_vec();
    assert_eq!(&again[4..], frame, "{request:?}");
    covered.requests.insert((key, version));
}

fn check_response(key: i16, version: i16, frame: &[u8], covered: &mut Covered) {
    let Some(api_key) = ApiKey::from_code(key).filter(|key| key.table().is_accepted(version))
    else {
        if key == ApiKey::ApiVersions.code() {
            let correlation_id = i32::from_be_bytes(frame[..4].try_into().unwrap());
            let ours = api_versions::encode_unsupported_version(correlation_id)
                .unwrap()
                .to_vec();
            assert_eq!(&ours[4..], frame);
        }
        covered.unsupported.insert((key, version));
        return;
    };
    let (correlation_id, body) = decode_response_header(api_key.table(), version, frame).unwrap();
    let response = Response::decode(api_key, version, body).unwrap();
    let again = response.encode(correlation_id, version).unwrap().to_vec();
    assert_eq!(&again[4..], frame, "{response:?}");
    covered.responses.insert((key, version));
}

fn check(file: &str) -> Covered {
    let mut covered = Covered::default();
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [direction, key, version, hex] = words[..] else {
            panic!("{line}")
        };
        let (key, version) = (key.parse().unwrap(), version.parse().unwrap());
        let frame = bytes_of(hex);
        match direction {
            "request" => check_request(&frame, &mut covered),
            "response" => check_response(key, version, &frame, &mut covered),
            other => panic!("{other}"),
        }
    }
    covered
}

macro_rules! golden {
    ($($name:ident: $file:literal, $requests:literal requests, $responses:literal responses;)*) => {
        $(
            #[test]
            fn $name() {
                let covered = check(include_str!(concat!("../../../testdata/frames/", $file)));
                assert_eq!(covered.requests.len(), $requests, "requests");
                assert_eq!(covered.responses.len(), $responses, "responses");
            }
        )*
    };
}

golden! {
    frames_of_the_java_client: "java_client.txt", 30 requests, 30 responses;
    frames_of_kafkajs: "kafkajs.txt", 21 requests, 21 responses;
    frames_of_librdkafka: "librdkafka.txt", 24 requests, 24 responses;
    frames_of_kcat: "kcat.txt", 17 requests, 17 responses;
    frames_of_kafka_python: "kafka_python.txt", 30 requests, 30 responses;
}

#[test]
fn a_newer_java_client_asks_in_an_unknown_api_versions_version() {
    let covered = check(include_str!("../../../testdata/frames/java_client.txt"));
    assert!(covered.unsupported.contains(&(18, 5)));
}
