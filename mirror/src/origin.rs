//! The origin header: where a mirrored record comes from.
//!
//! What it is        header `_o` with a binary value, one for each hop; the last one is of the
//!                   gateway that wrote to this cluster. Layout in `docs/formats/mirror-state.md`.
//! Invariants        1. (site, incarnation, topic id, partition, offset) names a record for ever: a
//!                   topic that was deleted and created again has another id, a reinstalled gateway
//!                   another incarnation.

use kafka_lite::primitive::Uuid;
use kafka_lite::record_batch::RecordHeaders;

use crate::limits::SITE_BYTES_MAX;
use crate::output::SourceKey;

/// Key of the origin header.
pub const ORIGIN_HEADER: &[u8] = b"_o";

/// Key of the header with the timestamp that was changed on the way: 8 bytes, ms since 1970.
pub const TIMESTAMP_HEADER: &[u8] = b"_ots";

/// Key of the gap marker: first missing offset and the end (exclusive), 8 bytes each. The record
/// that carries it is the first one behind the gap.
pub const GAP_HEADER: &[u8] = b"_gap";

/// Version of the layout.
const VERSION: u8 = 1;

/// Bytes behind the site's name.
const FIXED_BYTES: usize = 8 + 16 + 4 + 8;

/// This gateway in the eyes of the centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    name: String,
    incarnation: [u8; 8],
}

/// A decoded origin header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Name of the gateway.
    pub site: &'a str,
    /// First 8 bytes of the identity of its data directory.
    pub incarnation: [u8; 8],
    /// The partition there.
    pub source: SourceKey,
    /// Offset there.
    pub offset: i64,
}

impl Site {
    /// A site; the incarnation tells a reinstalled gateway from its predecessor.
    ///
    /// # Errors
    /// A name that is empty or longer than [`SITE_BYTES_MAX`] bytes.
    pub fn new(name: &str, incarnation: [u8; 8]) -> Result<Self, String> {
        if name.is_empty() || name.len() > SITE_BYTES_MAX {
            return Err(format!("1 to {SITE_BYTES_MAX} bytes are expected"));
        }
        Ok(Self {
            name: name.to_owned(),
            incarnation,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of the origin header of one record, into `out`, which is emptied first.
    pub(crate) fn encode_origin(&self, source: &SourceKey, offset: i64, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        out.push(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.incarnation);
        out.extend_from_slice(&source.topic_id.0);
        out.extend_from_slice(&source.partition.to_be_bytes());
        out.extend_from_slice(&offset.to_be_bytes());
    }

    /// The offset of our record with these headers, if the last hop was ours and this partition.
    pub(crate) fn own_offset(&self, source: &SourceKey, headers: RecordHeaders<'_>) -> Option<i64> {
        let origin = origins(headers).last()?;
        let is_own = origin.site == self.name
            && origin.incarnation == self.incarnation
            && origin.source == *source;
        is_own.then_some(origin.offset)
    }

    /// Whether a record with these headers was here before: forwarding it would close a loop.
    pub(crate) fn is_loop(&self, headers: RecordHeaders<'_>) -> bool {
        origins(headers).any(|origin| origin.site == self.name)
    }
}

/// The origin headers in the order of the hops; values that are none are passed over.
pub fn origins(headers: RecordHeaders<'_>) -> impl Iterator<Item = Origin<'_>> {
    headers
        .filter(|header| header.key == ORIGIN_HEADER)
        .filter_map(|header| Origin::decode(header.value?))
}

impl<'a> Origin<'a> {
    /// Reads the value of an origin header; `None` if it is not one.
    #[must_use]
    pub fn decode(value: &'a [u8]) -> Option<Self> {
        let (version, rest) = value.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (site, rest) = rest.split_at_checked(usize::from(*length))?;
        if *version != VERSION || rest.len() != FIXED_BYTES {
            return None;
        }
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let (topic_id, rest) = rest.split_first_chunk::<16>()?;
        let (partition, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            site: core::str::from_utf8(site).ok()?,
            incarnation: *incarnation,
            source: SourceKey {
                topic_id: Uuid(*topic_id),
                partition: i32::from_be_bytes(*partition),
            },
            offset: i64::from_be_bytes(*rest.first_chunk::<8>()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Site};
    use crate::output::SourceKey;
    use kafka_lite::primitive::Uuid;

    #[test]
    fn an_origin_comes_back_and_a_cut_one_is_none() {
        let site = Site::new("gateway-7", [9; 8]).unwrap();
        let source = SourceKey {
            topic_id: Uuid([3; 16]),
            partition: 12,
        };
        let mut value = Vec::new();
        site.encode_origin(&source, 1 << 40, &mut value);
        let origin = Origin::decode(&value).unwrap();
        assert_eq!(
            (
                origin.site,
                origin.incarnation,
                origin.source,
                origin.offset
            ),
            ("gateway-7", [9; 8], source, 1 << 40)
        );
        for end in 0..value.len() {
            assert_eq!(Origin::decode(&value[..end]), None, "{end}");
        }
        value.push(0);
        assert_eq!(Origin::decode(&value), None);
        assert!(Site::new("", [0; 8]).is_err());
    }
}
