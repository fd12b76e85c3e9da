//! Unsigned varints of flexible versions: seven bits per byte, least significant first.
//!
//! What it is not    the zig-zag varints inside record batches.
//! Source            KIP-482.

use super::{Decoder, Encoder};
use crate::error::DecodeError;

/// Longest form of a 32-bit number, in bytes.
const BYTES_MAX: u32 = 5;

impl Decoder<'_> {
    /// Reads an unsigned varint of at most 32 bits.
    ///
    /// # Errors
    /// If the bytes end, or the number has more than 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u64 = 0;
        for place in 0..BYTES_MAX {
            let [byte] = self.array::<1>()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                let got = i64::try_from(value).unwrap_or(i64::MAX);
                return u32::try_from(value).map_err(|_| self.error("a 32-bit varint", got));
            }
        }
        Err(self.error("a varint of at most 5 bytes", 6))
    }
}

impl Encoder {
    /// Appends an unsigned varint.
    pub fn put_unsigned_varint(&mut self, value: u32) {
        let (bytes, count) = unsigned_varint_bytes(value);
        self.put_slice(bytes.get(..count).unwrap_or_default());
    }
}

/// Returns the form of a number, and how many of the bytes belong to it.
pub(super) fn unsigned_varint_bytes(value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut rest = value;
    let mut count = 0;
    for byte in &mut bytes {
        count += 1;
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            *byte = low & 0x7f;
            break;
        }
        *byte = low | 0x80;
    }
    (bytes, count)
}

#[cfg(test)]
mod tests {
    use super::unsigned_varint_bytes;
    use crate::primitive::Decoder;

    #[test]
    fn numbers_have_the_form_of_the_specification() {
        let table: [(u32, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (16_384, &[0x80, 0x80, 1]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, expected) in table {
            let (bytes, count) = unsigned_varint_bytes(value);
            assert_eq!(&bytes[..count], expected);
            assert_eq!(Decoder::new(expected, 0, true).unsigned_varint(), Ok(value));
        }
    }

    #[test]
    fn too_long_and_too_large_varints_are_errors() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0xff, 0x1f][..],
            &[0x80; 6],
            &[0x80],
            &[],
        ] {
            assert!(
                Decoder::new(bytes, 0, true).unsigned_varint().is_err(),
                "{bytes:?}"
            );
        }
    }
}
