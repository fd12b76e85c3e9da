//! The cursor over the bytes of one message.

use crate::error::DecodeError;
use crate::limits::DECODED_HEAP_BYTES_MAX;

/// A cursor that borrows the frame; it knows the version, and how much heap is still allowed.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    length: usize,
    version: i16,
    flexible: bool,
    heap_bytes_left: usize,
}

/// The two sizes of a length before flexible versions.
#[derive(Debug, Clone, Copy)]
pub(super) enum LengthForm {
    /// Two bytes: strings.
    Short,
    /// Four bytes: arrays and bytes.
    Long,
}

impl<'a> Decoder<'a> {
    /// Creates a cursor at the start of `bytes`, which is one message body in `version`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        let heap_bytes_left = DECODED_HEAP_BYTES_MAX;
        Self {
            rest: bytes,
            length: bytes.len(),
            version,
            flexible,
            heap_bytes_left,
        }
    }

    /// Sets how much heap the arrays of the message may take, in bytes over all arrays.
    #[must_use]
    pub const fn with_heap_bytes_max(mut self, heap_bytes_max: usize) -> Self {
        self.heap_bytes_left = heap_bytes_max;
        self
    }

    /// Takes the next `count` bytes without a copy.
    ///
    /// # Errors
    /// If fewer bytes remain.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error("at most as many bytes as remain", as_i64(count)));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// If fewer bytes remain.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.error("more bytes", as_i64(self.rest.len())));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// If bytes are left over.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.error("the end of the message", as_i64(self.rest.len())))
    }

    /// Reads the length of a string or of bytes: `None` is null.
    pub(super) fn length(&mut self, form: LengthForm) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            let length = self.unsigned_varint()?;
            return Ok(length
                .checked_sub(1)
                .and_then(|length| usize::try_from(length).ok()));
        }
        let length = match form {
            LengthForm::Short => i32::from(i16::from_be_bytes(self.array()?)),
            LengthForm::Long => i32::from_be_bytes(self.array()?),
        };
        if length == -1 {
            return Ok(None);
        }
        let count = usize::try_from(length);
        count
            .map(Some)
            .map_err(|_| self.error("a length of at least -1", i64::from(length)))
    }

    /// Charges the heap limit for `count` elements, each `element_bytes` in memory.
    pub(super) fn charge(&mut self, count: usize, element_bytes: usize) -> Result<(), DecodeError> {
        let cost = count.saturating_mul(element_bytes);
        let Some(left) = self.heap_bytes_left.checked_sub(cost) else {
            return Err(self.error("a message that fits the heap limit", as_i64(cost)));
        };
        self.heap_bytes_left = left;
        Ok(())
    }

    /// Runs `decode` over exactly the next `length` bytes.
    pub(super) fn within_bytes<T>(
        &mut self,
        length: usize,
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let inner = self.take(length)?;
        let after = core::mem::replace(&mut self.rest, inner);
        let outer_length = self.length;
        self.length = outer_length.saturating_sub(after.len());
        let value = decode(self)?;
        if !self.rest.is_empty() {
            return Err(self.error("the end of the tagged field", as_i64(self.rest.len())));
        }
        self.rest = after;
        self.length = outer_length;
        Ok(value)
    }

    /// Creates an error at the current position.
    #[must_use]
    pub fn error(&self, expected: &'static str, got: i64) -> DecodeError {
        DecodeError::new(expected, got, self.length.saturating_sub(self.rest.len()))
    }

    /// Returns the version of the message.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Returns whether the version has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Returns how much heap the rest of the message may still ask for, in bytes.
    #[must_use]
    pub const fn heap_bytes_left(&self) -> usize {
        self.heap_bytes_left
    }

    /// Returns the bytes that are not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Returns a length for an error message.
pub(super) fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
