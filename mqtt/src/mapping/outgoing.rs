//! From a Kafka topic to MQTT subscribers.
//!
//! What it is        the way back: rules `KAFKA-TOPIC -> MQTT-TOPIC [qos=0|1]`, the first one whose
//!                   topic matches holds. The Kafka topic may end with `*`; the MQTT topic may hold
//!                   `{topic}` (the Kafka topic) and `{key}` (the key of the record).
//! What it is not    needed for what MQTT clients published: that carries its MQTT topic.
//! Invariants        1. what comes out is a valid MQTT topic name, or the record is passed over.
//! Source            `docs/mqtt.md`, "Kafka records to MQTT subscribers".

use kafka_lite::catalog::{check_topic_name, is_internal};
use kafka_lite::record_batch::Record;

use super::RuleError;
use crate::filter::{is_topic_name, overlap};
use crate::limits::RULES_MAX;
use crate::message::Qos;
use crate::record::StoredMessage;

/// All rules of the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    rules: Vec<OutgoingRule>,
}

/// Which Kafka topics, and what their records become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRule {
    kafka_topic: String,
    is_prefix: bool,
    parts: Vec<Part>,
    qos: Qos,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    KafkaTopic,
    Key,
}

impl Outgoing {
    /// Reads rules, one per line or separated by `;`. Empty lines and lines that begin with `//`
    /// are passed over.
    ///
    /// # Errors
    /// [`RuleError`] names the line and what is wrong in it.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let lines = text.split(['\n', ';']).map(str::trim);
        let rules = lines
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .map(|line| {
                OutgoingRule::read(line).map_err(|reason| RuleError::Line {
                    line: line.to_owned(),
                    reason,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if rules.len() > RULES_MAX {
            return Err(RuleError::TooMany);
        }
        Ok(Self { rules })
    }

    /// The rule for a Kafka topic.
    #[must_use]
    pub fn rule(&self, kafka_topic: &str) -> Option<&OutgoingRule> {
        self.rules.iter().find(|rule| rule.takes(kafka_topic))
    }

    /// Returns whether records of this Kafka topic may become messages that `filter` matches.
    #[must_use]
    pub fn may_feed(&self, kafka_topic: &str, filter: &str) -> bool {
        let rule = self.rule(kafka_topic);
        rule.is_some_and(|rule| overlap(&rule.filter(kafka_topic), filter))
    }
}

impl OutgoingRule {
    fn read(line: &str) -> Result<Self, String> {
        let (kafka_topic, rest) = line
            .split_once("->")
            .ok_or("`KAFKA-TOPIC -> MQTT-TOPIC` is expected")?;
        let kafka_topic = kafka_topic.trim();
        let (name, is_prefix) = match kafka_topic.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (kafka_topic, false),
        };
        if !(is_prefix && name.is_empty()) {
            check_topic_name(name).map_err(|reason| format!("topic `{kafka_topic}`: {reason}"))?;
        }
        if !is_prefix && is_internal(name) {
            return Err(format!("topic `{kafka_topic}` belongs to the broker"));
        }
        let mut words = rest.split_whitespace();
        let template = words.next().ok_or("an MQTT topic is expected behind ->")?;
        let mut qos = Qos::AtLeastOnce;
        for word in words {
            qos = match word {
                "qos=0" => Qos::AtMostOnce,
                "qos=1" => Qos::AtLeastOnce,
                _ => return Err(format!("`{word}`: qos=0 or qos=1 is expected")),
            };
        }
        let rule = Self {
            kafka_topic: name.to_owned(),
            is_prefix,
            parts: read_parts(template)?,
            qos,
        };
        if !is_topic_name(&rule.fill("t", "k")) {
            return Err(format!("`{template}` is no MQTT topic"));
        }
        Ok(rule)
    }

    fn takes(&self, kafka_topic: &str) -> bool {
        if self.is_prefix {
            kafka_topic.starts_with(&self.kafka_topic)
        } else {
            kafka_topic == self.kafka_topic
        }
    }

    fn fill(&self, kafka_topic: &str, key: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::KafkaTopic => kafka_topic.to_owned(),
            Part::Key => key.to_owned(),
        };
        self.parts.iter().map(text).collect()
    }

    /// A filter that matches all names that may come out. A key may hold further levels.
    fn filter(&self, kafka_topic: &str) -> String {
        if !self.parts.contains(&Part::Key) {
            return self.fill(kafka_topic, "");
        }
        let before_key = self.parts.split(|part| *part == Part::Key).next();
        let before_key = Self {
            parts: before_key.unwrap_or_default().to_vec(),
            ..self.clone()
        };
        let text = before_key.fill(kafka_topic, "");
        let levels = text
            .rfind('/')
            .map_or("", |end| text.get(..=end).unwrap_or(""));
        format!("{levels}#")
    }

    /// The message that a record of this Kafka topic becomes; `None` if its key makes no MQTT
    /// topic. Signs that a topic name does not take become `_`; a record without key counts as one
    /// with an empty key.
    #[must_use]
    pub fn message(&self, kafka_topic: &str, record: &Record<'_>) -> Option<StoredMessage> {
        let key = String::from_utf8_lossy(record.key.unwrap_or_default());
        let is_bad = |sign: char| matches!(sign, '+' | '#' | '\0' | char::REPLACEMENT_CHARACTER);
        let topic = self.fill(kafka_topic, &key.replace(is_bad, "_"));
        is_topic_name(&topic).then(|| StoredMessage::of_kafka(record, topic.into(), self.qos))
    }
}

fn read_parts(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after
            .split_once('}')
            .ok_or_else(|| format!("`{template}` has no }} behind {{"))?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(match name {
            "topic" => Part::KafkaTopic,
            "key" => Part::Key,
            _ => return Err(format!("{{{name}}}: {{topic}} or {{key}} is expected")),
        });
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::Outgoing;
    use crate::message::Qos;
    use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView, DecompressLimits};

