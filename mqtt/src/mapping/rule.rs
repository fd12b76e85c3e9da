//! One rule of the mapping.

use kafka_lite::catalog::{check_topic_name, is_internal};
use thiserror::Error;

use super::template::{Filling, Template};
use super::{CATCH_ALL_TOPIC, Target};
use crate::filter::{captures, is_topic_filter};
use crate::limits::{RULE_HEADERS_MAX, RULES_MAX};

/// Bytes of a Kafka topic name.
const NAME_BYTES_MAX: usize = 249;

/// A filter, and where its messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    text: String,
    filter: String,
    topic: Template,
    key: Template,
    headers: Vec<(String, Template)>,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// In one line.
    #[error("rule `{line}`: {reason}")]
    Line {
        /// The rule.
        line: String,
        /// What is wrong in it.
        reason: String,
    },
    /// More than [`RULES_MAX`].
    #[error("more than {RULES_MAX} rules")]
    TooMany,
}

impl Rule {
    /// Reads one line.
    pub(super) fn parse(line: &str) -> Result<Self, RuleError> {
        Self::read(line).map_err(|reason| RuleError::Line {
            line: line.to_owned(),
            reason,
        })
    }

    fn read(line: &str) -> Result<Self, String> {
        let (filter, rest) = line
            .split_once("->")
            .ok_or("`FILTER -> TOPIC` is expected")?;
        let filter = filter.trim();
        if !is_topic_filter(filter) || filter.starts_with("$share/") {
            return Err(format!("`{filter}` is no topic filter"));
        }
        let wildcards = filter
            .split('/')
            .filter(|level| matches!(*level, "+" | "#"))
            .count();
        let mut words = rest.split_whitespace();
        let topic = words.next().ok_or("a topic is expected behind ->")?;
        let topic = read_topic(topic, wildcards)?;
        let mut key = None;
        let mut headers = Vec::new();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}`: key=... or header.NAME=... is expected"))?;
            let template = Template::parse(value, wildcards)?;
            match name.strip_prefix("header.") {
                Some(header) => headers.push((header.to_owned(), template)),
                None if name == "key" => key = Some(template),
                None => return Err(format!("`{name}`: key or header.NAME is expected")),
            }
        }
        if headers.len() > RULE_HEADERS_MAX {
            return Err(format!("more than {RULE_HEADERS_MAX} headers"));
        }
        Ok(Self {
            text: line.to_owned(),
            filter: filter.to_owned(),
            topic,
            key: key.map_or_else(|| Template::parse("{topic}", 0), Ok)?,
            headers,
        })
    }

    /// Where a message goes, if the rule matches it.
    pub(super) fn target(&self, number: usize, topic: &str, client_id: &str) -> Option<Target> {
        let wildcards = captures(&self.filter, topic)?;
        let filling = Filling {
            topic,
            client_id,
            wildcards: &wildcards,
        };
        let headers = self.headers.iter();
        Some(Target {
            rule: Some(number),
            topic: valid_name(self.topic.fill(&filling)),
            key: self.key.fill(&filling),
            headers: headers
                .map(|(name, template)| (name.clone(), template.fill(&filling)))
                .collect(),
        })
    }

    /// Whether a message of this rule may go to this topic.
    pub(super) fn may_make(&self, kafka_topic: &str) -> bool {
        self.topic.could_be(kafka_topic) || kafka_topic == CATCH_ALL_TOPIC
    }

    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The rule as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn read_topic(text: &str, wildcards: usize) -> Result<Template, String> {
    let template = Template::parse(text, wildcards)?;
    let fixed = template.fixed_text();
    let is_legal = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '_' | '-');
    if !fixed.chars().all(is_legal) {
        return Err(format!(
            "topic `{text}`: letters, digits, '.', '_' and '-' are expected"
        ));
    }
    if template.is_fixed() {
        check_topic_name(&fixed).map_err(|reason| format!("topic `{text}`: {reason}"))?;
        if is_internal(&fixed) {
            return Err(format!("topic `{text}` belongs to the broker"));
        }
    }
    Ok(template)
}

/// A name that Kafka accepts: `/` becomes `.`, any other foreign sign `_`; what is still no name
/// becomes the catch-all.
fn valid_name(name: String) -> String {
    let sign = |sign: char| match sign {
        '/' => '.',
        sign if sign.is_ascii_alphanumeric() || matches!(sign, '.' | '_' | '-') => sign,
        _ => '_',
    };
    let name: String = name.chars().map(sign).take(NAME_BYTES_MAX).collect();
    if check_topic_name(&name).is_err() || name.starts_with("__") {
        return CATCH_ALL_TOPIC.to_owned();
    }
    name
}
