//! Who may still take space: preallocation of segments out of one budget with a reserve.
//!
//! What it is        a counter with two bounds, the byte budget of the data directory and the free
//!                   space of the device less a reserve of max(64 MiB, 2 %). Segments take from it
//!                   before they reserve blocks.
//! What it is not    the deleter of old segments (`retention`), nor a measurement: the owner brings
//!                   the device's figures.
//! Invariants        1. `take` never lets data into the reserve; `take_from_reserve` is for what it
//!                   is kept for. 2. what was taken is given back
//!                   once, at roll or removal. 3. who makes room hears of it as soon as it is
//!                   wanted, and of how much.
//! Source            design §4; 64 MiB preallocated for each of 1,000 partitions once filled a
//!                   disk.

use std::cell::Cell;
use std::rc::Rc;

use crate::disk::Shortage;
use crate::limits::{
    DISK_RESERVE_BYTES_MIN, DISK_RESERVE_DIVISOR, PREALLOCATION_BYTES_MIN, SEGMENT_BYTES_MAX,
};
use crate::notify::Changes;

/// Space of the device that holds the data directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSpace {
    /// Bytes that an unprivileged process may still take (`f_bavail`).
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
    /// Bytes that data leaves free; `None` is the default of [`DeviceSpace::reserve_bytes`].
    pub reserve: Option<u64>,
}

impl DeviceSpace {
    /// Bytes that data leaves to Raft, cursors and checkpoints: as set, else max(64 MiB, 2 % of the
    /// device), at most a quarter of the device.
    pub fn reserve_bytes(&self) -> u64 {
        if let Some(reserve) = self.reserve {
            return reserve;
        }
        let share = self.total_bytes.checked_div(DISK_RESERVE_DIVISOR);
        let quarter = self.total_bytes >> 2;
        DISK_RESERVE_BYTES_MIN.max(share.unwrap_or(0)).min(quarter)
    }
}

#[derive(Debug, Default)]
struct State {
    limit_bytes: Cell<Option<u64>>,
    used_bytes: Cell<u64>,
    device: Cell<Option<DeviceSpace>>,
    taken_since_measured_bytes: Cell<u64>,
    refused_count: Cell<u64>,
    /// Bytes that the byte budget refused since room was made the last time, in all and at once.
    refused_bytes: Cell<u64>,
    refused_bytes_maximum: Cell<u64>,
    room_wanted: Changes,
}

/// The budget of one shard; clones share it.
#[derive(Clone, Debug, Default)]
pub struct DiskBudget(Rc<State>);

impl DiskBudget {
    /// A budget with a limit for this shard's share of the data directory in bytes; `None` is
    /// bounded by the device alone.
    pub fn new(limit_bytes: Option<u64>) -> Self {
        let budget = Self::default();
        budget.0.limit_bytes.set(limit_bytes);
        budget
    }

    /// Brings a fresh measurement of the device (statvfs), every few seconds and after deletions.
    pub fn set_device_space(&self, space: DeviceSpace) {
        self.0.device.set(Some(space));
        self.0.taken_since_measured_bytes.set(0);
    }

    /// Counts bytes that recovery found on the disk; never refused.
    pub fn adopt(&self, bytes: u64) {
        self.0
            .used_bytes
            .set(self.0.used_bytes.get().saturating_add(bytes));
    }

    /// Takes `bytes`, or takes nothing and returns false: the caller answers "full" for its
    /// partition.
    pub fn take(&self, bytes: u64) -> bool {
        if bytes > self.available_bytes() {
            self.0.refused_count.set(self.0.refused_count.get() + 1);
            self.note_refused(bytes);
            return false;
        }
        self.note_taken(bytes);
        if self.limit_left_bytes() < self.0.limit_bytes.get().unwrap_or(0) >> 5 {
            self.0.room_wanted.notify();
        }
        true
    }

    /// What keeps [`DiskBudget::take`] from granting `bytes`.
    pub fn shortage(&self, bytes: u64) -> Shortage {
        match bytes > self.limit_left_bytes() {
            true => Shortage::ByteBudget,
            false => Shortage::AboveReserve,
        }
    }

