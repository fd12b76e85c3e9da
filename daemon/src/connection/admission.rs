//! How much memory a request is going to need, guessed before it is read.
//!
//! What it is        an upper guess per API from the length of the frame.
//! Invariants        1. the guess is at least the length of the frame.
//! Source            design §3 "Memory"; Redpanda reserves the same way before it reads.

use kafka_lite::api::ApiKey;

use crate::limits::REQUEST_OVERHEAD_BYTES;

/// End of the API key in a frame, length prefix included (exclusive).
pub(super) const KEY_END: usize = 6;

/// Bytes to reserve for a frame of `frame_bytes` (length prefix included) with this key.
pub(super) fn estimate_bytes(key: Option<ApiKey>, frame_bytes: usize) -> u64 {
    let frame_bytes = u64::try_from(frame_bytes).unwrap_or(u64::MAX);
    let factor = match key {
        // Record data is a part of the frame and is not copied.
        Some(ApiKey::Produce) => 1,
        // The decoded form of many small fields is larger than the fields.
        _ => 4,
    };
    frame_bytes
        .saturating_mul(factor)
        .saturating_add(REQUEST_OVERHEAD_BYTES)
}

/// The API of a frame if its first [`KEY_END`] bytes are there and it is supported.
pub(super) fn peek_key(buffered: &[u8]) -> Option<ApiKey> {
    let code: [u8; 2] = buffered.get(4..KEY_END)?.try_into().ok()?;
    ApiKey::from_code(i16::from_be_bytes(code))
}

#[cfg(test)]
mod tests {
    use super::{estimate_bytes, peek_key};
    use crate::limits::REQUEST_OVERHEAD_BYTES;
    use kafka_lite::api::ApiKey;

    #[test]
    fn produce_counts_once_and_the_rest_with_its_decoded_form() {
        let produce = peek_key(&[0, 0, 0, 9, 0, 0]);
        assert_eq!(produce, Some(ApiKey::Produce));
        assert_eq!(estimate_bytes(produce, 1000), 1000 + REQUEST_OVERHEAD_BYTES);
        assert_eq!(peek_key(&[0, 0, 0, 9, 0]), None);
        assert_eq!(estimate_bytes(None, 1000), 4000 + REQUEST_OVERHEAD_BYTES);
    }
}
