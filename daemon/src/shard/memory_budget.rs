//! A part of the shard's memory, reserved before it is used.
//!
//! What it is        a counter with a limit and a queue of those who wait for room, first come
//!                   first served.
//! What it is not    an allocator: it counts promises, the memory comes from elsewhere.
//! Invariants        1. `used <= limit`. 2. a small reservation never overtakes a waiting large
//!                      one.
//!                   3. a reservation larger than the limit counts as the limit, so that it is
//!                      served alone. 4. nobody waits for bytes that only make something faster:
//!                      who holds such bytes gives them back first.
//! Source            design §3 "Memory".

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A named budget of one shard, in bytes.
#[derive(Debug)]
pub struct MemoryBudget {
    name: &'static str,
    limit_bytes: u64,
    used_bytes: Cell<u64>,
    high_water_bytes: Cell<u64>,
    waits: Cell<u64>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    spare: OnceCell<Spare>,
}

/// Gives back bytes that can be done without.
struct Spare(Box<dyn Fn()>);

impl std::fmt::Debug for Spare {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Spare").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Waiter {
    bytes: u64,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl MemoryBudget {
    /// A budget with nothing used.
    pub fn new(name: &'static str, limit_bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            name,
            limit_bytes,
            used_bytes: Cell::new(0),
            high_water_bytes: Cell::new(0),
            waits: Cell::new(0),
            waiting: RefCell::default(),
            spare: OnceCell::new(),
        })
    }

    /// From now on `give_back` is called before somebody waits: it drops the reservations that can
    /// be done without. Only the first call counts.
    pub fn on_shortage(&self, give_back: impl Fn() + 'static) {
        drop(self.spare.set(Spare(Box::new(give_back))));
    }

    /// Reserves at once, or not at all when there is no room or somebody waits already.
    pub fn try_reserve(self: &Rc<Self>, bytes: u64) -> Option<Reservation> {
        let bytes = bytes.min(self.limit_bytes);
        if !self.waiting.borrow().is_empty() || !self.take(bytes) {
            return None;
        }
        Some(Reservation {
            budget: Rc::clone(self),
            bytes,
        })
    }

    /// Reserves, after all who came before.
    pub fn reserve(self: &Rc<Self>, bytes: u64) -> Reserve {
        Reserve {
            budget: Rc::clone(self),
            bytes: bytes.min(self.limit_bytes),
            waiter: None,
        }
    }

    /// Name for metrics and for `limits.rs`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes that may be reserved in all.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes reserved now.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.get()
    }

    /// The most bytes that were reserved at once.
    pub fn high_water_bytes(&self) -> u64 {
        self.high_water_bytes.get()
    }

    /// How often somebody had to wait.
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }

    fn take(&self, bytes: u64) -> bool {
        let used = self.used_bytes.get() + bytes;
        if used > self.limit_bytes {
            return false;
        }
        self.used_bytes.set(used);
        self.high_water_bytes
            .set(self.high_water_bytes.get().max(used));
        true
    }

    fn release(&self, bytes: u64) {
        assert!(
            bytes <= self.used_bytes.get(),
            "only what was reserved comes back"
        );
        self.used_bytes.set(self.used_bytes.get() - bytes);
        self.grant_waiting();
    }

    fn grant_waiting(&self) {
        loop {
            let granted = {
                let mut waiting = self.waiting.borrow_mut();
                match waiting.front() {
                    Some(first) if self.take(first.bytes) => waiting.pop_front(),
                    _ => None,
                }
            };
            let Some(waiter) = granted else { return };
            waiter.granted.set(true);
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Bytes reserved from a budget; they go back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Rc<MemoryBudget>,
    bytes: u64,
}

impl Reservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// Future of [`MemoryBudget::reserve`]; dropping it leaves the queue.
#[derive(Debug)]
pub struct Reserve {
    budget: Rc<MemoryBudget>,
    bytes: u64,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Reserve {
    type Output = Reservation;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reservation> {
        let Some(waiter) = &self.waiter else {
            if let Some(reservation) = self.budget.try_reserve(self.bytes) {
                return Poll::Ready(reservation);
            }
            if let Some(Spare(give_back)) = self.budget.spare.get() {
                give_back();
                if let Some(reservation) = self.budget.try_reserve(self.bytes) {
                    return Poll::Ready(reservation);
                }
            }
            let waiter = Rc::new(Waiter {
                bytes: self.bytes,
                granted: Cell::new(false),
                waker: RefCell::new(Some(context.waker().clone())),
            });
            self.budget.waits.set(self.budget.waits.get() + 1);
            self.budget
                .waiting
                .borrow_mut()
                .push_back(Rc::clone(&waiter));
            self.waiter = Some(waiter);
            return Poll::Pending;
        };
        if !waiter.granted.get() {
            waiter.waker.replace(Some(context.waker().clone()));
            return Poll::Pending;
        }
        self.waiter = None;
        Poll::Ready(Reservation {
            budget: Rc::clone(&self.budget),
            bytes: self.bytes,
        })
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        if waiter.granted.get() {
            self.budget.release(self.bytes);
            return;
        }
        self.budget
            .waiting
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &waiter));
        self.budget.grant_waiting();
    }
}

