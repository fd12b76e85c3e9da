//! The seeded pseudo-random numbers behind randomised election timeouts.
//!
//! What it is        SplitMix64 (Steele, Lea, Flood 2014): eight bytes of state, the same numbers
//!                   for the same seed on every machine.
//! What it is not    no source of secrets.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts the stream that belongs to `seed`.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 when `end` is 0.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        let number = self.next();
        if end == 0 { 0 } else { number % end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers_and_all_below_the_end() {
        let (mut one, mut two) = (Random::new(7), Random::new(7));
        let mut seen = [false; 10];
        for _ in 0..200 {
            let number = one.below(10);
            assert_eq!(number, two.below(10));
            seen[usize::try_from(number).unwrap()] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_ne!(Random::new(1).next(), Random::new(2).next());
        assert_eq!(one.below(0), 0);
    }
}
