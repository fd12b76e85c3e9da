//! An aligned buffer lent to the kernel.
//!
//! What it is        [`storage::aligned_buffer::AlignedBuffer`] with the window of it that one read
//!                   or write may touch, in the form monoio wants.
//! Invariants        1. `start <= end <= capacity`.
//!                   2. the memory does not move while the buffer is lent (the buffer owns it on
//!                      the heap).

use monoio::buf::{IoBuf, IoBufMut};
use storage::aligned_buffer::AlignedBuffer;

/// A window of an aligned buffer, owned by the operation that uses it.
#[derive(Debug)]
pub struct LentBuffer {
    buffer: AlignedBuffer,
    start: usize,
    end: usize,
}

impl LentBuffer {
    /// Lends the bytes `start..end` of the buffer's memory (end exclusive).
    ///
    /// For a write the window lies inside the buffer's length, for a read inside its capacity.
    ///
    /// # Panics
    /// If the window is not inside the capacity: that is a bug of the caller.
    pub fn new(buffer: AlignedBuffer, start: usize, end: usize) -> Self {
        assert!(start <= end, "the window is not reversed");
        assert!(end <= buffer.capacity(), "the window is inside the memory");
        Self { buffer, start, end }
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> AlignedBuffer {
        self.buffer
    }
}

// SAFETY: the pointer stays valid while `self` lives, since `AlignedBuffer` owns heap memory that
// never moves; the whole memory is initialised (it is allocated zeroed), so every byte may be read.
unsafe impl IoBuf for LentBuffer {
    fn read_ptr(&self) -> *const u8 {
        self.buffer.as_ptr().wrapping_add(self.start)
    }

    fn bytes_init(&self) -> usize {
        self.end - self.start
    }
}

// SAFETY: as above; the window was checked against the capacity, so the kernel writes inside it.
unsafe impl IoBufMut for LentBuffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.buffer.as_mut_ptr().wrapping_add(self.start)
    }

    fn bytes_total(&mut self) -> usize {
        self.end - self.start
    }

    unsafe fn set_init(&mut self, _length: usize) {
        // The caller sets the length of the buffer from the count that the read returned.
    }
}
