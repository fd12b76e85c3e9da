//! What consumers of a group tell each other through the coordinator.
//!
//! What it is        subscriptions and assignments of the protocol type "consumer", and the range
//!                   assignor.
//! Invariants        1. bytes of others that do not fit mean "nothing"; they never fail.
//! Source            `ConsumerProtocolSubscription.json` and `ConsumerProtocolAssignment.json` of
//!                   Apache Kafka: we write version 0 and read the common part of all;
//!                   `RangeAssignor`.

use std::collections::{BTreeMap, BTreeSet};

use super::offsets::TopicPartition;

/// The protocol type of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";

/// Name of the only assignor that we speak; every client knows it.
pub const RANGE: &str = "range";

/// Bytes of a subscription to topics.
#[must_use]
pub fn subscription(topics: &[String]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    put_count(&mut bytes, topics.len());
    for topic in topics {
        put_text(&mut bytes, topic);
    }
    // User data: null.
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes
}

/// Topics of a subscription.
#[must_use]
pub fn subscribed_topics(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader { rest: bytes };
    reader.topics().unwrap_or_default()
}

/// Bytes of an assignment.
#[must_use]
pub fn assignment(partitions: &[TopicPartition]) -> Vec<u8> {
    let topics = super::offsets::by_topic(partitions);
    let mut bytes = vec![0, 0];
    put_count(&mut bytes, topics.len());
    for (topic, numbers) in topics {
        put_text(&mut bytes, topic);
        put_count(&mut bytes, numbers.len());
        for number in numbers {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes
}

/// Partitions of an assignment; none if there is none.
#[must_use]
pub fn assigned_partitions(bytes: &[u8]) -> Vec<TopicPartition> {
    let mut reader = Reader { rest: bytes };
    reader.partitions().unwrap_or_default()
}

/// Gives every member, for each of its topics, a range of neighbouring partitions.
///
/// `members` have their topics, `counts` the partitions of each topic. The first members get one
/// more if the partitions do not divide.
#[must_use]
pub fn assign_ranges(
    members: &BTreeMap<String, Vec<String>>,
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<TopicPartition>> {
    let mut assigned: BTreeMap<String, Vec<TopicPartition>> = members
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect();
    let topics: BTreeSet<&String> = members.values().flatten().collect();
    for topic in topics {
        let readers = members.iter().filter(|(_, topics)| topics.contains(topic));
        let readers: Vec<&String> = readers.map(|(member, _)| member).collect();
        let count = counts.get(topic).copied().unwrap_or(0);
        let reader_count = i32::try_from(readers.len()).unwrap_or(i32::MAX);
        let each = count.checked_div(reader_count).unwrap_or(0);
        let more = count.checked_rem(reader_count).unwrap_or(0);
        let mut next = 0;
        for (place, reader) in (0_i32..).zip(readers) {
            let end = next + each + i32::from(place < more);
            let range = (next..end).map(|number| TopicPartition::new(topic, number));
            assigned.entry(reader.clone()).or_default().extend(range);
            next = end;
        }
    }
    assigned
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    bytes.extend_from_slice(&count.to_be_bytes());
}

/// Names of topics are at most 249 bytes long, so none is cut.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).unwrap_or(0);
    bytes.extend_from_slice(&length.to_be_bytes());
    if length > 0 {
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// Takes fields from the front; `None` where they end early.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn topics(&mut self) -> Option<Vec<String>> {
        let _version = self.number::<2>().map(i16::from_be_bytes)?;
        let count = self.number().map(i32::from_be_bytes)?;
        (0..count).map(|_| self.text()).collect()
    }

    fn partitions(&mut self) -> Option<Vec<TopicPartition>> {
        let _version = self.number::<2>().map(i16::from_be_bytes)?;
        let mut partitions = Vec::new();
        for _ in 0..self.number().map(i32::from_be_bytes)? {
            let topic = self.text()?;
            for _ in 0..self.number().map(i32::from_be_bytes)? {
                let number = self.number().map(i32::from_be_bytes)?;
                partitions.push(TopicPartition::new(&topic, number));
            }
        }
        Some(partitions)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*number)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number().map(i16::from_be_bytes)?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        TopicPartition, assign_ranges, assigned_partitions, assignment, subscribed_topics,
        subscription,
    };

    #[test]
    fn subscriptions_and_assignments_come_back() {
        let topics = ["orders".to_owned(), "a".to_owned()];
        assert_eq!(subscribed_topics(&subscription(&topics)), topics);
        let partitions = [("a", 0), ("a", 7), ("b", 1)];
        let partitions = partitions.map(|(topic, number)| TopicPartition::new(topic, number));
        assert_eq!(assigned_partitions(&assignment(&partitions)), partitions);
    }

    #[test]
    fn bytes_that_do_not_fit_are_nothing() {
        let whole = subscription(&["orders".to_owned()]);
        for end in 0..whole.len() - 4 {
            assert!(subscribed_topics(&whole[..end]).is_empty(), "{end}");
        }
        assert!(subscribed_topics(b"\x00\x00\x7f\xff\xff\xff\x00\x01a").is_empty());
        assert!(
            assigned_partitions(b"\x00\x00\x00\x00\x00\x01\x00\x01a\x7f\xff\xff\xff").is_empty()
        );
    }

    #[test]
    fn version_3_of_a_subscription_is_read_by_its_common_part() {
        let bytes = b"\x00\x03\x00\x00\x00\x01\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x00\
                      \xff\xff\xff\xff\xff\xff";
        assert_eq!(subscribed_topics(bytes), ["a"]);
    }

    #[test]
    fn ranges_are_those_of_kafka() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let members = BTreeMap::from([
            ("m1".to_owned(), names(&["t", "u"])),
            ("m2".to_owned(), names(&["t"])),
            ("m3".to_owned(), names(&["t"])),
        ]);
        let counts = BTreeMap::from([("t".to_owned(), 7), ("u".to_owned(), 2)]);
        let assigned = assign_ranges(&members, &counts);
        let of = |member: &str, topic: &str| -> Vec<i32> {
            let partitions = assigned[member].iter().filter(|one| one.topic == topic);
            partitions.map(|one| one.partition).collect()
        };
        assert_eq!(of("m1", "t"), [0, 1, 2]);
        assert_eq!(of("m2", "t"), [3, 4]);
        assert_eq!(of("m3", "t"), [5, 6]);
        assert_eq!(of("m1", "u"), [0, 1]);
    }
}
