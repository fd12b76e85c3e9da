//! Reads the topics out of a consumer's subscription.
//!
//! What it is        the tolerant half of `ConsumerProtocolSubscription`: version and topic names.
//! What it is not    a check of clients: bytes that do not fit mean "unknown", never an error.
//! Source            `ConsumerProtocolSubscription.json` v0–v3 of Apache Kafka.

use std::collections::BTreeSet;

use super::wire::Reader;

/// The protocol type whose metadata the coordinator may read.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Returns the topics of a subscription, or `None` if the bytes are not one.
///
/// Every version starts with `version: int16, topics: [string]`; what follows is not needed.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let mut reader = Reader::new(metadata);
    let version = reader.int16("version").ok()?;
    if version < 0 {
        return None;
    }
    let count = reader.array_length("topics", 2).ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        topics.insert(reader.string("topic").ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::subscribed_topics;

    #[test]
    fn reads_topics_and_tolerates_the_rest() {
        let bytes = b"\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x02bc\xff\xff\xff\xff\x00\x00\x00\x00";
        let topics: Vec<_> = subscribed_topics(bytes).unwrap().into_iter().collect();
        assert_eq!(topics, ["a", "bc"]);
        assert_eq!(subscribed_topics(b""), None);
        assert_eq!(
            subscribed_topics(b"\x00\x00\x7f\xff\xff\xff\x00\x01a"),
            None
        );
        assert_eq!(
            subscribed_topics(b"\x00\x00\x00\x00\x00\x01\x00\x05a"),
            None
        );
        assert_eq!(subscribed_topics(b"\xff\xff\x00\x00\x00\x00"), None);
    }
}
