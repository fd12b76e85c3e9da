//! Freed read buffers that the next large read takes instead of fresh memory.
//!
//! What it is        per thread a few aligned buffers: a fresh megabyte costs 256 page faults and
//!                   is cleared by the kernel, as much work as copying it.
//! What it is not    a limit: who reads has reserved the memory.
//! Invariants        1. kept buffers together hold at most [`READ_POOL_BYTES_MAX`] per thread. 2. a
//!                   buffer that another thread drops enriches that thread's pool: no lock.

use std::cell::RefCell;

use bytes::Bytes;

use crate::aligned_buffer::AlignedBuffer;
use crate::limits::{READ_POOL_BYTES_MAX, READ_POOL_BYTES_MIN};

/// Steps of the sizes of kept buffers, in bytes.
const STEP_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Pool {
    buffers: Vec<AlignedBuffer>,
    bytes: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Memory of a read; goes back to the pool of the thread that drops it.
#[derive(Debug)]
struct PooledBuffer {
    buffer: Option<AlignedBuffer>,
}

/// An empty buffer with room for `capacity_bytes`.
pub(crate) fn take(capacity_bytes: usize) -> AlignedBuffer {
    if capacity_bytes < READ_POOL_BYTES_MIN {
        return AlignedBuffer::with_capacity(capacity_bytes);
    }
    let kept = POOL.with_borrow_mut(|pool| pool.take(capacity_bytes));
    kept.unwrap_or_else(|| {
        AlignedBuffer::with_capacity(capacity_bytes.next_multiple_of(STEP_BYTES))
    })
}

/// Shares a filled buffer.
pub(crate) fn freeze(buffer: AlignedBuffer) -> Bytes {
    if buffer.capacity() < READ_POOL_BYTES_MIN {
        return Bytes::from_owner(buffer);
    }
    Bytes::from_owner(PooledBuffer {
        buffer: Some(buffer),
    })
}

/// Frees the read buffers that this thread keeps; whether there were any.
pub fn free_kept_buffers() -> bool {
    POOL.take().bytes > 0
}

impl Pool {
    /// A kept buffer that is large enough and not much larger.
    fn take(&mut self, capacity_bytes: usize) -> Option<AlignedBuffer> {
        let most = capacity_bytes + STEP_BYTES + (capacity_bytes >> 2);
        let place = self
            .buffers
            .iter()
            .position(|buffer| (capacity_bytes..=most).contains(&buffer.capacity()))?;
        let buffer = self.buffers.swap_remove(place);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&mut self, mut buffer: AlignedBuffer) {
        while self.bytes + buffer.capacity() > READ_POOL_BYTES_MAX {
            // The oldest goes: its size is asked for no more.
            if self.buffers.is_empty() {
                return;
            }
            self.bytes -= self.buffers.remove(0).capacity();
        }
        buffer.clear();
        self.bytes += buffer.capacity();
        self.buffers.push(buffer);
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .map(AlignedBuffer::as_slice)
            .unwrap_or_default()
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // At the end of a thread there is no pool any more; then the buffer is freed.
            let _gone: Result<(), std::thread::AccessError> =
                POOL.try_with(|pool| pool.borrow_mut().keep(buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{POOL, READ_POOL_BYTES_MAX, free_kept_buffers, freeze, take};

    fn kept_bytes() -> usize {
        POOL.with_borrow(|pool| pool.bytes)
    }

    #[test]
    fn a_dropped_read_is_used_again_and_the_pool_is_bounded() {
        free_kept_buffers();
        let mut buffer = take(1_000_000);
        assert_eq!(buffer.capacity(), 1 << 20);
        buffer.extend_from_slice(b"batch");
        let address = buffer.as_ptr();
        let read = freeze(buffer);
        let part = read.slice(1..3);
        drop(read);
        assert_eq!((kept_bytes(), part.as_ref()), (0, &b"at"[..]));
        drop(part);
        assert_eq!(kept_bytes(), 1 << 20);
        let again = take(900_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        let reads: Vec<_> = (0..20).map(|_| freeze(take(1 << 20))).collect();
        drop(reads);
        assert_eq!(kept_bytes(), READ_POOL_BYTES_MAX);
        drop(freeze(take(READ_POOL_BYTES_MAX)));
        assert_eq!(kept_bytes(), READ_POOL_BYTES_MAX);
        assert!(free_kept_buffers());
        assert!(!free_kept_buffers());
    }

    #[test]
    fn small_reads_and_much_larger_buffers_stay_out_of_it() {
        free_kept_buffers();
        drop(freeze(take(64 * 1024)));
        assert_eq!(kept_bytes(), 0);
        drop(freeze(take(4 << 20)));
        assert_eq!(take(600_000).capacity(), 3 * 256 * 1024);
        assert_eq!(kept_bytes(), 4 << 20);
    }
}
