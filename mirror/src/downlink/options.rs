//! What a downlink brings, and under which names.

use std::time::Duration;

use crate::dead_letter::DEAD_LETTER_SUFFIX;
use crate::limits;
use crate::options::{Login, TargetName};
use crate::origin::Site;
use crate::output::Address;

/// Patterns for names of topics, in which `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPatterns(Vec<String>);

/// Which topics of the centre are brought, and what they are called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownlinkTopics {
    patterns: TopicPatterns,
    target: TargetName,
    site: String,
}

/// Where a partition is begun that was never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the first record that the centre has.
    #[default]
    Earliest,
    /// Behind the last one. A partition that joins a topic already known, and a topic made anew,
    /// begin with their first record all the same.
    Latest,
}

/// What the operator chose for the downlink of one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownlinkOptions {
    /// Name of the mirror.
    pub name: String,
    /// This gateway, as its origin headers say it.
    pub site: Site,
    /// Brokers of the centre to ask first; not empty.
    pub bootstrap: Vec<Address>,
    /// Who this gateway is to the brokers of the centre; `None` does not log in.
    pub login: Option<Login>,
    /// What is brought.
    pub topics: DownlinkTopics,
    /// Where a partition is begun that was never read.
    pub start: Start,
    /// Time after which topics and partitions are looked for again.
    pub metadata_age: Duration,
    /// Time that the centre may hold a fetch back while it has no records.
    pub fetch_wait: Duration,
    /// Bytes of records in one local batch before compression; a single record may exceed it.
    pub batch_bytes: usize,
    /// Partitions at most on this shard.
    pub lanes_max: usize,
}

impl DownlinkOptions {
    /// Defaults for a mirror of this name and site to these brokers.
    #[must_use]
    pub fn new(name: &str, site: Site, bootstrap: Vec<Address>, topics: DownlinkTopics) -> Self {
        Self {
            name: name.to_owned(),
            site,
            bootstrap,
            login: None,
            topics,
            start: Start::Earliest,
            metadata_age: limits::METADATA_AGE_DEFAULT,
            fetch_wait: limits::FETCH_WAIT_DEFAULT,
            batch_bytes: limits::BATCH_BYTES_DEFAULT,
            lanes_max: limits::LANES_DEFAULT,
        }
    }
}

impl TopicPatterns {
    /// Takes patterns as they are.
    #[must_use]
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether a name fits one of them and is not that of the dead letters of another that does:
    /// what the local topic refuses goes there.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let of = name.strip_suffix(DEAD_LETTER_SUFFIX);
        self.fits(name) && !of.is_some_and(|of| self.fits(of))
    }

    fn fits(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether one of them stands for more than one name.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.0.iter().any(|pattern| pattern.contains('*'))
    }

    /// The patterns.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl DownlinkTopics {
    /// Topics that fit `patterns`, in which `{site}` stands for this gateway, under the names that
    /// `target` gives them.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn new(patterns: &[String], target: TargetName, site: &str) -> Result<Self, String> {
        if !target.is_reversible() {
            return Err("{topic} is expected in it once".to_owned());
        }
        let legal = TargetName::legal(site);
        let named = patterns.iter().map(|one| one.replace("{site}", &legal));
        Ok(Self {
            patterns: TopicPatterns(named.collect()),
            target,
            site: site.to_owned(),
        })
    }

    /// Which topics of the centre are brought.
    #[must_use]
    pub fn patterns(&self) -> &TopicPatterns {
        &self.patterns
    }

    /// What a topic of the centre is called here.
    #[must_use]
    pub fn local_of(&self, topic: &str) -> String {
        self.target.of(&self.site, topic)
    }

    /// The topic of the centre behind a local one; `None` if nothing is brought into that.
    #[must_use]
    pub fn centre_of<'a>(&self, local: &'a str) -> Option<&'a str> {
        let topic = self.target.source_of(&self.site, local)?;
        self.patterns.matches(topic).then_some(topic)
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{DownlinkTopics, matches};
    use crate::options::TargetName;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("*", "a", true),
            ("a*", "ab", true),
            ("a*", "ba", false),
            ("a", "ab", false),
            ("*.t", "x.t", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn names_lead_both_ways() {
        let topics = |patterns: &[&str], target: &str| {
            let patterns: Vec<String> = patterns.iter().map(|one| (*one).to_owned()).collect();
            DownlinkTopics::new(&patterns, TargetName::new(target).unwrap(), "plant 7")
        };
        let plain = topics(&["commands*", "to.{site}"], "{topic}").unwrap();
        assert_eq!(plain.local_of("commands.a"), "commands.a");
        assert_eq!(plain.centre_of("commands.a"), Some("commands.a"));
        assert_eq!(plain.centre_of("to.plant_7"), Some("to.plant_7"));
        assert_eq!(plain.centre_of("to.plant_8"), None);
        assert_eq!(plain.centre_of("commands.a.dead-letter"), None);
        let named = topics(&["commands"], "{site}.{topic}.in").unwrap();
        assert_eq!(named.local_of("commands"), "plant_7.commands.in");
        assert_eq!(named.centre_of("plant_7.commands.in"), Some("commands"));
        assert_eq!(named.centre_of("commands"), None);
        assert_eq!(named.centre_of("plant_7..in"), None);
        let letters = topics(&["a.dead-letter"], "down.{topic}").unwrap();
        let centre = letters.centre_of("down.a.dead-letter");
        assert_eq!(centre, Some("a.dead-letter"), "of nothing that is brought");
        for target in ["all", "{topic}{topic}"] {
            assert!(topics(&["c"], target).is_err(), "{target}");
        }
    }
}
