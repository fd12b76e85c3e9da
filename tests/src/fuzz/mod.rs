//! Hostile bytes: one function per target that panics when a rule is broken.
//!
//! What it is        [`TARGETS`]: what bytes from the network or from a damaged disk meet first,
//! with
//!                   the rules that hold for any input, and a corpus to start from. Two drivers
//!                   call
//!                   them: libFuzzer (`tests/fuzz`, nightly Rust) and the seeded mutator of
//!                   `cargo run -p tests --bin fuzz`; `tests/fuzz-run` picks one.
//! Invariants        1. a target depends on its input alone. 2. every entry of a corpus passes.
//! Reading order     [`requests`], [`record_batches`], [`stored`], [`recovery`], then [`mutate`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a target panics at the first broken rule: that is its report"
)]

mod image;
pub mod mqtt_packets;
pub mod mutate;
pub mod record_batches;
pub mod recovery;
pub mod requests;
pub mod stored;
pub mod websocket;

/// What a driver needs of a target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name on the command line.
    pub name: &'static str,
    /// Panics if the input breaks a rule.
    pub check: fn(&[u8]),
    /// Inputs to start from.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Longest input that says more than a shorter one, in bytes.
    pub input_bytes_max: usize,
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "requests",
        check: requests::check,
        corpus: requests::corpus,
        input_bytes_max: 8 * 1024,
    },
    Target {
        name: "record_batches",
        check: record_batches::check,
        corpus: record_batches::corpus,
        input_bytes_max: 8 * 1024,
    },
    Target {
        name: "stored",
        check: stored::check,
        corpus: stored::corpus,
        input_bytes_max: 4 * 1024,
    },
    Target {
        name: "recovery",
        check: recovery::check,
        corpus: recovery::corpus,
        input_bytes_max: 512,
    },
    Target {
        name: "mqtt_packets",
        check: mqtt_packets::check,
        corpus: mqtt_packets::corpus,
        input_bytes_max: 2 * 1024,
    },
    Target {
        name: "websocket",
        check: websocket::check,
        corpus: websocket::corpus,
        input_bytes_max: 2 * 1024,
    },
];

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use super::mutate::Mutator;

    #[test]
    fn every_corpus_passes_and_so_do_a_few_hundred_mutations_of_it() {
        for target in TARGETS {
            let corpus = (target.corpus)();
            assert!(!corpus.is_empty(), "{}", target.name);
            for input in &corpus {
                (target.check)(input);
            }
            let mut mutator = Mutator::new(1, corpus, target.input_bytes_max);
            for _ in 0..300 {
                (target.check)(mutator.mutate());
            }
        }
    }
}