#[cfg(test)]
mod tests {
    use super::{MemoryBudget, Reservation, Reserve};
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    fn poll(future: &mut Reserve) -> Poll<Reservation> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn ready(future: &mut Reserve) -> Reservation {
        match poll(future) {
            Poll::Ready(reservation) => reservation,
            Poll::Pending => panic!("the reservation waits"),
        }
    }

    #[test]
    fn a_small_reservation_does_not_overtake_a_waiting_large_one() {
        let budget = MemoryBudget::new("test", 100);
        let first = budget.try_reserve(60).unwrap();
        let mut large = budget.reserve(80);
        assert!(poll(&mut large).is_pending());
        assert!(budget.try_reserve(10).is_none());
        let mut small = budget.reserve(10);
        assert!(poll(&mut small).is_pending());
        drop(first);
        assert_eq!(budget.used_bytes(), 90);
        let large = ready(&mut large);
        let small = ready(&mut small);
        drop((large, small));
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(budget.high_water_bytes(), 90);
    }

    #[test]
    fn a_dropped_waiter_frees_its_place_and_a_granted_one_its_bytes() {
        let budget = MemoryBudget::new("test", 100);
        let first = budget.try_reserve(100).unwrap();
        let mut granted_then_dropped = budget.reserve(50);
        let mut dropped = budget.reserve(100);
        let mut last = budget.reserve(40);
        assert!(poll(&mut granted_then_dropped).is_pending());
        assert!(poll(&mut dropped).is_pending());
        assert!(poll(&mut last).is_pending());
        drop(dropped);
        drop(first);
        drop(granted_then_dropped);
        assert_eq!(ready(&mut last).bytes(), 40);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_can_be_done_without_is_given_back_before_anybody_waits() {
        let budget = MemoryBudget::new("test", 100);
        let spare = Rc::new(RefCell::new(vec![budget.try_reserve(60).unwrap()]));
        let given = Rc::clone(&spare);
        budget.on_shortage(move || given.borrow_mut().clear());
        let small = ready(&mut budget.reserve(40));
        assert_eq!(spare.borrow().len(), 1);
        let large = ready(&mut budget.reserve(60));
        assert_eq!((spare.borrow().len(), budget.waits()), (0, 0));
        assert!(poll(&mut budget.reserve(10)).is_pending());
        drop((small, large));
    }

    #[test]
    fn a_reservation_beyond_the_limit_is_served_alone() {
        let budget = MemoryBudget::new("test", 100);
        let all = budget.try_reserve(1_000).unwrap();
        assert_eq!(all.bytes(), 100);
        assert!(budget.try_reserve(1).is_none());
    }
}
