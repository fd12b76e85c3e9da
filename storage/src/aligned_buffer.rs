//! An owned buffer whose memory starts at a multiple of 4,096 bytes, as direct I/O needs.
//!
//! Invariants        1. `length <= capacity`. 2. the memory never moves while the buffer lives.

/// Alignment of the memory in bytes; enough for every device we know (512 to 4,096).
pub const MEMORY_ALIGNMENT_BYTES: usize = 4096;

/// An aligned, owned byte buffer with a length and a fixed capacity.
#[derive(Debug)]
pub struct AlignedBuffer {
    memory: Box<[u8]>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity_bytes`; the memory is zeroed by the allocator, so
    /// untouched pages cost nothing.
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        let memory = vec![0_u8; capacity_bytes + MEMORY_ALIGNMENT_BYTES].into_boxed_slice();
        let start = memory.as_ptr().align_offset(MEMORY_ALIGNMENT_BYTES);
        Self {
            memory,
            start,
            length: 0,
        }
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.memory.len() - MEMORY_ALIGNMENT_BYTES
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.length
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If they do not fit: the caller reserves first.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.remaining(), "the caller reserved room");
        let end = self.start + self.length;
        if let Some(target) = self.memory.get_mut(end..end + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        self.length += bytes.len();
    }

    /// Sets the length; bytes that become visible keep what the memory held.
    ///
    /// # Panics
    /// If `length_bytes` exceeds the capacity.
    pub fn set_len(&mut self, length_bytes: usize) {
        assert!(length_bytes <= self.capacity(), "length within capacity");
        self.length = length_bytes;
    }

    /// Extends with zeros to the next multiple of `alignment_bytes` (a power of two).
    ///
    /// # Panics
    /// If the padded length exceeds the capacity.
    pub fn pad_to(&mut self, alignment_bytes: usize) {
        let padded = self.length.next_multiple_of(alignment_bytes);
        assert!(padded <= self.capacity(), "the padding fits");
        let (from, to) = (self.start + self.length, self.start + padded);
        if let Some(gap) = self.memory.get_mut(from..to) {
            gap.fill(0);
        }
        self.length = padded;
    }

    /// Empties the buffer and keeps the memory.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        self.memory
            .get(self.start..self.start + self.length)
            .unwrap_or_default()
    }

    /// The bytes in use, to change.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory
            .get_mut(self.start..self.start + self.length)
            .unwrap_or_default()
    }

    /// Address of the first byte; stable as long as the buffer lives.
    pub fn as_ptr(&self) -> *const u8 {
        self.memory.as_ptr().wrapping_add(self.start)
    }

    /// Address of the first byte for writing; stable as long as the buffer lives.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr().wrapping_add(self.start)
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::{AlignedBuffer, MEMORY_ALIGNMENT_BYTES};

    #[test]
    fn memory_is_aligned_and_padding_is_zero() {
        let mut buffer = AlignedBuffer::with_capacity(8192);
        assert_eq!(buffer.as_ptr().align_offset(MEMORY_ALIGNMENT_BYTES), 0);
        buffer.extend_from_slice(&[7; 600]);
        buffer.pad_to(512);
        assert_eq!(buffer.len(), 1024);
        assert_eq!(buffer.as_slice().get(600..), Some(&[0_u8; 424][..]));
    }
}
