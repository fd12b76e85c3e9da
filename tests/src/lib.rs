//! The harness behind the tests of Sluice.
//!
//! What it is        a seeded world ([`sim`]) for the cores that are `async`, the functions that
//!                   hostile bytes are thrown at ([`fuzz`]), and what the tests of the whole
//!                   process
//!                   share.
//! What it is not    part of the product: nothing here is linked into `sluice`.

pub mod fuzz;
pub mod sim;
