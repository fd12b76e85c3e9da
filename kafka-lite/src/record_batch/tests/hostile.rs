//! Hostile input: an in-process mutator over valid batches.
//!
//! Goal              no input panics, and no accepted batch breaks a promise of `check_produced`.
//! Method            flip, cut, insert, overwrite with boundary values; half of the time the CRC is
//!                   made right again, so that the inner checks are reached.

use super::check::rules;
use super::*;

/// Mutations per seed batch; the daemon's test command runs the same function for longer.
const ROUNDS: u32 = 6_000;

#[test]
fn mutated_batches_never_panic_and_accepted_ones_keep_the_promise() {
    let seeds: Vec<Vec<u8>> = Compression::ALL
        .into_iter()
        .map(|codec| sample(codec, 12))
        .chain([bytes_of(GOLDEN)])
        .collect();
    let mut random = Random(0x5eed_0001);
    let mut accepted = 0;
    for round in 0..ROUNDS {
        for seed in &seeds {
            let mut bytes = seed.clone();
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, &mut random);
            }
            if round % 2 == 0 {
                fix_length_and_crc(&mut bytes);
            }
            accepted += u32::from(exercise(&bytes));
        }
    }
    assert!(accepted > 600, "the mutator reaches the inside: {accepted}");
}

/// Runs everything that takes foreign bytes; returns whether the batch was accepted.
fn exercise(bytes: &[u8]) -> bool {
    let _ = size_of_batch_at(bytes);
    let limits = DecompressLimits {
        output_bytes_max: 1 << 20,
        expansion_max: 100,
    };
    if let Ok(batch) = BatchView::new(bytes) {
        let mut scratch = Vec::new();
        drop(first_record_at_or_after(
            &batch,
            1_700_000_000_050,
            0,
            &limits,
            &mut scratch,
        ));
        drop(max_timestamp_record(&batch, &limits, &mut scratch));
        if let Ok(records) = batch.records(&limits, &mut scratch) {
            for record in records.flatten() {
                let count = record.headers.count_left();
                assert_eq!(record.headers.count(), count);
            }
        }
    }
    let header_only = AppendRules {
        record_walk: RecordWalk::HeaderOnly,
        ..rules()
    };
    drop(check_produced(bytes, &header_only));
    let always = AppendRules {
        record_walk: RecordWalk::Always,
        decompress_limits: limits,
        ..rules()
    };
    let Ok(summary) = check_produced(bytes, &always) else {
        return false;
    };
    let mut scratch = Vec::new();
    let batch = BatchView::new(bytes).unwrap();
    let records: Vec<_> = batch
        .records(&limits, &mut scratch)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        i32::try_from(records.len()).unwrap(),
        summary.header.records_count
    );
    let largest = records.iter().map(|record| record.timestamp).max().unwrap();
    assert_eq!(summary.stored_max_timestamp(0), largest.max(-1));
    true
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes.truncate(at),
        2 => bytes.insert(at, random.byte()),
        3 => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][random.below(5)],
        4 => drop(bytes.remove(at)),
        _ => {
            let end = (at + 5).min(bytes.len());
            bytes[at..end].fill(0xff);
        }
    }
}

fn fix_length_and_crc(bytes: &mut [u8]) {
    if bytes.len() < field::HEADER_BYTES {
        return;
    }
    let length = i32::try_from(bytes.len() - field::LOG_OVERHEAD_BYTES).unwrap();
    bytes[field::BATCH_LENGTH].copy_from_slice(&length.to_be_bytes());
    bytes[field::MAGIC].fill(2);
    let crc = crc32c::crc32c(&bytes[field::CRC_START..]);
    bytes[field::CRC].copy_from_slice(&crc.to_be_bytes());
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
