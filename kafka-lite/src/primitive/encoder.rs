//! The sink of one message: small fields in one buffer, record data by reference.
//!
//! Invariants        1. splice positions rise; 2. a finished frame is one length prefix and the
//!                   bytes that it counts.

use bytes::{Bytes, BytesMut};

use super::decoder::LengthForm;
use crate::error::EncodeError;
use crate::limits::SPLICE_BYTES_MIN;

/// Bytes reserved for the small fields at the start.
const CAPACITY_BYTES: usize = 256;

/// A sink that knows the version; it starts with room for the length prefix of the frame.
#[derive(Debug)]
pub struct Encoder {
    small: BytesMut,
    splices: Vec<Splice>,
    spliced_bytes: usize,
    version: i16,
    flexible: bool,
    #[cfg(test)]
    length_places: Vec<LengthPlace>,
}

/// Where a length stands in the finished frame, for tests that make it lie.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct LengthPlace {
    /// Bytes from the start of the frame, the length prefix included.
    pub(crate) position: usize,
    /// Bytes of the length, or 0 for a varint.
    pub(crate) size: usize,
}

/// Bytes kept by reference, which stand before `small[position]`.
#[derive(Debug)]
struct Splice {
    position: usize,
    bytes: Bytes,
}

/// One frame, ready to be written: length prefix, header and body in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedFrame {
    /// The pieces in order, none of them empty; the first starts with the length prefix.
    pub pieces: Vec<Bytes>,
}

impl EncodedFrame {
    /// Returns the sum of the pieces in bytes, the length prefix included.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Copies all pieces into one vector.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

impl Encoder {
    /// Creates an empty frame. Header fields come before [`Encoder::set_version`].
    #[must_use]
    pub fn new() -> Self {
        let mut small = BytesMut::with_capacity(CAPACITY_BYTES);
        small.extend_from_slice(&[0; 4]);
        Self {
            small,
            splices: Vec::new(),
            spliced_bytes: 0,
            version: 0,
            flexible: false,
            #[cfg(test)]
            length_places: Vec::new(),
        }
    }

    /// Sets the form of the fields that follow.
    pub const fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// Appends bytes by copy.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// Appends bytes by reference, or by copy if they are few.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN {
            self.put_slice(bytes);
            return;
        }
        self.spliced_bytes += bytes.len();
        self.splices.push(Splice {
            position: self.small.len(),
            bytes: bytes.clone(),
        });
    }

    /// Appends the length of a string, bytes or array; `None` is null.
    pub(super) fn put_length(
        &mut self,
        length: Option<usize>,
        form: LengthForm,
    ) -> Result<(), EncodeError> {
        #[cfg(test)]
        self.note_length(match form {
            _ if self.flexible => 0,
            LengthForm::Short => 2,
            LengthForm::Long => 4,
        });
        let too_long = |_| EncodeError::new("longer than its length field can say");
        if self.flexible {
            let length = length.map_or(Ok(0), |length| u32::try_from(length.saturating_add(1)));
            self.put_unsigned_varint(length.map_err(too_long)?);
            return Ok(());
        }
        match form {
            LengthForm::Short => {
                let length = length.map_or(Ok(-1), i16::try_from).map_err(too_long)?;
                self.put_slice(&length.to_be_bytes());
            }
            LengthForm::Long => {
                let length = length.map_or(Ok(-1), i32::try_from).map_err(too_long)?;
                self.put_slice(&length.to_be_bytes());
            }
        }
        Ok(())
    }

    /// Ends the frame: writes the length prefix and cuts the buffer at the splices.
    ///
    /// # Errors
    /// If the frame has 2 GiB or more.
    pub fn finish(mut self) -> Result<EncodedFrame, EncodeError> {
        let total = self
            .small
            .len()
            .saturating_sub(4)
            .saturating_add(self.spliced_bytes);
        let total = i32::try_from(total).map_err(|_| EncodeError::new("a frame over 2 GiB"))?;
        if let Some(prefix) = self.small.first_chunk_mut::<4>() {
            *prefix = total.to_be_bytes();
        }
        let mut pieces = Vec::with_capacity(2 * self.splices.len() + 1);
        let mut done = 0;
        for Splice { position, bytes } in self.splices {
            if position > done {
                pieces.push(self.small.split_to(position - done).freeze());
                done = position;
            }
            pieces.push(bytes);
        }
        if !self.small.is_empty() {
            pieces.push(self.small.freeze());
        }
        Ok(EncodedFrame { pieces })
    }

    /// Returns the version of the message.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Returns whether the version has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Returns the buffer of the small fields.
    pub(super) const fn small(&mut self) -> &mut BytesMut {
        &mut self.small
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The record of where lengths stand; positions are bytes from the start of the frame.
#[cfg(test)]
impl Encoder {
    pub(crate) fn length_places(&self) -> Vec<LengthPlace> {
        self.length_places.clone()
    }

    /// Notes a length of `size` bytes that comes next.
    fn note_length(&mut self, size: usize) {
        let position = self.small.len() + self.spliced_bytes;
        self.length_places.push(LengthPlace { position, size });
    }

    /// Notes that the size of a tagged field, `count` bytes long, goes in at `start` of the
    /// small fields, before what is there already.
    pub(super) fn note_tagged_size(&mut self, start: usize, count: usize) {
        let position = start + self.spliced_bytes;
        for place in self
            .length_places
            .iter_mut()
            .filter(|place| place.position >= position)
        {
            place.position += count;
        }
        self.length_places.push(LengthPlace { position, size: 0 });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Encoder;

    #[test]
    fn large_pieces_are_kept_by_reference_and_small_ones_are_copied() {
        let large = Bytes::from(vec![7; 4096]);
        let mut encoder = Encoder::new();
        encoder.put_slice(b"ab");
        encoder.put_bytes(&large);
        encoder.put_bytes(&large);
        encoder.put_bytes(&Bytes::from_static(b"small"));
        let frame = encoder.finish().unwrap();
        assert_eq!(frame.pieces.len(), 4);
        assert_eq!(frame.pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(frame.pieces[0], &[0, 0, 0x20, 0x07, b'a', b'b'][..]);
        assert_eq!(frame.byte_count(), 4 + 0x2007);
        assert_eq!(frame.to_vec().len(), 4 + 0x2007);
    }
}
