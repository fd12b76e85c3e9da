//! Payloads that do not compress: a seeded stream of bytes.

/// A stream of pseudo-random numbers (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// A stream for `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// `count` payloads of `size_bytes` each.
pub(crate) fn payloads(seed: u64, count: usize, size_bytes: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let payload = |_| {
        let words = (0..size_bytes.div_ceil(8)).flat_map(|_| random.draw().to_le_bytes());
        words.take(size_bytes).collect()
    };
    (0..count).map(payload).collect()
}
