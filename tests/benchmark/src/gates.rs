//! Gates: the figures that do not depend on how busy the machine is, each with a bound.
//!
//! What it is        part of `./tests/run`: a change that costs a flush, a byte, an allocation or a
//!                   megabyte more than it should fails here.
//! What it is not    a gate on latency or throughput: those depend on the machine.

use crate::cells::{Cell, Figures};
use crate::report::print_line;
use crate::statistics::short;
use crate::system::{self, Places, System};

/// Bound of a figure.
#[derive(Clone, Copy, Debug)]
enum Gate {
    /// Fails above.
    AtMost(&'static str, f64),
    /// Fails below.
    AtLeast(&'static str, f64),
}

use Gate::{AtLeast, AtMost};

/// What is run, for how many seconds, and what must hold.
const GATES: [(Cell, System, u64, &[Gate]); 8] = [
    (
        Cell::Idle,
        System::Sluice,
        1,
        &[
            AtMost("RSS MB, idle", 10.0),
            AtMost("KiB per idle connection", 10.0),
            AtMost("CPU % with 100 idle connections", 0.2),
        ],
    ),
    (
        Cell::Lone,
        System::Sluice,
        2,
        &[
            // Twice the goal: processors differ.
            AtMost("broker CPU µs/record", 180.0),
            // One block of 4 KiB at most; with blocks of 512 B it is 1.5. All bytes together are no
            // gate here: the ring grows by files of zeros, and a slow machine sends little beside.
            AtMost("journal bytes/payload byte", 4.1),
            // One flush for each acknowledgement: neither none nor two.
            AtLeast("own durable writes/request", 1.0),
            AtMost("own durable writes/request", 1.05),
            AtMost("failed records", 0.0),
        ],
    ),
    (
        Cell::Throughput(100, 1),
        System::Sluice,
        2,
        &[
            AtMost("broker CPU µs/record", 0.4),
            AtMost("peak RSS MB", 130.0),
            AtMost("cgroup OOM kills", 0.0),
            AtLeast("consumed share", 1.0),
        ],
    ),
    (
        Cell::Throughput(1024, 8),
        System::Sluice,
        2,
        &[
            AtMost("broker CPU µs/record", 2.0),
            AtMost("own bytes/payload byte", 1.25),
            AtMost("own durable writes/request", 2.0),
            AtMost("peak RSS MB", 130.0),
            AtMost("cgroup OOM kills", 0.0),
            AtLeast("consumed share", 1.0),
        ],
    ),
    (
        Cell::ManyPartitions,
        System::SluiceInterval50,
        2,
        &[AtMost("own bytes/payload byte", 4.0), MANY_CPU],
    ),
    (
        Cell::ManyPartitions,
        System::SluiceInterval5,
        2,
        &[AtMost("own bytes/payload byte", 5.0), MANY_CPU],
    ),
    (
        Cell::TenThousandPartitions,
        System::Sluice,
        1,
        &[
            AtMost("peak RSS MB", 130.0),
            AtMost("cgroup OOM kills", 0.0),
            AtLeast("consumed share", 1.0),
        ],
    ),
    (
        Cell::Allocations,
        System::SluiceCounting,
        1,
        &[
            AtMost("allocations/batch, 1 record", 20.0),
            AtMost("allocations/batch, 200 KB", 25.0),
        ],
    ),
];

/// Twice the goal.
const MANY_CPU: Gate = AtMost("broker CPU % of a core", 20.0);

/// Runs all gates; the last line is `N passed, N failed`.
///
/// # Errors
/// When a gate failed.
pub(crate) fn run(places: &Places) -> Result<(), String> {
    let (mut passed, mut failed) = (0, 0);
    for (cell, system, seconds, gates) in GATES {
        let title = format!("{}, {}", cell.name(), system.name());
        let figures = system::start(system, places, None)
            .and_then(|running| cell.run(&running, &places.work, seconds));
        let figures = figures.unwrap_or_else(|reason| {
            print_line(&format!("FAILED {title}: {reason}"));
            Figures::new()
        });
        for gate in gates {
            let (holds, line) = gate.check(&figures);
            print_line(&format!(
                "{} {title}: {line}",
                if holds { "ok" } else { "FAILED" }
            ));
            if holds { passed += 1 } else { failed += 1 }
        }
    }
    print_line(&format!("{passed} passed, {failed} failed"));
    if failed == 0 {
        return Ok(());
    }
    Err(format!("{failed} figures are out of bounds"))
}

impl Gate {
    /// Whether the figures keep the bound, and a line that says so. A figure that was not measured
    /// fails, but for the cgroup's, which needs a right that not every machine gives.
    fn check(self, figures: &Figures) -> (bool, String) {
        let (AtMost(name, bound) | AtLeast(name, bound)) = self;
        let Some(value) = figures.get(name).copied() else {
            let is_allowed = name.starts_with("cgroup") && !figures.is_empty();
            return (is_allowed, format!("{name}: not measured"));
        };
        let (holds, sign) = match self {
            AtMost(..) => (value <= bound, "≤"),
            AtLeast(..) => (value >= bound, "≥"),
        };
        (
            holds,
            format!("{name} {} {sign} {}", short(value), short(bound)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Gate::{AtLeast, AtMost};
    use crate::cells::Figures;

    #[test]
    fn a_figure_out_of_bounds_or_missing_fails() {
        let figures = Figures::from([("a", 2.0)]);
        assert!(AtMost("a", 2.0).check(&figures).0);
        assert!(!AtMost("a", 1.9).check(&figures).0);
        assert!(AtLeast("a", 2.0).check(&figures).0);
        assert!(!AtLeast("a", 2.1).check(&figures).0);
        assert!(!AtMost("b", 1.0).check(&figures).0);
        assert!(AtMost("cgroup peak MB", 1.0).check(&figures).0);
        assert!(!AtMost("cgroup peak MB", 1.0).check(&Figures::new()).0);
    }
}
