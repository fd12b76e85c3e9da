//! Freed large buffers that the next read or frame takes instead of fresh memory.
//!
//! What it is        per thread and [`PoolKind`] a few buffers: a fresh megabyte costs 256 page
//!                   faults and is cleared by the kernel, as much work as copying it.
//! What it is not    a limit: who takes a buffer has reserved the memory.
//! Invariants        1. kept buffers together hold at most [`PoolKind::KEPT_BYTES_MAX`] per thread.
//!                   2. a buffer that another thread drops enriches that thread's pool: no lock.

use std::cell::RefCell;
use std::fmt;
use std::thread::LocalKey;

use bytes::Bytes;

use crate::aligned_buffer::AlignedBuffer;

/// Memory that can be kept: a buffer with a length and a capacity.
pub trait PooledMemory: AsRef<[u8]> + Send + 'static {
    /// An empty buffer with room for `capacity_bytes` or a little more.
    fn with_capacity(capacity_bytes: usize) -> Self;
    /// Bytes that fit.
    fn capacity(&self) -> usize;
    /// Empties the buffer and keeps the memory.
    fn clear(&mut self);
}

/// What is kept, and how much of it.
pub trait PoolKind: fmt::Debug + Sized + 'static {
    /// What is kept.
    type Memory: PooledMemory;
    /// Smallest buffer that is worth keeping, in bytes of capacity.
    const KEPT_BYTES_MIN: usize;
    /// Bytes that a thread keeps; the oldest buffers go first.
    const KEPT_BYTES_MAX: usize;

    /// The pool of this thread.
    fn pool() -> &'static LocalKey<RefCell<BufferPool<Self>>>;

    /// Capacity of a fresh buffer for at least [`Self::KEPT_BYTES_MIN`] bytes, so that it fits the
    /// next one too.
    fn fresh_bytes(capacity_bytes: usize) -> usize;

    /// Largest kept buffer that is not wasted on `capacity_bytes`.
    fn largest_bytes(capacity_bytes: usize) -> usize;
}

/// The kept buffers of one thread.
#[derive(Debug)]
pub struct BufferPool<K: PoolKind> {
    buffers: Vec<K::Memory>,
    bytes: usize,
}

/// Shared memory; goes back to the pool of the thread that drops it.
#[derive(Debug)]
struct Pooled<K: PoolKind> {
    memory: Option<K::Memory>,
}

/// An empty buffer with room for `capacity_bytes`.
pub fn take<K: PoolKind>(capacity_bytes: usize) -> K::Memory {
    if capacity_bytes < K::KEPT_BYTES_MIN {
        return K::Memory::with_capacity(capacity_bytes);
    }
    let kept = K::pool().with_borrow_mut(|pool| pool.take(capacity_bytes));
    kept.unwrap_or_else(|| K::Memory::with_capacity(K::fresh_bytes(capacity_bytes)))
}

/// Shares a filled buffer.
pub fn freeze<K: PoolKind>(memory: K::Memory) -> Bytes {
    if memory.capacity() < K::KEPT_BYTES_MIN {
        return Bytes::from_owner(memory);
    }
    Bytes::from_owner(Pooled::<K> {
        memory: Some(memory),
    })
}

/// Frees the buffers that this thread keeps; whether there were any.
pub fn free_kept<K: PoolKind>() -> bool {
    K::pool().take().bytes > 0
}

impl<K: PoolKind> BufferPool<K> {
    /// Bytes of capacity that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// A kept buffer that is large enough and not much larger.
    fn take(&mut self, capacity_bytes: usize) -> Option<K::Memory> {
        let fits = capacity_bytes..=K::largest_bytes(capacity_bytes);
        let place = self
            .buffers
            .iter()
            .position(|buffer| fits.contains(&buffer.capacity()))?;
        let buffer = self.buffers.swap_remove(place);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&mut self, mut buffer: K::Memory) {
        if buffer.capacity() > K::KEPT_BYTES_MAX {
            return;
        }
        while self.bytes + buffer.capacity() > K::KEPT_BYTES_MAX && !self.buffers.is_empty() {
            // The oldest goes: its size is asked for no more.
            self.bytes -= self.buffers.remove(0).capacity();
        }
        buffer.clear();
        self.bytes += buffer.capacity();
        self.buffers.push(buffer);
    }
}

impl<K: PoolKind> Default for BufferPool<K> {
    fn default() -> Self {
        Self {
            buffers: Vec::new(),
            bytes: 0,
        }
    }
}

impl<K: PoolKind> AsRef<[u8]> for Pooled<K> {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_ref().map(AsRef::as_ref).unwrap_or_default()
    }
}

impl<K: PoolKind> Drop for Pooled<K> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // At the end of a thread there is no pool any more; then the buffer is freed.
            let _gone: Result<(), std::thread::AccessError> =
                K::pool().try_with(|pool| pool.borrow_mut().keep(memory));
        }
    }
}

impl PooledMemory for AlignedBuffer {
    fn with_capacity(capacity_bytes: usize) -> Self {
        Self::with_capacity(capacity_bytes)
    }

    fn capacity(&self) -> usize {
        self.capacity()
    }

    fn clear(&mut self) {
        self.clear();
    }
}

impl PooledMemory for Vec<u8> {
    fn with_capacity(capacity_bytes: usize) -> Self {
        Self::with_capacity(capacity_bytes)
    }

    fn capacity(&self) -> usize {
        self.capacity()
    }

    fn clear(&mut self) {
        self.clear();
    }
}
