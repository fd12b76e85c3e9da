//! Buffers for frames that do not fit a connection's read buffer.
//!
//! What it is        storage's pool of kept buffers over plain memory, since sockets need no
//!                   alignment.
//! What it is not    a limit: memory is reserved from the requests budget before a buffer is taken.

use std::cell::RefCell;
use std::thread::LocalKey;

use bytes::Bytes;
use storage::buffer_pool::{self, BufferPool, PoolKind};

use crate::limits::FRAME_POOL_BYTES_MAX;

/// Buffers of frames.
#[derive(Debug)]
struct Frames;

thread_local! {
    static POOL: RefCell<BufferPool<Frames>> = RefCell::default();
}

impl PoolKind for Frames {
    type Memory = Vec<u8>;
    const KEPT_BYTES_MIN: usize = 64 * 1024;
    const KEPT_BYTES_MAX: usize = FRAME_POOL_BYTES_MAX;

    fn pool() -> &'static LocalKey<RefCell<BufferPool<Self>>> {
        &POOL
    }

    /// Powers of two, so that they fit the next frame.
    fn fresh_bytes(capacity_bytes: usize) -> usize {
        capacity_bytes.next_power_of_two()
    }

    fn largest_bytes(capacity_bytes: usize) -> usize {
        Self::fresh_bytes(capacity_bytes)
    }
}

/// An empty buffer with at least this capacity.
pub(super) fn take(capacity: usize) -> Vec<u8> {
    buffer_pool::take::<Frames>(capacity)
}

/// Makes a shared frame of a filled buffer.
pub(super) fn freeze(buffer: Vec<u8>) -> Bytes {
    buffer_pool::freeze::<Frames>(buffer)
}

/// Frees the frame buffers that this thread keeps; whether there were any.
pub fn free_kept_frames() -> bool {
    buffer_pool::free_kept::<Frames>()
}

#[cfg(test)]
mod tests {
    use super::{FRAME_POOL_BYTES_MAX, POOL, free_kept_frames, freeze, take};

    fn kept_bytes() -> usize {
        POOL.with_borrow(|pool| pool.kept_bytes())
    }

    #[test]
    fn a_dropped_frame_is_used_again_and_the_pool_is_bounded() {
        free_kept_frames();
        let mut buffer = take(1_000_000);
        assert_eq!(buffer.capacity(), 1 << 20);
        buffer.extend_from_slice(b"frame");
        let address = buffer.as_ptr();
        let frame = freeze(buffer);
        let part = frame.slice(1..3);
        drop(frame);
        assert_eq!(kept_bytes(), 0);
        drop(part);
        assert_eq!(kept_bytes(), 1 << 20);
        let again = take(900_000);
        assert_eq!(again.as_ptr(), address);
        assert!(again.is_empty());
        let frames: Vec<_> = (0..20).map(|_| freeze(take(1 << 20))).collect();
        drop(frames);
        assert_eq!(kept_bytes(), FRAME_POOL_BYTES_MAX);
    }
}
