//! Strings: UTF-8, with a 2-byte length or a compact one.

use std::borrow::Cow;

use super::decoder::LengthForm;
use super::{Decoder, Encoder, Wire};
use crate::error::{DecodeError, EncodeError};
use crate::limits::SHORT_STRING_BYTES_MAX;

/// A string: borrowed from the frame when decoded; responses may own or borrow theirs.
pub type Text<'a> = Cow<'a, str>;

impl<'a> Wire<'a> for Option<Text<'a>> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let Some(length) = decoder.length(LengthForm::Short)? else {
            return Ok(None);
        };
        let bytes = decoder.take(length)?;
        match core::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(Cow::Borrowed(text))),
            Err(error) => {
                let place = i64::try_from(error.valid_up_to()).unwrap_or(i64::MAX);
                Err(decoder.error("UTF-8 (got: the first bad byte)", place))
            }
        }
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        let text = self.as_deref();
        if text.is_some_and(|text| text.len() > SHORT_STRING_BYTES_MAX) {
            return Err(EncodeError::new("a string over 32,767 bytes"));
        }
        encoder.put_length(text.map(str::len), LengthForm::Short)?;
        encoder.put_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn bytes_min(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 2 }
    }
}

impl<'a> Wire<'a> for Text<'a> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let text = Option::<Self>::decode(decoder)?;
        text.ok_or_else(|| decoder.error("a string that is not null", -1))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        if self.len() > SHORT_STRING_BYTES_MAX {
            return Err(EncodeError::new("a string over 32,767 bytes"));
        }
        encoder.put_length(Some(self.len()), LengthForm::Short)?;
        encoder.put_slice(self.as_bytes());
        Ok(())
    }

    fn bytes_min(version: i16, flexible: bool) -> usize {
        Option::<Self>::bytes_min(version, flexible)
    }
}
