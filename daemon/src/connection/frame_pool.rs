//! Buffers for frames that do not fit a connection's read buffer.
//!
//! What it is        per thread a few freed buffers, kept for the next large frame: a fresh
//!                   megabyte costs 256 page faults, as much as copying it.
//! What it is not    a limit: memory is reserved from the requests budget before a buffer is taken.
//! Invariants        1. kept buffers together hold at most [`FRAME_POOL_BYTES_MAX`] per thread.
//!                   2. a frame that another shard drops enriches that shard's pool: no lock, no
//!                      message.

use std::cell::RefCell;

use bytes::Bytes;

use crate::limits::FRAME_POOL_BYTES_MAX;

/// Smallest buffer that is worth keeping, in bytes.
const KEPT_BYTES_MIN: usize = 64 * 1024;

#[derive(Default)]
struct Pool {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A frame's memory; goes back to the pool of the thread that drops it.
#[derive(Debug)]
struct PooledFrame {
    buffer: Vec<u8>,
}

/// An empty buffer with at least this capacity.
pub(super) fn take(capacity: usize) -> Vec<u8> {
    let kept = POOL.with_borrow_mut(|pool| pool.take(capacity));
    kept.unwrap_or_else(|| Vec::with_capacity(size_class(capacity)))
}

/// Makes a shared frame of a filled buffer.
pub(super) fn freeze(buffer: Vec<u8>) -> Bytes {
    Bytes::from_owner(PooledFrame { buffer })
}

/// Frees the frame buffers that this thread keeps; whether there were any.
pub fn free_kept_frames() -> bool {
    let pool = POOL.take();
    pool.bytes > 0
}

/// Small buffers are made to measure; large ones are powers of two, so that they fit the next
/// frame.
fn size_class(capacity: usize) -> usize {
    if capacity < KEPT_BYTES_MIN {
        return capacity;
    }
    capacity.next_power_of_two()
}

impl Pool {
    fn take(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let class = size_class(capacity);
        let place = self
            .buffers
            .iter()
            .position(|buffer| buffer.capacity() >= capacity && buffer.capacity() <= class)?;
        let buffer = self.buffers.swap_remove(place);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes < KEPT_BYTES_MIN || self.bytes + bytes > FRAME_POOL_BYTES_MAX {
            return;
        }
        buffer.clear();
        self.bytes += bytes;
        self.buffers.push(buffer);
    }
}

impl AsRef<[u8]> for PooledFrame {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for PooledFrame {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // At the end of a thread there is no pool any more; then the buffer is freed.
        let _gone: Result<(), std::thread::AccessError> =
            POOL.try_with(|pool| pool.borrow_mut().keep(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAME_POOL_BYTES_MAX, POOL, free_kept_frames, freeze, take};

    fn kept_bytes() -> usize {
        POOL.with_borrow(|pool| pool.bytes)
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
