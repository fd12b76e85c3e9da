//! Several replicas at once: scripts, scenarios of the Raft paper, and seeded simulation.
//!
//! What it is        one harness (`replica`: core plus a modelled disk; `oracle`: what must hold
//!                   across nodes; `network`: the group) under three kinds of test.
//! Commands          `cargo test -p replication`; `UPDATE_SCRIPTS=1` rewrites the answers in
//!                   `testdata/*.txt` (read the diff); `SEEDS=from..to` runs other seeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::or_fun_call,
    clippy::too_many_lines,
    reason = "a test fails by panicking and may print what it covered"
)]

mod network;
mod oracle;
mod paper;
mod replica;
mod script;
mod scripts;
mod simulation;
