//! Which operations fail or are held back now, and what has happened so far.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use fuser::ReplyWrite;
use rustix::io::Errno;

/// What can be told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Flush,
    Write,
    /// A write that neither happens nor fails before it is released.
    Hold,
}

/// How long an order to fail holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Once,
    Always,
}

#[derive(Clone, Debug)]
struct Order {
    operation: Operation,
    when: When,
    /// Only files whose path below the mount contains this.
    path_part: String,
}

/// A write that is on its way to a slow disk.
#[derive(Debug)]
pub(crate) struct HeldWrite {
    pub(crate) file: File,
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) reply: ReplyWrite,
}

/// Orders in force, what they hold back, and counters.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    orders: Vec<Order>,
    held: Vec<HeldWrite>,
    pub(crate) figures: Figures,
}

/// Counters since the mount.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    pub(crate) failed_writes: u64,
    pub(crate) failed_flushes: u64,
    pub(crate) held_writes: u64,
    /// Bytes whose write had succeeded and that a failed flush took back.
    pub(crate) dropped_bytes: u64,
}

impl Faults {
    /// Makes operations on files with `path_part` in their path fail.
    pub(crate) fn arm(&mut self, operation: Operation, when: When, path_part: String) {
        self.orders.push(Order {
            operation,
            when,
            path_part,
        });
    }

    /// Forgets all orders.
    pub(crate) fn heal(&mut self) {
        self.orders.clear();
    }

    /// Keeps a write back until [`Self::release`].
    pub(crate) fn hold(&mut self, write: HeldWrite) {
        self.held.push(write);
    }

    /// Lets all writes that were held back reach the disk now.
    pub(crate) fn release(&mut self) {
        for write in self.held.drain(..) {
            match write.file.write_all_at(&write.data, write.offset) {
                Ok(()) => {
                    let length = u32::try_from(write.data.len()).unwrap_or(u32::MAX);
                    write.reply.written(length);
                }
                Err(_) => write.reply.error(Errno::IO.raw_os_error()),
            }
        }
    }

    /// Whether this operation fails or is held; counts it, and uses up an order that holds once.
    pub(crate) fn strikes(&mut self, operation: Operation, path: &str) -> bool {
        let found = self
            .orders
            .iter()
            .position(|order| order.operation == operation && path.contains(&order.path_part));
        if let Some(place) = found
            && self
                .orders
                .get(place)
                .is_some_and(|order| order.when == When::Once)
        {
            self.orders.remove(place);
        }
        let fails = found.is_some();
        let figures = &mut self.figures;
        let counter = match (operation, fails) {
            (Operation::Flush, false) => &mut figures.flushes,
            (Operation::Flush, true) => &mut figures.failed_flushes,
            (Operation::Write, false) => &mut figures.writes,
            (Operation::Write, true) => &mut figures.failed_writes,
            (Operation::Hold, true) => &mut figures.held_writes,
            (Operation::Hold, false) => return false,
        };
        *counter += 1;
        fails
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "writes={} flushes={} failed_writes={} failed_flushes={} held_writes={} \
             dropped_bytes={}",
            self.writes,
            self.flushes,
            self.failed_writes,
            self.failed_flushes,
            self.held_writes,
            self.dropped_bytes
        )
    }
}
