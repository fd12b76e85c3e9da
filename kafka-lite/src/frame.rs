//! Splits a byte stream into frames: a 4-byte length and that many bytes.
//!
//! What it is        a rule over buffered bytes: how many are missing, or where the frame ends.
//!                   It holds no bytes, so the caller reads exactly into its own buffer.
//! Invariants        1. no more is ever asked for than the limit in force; 2. the limit of a
//!                   stranger is small until [`FrameSplitter::handle_valid_request`].
//! Source            Apache Kafka protocol guide, "Request and response format".

use core::fmt;

use crate::limits::{
    FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST, REQUEST_FRAME_BYTES_MIN, RESPONSE_FRAME_BYTES_MIN,
};

/// Bytes of the length prefix.
pub const LENGTH_PREFIX_BYTES: usize = 4;

/// The state of one direction of a connection: only the limits.
#[derive(Debug, Clone)]
pub struct FrameSplitter {
    frame_bytes_min: usize,
    frame_bytes_max: usize,
    frame_bytes_max_after_first: usize,
}

/// What the buffered bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStatus {
    /// The length prefix is not complete; this many bytes are missing until it is.
    LengthMissing(usize),
    /// The frame is not complete.
    BodyMissing {
        /// Bytes that are still missing.
        missing_bytes: usize,
        /// Bytes of the whole frame, the length prefix included: what to reserve.
        frame_end: usize,
    },
    /// The frame is `buffered[LENGTH_PREFIX_BYTES..frame_end]`; the next one starts behind it.
    Complete {
        /// Exclusive end of the frame in the buffered bytes.
        frame_end: usize,
    },
}

/// Says that the length prefix cannot be honoured. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameError {
    /// The length as it was sent, in bytes.
    pub length: i32,
    /// Least and greatest length that would have been accepted, in bytes.
    pub accepted: (usize, usize),
}

impl FrameSplitter {
    /// Creates the rule for requests: small frames until the first valid request, then up to
    /// `frame_bytes_max` bytes without the length prefix.
    #[must_use]
    pub fn for_requests(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_min: REQUEST_FRAME_BYTES_MIN,
            frame_bytes_max: frame_bytes_max.min(FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST),
            frame_bytes_max_after_first: frame_bytes_max,
        }
    }

    /// Creates the rule for responses of a broker that we dialled.
    #[must_use]
    pub const fn for_responses(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_min: RESPONSE_FRAME_BYTES_MIN,
            frame_bytes_max,
            frame_bytes_max_after_first: frame_bytes_max,
        }
    }

    /// Tells that a request was decoded, so that the larger limit holds from now on.
    pub const fn handle_valid_request(&mut self) {
        self.frame_bytes_max = self.frame_bytes_max_after_first;
    }

    /// Looks at the bytes buffered since the end of the last frame.
    ///
    /// # Errors
    /// If the length is negative, below the shortest header, or above the limit in force.
    pub fn poll_frame(&self, buffered: &[u8]) -> Result<FrameStatus, FrameError> {
        let Some(prefix) = buffered.first_chunk::<LENGTH_PREFIX_BYTES>() else {
            return Ok(FrameStatus::LengthMissing(
                LENGTH_PREFIX_BYTES - buffered.len(),
            ));
        };
        let length = i32::from_be_bytes(*prefix);
        let accepted = (self.frame_bytes_min, self.frame_bytes_max);
        let body_bytes = usize::try_from(length).unwrap_or(0);
        if body_bytes < self.frame_bytes_min || body_bytes > self.frame_bytes_max {
            return Err(FrameError { length, accepted });
        }
        let frame_end = LENGTH_PREFIX_BYTES + body_bytes;
        match frame_end.checked_sub(buffered.len()) {
            None | Some(0) => Ok(FrameStatus::Complete { frame_end }),
            Some(missing_bytes) => Ok(FrameStatus::BodyMissing {
                missing_bytes,
                frame_end,
            }),
        }
    }

    /// Returns the limit in force, in bytes without the length prefix.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = self.accepted;
        write!(
            f,
            "frame length: expected {min} to {max} bytes, got {}",
            self.length
        )
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::{FrameSplitter, FrameStatus};

    fn check(splitter: &FrameSplitter, length: i32, body: usize) -> Option<FrameStatus> {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.resize(4 + body, 0);
        splitter.poll_frame(&bytes).ok()
    }

    #[test]
    fn the_splitter_says_exactly_what_is_missing() {
        let splitter = FrameSplitter::for_requests(1 << 20);
        for length in 0..4 {
            let status = splitter.poll_frame(&[0, 0, 0][..length.min(3)]);
            assert_eq!(status, Ok(FrameStatus::LengthMissing(4 - length.min(3))));
        }
        let missing = FrameStatus::BodyMissing {
            missing_bytes: 12,
            frame_end: 24,
        };
        assert_eq!(check(&splitter, 20, 8), Some(missing));
        let complete = FrameStatus::Complete { frame_end: 24 };
        assert_eq!(check(&splitter, 20, 20), Some(complete));
        assert_eq!(check(&splitter, 20, 99), Some(complete));
    }

    #[test]
    fn strangers_get_small_frames_until_their_first_valid_request() {
        let mut splitter = FrameSplitter::for_requests(1 << 20);
        assert!(check(&splitter, 64 * 1024, 0).is_some());
        assert!(check(&splitter, 64 * 1024 + 1, 0).is_none());
        splitter.handle_valid_request();
        assert!(check(&splitter, 1 << 20, 0).is_some());
        assert!(check(&splitter, (1 << 20) + 1, 0).is_none());
    }

    #[test]
    fn negative_and_short_lengths_are_errors() {
        let splitter = FrameSplitter::for_requests(1 << 20);
        for length in [i32::MIN, -2, -1, 0, 1, 9, i32::MAX] {
            assert!(check(&splitter, length, 100).is_none(), "{length}");
        }
        assert!(check(&FrameSplitter::for_responses(100), 4, 4).is_some());
        assert!(check(&FrameSplitter::for_responses(100), 3, 4).is_none());
    }
}
