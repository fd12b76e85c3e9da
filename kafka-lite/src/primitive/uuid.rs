//! Topic ids and other 16-byte identifiers.

use core::fmt;

use super::{Decoder, Encoder, Wire};
use crate::error::{DecodeError, EncodeError};

/// A 16-byte identifier. All zero means "none" in the protocol: see [`Uuid::is_zero`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The identifier that stands for "none".
    pub const ZERO: Self = Self([0; 16]);

    /// Returns true if the identifier stands for "none".
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    /// Kafka's form: URL-safe base64 without padding, 22 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let first = (0..21).map(|place| (value >> (122 - 6 * place)) & 0x3f);
        let last = (value << 4) & 0x3f;
        for sextet in first.chain([last]) {
            fmt::Write::write_char(f, base64_character(sextet))?;
        }
        Ok(())
    }
}

impl<'a> Wire<'a> for Uuid {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(Self(decoder.array()?))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.put_slice(&self.0);
        Ok(())
    }

    fn bytes_min(_version: i16, _flexible: bool) -> usize {
        16
    }
}

/// Returns the character of six bits.
fn base64_character(sextet: u128) -> char {
    let [low, ..] = sextet.to_le_bytes();
    char::from(match low {
        0..=25 => b'A' + low,
        26..=51 => b'a' + (low - 26),
        52..=61 => b'0' + (low - 52),
        62 => b'-',
        _ => b'_',
    })
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn the_text_is_url_safe_base64() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        let counted = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(counted.to_string(), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!(Uuid([0xfb; 16]).to_string(), "-_v7-_v7-_v7-_v7-_v7-w");
    }
}