    /// Remembers what the byte budget refused; what the device refuses is not for us to remove.
    fn note_refused(&self, bytes: u64) {
        if bytes > self.limit_left_bytes() {
            let refused = &self.0.refused_bytes;
            refused.set(refused.get().saturating_add(bytes));
            let maximum = &self.0.refused_bytes_maximum;
            maximum.set(maximum.get().max(bytes));
            self.0.room_wanted.notify();
        }
    }

    /// Waits until the byte budget has refused somebody, or has less than a 32nd left and shrinks.
    pub async fn wait_room_wanted(&self) {
        let seen = self.0.room_wanted.seen();
        if self.0.refused_bytes.get() == 0 {
            self.0.room_wanted.after(seen).await;
        }
    }

    /// Bytes that whoever makes room leaves free of the byte budget: a sixteenth; or what was
    /// refused since this was asked the last time, up to an eighth, or the largest part of that,
    /// whatever it is. 0 without a budget.
    pub fn take_room_ahead_bytes(&self) -> u64 {
        let limit = self.0.limit_bytes.get().unwrap_or(0);
        let refused = self.0.refused_bytes.take().min(limit >> 3);
        let maximum = self.0.refused_bytes_maximum.take().min(limit);
        refused.max(maximum).max(limit >> 4)
    }

    /// Bytes at which a segment is closed though its topic allows more, so that what goes for lack
    /// of room is a small part of all: a 64th of the byte budget.
    pub fn segment_bytes_max(&self) -> u32 {
        let part = self
            .0
            .limit_bytes
            .get()
            .map_or(u64::MAX, |limit| limit >> 6);
        let bytes = u32::try_from(part).unwrap_or(SEGMENT_BYTES_MAX);
        bytes.clamp(PREALLOCATION_BYTES_MIN, SEGMENT_BYTES_MAX)
    }

    /// Takes `bytes` for what the reserve is there for, beyond the byte budget too, or takes
    /// nothing and returns false: the device itself is full.
    pub fn take_from_reserve(&self, bytes: u64) -> bool {
        let taken = self.0.taken_since_measured_bytes.get();
        let device = self.0.device.get();
        let is_there = device.is_none_or(|space| taken.saturating_add(bytes) <= space.free_bytes);
        if is_there {
            self.note_taken(bytes);
        }
        is_there
    }

    fn note_taken(&self, bytes: u64) {
        self.adopt(bytes);
        let taken = &self.0.taken_since_measured_bytes;
        taken.set(taken.get().saturating_add(bytes));
    }

    /// Gives bytes back that were taken or adopted.
    pub fn give_back(&self, bytes: u64) {
        self.0
            .used_bytes
            .set(self.0.used_bytes.get().saturating_sub(bytes));
        let taken = &self.0.taken_since_measured_bytes;
        taken.set(taken.get().saturating_sub(bytes));
    }

    /// Bytes that [`DiskBudget::take`] would grant now.
    pub fn available_bytes(&self) -> u64 {
        self.limit_left_bytes().min(self.device_bytes())
    }

    fn limit_left_bytes(&self) -> u64 {
        match self.0.limit_bytes.get() {
            Some(limit) => limit.saturating_sub(self.0.used_bytes.get()),
            None => u64::MAX,
        }
    }

    /// Bytes of the device above the reserve, whatever the byte budget says.
    pub fn device_bytes(&self) -> u64 {
        match self.0.device.get() {
            Some(space) => space
                .free_bytes
                .saturating_sub(space.reserve_bytes())
                .saturating_sub(self.0.taken_since_measured_bytes.get()),
            None => u64::MAX,
        }
    }

