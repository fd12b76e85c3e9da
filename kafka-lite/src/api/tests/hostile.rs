//! Bytes that lie: cut, extended, with false lengths, or changed at random.
//!
//! Method            every message of the oracle test is damaged; it must be refused (or, if only a
//!                   value changed, decode without a panic), and the heap that it asked for must
//!                   stay in proportion to its size. All heap of a decoded message is in arrays,
//!                   and all arrays are charged to the decoder before they are allocated.

use crate::api::{ApiKey, Request, Response};
use crate::error::DecodeError;
use crate::limits::DECODED_HEAP_BYTES_MAX;
use crate::primitive::sample::Generator;
use crate::primitive::{Decoder, Encoder, LengthPlace};

/// Bytes in memory for one byte on the wire, at most, in any array of any API.
const HEAP_BYTES_PER_WIRE_BYTE_MAX: usize = 130;

/// One encoded message.
struct Sampled {
    key: ApiKey,
    version: i16,
    is_request: bool,
    body: Vec<u8>,
    length_places: Vec<LengthPlace>,
}

impl Sampled {
    fn decode(&self, body: &[u8]) -> Result<(), DecodeError> {
        let flexible = self.key.table().is_flexible(self.version);
        let mut decoder = Decoder::new(body, self.version, flexible);
        let result = if self.is_request {
            Request::decode_with(self.key, &mut decoder).map(drop)
        } else {
            Response::decode_with(self.key, &mut decoder).map(drop)
        };
        let heap_bytes = DECODED_HEAP_BYTES_MAX - decoder.heap_bytes_left();
        let heap_bytes_max = HEAP_BYTES_PER_WIRE_BYTE_MAX * body.len();
        assert!(
            heap_bytes <= heap_bytes_max,
            "{self} asks for {heap_bytes} for {}",
            body.len()
        );
        result?;
        decoder.finish()
    }
}

impl std::fmt::Display for Sampled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_request {
            "request"
        } else {
            "response"
        };
        write!(f, "{:?} {kind} version {}", self.key, self.version)
    }
}

fn every_message(seeds: u64, mut check: impl FnMut(&Sampled, &mut Generator)) {
    for &key in ApiKey::ALL {
        for version in key.table().first_accepted..=key.table().last {
            for seed in 0..seeds {
                for is_request in [true, false] {
                    let mut generator = Generator::new(seed + 1000, version);
                    let mut encoder = Encoder::new();
                    encoder.set_version(version, key.table().is_flexible(version));
                    if is_request {
                        let message = Request::sample(key, &mut generator);
                        message.encode_body(&mut encoder).unwrap();
                    } else {
                        let message = Response::sample(key, &mut generator);
                        message.encode_body(&mut encoder).unwrap();
                    }
                    let mut length_places = encoder.length_places();
                    for place in &mut length_places {
                        place.position -= 4;
                    }
                    let body = encoder.finish().unwrap().to_vec().split_off(4);
                    let sampled = Sampled {
                        key,
                        version,
                        is_request,
                        body,
                        length_places,
                    };
                    check(&sampled, &mut generator);
                }
            }
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    every_message(2, |sampled, _| {
        assert_eq!(sampled.decode(&sampled.body), Ok(()));
        for end in 0..sampled.body.len() {
            assert!(
                sampled.decode(&sampled.body[..end]).is_err(),
                "{sampled} cut at {end}"
            );
        }
    });
}

#[test]
fn bytes_behind_a_response_are_an_error_and_behind_a_request_are_ignored() {
    every_message(4, |sampled, _| {
        let mut body = sampled.body.clone();
        body.push(0);
        if sampled.is_request {
            let exact = Request::decode(sampled.key, sampled.version, &sampled.body).unwrap();
            let longer = Request::decode(sampled.key, sampled.version, &body).unwrap();
            assert_eq!(exact, longer, "{sampled}");
        } else {
            assert!(
                Response::decode(sampled.key, sampled.version, &body).is_err(),
                "{sampled}"
            );
        }
    });
}

#[test]
fn every_length_that_lies_is_an_error() {
    let mut lies_told = 0;
    every_message(6, |sampled, _| {
        for place in &sampled.length_places {
            let (before, rest) = sampled.body.split_at(place.position);
            let old_size = match place.size {
                0 => rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1,
                size => size,
            };
            let lies: &[&[u8]] = match place.size {
                0 => &[
                    &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    &[0xff; 6],
                    &[0xfe, 0xff, 0xff, 0xff, 7],
                ],
                2 => &[&[0xff, 0xfe], &[0x7f, 0xff], &[0x80, 0]],
                _ => &[
                    &[0xff, 0xff, 0xff, 0xfe],
                    &[0x7f, 0xff, 0xff, 0xff],
                    &[0x80, 0, 0, 0],
                ],
            };
            for lie in lies {
                let body = [before, lie, &rest[old_size..]].concat();
                let decoded = sampled.decode(&body);
                assert!(decoded.is_err(), "{sampled}: {lie:?} at {}", place.position);
                lies_told += 1;
            }
        }
    });
    assert!(lies_told > 10_000, "{lies_told}");
}

#[test]
fn random_damage_never_panics_and_never_asks_for_much_heap() {
    let mut refused = 0;
    every_message(2, |sampled, generator| {
        for _ in 0..150 {
            let mut body = sampled.body.clone();
            for _ in 0..=generator.below(3) {
                if body.is_empty() {
                    break;
                }
                let place = usize::try_from(generator.next()).unwrap() % body.len();
                match generator.below(4) {
                    0 => body[place] = 0xff,
                    1 => body[place] = 0x7f,
                    2 => body[place] = u8::try_from(generator.below(256)).unwrap(),
                    _ => drop(body.remove(place)),
                }
            }
            refused += u32::from(sampled.decode(&body).is_err());
        }
    });
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn random_bytes_never_panic() {
    for &key in ApiKey::ALL {
        for version in key.table().first_accepted..=key.table().last {
            let mut generator = Generator::new(5, version);
            for _ in 0..200 {
                let length = generator.below(60);
                let byte = |_| u8::try_from(generator.below(256)).unwrap() & 0x1f;
                let body: Vec<u8> = (0..length).map(byte).collect();
                for is_request in [true, false] {
                    let length_places = Vec::new();
                    let sampled = Sampled {
                        key,
                        version,
                        is_request,
                        body: Vec::new(),
                        length_places,
                    };
                    drop(sampled.decode(&body));
                }
            }
        }
    }
}

#[test]
fn the_14_bytes_that_abort_others_are_an_error_here() {
    // Produce version 3: no transactional id, acks, timeout, 2,147,483,647 topics.
    let body = [0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff];
    let error = Request::decode(ApiKey::Produce, 3, &body).unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic_data: expected a count that fits the remaining bytes, got 2147483647 at byte 12"
    );
}
