//! The process `sluice`.

fn main() {}
