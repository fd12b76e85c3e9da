//! From an MQTT topic to a Kafka topic, key and headers.
//!
//! What it is        ordered rules, the first one whose filter matches holds; behind them a
//!                   catch-all to the topic `mqtt`, so that nothing needs to be configured. A rule
//!                   is a line: `FILTER -> TOPIC [key=TEMPLATE] [header.NAME=TEMPLATE ...]`. A
//!                   template may hold `{topic}`, `{client}` and `{1}`, `{2}` ...: what the first,
//!                   second ... wildcard of the filter stands for.
//! What it is not    the creation of topics, and the cap on it: those need the catalog.
//! Invariants        1. what comes out is a valid Kafka topic name.
//! Source            `docs/mqtt.md`, "Rules".

mod outgoing;
mod rule;
mod template;

use crate::filter::overlap;
use crate::limits::RULES_MAX;

pub use self::outgoing::{Outgoing, OutgoingRule};
pub use self::rule::{Rule, RuleError};

/// The topic of what no rule matches, and of what may not have a topic of its own.
pub const CATCH_ALL_TOPIC: &str = "mqtt";

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Number of the rule; `None` for the catch-all.
    pub rule: Option<usize>,
    /// Kafka topic.
    pub topic: String,
    /// Record key.
    pub key: String,
    /// Headers that the rule adds.
    pub headers: Vec<(String, String)>,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    rules: Vec<Rule>,
}

impl Mapping {
    /// Reads rules, one per line or separated by `;`. Empty lines and lines that begin with `//`
    /// are passed over.
    ///
    /// # Errors
    /// [`RuleError`] names the line and what is wrong in it.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let lines = text.split(['\n', ';']).map(str::trim);
        let rules = lines
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .map(Rule::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if rules.len() > RULES_MAX {
            return Err(RuleError::TooMany);
        }
        Ok(Self { rules })
    }

    /// Where a message of this topic and client goes.
    #[must_use]
    pub fn target(&self, topic: &str, client_id: &str) -> Target {
        let mut rules = self.rules.iter().enumerate();
        let found = rules.find_map(|(number, rule)| rule.target(number, topic, client_id));
        found.unwrap_or_else(|| Self::catch_all(topic))
    }

    /// Where a message goes that no rule matches.
    #[must_use]
    pub fn catch_all(topic: &str) -> Target {
        Target {
            rule: None,
            topic: CATCH_ALL_TOPIC.to_owned(),
            key: topic.to_owned(),
            headers: Vec::new(),
        }
    }

    /// Returns whether messages that `filter` matches may stand in this Kafka topic.
    #[must_use]
    pub fn may_feed(&self, kafka_topic: &str, filter: &str) -> bool {
        let by_rule = |rule: &Rule| rule.may_make(kafka_topic) && overlap(rule.filter(), filter);
        kafka_topic == CATCH_ALL_TOPIC || self.rules.iter().any(by_rule)
    }

    /// Returns whether messages may stand in this Kafka topic at all.
    #[must_use]
    pub fn may_make(&self, kafka_topic: &str) -> bool {
        kafka_topic == CATCH_ALL_TOPIC || self.rules.iter().any(|rule| rule.may_make(kafka_topic))
    }

    /// The rules in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::{Mapping, RuleError};

    const RULES: &str = "
        // telemetry of each machine
        plant/+/+/telemetry -> telemetry.{2} key={topic} header.site={1}
        cmd/# -> commands key={1} header.from={client}; secret/+ -> fixed
    ";

    #[test]
    fn the_first_rule_that_matches_holds_and_the_rest_goes_to_the_catch_all() {
        let mapping = Mapping::parse(RULES).unwrap();
        for (topic, kafka_topic, key, headers) in [
            (
                "plant/north/pump 7/telemetry",
                "telemetry.pump_7",
                "plant/north/pump 7/telemetry",
                vec![("site", "north")],
            ),
            ("cmd/a/b", "commands", "a/b", vec![("from", "c1")]),
            ("secret/x", "fixed", "secret/x", vec![]),
            ("other", "mqtt", "other", vec![]),
        ] {
            let target = mapping.target(topic, "c1");
            assert_eq!((&*target.topic, &*target.key), (kafka_topic, key));
            let found: Vec<_> = target.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(found, headers, "{topic}");
        }
    }

    #[test]
    fn names_are_made_valid() {
        let mapping = Mapping::parse("# -> {1}").unwrap();
        for (topic, kafka_topic) in [
            ("a/b", "a.b"),
            ("ü", "_"),
            ("..", "mqtt"),
            ("/", "."),
            ("__consumer_offsets", "mqtt"),
        ] {
            let expected = if kafka_topic == "." {
                "mqtt"
            } else {
                kafka_topic
            };
            assert_eq!(mapping.target(topic, "").topic, expected, "{topic}");
        }
        assert_eq!(mapping.target(&"a".repeat(400), "").topic.len(), 249);
    }

    #[test]
    fn a_subscription_reads_only_topics_that_may_hold_its_messages() {
        let mapping = Mapping::parse(RULES).unwrap();
        for (kafka_topic, filter, expected) in [
            ("telemetry.x", "plant/#", true),
            ("telemetry.x", "cmd/#", false),
            ("commands", "#", true),
            ("commands", "plant/+", false),
            ("mqtt", "anything", true),
            ("unrelated", "#", false),
        ] {
            assert_eq!(
                mapping.may_feed(kafka_topic, filter),
                expected,
                "{kafka_topic} {filter}"
            );
        }
        assert!(mapping.may_make("telemetry.x") && !mapping.may_make("telemetry"));
    }

    #[test]
    fn a_wrong_rule_is_named() {
        for (text, word) in [
            ("a/b", "->"),
            ("a/#/b -> t", "filter"),
            ("a -> ", "topic"),
            ("a -> b!", "topic"),
            ("a -> {topic", "}"),
            ("a/+ -> t{2}", "{2}"),
            ("a -> t{x}", "{x}"),
            ("a -> t color=red", "color"),
            ("a -> t key", "key"),
            ("$share/g/a -> t", "filter"),
            ("a -> __consumer_offsets", "topic"),
        ] {
            let error = Mapping::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(error.contains(text.trim()), "{text}: {error}");
        }
        let many = "a -> b\n".repeat(300);
        assert_eq!(Mapping::parse(&many), Err(RuleError::TooMany));
    }
}