    /// Bytes taken and adopted: segments with their preallocated tails.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.get()
    }

    /// How often a partition was refused space since the start.
    pub fn refused_count(&self) -> u64 {
        self.0.refused_count.get()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::{DeviceSpace, DiskBudget};
    use crate::limits::SEGMENT_BYTES_MAX;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_limit_and_the_reserve_both_refuse() {
        let budget = DiskBudget::new(Some(100 * MIB));
        assert!(budget.take(90 * MIB));
        assert!(!budget.take(11 * MIB));
        budget.set_device_space(DeviceSpace {
            free_bytes: 70 * MIB,
            total_bytes: 1024 * MIB,
            reserve: None,
        });
        assert_eq!(budget.available_bytes(), 6 * MIB);
        assert!(budget.take(6 * MIB));
        assert!(!budget.take(1));
        budget.give_back(2 * MIB);
        assert!(budget.take(2 * MIB));
        assert_eq!(budget.refused_count(), 2);
    }

    #[test]
    fn who_makes_room_hears_of_it_and_of_how_much() {
        let budget = DiskBudget::new(Some(64 * MIB));
        let hears = || {
            let mut wait = Box::pin(budget.wait_room_wanted());
            let mut context = Context::from_waker(Waker::noop());
            assert!(wait.as_mut().poll(&mut context).is_pending());
            move || {
                wait.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
            }
        };
        let mut heard = hears();
        assert!(budget.take(62 * MIB));
        assert!(!heard(), "a 32nd is left");
        assert!(budget.take(1));
        assert!(heard());
        assert_eq!(budget.take_room_ahead_bytes(), 4 * MIB);
        let mut heard = hears();
        assert!(!budget.take(3 * MIB) && !budget.take(3 * MIB));
        assert!(heard());
        assert_eq!(
            budget.take_room_ahead_bytes(),
            6 * MIB,
            "both are to find room"
        );
        assert_eq!(budget.take_room_ahead_bytes(), 4 * MIB, "once");
        for _ in 0..9 {
            assert!(!budget.take(3 * MIB));
        }
        assert_eq!(budget.take_room_ahead_bytes(), 8 * MIB, "an eighth at most");
        assert!(!budget.take(30 * MIB));
        assert_eq!(budget.take_room_ahead_bytes(), 30 * MIB, "or one as it is");
        // What the device refuses is not for the byte budget to make up for.
        budget.give_back(62 * MIB);
        budget.set_device_space(DeviceSpace {
            free_bytes: 0,
            total_bytes: 1024 * MIB,
            reserve: None,
        });
        let mut heard = hears();
        assert!(!budget.take(10 * MIB));
        assert!(!heard());
        assert_eq!(budget.take_room_ahead_bytes(), 4 * MIB);
        assert_eq!(DiskBudget::new(None).take_room_ahead_bytes(), 0);
    }

    #[test]
    fn segments_are_small_where_the_budget_is() {
        let most = |limit| DiskBudget::new(limit).segment_bytes_max();
        assert_eq!(most(None), SEGMENT_BYTES_MAX);
        assert_eq!(most(Some(1 << 60)), SEGMENT_BYTES_MAX);
        assert_eq!(most(Some(1024 * MIB)), 16 << 20);
        assert_eq!(most(Some(MIB)), 256 << 10);
    }

    #[test]
    fn the_reserve_is_there_for_those_who_ask_for_it_and_ends_with_the_device() {
        let budget = DiskBudget::new(Some(MIB));
        assert!(budget.take(MIB));
        budget.set_device_space(DeviceSpace {
            free_bytes: 60 * MIB,
            total_bytes: 1024 * MIB,
            reserve: None,
        });
        assert!(!budget.take(1));
        assert!(budget.take_from_reserve(59 * MIB));
        assert!(!budget.take_from_reserve(2 * MIB));
        assert_eq!(budget.used_bytes(), 60 * MIB);
    }

    #[test]
    fn the_reserve_scales_with_the_device() {
        let reserve = |total_mib: u64| {
            let space = DeviceSpace {
                free_bytes: 0,
                total_bytes: total_mib * MIB,
                reserve: None,
            };
            space.reserve_bytes() >> 20
        };
        assert_eq!(reserve(100), 25);
        assert_eq!(reserve(1_000), 64);
        assert_eq!(reserve(100_000), 2_000);
    }
}
