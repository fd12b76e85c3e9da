//! The buffers of large reads from segments: [`buffer_pool`] over aligned memory.
//!
//! What it is not    for small reads: their buffers are cheap to make.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::aligned_buffer::AlignedBuffer;
use crate::buffer_pool::{self, BufferPool, PoolKind};
use crate::limits::{READ_POOL_BYTES_MAX, READ_POOL_BYTES_MIN};

/// Steps of the sizes of kept buffers, in bytes.
const STEP_BYTES: usize = 256 * 1024;

/// Buffers of reads.
#[derive(Debug)]
pub(crate) struct ReadBuffers;

thread_local! {
    static POOL: RefCell<BufferPool<ReadBuffers>> = RefCell::default();
}

impl PoolKind for ReadBuffers {
    type Memory = AlignedBuffer;
    const KEPT_BYTES_MIN: usize = READ_POOL_BYTES_MIN;
    const KEPT_BYTES_MAX: usize = READ_POOL_BYTES_MAX;

    fn pool() -> &'static LocalKey<RefCell<BufferPool<Self>>> {
        &POOL
    }

    fn fresh_bytes(capacity_bytes: usize) -> usize {
        capacity_bytes.next_multiple_of(STEP_BYTES)
    }

    fn largest_bytes(capacity_bytes: usize) -> usize {
        capacity_bytes + STEP_BYTES + (capacity_bytes >> 2)
    }
}

/// Frees the read buffers that this thread keeps; whether there were any.
pub fn free_kept_buffers() -> bool {
    buffer_pool::free_kept::<ReadBuffers>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{POOL, READ_POOL_BYTES_MAX, ReadBuffers, free_kept_buffers};
    use crate::aligned_buffer::AlignedBuffer;
    use crate::buffer_pool::{self, BufferPool};

    fn kept_bytes() -> usize {
        POOL.with_borrow(BufferPool::kept_bytes)
    }

    fn take(capacity_bytes: usize) -> AlignedBuffer {
        buffer_pool::take::<ReadBuffers>(capacity_bytes)
    }

    fn freeze(buffer: AlignedBuffer) -> Bytes {
        buffer_pool::freeze::<ReadBuffers>(buffer)
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
        // One that is larger than the pool drives nothing out of it.
        drop(freeze(take(2 * READ_POOL_BYTES_MAX)));
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
