//! Sequence numbers of an idempotent producer: 31 bits that wrap from `i32::MAX` to 0.
//!
//! Source            Kafka 4.3 `DefaultRecordBatch.incrementSequence`.

/// One more than the largest sequence.
const MODULUS: i64 = 1 << 31;

/// The sequence `count` behind this one.
pub(crate) fn advance(sequence: i32, count: i32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(count)).rem_euclid(MODULUS);
    i32::try_from(sum).unwrap_or(0)
}

/// Whether `left` stands before `right`, as long as they are less than half the numbers apart.
pub(crate) fn is_before(left: i32, right: i32) -> bool {
    let distance = (i64::from(right) - i64::from(left)).rem_euclid(MODULUS);
    distance != 0 && distance < MODULUS >> 1
}

#[cfg(test)]
mod tests {
    use super::{advance, is_before};

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(0, 10), 10);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 4, 10), 5);
        assert_eq!(advance(0, -1), i32::MAX);
    }

    #[test]
    fn order_holds_over_the_wrap() {
        assert!(is_before(1, 2) && !is_before(2, 1) && !is_before(2, 2));
        assert!(is_before(i32::MAX, 3) && !is_before(3, i32::MAX));
    }
}
