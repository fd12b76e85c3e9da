//! Appends that wait for room, in the order of arrival.
//!
//! Bounded by what the connections may have in flight: each waiting append holds its frame, and the
//! memory of a frame is reserved before it is read.

use std::rc::Rc;

use super::Partition;
use super::append::AppendRequest;
use super::observe::{AppendFault, AppendObserver};

/// An append and who hears of it.
pub(super) struct QueuedAppend {
    pub(super) request: AppendRequest,
    pub(super) observer: Rc<dyn AppendObserver>,
    pub(super) place: usize,
}

impl Partition {
    /// Puts the append behind those that wait; the first one starts the task that drains them.
    pub(super) fn enqueue(self: &Rc<Self>, append: QueuedAppend) {
        let mut queue = self.queue.borrow_mut();
        queue.push_back(append);
        let is_first = queue.len() == 1;
        drop(queue);
        if is_first {
            drop(monoio::spawn(Rc::clone(self).drain_queue()));
        }
    }

    async fn drain_queue(self: Rc<Self>) {
        loop {
            let size_bytes = match self.queue.borrow().front() {
                Some(append) => append.request.batch.len(),
                None => return,
            };
            if let Err(error) = self.log.wait_room(size_bytes).await {
                return self.refuse_queue(&AppendFault::of_log(&error));
            }
            if !self.log.has_room(size_bytes) && self.failure().is_none() {
                continue;
            }
            // No await between taking the front and appending it: nobody overtakes.
            let next = self.queue.borrow_mut().pop_front();
            if let Some(append) = next {
                self.append_now(append);
            }
        }
    }

    /// There will be no room any more: all that wait hear of it.
    pub(super) fn refuse_queue(&self, fault: &AppendFault) {
        for append in self.queue.take() {
            append
                .observer
                .handle_append(append.place, Err(fault.clone()));
        }
    }
}
