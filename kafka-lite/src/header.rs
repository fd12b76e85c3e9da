//! Request and response headers.
//!
//! What it is        the fields before the body, whose version follows from key and version.
//! What it is not    a decision what to do with an unsupported request; [`Support`] only says it.
//! Invariants        1. the client id is never compact, also in header version 2;
//!                   2. the header of an ApiVersions response is always version 0.
//! Source            Apache Kafka 4.1, `RequestHeader`, `ResponseHeader`; KIP-482, KIP-511.

use std::borrow::Cow;

use crate::api::{ApiKey, ApiTable};
use crate::error::{DecodeError, EncodeError};
use crate::primitive::{Decoder, Encoder, Text, Wire};

/// The header of a request, versions 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API key; may be one that is not supported.
    pub key: i16,
    /// The version of the body; may be one that is not supported.
    pub version: i16,
    /// Comes back in the response, so that the client can match it.
    pub correlation_id: i32,
    /// The name that the client gives itself; `None` is null.
    pub client_id: Option<&'a str>,
}

/// Whether a request can be decoded, and what to do if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Key and version are supported.
    Supported(ApiKey),
    /// ApiVersions in an unknown version: answer
    /// [`crate::api::api_versions::encode_unsupported_version`], the body is not read (KIP-511).
    UnknownApiVersions,
    /// Unknown key or version: Kafka closes the connection, and so must we.
    Unsupported,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header of a frame (without its length prefix); returns it and the body.
    ///
    /// For a request that is not [`Support::Supported`] the body is whatever follows the
    /// client id.
    ///
    /// # Errors
    /// If the frame ends early or the client id is not a string.
    pub fn decode(frame: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut decoder = Decoder::new(frame, 1, false);
        let within = |field| move |error: DecodeError| error.within(field);
        let key = i16::decode(&mut decoder).map_err(within("api_key"))?;
        let version = i16::decode(&mut decoder).map_err(within("api_version"))?;
        let correlation_id = i32::decode(&mut decoder).map_err(within("correlation_id"))?;
        let client_id = Option::<Text<'a>>::decode(&mut decoder).map_err(within("client_id"))?;
        let client_id = match client_id {
            Some(Cow::Borrowed(text)) => Some(text),
            Some(Cow::Owned(_)) | None => None,
        };
        let header = Self {
            key,
            version,
            correlation_id,
            client_id,
        };
        let mut body = decoder.rest();
        if let Support::Supported(key) = header.support() {
            let header_version = key.table().request_header_version(version);
            let mut tagged = Decoder::new(body, header_version, header_version >= 2);
            tagged
                .skip_tagged_fields()
                .map_err(within("header tagged fields"))?;
            body = tagged.rest();
        }
        Ok((header, body))
    }

    /// Appends the header.
    ///
    /// # Errors
    /// If the client id is too long.
    pub fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.set_version(1, false);
        self.key.encode(encoder)?;
        self.version.encode(encoder)?;
        self.correlation_id.encode(encoder)?;
        let client_id = self.client_id.map(Cow::Borrowed);
        client_id
            .encode(encoder)
            .map_err(|error| error.within("client_id"))?;
        let table = ApiKey::from_code(self.key).map(ApiKey::table);
        if table.is_some_and(|table| table.request_header_version(self.version) >= 2) {
            encoder.put_unsigned_varint(0);
        }
        Ok(())
    }

    /// Returns whether key and version are supported.
    #[must_use]
    pub fn support(&self) -> Support {
        match ApiKey::from_code(self.key) {
            Some(key) if key.table().is_accepted(self.version) => Support::Supported(key),
            Some(ApiKey::ApiVersions) => Support::UnknownApiVersions,
            _ => Support::Unsupported,
        }
    }
}

/// Appends the header of a response.
pub fn encode_response_header(
    encoder: &mut Encoder,
    table: &ApiTable,
    version: i16,
    correlation_id: i32,
) {
    encoder.put_slice(&correlation_id.to_be_bytes());
    if table.response_header_version(version) >= 1 {
        encoder.put_unsigned_varint(0);
    }
}

/// Reads the header of a response frame (without its length prefix); returns the correlation id
/// and the body.
///
/// # Errors
/// If the frame ends early.
pub fn decode_response_header<'a>(
    table: &ApiTable,
    version: i16,
    frame: &'a [u8],
) -> Result<(i32, &'a [u8]), DecodeError> {
    let header_version = table.response_header_version(version);
    let mut decoder = Decoder::new(frame, header_version, header_version >= 1);
    let correlation_id =
        i32::decode(&mut decoder).map_err(|error| error.within("correlation_id"))?;
    decoder
        .skip_tagged_fields()
        .map_err(|error| error.within("header tagged fields"))?;
    Ok((correlation_id, decoder.rest()))
}

#[cfg(test)]
mod tests {
    use super::{RequestHeader, Support, decode_response_header, encode_response_header};
    use crate::api::ApiKey;
    use crate::primitive::Encoder;

    #[test]
    fn a_header_comes_back_in_both_versions() {
        for (version, client_id) in [(8, Some("app")), (9, Some("app")), (9, None), (8, None)] {
            let header = RequestHeader {
                key: 0,
                version,
                correlation_id: 77,
                client_id,
            };
            let mut encoder = Encoder::new();
            header.encode(&mut encoder).unwrap();
            encoder.put_slice(b"body");
            let bytes = encoder.finish().unwrap().to_vec();
            let (decoded, body) = RequestHeader::decode(&bytes[4..]).unwrap();
            assert_eq!((decoded, body), (header, &b"body"[..]));
        }
    }

    #[test]
    fn unknown_tags_of_a_request_header_are_skipped() {
        let frame = [0, 0, 0, 9, 0, 0, 0, 5, 0xff, 0xff, 1, 9, 2, 7, 7, b'b'];
        let (header, body) = RequestHeader::decode(&frame).unwrap();
        assert_eq!(
            (header.correlation_id, header.client_id, body),
            (5, None, &b"b"[..])
        );
    }

    #[test]
    fn every_cut_of_a_request_header_is_an_error() {
        let frame = [0, 0, 0, 9, 0, 0, 0, 5, 0, 1, b'a', 1, 9, 2, 7, 7];
        for end in 0..frame.len() {
            assert!(RequestHeader::decode(&frame[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn unsupported_requests_say_what_to_do() {
        let header = |key, version| {
            let client_id = None;
            RequestHeader {
                key,
                version,
                correlation_id: 0,
                client_id,
            }
        };
        assert_eq!(header(0, 3).support(), Support::Supported(ApiKey::Produce));
        assert_eq!(header(0, 2).support(), Support::Unsupported);
        assert_eq!(header(18, 5).support(), Support::UnknownApiVersions);
        assert_eq!(header(18, -1).support(), Support::UnknownApiVersions);
        assert_eq!(header(4, 0).support(), Support::Unsupported);
        assert_eq!(header(-7, 0).support(), Support::Unsupported);
    }

    #[test]
    fn a_response_header_comes_back() {
        for version in [8, 9] {
            let mut encoder = Encoder::new();
            let table = ApiKey::Produce.table();
            encode_response_header(&mut encoder, table, version, -3);
            let bytes = encoder.finish().unwrap().to_vec();
            assert_eq!(
                decode_response_header(table, version, &bytes[4..]),
                Ok((-3, &[][..]))
            );
        }
    }
}
