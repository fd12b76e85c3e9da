//! Which partition a record goes to, as Kafka's own clients choose.
//!
//! What it is        murmur2 of the key for records with a key; for others one partition per round,
//!                   in turn.
//! Source            Apache Kafka `Utils.murmur2`, `BuiltInPartitioner`.

/// Seed of Kafka's murmur2.
const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Hash of a key: 32-bit murmur2 with Kafka's seed.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    // Kafka's length is an int; keys above 2 GiB do not exist.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ word.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        for (place, byte) in (0_u32..).zip(tail) {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// Partition of a key among `count` partitions; 0 when there are none.
#[must_use]
pub fn partition_of(key: &[u8], count: i32) -> i32 {
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
    positive.checked_rem(count).unwrap_or(0)
}

/// Chooses for records without key: the same partition until [`Sticky::advance`].
#[derive(Debug)]
pub struct Sticky {
    next: i32,
}

impl Sticky {
    /// Starts anywhere; `start` may be any number.
    #[must_use]
    pub const fn new(start: u32) -> Self {
        Self {
            next: (start & 0x7fff_ffff).cast_signed(),
        }
    }

    /// The partition among `count`; 0 when there are none.
    #[must_use]
    pub fn partition(&self, count: i32) -> i32 {
        self.next.checked_rem(count).unwrap_or(0)
    }

    /// Goes to the next partition.
    pub const fn advance(&mut self) {
        self.next = self.next.wrapping_add(1) & 0x7fff_ffff;
    }
}

#[cfg(test)]
mod tests {
    use super::{Sticky, murmur2, partition_of};

    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_test() {
        let rows = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (key, expected) in rows {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn partitions_are_in_range_and_negative_hashes_lose_their_sign() {
        // -973,932,308 & 0x7fff_ffff = 1,173,551,340
        assert_eq!(partition_of(b"21", 1_000), 340);
        assert_eq!(partition_of(b"21", 1), 0);
        assert_eq!(partition_of(b"21", 0), 0);
    }

    #[test]
    fn sticky_stays_until_told_and_visits_all() {
        let mut sticky = Sticky::new(u32::MAX);
        let first = sticky.partition(3);
        assert_eq!(sticky.partition(3), first);
        sticky.advance();
        // From the largest number on to zero.
        assert_eq!(sticky.partition(3), 0);
        sticky.advance();
        assert_eq!(sticky.partition(3), 1);
    }
}