    const RULES: &str = "commands -> cmd/{key}; alerts.* -> alert/{topic} qos=0";

    /// Topic and quality of the message that a record with this key becomes.
    fn message(kafka_topic: &str, key: Option<&[u8]>) -> Option<(String, Qos)> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(5, key, Some(b"x"), &[]).unwrap();
        let batch = builder.finish().unwrap();
        let (view, _) = BatchView::split_first(&batch).unwrap().unwrap();
        let mut scratch = Vec::new();
        let mut records = view
            .records(&DecompressLimits::default(), &mut scratch)
            .unwrap();
        let outgoing = Outgoing::parse(RULES).unwrap();
        let rule = outgoing.rule(kafka_topic)?;
        let stored = rule.message(kafka_topic, &records.next().unwrap().unwrap())?;
        assert_eq!(
            (&stored.message.payload[..], stored.client_id),
            (&b"x"[..], None)
        );
        Some((stored.message.topic.to_string(), stored.message.qos))
    }

    #[test]
    fn a_record_becomes_a_message_of_the_first_rule_that_takes_its_topic() {
        let at_least = |topic: &str| Some((topic.to_owned(), Qos::AtLeastOnce));
        assert_eq!(message("commands", Some(b"pump/7")), at_least("cmd/pump/7"));
        assert_eq!(message("commands", Some(b"a+#\xff")), at_least("cmd/a___"));
        assert_eq!(message("commands", None), at_least("cmd/"));
        let alert = ("alert/alerts.fire".to_owned(), Qos::AtMostOnce);
        assert_eq!(message("alerts.fire", None), Some(alert));
        assert_eq!(message("commands2", None), None);
        assert_eq!(message("commands", Some(&[b'a'; 2000])), None, "too long");
    }

    #[test]
    fn a_subscription_reads_only_topics_whose_records_it_may_get() {
        let outgoing = Outgoing::parse(RULES).unwrap();
        for (kafka_topic, filter, expected) in [
            ("commands", "cmd/pump/7", true),
            ("commands", "cmd/+", true),
            ("commands", "#", true),
            ("commands", "other/#", false),
            ("alerts.fire", "alert/alerts.fire", true),
            ("alerts.fire", "alert/alerts.water", false),
            ("telemetry", "#", false),
        ] {
            let found = outgoing.may_feed(kafka_topic, filter);
            assert_eq!(found, expected, "{kafka_topic} {filter}");
        }
    }

    #[test]
    fn a_wrong_rule_is_named() {
        for (text, word) in [
            ("a", "->"),
            ("a -> ", "MQTT topic"),
            ("a! -> b", "topic"),
            ("__consumer_offsets -> b", "broker"),
            ("a -> b/+", "MQTT topic"),
            ("a -> b/{client}", "{client}"),
            ("a -> b/{key", "}"),
            ("a -> b qos=2", "qos=2"),
        ] {
            let error = Outgoing::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
