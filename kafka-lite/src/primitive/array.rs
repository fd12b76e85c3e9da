//! Arrays: a count and that many elements.
//!
//! Invariants        1. nothing is allocated before the count was compared with the remaining
//!                   bytes (by the least size of an element) and with the heap limit.

use super::decoder::{LengthForm, as_i64};
use super::{Decoder, Encoder, Wire};
use crate::error::{DecodeError, EncodeError};

impl<'a, T: Wire<'a>> Wire<'a> for Option<Vec<T>> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let Some(count) = decoder.length(LengthForm::Long)? else {
            return Ok(None);
        };
        let element_bytes_min = T::bytes_min(decoder.version(), decoder.is_flexible()).max(1);
        if count.saturating_mul(element_bytes_min) > decoder.rest().len() {
            return Err(decoder.error("a count that fits the remaining bytes", as_i64(count)));
        }
        decoder.charge(count, size_of::<T>())?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(decoder)?);
        }
        Ok(Some(elements))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            None => encoder.put_length(None, LengthForm::Long),
            Some(elements) => elements.encode(encoder),
        }
    }

    fn bytes_min(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let elements = Option::<Self>::decode(decoder)?;
        elements.ok_or_else(|| decoder.error("an array that is not null", -1))
    }

    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.put_length(Some(self.len()), LengthForm::Long)?;
        self.iter().try_for_each(|element| element.encode(encoder))
    }

    fn bytes_min(version: i16, flexible: bool) -> usize {
        Option::<Self>::bytes_min(version, flexible)
    }
}

#[cfg(test)]
mod tests {
    use super::Wire;
    use crate::primitive::Decoder;

    #[test]
    fn a_count_that_lies_is_an_error_before_any_allocation() {
        for count in [2, i32::MAX, -2, i32::MIN] {
            let mut bytes = count.to_be_bytes().to_vec();
            bytes.extend([0, 0, 0, 1]);
            let decoded = Vec::<i32>::decode(&mut Decoder::new(&bytes, 0, false));
            assert!(decoded.is_err(), "{count}");
        }
    }

    #[test]
    fn honest_elements_beyond_the_heap_limit_are_an_error() {
        let mut bytes = 100_i32.to_be_bytes().to_vec();
        bytes.resize(4 + 2 * 100, 0);
        let mut decoder = Decoder::new(&bytes, 0, false).with_heap_bytes_max(1000);
        assert!(Vec::<std::borrow::Cow<'_, str>>::decode(&mut decoder).is_err());
        let mut decoder = Decoder::new(&bytes, 0, false).with_heap_bytes_max(2400);
        assert_eq!(
            Vec::<std::borrow::Cow<'_, str>>::decode(&mut decoder).map(|texts| texts.len()),
            Ok(100)
        );
    }
}
