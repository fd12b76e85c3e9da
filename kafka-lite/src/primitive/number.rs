//! Booleans, integers, error codes, and integers whose -1 means "none".

use super::{Decoder, Encoder, Wire};
use crate::error::{DecodeError, EncodeError};
use crate::error_code::ErrorCode;

macro_rules! integer {
    ($($ty:ty, $bytes:literal;)*) => {$(
        impl<'a> Wire<'a> for $ty {
            fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(decoder.array()?))
            }

            fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                encoder.put_slice(&self.to_be_bytes());
                Ok(())
            }

            fn bytes_min(_version: i16, _flexible: bool) -> usize {
                $bytes
            }
        }
    )*};
}

integer! { i8, 1; i16, 2; u16, 2; i32, 4; i64, 8; }

macro_rules! integer_or_none {
    ($($ty:ty, $bytes:literal;)*) => {$(
        /// -1 on the wire is `None`.
        impl<'a> Wire<'a> for Option<$ty> {
            fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
                let value = <$ty>::decode(decoder)?;
                Ok((value != -1).then_some(value))
            }

            fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                self.unwrap_or(-1).encode(encoder)
            }

            fn bytes_min(_version: i16, _flexible: bool) -> usize {
                $bytes
            }
        }
    )*};
}

integer_or_none! { i16, 2; i32, 4; i64, 8; }

impl<'a> Wire<'a> for bool {
    /// Any byte but zero is true, as in Kafka.
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(decoder.array()? != [0])
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.put_slice(&[u8::from(*self)]);
        Ok(())
    }

    fn bytes_min(_version: i16, _flexible: bool) -> usize {
        1
    }
}

impl<'a> Wire<'a> for ErrorCode {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(Self::from_code(i16::decode(decoder)?))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        self.code().encode(encoder)
    }

    fn bytes_min(_version: i16, _flexible: bool) -> usize {
        2
    }
}
