//! The primitive types of the Kafka protocol.
//!
//! What it is        `Decoder` and `Encoder` (cursor and sink that know version and flexibility),
//!                   and the trait `Wire` for everything that has a form on the wire.
//! What it is not    messages; those are tables in `api`.
//! Invariants        1. a count or length is compared with the remaining bytes before it is used;
//!                   2. arrays charge the heap limit of the decoder before they allocate;
//!                   3. types nest as the tables nest, so depth is bounded by the source code.
//! Source            Apache Kafka protocol guide, "Protocol Primitive Types"; KIP-482.

mod array;
mod bytes;
mod decoder;
mod encoder;
mod number;
mod string;
mod tagged_fields;
mod uuid;
mod varint;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
pub(crate) use encoder::LengthPlace;

pub use bytes::RecordData;
pub use decoder::Decoder;
pub use encoder::{EncodedFrame, Encoder};
pub use string::Text;
pub use uuid::Uuid;

use crate::error::{DecodeError, EncodeError};

/// A value that has a form on the wire.
pub trait Wire<'a>: Sized {
    /// Reads the value and moves the decoder behind it.
    ///
    /// # Errors
    /// If the bytes end early, or a length, count or tag is not what the version asks for.
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError>;

    /// Appends the value to the sink.
    ///
    /// # Errors
    /// If the value has no form in this version (null where not allowed, or too long).
    fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError>;

    /// Returns the least number of bytes that a value takes; used to check counts of arrays.
    fn bytes_min(version: i16, flexible: bool) -> usize;
}
