//! Aligned buffers that appended batches are copied into, a bounded number per shard.
//!
//! What it is        the memory of all segment writes in flight: count × size is its bound.
//! Invariants        at most `count` buffers exist or are lent; who finds none waits in order.

use std::cell::RefCell;
use std::rc::Rc;

use crate::aligned_buffer::AlignedBuffer;
use crate::permits::{Permit, Permits};

/// The pool; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct StagingPool {
    permits: Permits,
    idle: Rc<RefCell<Vec<AlignedBuffer>>>,
    buffer_bytes: usize,
}

impl StagingPool {
    pub(crate) fn new(buffer_bytes: usize, count: usize) -> Self {
        Self {
            permits: Permits::new(count.max(1)),
            idle: Rc::default(),
            buffer_bytes,
        }
    }

    /// Waits for an empty buffer; it is allocated at its first use. The permit goes back after the
    /// buffer.
    pub(crate) async fn take(&self) -> (AlignedBuffer, Permit) {
        let permit = self.permits.acquire().await;
        let idle = self.idle.borrow_mut().pop();
        let buffer = idle.unwrap_or_else(|| AlignedBuffer::with_capacity(self.buffer_bytes));
        (buffer, permit)
    }

    /// Brings a buffer back; a buffer that is lost instead (cancelled write) only costs a new
    /// allocation.
    pub(crate) fn give_back(&self, mut buffer: AlignedBuffer, permit: Permit) {
        buffer.clear();
        self.idle.borrow_mut().push(buffer);
        drop(permit);
    }
}
