//! A seeded world: one thread, virtual time, a disk that forgets what was not made durable.
//!
//! Reading order     [`random`], [`executor`], then [`disk`], whose head states the fault model.
//! Invariants        1. one seed = one run. 2. scheduling and faults draw from separate streams, so
//!                   that a change of one does not disturb the other.

pub mod disk;
pub mod executor;
pub mod random;
