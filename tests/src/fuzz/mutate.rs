//! An in-process mutator for machines without libFuzzer: no coverage, but a seed and good habits.

use crate::sim::random::Random;

/// Numbers that length and count fields do not expect.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Varints at their ends: the longest of 32 and 64 bits, one that never ends, and none.
const VARINTS: [&[u8]; 5] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff; 11],
    &[0x80, 0x80, 0x80, 0x80, 0x00],
    &[0x01],
];

/// Changes of one input at most.
const CHANGES_MAX: usize = 6;

/// A stream of mutated inputs.
#[derive(Clone, Debug)]
pub struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
    input_bytes_max: usize,
    input: Vec<u8>,
}

impl Mutator {
    /// A stream for `seed`.
    ///
    /// # Panics
    /// When the corpus is empty.
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>, input_bytes_max: usize) -> Self {
        assert!(!corpus.is_empty(), "something to start from");
        Self {
            random: Random::new(seed, 7),
            corpus,
            input_bytes_max,
            input: Vec::new(),
        }
    }

    /// The next input.
    pub fn mutate(&mut self) -> &[u8] {
        let start = self.random.below(self.corpus.len());
        self.input.clone_from(&self.corpus[start]);
        for _ in 0..=self.random.below(CHANGES_MAX) {
            self.change();
        }
        self.input.truncate(self.input_bytes_max);
        &self.input
    }

    fn change(&mut self) {
        let (place, length) = self.range();
        match self.random.below(9) {
            0 => self.flip_bit(place),
            1 => self.set_byte(place),
            2 => self.set_number(place),
            3 => self.overwrite_varint(place),
            4 => drop(self.input.drain(place..place + length)),
            5 => {
                let copy = self.input[place..place + length].to_vec();
                self.insert(place, &copy);
            }
            6 => {
                let bytes: Vec<u8> = (0..length.min(16)).map(|_| self.byte()).collect();
                self.insert(place, &bytes);
            }
            7 => self.splice(place),
            _ => self.input.truncate(place),
        }
    }

    fn range(&mut self) -> (usize, usize) {
        let place = self.random.below(self.input.len());
        let left = self.input.len() - place;
        // Short ranges are the likely ones.
        let longest = 1 << self.random.below(10);
        (place, self.random.below(left.min(longest) + 1).min(left))
    }

    fn byte(&mut self) -> u8 {
        self.random.draw().to_be_bytes()[0]
    }

    fn flip_bit(&mut self, place: usize) {
        let bit = self.random.below(8);
        if let Some(byte) = self.input.get_mut(place) {
            *byte ^= 1 << bit;
        }
    }

    fn set_byte(&mut self, place: usize) {
        let value = self.byte();
        if let Some(byte) = self.input.get_mut(place) {
            *byte = value;
        }
    }

    /// Writes a number of 1, 2, 4 or 8 bytes, big-endian or little-endian, or moves the one that is
    /// there by a little.
    fn set_number(&mut self, place: usize) {
        let width = 1 << self.random.below(4);
        let Some(target) = self.input.get_mut(place..place + width) else {
            return;
        };
        let mut value = NUMBERS[self.random.below(NUMBERS.len())];
        if self.random.happens(40) {
            let old = target
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            value = old.wrapping_add(self.random.draw() % 17).wrapping_sub(8);
        }
        let bytes = value.to_be_bytes();
        target.copy_from_slice(&bytes[8 - width..]);
        if self.random.happens(30) {
            target.reverse();
        }
    }

    fn overwrite_varint(&mut self, place: usize) {
        let varint = VARINTS[self.random.below(VARINTS.len())];
        self.input.splice(
            place..(place + 1).min(self.input.len()),
            varint.iter().copied(),
        );
    }

    fn insert(&mut self, place: usize, bytes: &[u8]) {
        self.input.splice(place..place, bytes.iter().copied());
    }

    /// Goes on with the end of another input.
    fn splice(&mut self, place: usize) {
        let other = &self.corpus[self.random.below(self.corpus.len())];
        let from = self.random.below(other.len());
        self.input.truncate(place);
        self.input.extend_from_slice(&other[from..]);
    }
}
