//! The harness behind the tests of Sluice.
