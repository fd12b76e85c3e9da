//! Which operations fail now, and what has happened so far.

use std::fmt;

/// What can be told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Flush,
    Write,
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

/// Orders in force, and counters.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    orders: Vec<Order>,
    pub(crate) figures: Figures,
}

/// Counters since the mount.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    pub(crate) failed_writes: u64,
    pub(crate) failed_flushes: u64,
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

    /// Whether this operation fails; counts it, and uses up an order that holds once.
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
        };
        *counter += 1;
        fails
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "writes={} flushes={} failed_writes={} failed_flushes={} dropped_bytes={}",
            self.writes, self.flushes, self.failed_writes, self.failed_flushes, self.dropped_bytes
        )
    }
}
