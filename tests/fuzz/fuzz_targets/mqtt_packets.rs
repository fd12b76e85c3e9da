//! `tests::fuzz::mqtt_packets` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::mqtt_packets::check(input));
