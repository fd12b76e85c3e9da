//! Reads and writes the primitive types of the `__consumer_offsets` records.
//!
//! What it is        big-endian integers, strings, bytes and arrays, in the plain and in the
//!                   compact form (KIP-482).
//! What it is not    the codec of requests: these records live on disk and have their own versions.
//! Invariants        1. a length is checked against what is left before anything is allocated.
//! Source            <https://kafka.apache.org/protocol#protocol_types>; KIP-482.

use bytes::Bytes;
use thiserror::Error;

/// A record of `__consumer_offsets` whose bytes do not fit its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a record of __consumer_offsets does not fit its format at field {field}")]
pub struct RecordError {
    /// The field at which reading failed.
    pub field: &'static str,
}

/// Takes fields from the front of a byte slice.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte, with plain lengths.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            flexible: false,
        }
    }

    /// Changes to compact lengths and tagged fields from here on.
    pub(super) const fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(RecordError { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RecordError { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads a big-endian int16.
    pub(super) fn int16(&mut self, field: &'static str) -> Result<i16, RecordError> {
        self.array(field).map(i16::from_be_bytes)
    }

    /// Reads a big-endian int32.
    pub(super) fn int32(&mut self, field: &'static str) -> Result<i32, RecordError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// Reads a big-endian int64.
    pub(super) fn int64(&mut self, field: &'static str) -> Result<i64, RecordError> {
        self.array(field).map(i64::from_be_bytes)
    }

    fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, RecordError> {
        let mut value = 0_u32;
        for shift in [0_u32, 7, 14, 21, 28] {
            let [byte] = self.array(field)?;
            let bits = u32::from(byte & 0x7f);
            let shifted = bits
                .checked_shl(shift)
                .filter(|shifted| shifted >> shift == bits);
            value |= shifted.ok_or(RecordError { field })?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError { field })
    }

    /// Reads a length of the given plain width; `None` is null.
    fn length(&mut self, field: &'static str, wide: bool) -> Result<Option<usize>, RecordError> {
        let length = if self.flexible {
            i64::from(self.unsigned_varint(field)?) - 1
        } else if wide {
            i64::from(self.int32(field)?)
        } else {
            i64::from(self.int16(field)?)
        };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length)
            .map(Some)
            .map_err(|_| RecordError { field })
    }

    /// Reads a string that may be null.
    pub(super) fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<String>, RecordError> {
        let Some(length) = self.length(field, false)? else {
            return Ok(None);
        };
        let bytes = self.take(field, length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError { field })?;
        Ok(Some(text.to_owned()))
    }

    /// Reads a string.
    pub(super) fn string(&mut self, field: &'static str) -> Result<String, RecordError> {
        self.nullable_string(field)?.ok_or(RecordError { field })
    }

    /// Reads bytes; null counts as empty.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Bytes, RecordError> {
        let length = self.length(field, true)?.unwrap_or(0);
        Ok(Bytes::copy_from_slice(self.take(field, length)?))
    }

    /// Reads the length of an array whose elements take at least `element_bytes_min` each.
    pub(super) fn array_length(
        &mut self,
        field: &'static str,
        element_bytes_min: usize,
    ) -> Result<usize, RecordError> {
        let count = self.length(field, true)?.unwrap_or(0);
        let fits = count
            .checked_mul(element_bytes_min)
            .is_some_and(|min| min <= self.rest.len());
        if fits {
            Ok(count)
        } else {
            Err(RecordError { field })
        }
    }

    /// Skips the tagged fields that end a struct of a flexible version.
    pub(super) fn skip_tags(&mut self) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint("tags")? {
            self.unsigned_varint("tag")?;
            let length = self.unsigned_varint("tag")?;
            self.take(
                "tag",
                usize::try_from(length).map_err(|_| RecordError { field: "tag" })?,
            )?;
        }
        Ok(())
    }
}

/// Puts fields behind each other, with plain lengths.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts with a version prefix.
    pub(super) fn with_version(version: i16) -> Self {
        let mut writer = Self::default();
        writer.int16(version);
        writer
    }

    /// Writes a big-endian int16.
    pub(super) fn int16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian int32.
    pub(super) fn int32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes a big-endian int64.
    pub(super) fn int64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Writes a string; what is beyond 32,767 bytes is cut (names are refused long before).
    pub(super) fn string(&mut self, value: &str) {
        let end = (0..=value.len().min(MAX_STRING_BYTES))
            .rev()
            .find(|&end| value.is_char_boundary(end));
        let text = value.get(..end.unwrap_or(0)).unwrap_or_default();
        self.int16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Writes a string that may be null.
    pub(super) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.int16(-1),
        }
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// Above 2 GiB, which no request can carry.
    pub(super) fn byte_array(&mut self, value: &[u8]) {
        self.count(value.len());
        self.bytes.extend_from_slice(value);
    }

    /// Writes the length of an array.
    ///
    /// # Panics
    /// Above 2^31 elements, which no request can carry.
    pub(super) fn count(&mut self, count: usize) {
        let count = i32::try_from(count);
        assert!(count.is_ok(), "a length above i32::MAX reached a record");
        self.int32(count.unwrap_or_default());
    }

    /// Returns what was written.
    pub(super) fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

const MAX_STRING_BYTES: usize = 32_767;
