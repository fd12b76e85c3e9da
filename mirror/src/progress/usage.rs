//! What a mirror has used of its month, as it is written down.
//!
//! Layout            kind 2 of `docs/formats/mirror-state.md`.

use super::{ProgressError, Reader, VERSION, Writer};
use crate::schedule::Usage;

impl Usage {
    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        out.number(&self.month.unwrap_or(-1).to_be_bytes());
        out.number(&self.bytes.to_be_bytes());
        out.0
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`ProgressError`].
    pub fn decode(value: &[u8]) -> Result<Self, ProgressError> {
        let mut reader = Reader(value);
        reader.version()?;
        let month = i64::from_be_bytes(reader.take("month")?);
        let bytes = u64::from_be_bytes(reader.take("bytes")?);
        reader.end()?;
        Ok(Self {
            month: (month >= 0).then_some(month),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn usage_comes_back_and_every_cut_is_an_error() {
        for month in [None, Some(682)] {
            let usage = Usage {
                month,
                bytes: 7 << 30,
            };
            let value = usage.encode();
            assert_eq!(Usage::decode(&value), Ok(usage));
            for end in 0..value.len() {
                assert!(Usage::decode(&value[..end]).is_err(), "{end}");
            }
        }
    }
}
