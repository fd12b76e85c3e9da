//! Tagged fields: the optional end of every structure in flexible versions.
//!
//! Layout            count varint, then per field: tag varint, size varint, value.
//! Invariants        1. the value of a known tag must have exactly the size that is said;
//!                   2. unknown tags are skipped.
//! Source            KIP-482.

use super::decoder::as_i64;
use super::varint::unsigned_varint_bytes;
use super::{Decoder, Encoder, Wire};
use crate::error::{DecodeError, EncodeError};

impl<'a> Decoder<'a> {
    /// Reads how many tagged fields follow.
    ///
    /// # Errors
    /// If the bytes cannot hold that many.
    pub fn tagged_field_count(&mut self) -> Result<u32, DecodeError> {
        let count = self.unsigned_varint()?;
        let fits =
            usize::try_from(count).is_ok_and(|count| count.saturating_mul(2) <= self.rest().len());
        if fits {
            return Ok(count);
        }
        Err(self.error(
            "a count of tagged fields that fits the bytes",
            i64::from(count),
        ))
    }

    /// Reads the tag and the size in bytes of the next tagged field.
    ///
    /// # Errors
    /// If fewer bytes remain than the size says.
    pub fn tagged_field(&mut self) -> Result<(u32, usize), DecodeError> {
        let tag = self.unsigned_varint()?;
        let size = self.unsigned_varint()?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > self.rest().len() {
            return Err(self.error("a tagged field that fits the bytes", as_i64(size)));
        }
        Ok((tag, size))
    }

    /// Reads the value of a tagged field, which must take exactly `size` bytes.
    ///
    /// # Errors
    /// If the value is not well formed or has another size.
    pub fn tagged_value<T: Wire<'a>>(&mut self, size: usize) -> Result<T, DecodeError> {
        self.within_bytes(size, T::decode)
    }

    /// Skips all tagged fields, if the version has them.
    ///
    /// # Errors
    /// If they are not well formed.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        if !self.is_flexible() {
            return Ok(());
        }
        for _ in 0..self.tagged_field_count()? {
            let (_, size) = self.tagged_field()?;
            self.take(size)?;
        }
        Ok(())
    }
}

impl Encoder {
    /// Appends one tagged field.
    ///
    /// # Errors
    /// If the value cannot be encoded.
    pub fn put_tagged_field<'a, T: Wire<'a>>(
        &mut self,
        tag: u32,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.put_unsigned_varint(tag);
        let start = self.small().len();
        value.encode(self)?;
        let end = self.small().len();
        let size = u32::try_from(end - start);
        let size = size.map_err(|_| EncodeError::new("a tagged field over 4 GiB"))?;
        let (bytes, count) = unsigned_varint_bytes(size);
        #[cfg(test)]
        self.note_tagged_size(start, count);
        self.put_slice(bytes.get(..count).unwrap_or_default());
        if let Some(field) = self.small().get_mut(start..) {
            field.rotate_right(count);
        }
        Ok(())
    }
}
