//! Target: frames of requests and responses, headers included.
//!
//! Input             byte 0: 0 for a request frame (without its length), else a response; a
//! response
//!                   has key and version (two i16) in front of its frame.
//! Rules             no panic; what decodes encodes again, and decodes to the same.

use kafka_lite::api::{ApiKey, Request, Response};
use kafka_lite::header::{RequestHeader, Support, decode_response_header};

/// Frames that real clients and Apache Kafka exchanged.
const CAPTURED: [&str; 5] = [
    include_str!("../../../kafka-lite/testdata/frames/java_client.txt"),
    include_str!("../../../kafka-lite/testdata/frames/kafka_python.txt"),
    include_str!("../../../kafka-lite/testdata/frames/kafkajs.txt"),
    include_str!("../../../kafka-lite/testdata/frames/kcat.txt"),
    include_str!("../../../kafka-lite/testdata/frames/librdkafka.txt"),
];

/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// Decodes, and checks what came out.
pub fn check(input: &[u8]) {
    match input.split_first() {
        Some((0, frame)) => check_request(frame),
        Some((_, response)) => check_response(response),
        None => {}
    }
}

fn check_request(frame: &[u8]) {
    let Ok((header, body)) = RequestHeader::decode(frame) else {
        return;
    };
    let Support::Supported(key) = header.support() else {
        return;
    };
    let Ok(request) = Request::decode(key, header.version, body) else {
        return;
    };
    let encoded = request
        .encode(header.correlation_id, header.client_id, header.version)
        .expect("what was decoded has a form in its version")
        .to_vec();
    let (again, body) = RequestHeader::decode(&encoded[LENGTH_BYTES..]).unwrap();
    assert_eq!(again, header);
    assert_eq!(Request::decode(key, header.version, body), Ok(request));
}

fn check_response(input: &[u8]) {
    let Some(([a, b, c, d], frame)) = input.split_first_chunk() else {
        return;
    };
    let version = i16::from_be_bytes([*c, *d]);
    let key = ApiKey::from_code(i16::from_be_bytes([*a, *b]));
    let Some(key) = key.filter(|key| key.table().is_accepted(version)) else {
        return;
    };
    let Ok((correlation_id, body)) = decode_response_header(key.table(), version, frame) else {
        return;
    };
    let Ok(response) = Response::decode(key, version, body) else {
        return;
    };
    let encoded = response
        .encode(correlation_id, version)
        .expect("what was decoded has a form in its version")
        .to_vec();
    let frame = &encoded[LENGTH_BYTES..];
    let (again, body) = decode_response_header(key.table(), version, frame).unwrap();
    assert_eq!(again, correlation_id);
    assert_eq!(Response::decode(key, version, body), Ok(response));
}

/// The captured frames, and each of them in all other versions that can say the same.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for line in CAPTURED.iter().flat_map(|file| file.lines()) {
        let words: Vec<&str> = line.split(' ').collect();
        let &[direction, key, version, hex] = words.as_slice() else {
            continue;
        };
        let (Ok(key), Ok(version)) = (key.parse(), version.parse()) else {
            continue;
        };
        let frame = bytes_of(hex);
        match direction {
            "request" => add_request(&frame, &mut corpus),
            "response" => add_response(key, version, &frame, &mut corpus),
            _ => {}
        }
    }
    corpus.sort();
    corpus.dedup();
    corpus
}

/// The request frames of the corpus, without their length.
pub fn request_frames() -> Vec<Vec<u8>> {
    let requests = corpus()
        .into_iter()
        .filter(|input| input.first() == Some(&0));
    requests.map(|input| input[1..].to_vec()).collect()
}

fn add_request(frame: &[u8], corpus: &mut Vec<Vec<u8>>) {
    corpus.push([&[0], frame].concat());
    let Ok((header, body)) = RequestHeader::decode(frame) else {
        return;
    };
    let Support::Supported(key) = header.support() else {
        return;
    };
    let request = Request::decode(key, header.version, body).expect("captured");
    for version in (0..i16::from(u8::MAX)).filter(|version| key.table().is_accepted(*version)) {
        if let Ok(other) = request.encode(header.correlation_id, header.client_id, version) {
            corpus.push([&[0], &other.to_vec()[LENGTH_BYTES..]].concat());
        }
    }
}

fn add_response(key: i16, version: i16, frame: &[u8], corpus: &mut Vec<Vec<u8>>) {
    let head = |version: i16| [&[1], &key.to_be_bytes()[..], &version.to_be_bytes()[..]].concat();
    corpus.push([&head(version), frame].concat());
    let Some(key) = ApiKey::from_code(key).filter(|key| key.table().is_accepted(version)) else {
        return;
    };
    let (correlation_id, body) =
        decode_response_header(key.table(), version, frame).expect("captured");
    let response = Response::decode(key, version, body).expect("captured");
    for version in (0..i16::from(u8::MAX)).filter(|version| key.table().is_accepted(*version)) {
        if let Ok(other) = response.encode(correlation_id, version) {
            corpus.push([&head(version), &other.to_vec()[LENGTH_BYTES..]].concat());
        }
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).expect("hexadecimal");
    let byte = |pair: &[u8]| u8::try_from(digit(&pair[0]) * 16 + digit(&pair[1])).unwrap();
    hex.as_bytes().chunks_exact(2).map(byte).collect()
}
