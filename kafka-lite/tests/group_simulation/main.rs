//! A seeded life of the group coordinator: clients that behave and clients that do not, lost
//! connections, failed writes, partitions that move and restarts, with what must hold after every
//! step.
//!
//! Held after every step: the coordinator's own invariants; no token is answered twice; a
//! generation has one leader and one protocol; memory stays inside its bound. Held at the end:
//! every token is answered, what is fetched is what is durable, and nothing remains once all has
//! expired.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a fault of the test fails the test, and its random numbers are small"
)]

mod answers;
mod checks;
mod clients;
mod simulation;

use crate::simulation::Simulation;

fn run(seed: u64, steps: u64) -> (u64, u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..steps {
        simulation.step();
    }
    simulation.finish();
    (simulation.answered, simulation.completed_joins)
}

/// `GROUP_SEED=7` runs one seed; `GROUP_SEEDS=1000` runs that many.
#[test]
fn coordinator_keeps_its_promises_in_a_random_life() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("GROUP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GROUP_SEEDS").unwrap_or(40),
    };
    let (mut answered, mut joins) = (0, 0);
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed, 3_000));
        let Ok((more_answered, more_joins)) = result else {
            panic!("seed {seed} fails: GROUP_SEED={seed}");
        };
        answered += more_answered;
        joins += more_joins;
    }
    assert!(
        joins > 100,
        "only {joins} joins completed: the simulation does nothing"
    );
    assert!(answered > joins);
}
