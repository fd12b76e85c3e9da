//! Byte fields: opaque metadata, and record data that is never copied when it is large.

use std::borrow::Cow;

use bytes::Bytes;

use super::decoder::LengthForm;
use super::{Decoder, Encoder, Wire};
use crate::error::{DecodeError, EncodeError};

/// Record batches of one partition in a response.
#[derive(Debug, Clone)]
pub enum RecordData<'a> {
    /// A part of the frame that was decoded.
    Frame(&'a [u8]),
    /// Pieces that the encoder sends in this order, each by reference.
    Pieces(Vec<Bytes>),
}

impl RecordData<'_> {
    /// Returns the length of all batches together, in bytes.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    /// Returns all batches in one slice; copies only if there is more than one piece.
    #[must_use]
    pub fn contiguous(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Frame(bytes) => Cow::Borrowed(bytes),
            Self::Pieces(pieces) => match pieces.as_slice() {
                [] => Cow::Borrowed(&[]),
                [only] => Cow::Borrowed(only),
                many => Cow::Owned(many.concat()),
            },
        }
    }
}

impl PartialEq for RecordData<'_> {
    /// Equal bytes, however they are cut.
    fn eq(&self, other: &Self) -> bool {
        self.contiguous() == other.contiguous()
    }
}

impl Eq for RecordData<'_> {}

impl Default for RecordData<'_> {
    fn default() -> Self {
        Self::Pieces(Vec::new())
    }
}

impl<'a> Wire<'a> for Option<&'a [u8]> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let length = decoder.length(LengthForm::Long)?;
        length.map(|length| decoder.take(length)).transpose()
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.put_length(self.map(<[u8]>::len), LengthForm::Long)?;
        encoder.put_slice(self.unwrap_or_default());
        Ok(())
    }

    fn bytes_min(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }
}

impl<'a> Wire<'a> for Cow<'a, [u8]> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let bytes = Option::<&'a [u8]>::decode(decoder)?;
        let bytes = bytes.ok_or_else(|| decoder.error("bytes that are not null", -1))?;
        Ok(Cow::Borrowed(bytes))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        Some(self.as_ref()).encode(encoder)
    }

    fn bytes_min(version: i16, flexible: bool) -> usize {
        Option::<&'a [u8]>::bytes_min(version, flexible)
    }
}

impl<'a> Wire<'a> for Option<RecordData<'a>> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(Option::<&'a [u8]>::decode(decoder)?.map(RecordData::Frame))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.put_length(self.as_ref().map(RecordData::byte_count), LengthForm::Long)?;
        match self {
            None => {}
            Some(RecordData::Frame(bytes)) => encoder.put_slice(bytes),
            Some(RecordData::Pieces(pieces)) => {
                for piece in pieces {
                    encoder.put_bytes(piece);
                }
            }
        }
        Ok(())
    }

    fn bytes_min(version: i16, flexible: bool) -> usize {
        Option::<&'a [u8]>::bytes_min(version, flexible)
    }
}
