//! Which partition of `__consumer_offsets` a group belongs to.
//!
//! Source            `GroupCoordinatorService.partitionFor`, `Utils.abs`, `String.hashCode`.

/// Returns the partition of `__consumer_offsets` that holds the group.
///
/// Java's string hash over UTF-16 units, without its sign bit, modulo the number of partitions. A
/// partition count below 1 counts as 1.
#[must_use]
pub fn partition_for(group_id: &str, partition_count: i32) -> i32 {
    let hash = group_id.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    (hash & i32::MAX) % partition_count.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn follows_java_string_hash_code() {
        // "abc".hashCode() = 96354, "polygenelubricants".hashCode() = Integer.MIN_VALUE.
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("abc", i32::MAX), 96354);
        assert_eq!(partition_for("abc", 50), 4);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        // U+1F600 is two UTF-16 units: 0xD83D * 31 + 0xDE00 = 1772899.
        assert_eq!(partition_for("\u{1F600}", i32::MAX), 1_772_899);
        assert_eq!(partition_for("abc", 0), 0);
    }
}
