//! `tests::fuzz::record_batches` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::record_batches::check(input));
