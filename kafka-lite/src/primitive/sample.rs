//! Seeded values that fill every field of a version; the input of the oracle and hostile tests.

use std::borrow::Cow;

use bytes::Bytes;

use super::{RecordData, Text, Uuid};
use crate::error_code::ErrorCode;

/// A small generator of pseudo-random numbers (xorshift64*).
pub(crate) struct Generator {
    state: u64,
    pub(crate) version: i16,
}

impl Generator {
    pub(crate) fn new(seed: u64, version: i16) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            version,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A type that can fill itself.
pub(crate) trait Sample: Sized {
    fn sample(generator: &mut Generator) -> Self;
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Sample for $ty {
            fn sample(generator: &mut Generator) -> Self {
                // Two to MAX: neither zero nor a sentinel.
                let range = u64::try_from(<$ty>::MAX).unwrap() - 2;
                <$ty>::try_from(generator.below(range) + 2).unwrap()
            }
        }
    )*};
}

integers! { i8 i16 u16 i32 i64 }

impl Sample for bool {
    fn sample(generator: &mut Generator) -> Self {
        generator.below(2) == 0
    }
}

impl Sample for ErrorCode {
    fn sample(generator: &mut Generator) -> Self {
        Self::from_code(i16::sample(generator) % 140)
    }
}

impl Sample for Uuid {
    fn sample(generator: &mut Generator) -> Self {
        Self(core::array::from_fn(|_| {
            u8::try_from(generator.below(255) + 1).unwrap()
        }))
    }
}

impl Sample for Text<'_> {
    fn sample(generator: &mut Generator) -> Self {
        let length = generator.below(12) + 1;
        let alphabet = ['a', 'b', '7', '-', 'é', '€'];
        let character = |_| alphabet[usize::try_from(generator.below(6)).unwrap()];
        Cow::Owned((0..length).map(character).collect())
    }
}

fn some_bytes(generator: &mut Generator) -> Vec<u8> {
    let length = if generator.below(4) == 0 {
        1500
    } else {
        generator.below(20)
    };
    (0..length)
        .map(|_| u8::try_from(generator.below(256)).unwrap())
        .collect()
}

impl Sample for Cow<'_, [u8]> {
    fn sample(generator: &mut Generator) -> Self {
        Cow::Owned(some_bytes(generator))
    }
}

impl Sample for &[u8] {
    fn sample(generator: &mut Generator) -> Self {
        some_bytes(generator).leak()
    }
}

impl Sample for RecordData<'_> {
    fn sample(generator: &mut Generator) -> Self {
        let count = generator.below(3);
        RecordData::Pieces(
            (0..count)
                .map(|_| Bytes::from(some_bytes(generator)))
                .collect(),
        )
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(generator: &mut Generator) -> Self {
        let count = [1, 2, 3, 0][usize::try_from(generator.below(4)).unwrap()];
        (0..count).map(|_| T::sample(generator)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(generator: &mut Generator) -> Self {
        (generator.below(4) != 0).then(|| T::sample(generator))
    }
}
