//! Who may still take space: preallocation of segments out of one budget with a reserve.
//!
//! What it is        a counter with two bounds, the byte budget of the data directory and the free
//!                   space of the device less a reserve of max(64 MiB, 2 %). Segments take from it
//!                   before they reserve blocks.
//! What it is not    the deleter of old segments (`retention`), nor a measurement: the owner brings
//!                   the device's figures.
//! Invariants        1. `take` never lets data into the reserve; `take_from_reserve` is for what it
//!                   is kept for. 2. what was taken is given back
//!                   once, at roll or removal.
//! Source            design §4; 64 MiB preallocated for each of 1,000 partitions once filled a
//!                   disk.

use std::cell::Cell;
use std::rc::Rc;

use crate::limits::{DISK_RESERVE_BYTES_MIN, DISK_RESERVE_DIVISOR};

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
            return false;
        }
        self.note_taken(bytes);
        true
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
        let of_limit = match self.0.limit_bytes.get() {
            Some(limit) => limit.saturating_sub(self.0.used_bytes.get()),
            None => u64::MAX,
        };
        of_limit.min(self.device_bytes())
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
    use super::{DeviceSpace, DiskBudget};

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
