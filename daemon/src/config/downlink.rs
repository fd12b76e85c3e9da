//! The keys `downlink.*` of a `[[mirror]]` table.
//!
//! What it is        what is brought from the centre, and what the directions of all mirrors forbid
//!                   each other.

use std::time::Duration;

use mirror::downlink::{DownlinkTopics, Start};
use mirror::{TargetName, limits};

use super::mirror::{MirrorConfig, expected};

/// The downlink of a mirror as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownlinkConfig {
    /// `downlink.topics`: patterns with `*` and `{site}`; empty brings nothing.
    pub topics: Vec<String>,
    /// `downlink.target`
    pub target: TargetName,
    /// `downlink.start`
    pub start: Start,
    /// `downlink.metadata.max.age.ms`
    pub metadata_age: Duration,
    /// `downlink.fetch.max.wait.ms`
    pub fetch_wait: Duration,
}

impl Default for DownlinkConfig {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            target: TargetName::default(),
            start: Start::Earliest,
            metadata_age: limits::METADATA_AGE_DEFAULT,
            fetch_wait: limits::FETCH_WAIT_DEFAULT,
        }
    }
}

/// Smallest and largest `downlink.metadata.max.age.ms`.
const METADATA_AGE_MS: (u64, u64) = (100, 86_400_000);

/// Smallest and largest `downlink.fetch.max.wait.ms`; brokers cut a connection that is silent for
/// ten minutes.
const FETCH_WAIT_MS: (u64, u64) = (100, 300_000);

impl DownlinkConfig {
    /// Takes one key, without `downlink.`, with its values.
    ///
    /// # Errors
    /// What is expected; `None` for an unknown key.
    pub(super) fn apply(&mut self, key: &str, values: &[String]) -> Result<(), Option<String>> {
        if key == "topics" {
            for pattern in values {
                check_pattern(pattern)?;
            }
            self.topics = values.to_vec();
            return Ok(());
        }
        let [value] = values else {
            return Err(Some("a single value is expected".to_owned()));
        };
        match key {
            "target" => {
                let target = TargetName::new(value).map_err(Some)?;
                if !target.is_reversible() {
                    return Err(expected("a pattern with {topic} in it once", value));
                }
                self.target = target;
            }
            "start" => {
                self.start = match value.as_str() {
                    "earliest" => Start::Earliest,
                    "latest" => Start::Latest,
                    _ => return Err(expected("earliest or latest", value)),
                }
            }
            "metadata.max.age.ms" => self.metadata_age = milliseconds(value, METADATA_AGE_MS)?,
            "fetch.max.wait.ms" => self.fetch_wait = milliseconds(value, FETCH_WAIT_MS)?,
            _ => return Err(None),
        }
        Ok(())
    }

    /// What is missing, once all keys are taken.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.topics.is_empty() && *self != Self::default() {
            return Err(
                "downlink.topics is missing: other keys of the downlink are set".to_owned(),
            );
        }
        Ok(())
    }
}

/// What a mirror brings, by its own names; `None` if it brings nothing.
pub fn topics_of(config: &MirrorConfig) -> Option<DownlinkTopics> {
    let downlink = &config.downlink;
    if downlink.topics.is_empty() {
        return None;
    }
    DownlinkTopics::new(
        &downlink.topics,
        downlink.target.clone(),
        &config.site_name(),
    )
    .ok()
}

/// Tells every mirror what all of them bring: nothing of that is forwarded.
///
/// # Errors
/// A topic that is named for both directions, or that two mirrors bring.
pub(super) fn settle_directions(mirrors: &mut [MirrorConfig]) -> Result<(), String> {
    let brought: Vec<(String, DownlinkTopics)> = mirrors
        .iter()
        .filter_map(|one| Some((one.name.clone(), topics_of(one)?)))
        .collect();
    for (place, (name, topics)) in brought.iter().enumerate() {
        for pattern in topics.patterns().iter() {
            let local = topics.local_of(pattern);
            let others = brought
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place);
            for (_, (other, theirs)) in others {
                if theirs.centre_of(&local).is_some() {
                    return Err(format!(
                        "mirror.downlink.topics of mirror {name}: mirror {other} brings records \
                         into {local} too; set downlink.target apart"
                    ));
                }
            }
        }
        for one in mirrors.iter() {
            let named = one
                .topics
                .iter()
                .find(|topic| topics.centre_of(topic).is_some());
            if let Some(topic) = named.filter(|topic| !topic.contains('*')) {
                return Err(format!(
                    "mirror.topics of mirror {}: {topic} is brought from the centre by mirror \
                     {name} and cannot be forwarded",
                    one.name
                ));
            }
        }
    }
    for one in mirrors {
        one.brought = brought.iter().map(|(_, topics)| topics.clone()).collect();
    }
    Ok(())
}

fn check_pattern(pattern: &str) -> Result<(), Option<String>> {
    let rest = pattern.replace("{site}", "");
    let is_legal =
        |character: char| character.is_ascii_alphanumeric() || "._-*".contains(character);
    let fits = !pattern.is_empty() && rest.chars().all(is_legal);
    let refused = || expected("a name of a topic with `*` or {site} in it", pattern);
    fits.then_some(()).ok_or_else(refused)
}

fn milliseconds(value: &str, (least, most): (u64, u64)) -> Result<Duration, Option<String>> {
    let ms: Option<u64> = value.parse().ok().filter(|ms| (least..=most).contains(ms));
    let refused = || expected(&format!("a number from {least} to {most}"), value);
    ms.map(Duration::from_millis).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::{MirrorConfig, settle_directions, topics_of};

    fn config(name: &str, rows: &[(&str, &[&str])]) -> MirrorConfig {
        let mut config = MirrorConfig::default();
        for (key, values) in [("name", &[name][..]), ("site", &["plant-7"])]
            .iter()
            .chain(rows)
        {
            let values: Vec<String> = values.iter().map(|one| (*one).to_owned()).collect();
            config.apply(key, &values).unwrap();
        }
        config
    }

    #[test]
    fn what_comes_down_does_not_go_up() {
        let down = config("down", &[("downlink.topics", &["commands*", "to.{site}"])]);
        let mut both = [config("up", &[]), down];
        settle_directions(&mut both).unwrap();
        for one in &both {
            assert_eq!(one.priority_of("events"), Some(0));
            assert_eq!(one.priority_of("commands.1"), None, "{}", one.name);
            assert_eq!(one.priority_of("to.plant-7"), None);
            assert_eq!(one.priority_of("to.plant-8"), Some(0));
        }
    }

    #[test]
    fn directions_that_contradict_each_other_are_refused() {
        let down = || config("down", &[("downlink.topics", &["commands*"])]);
        let up = config("up", &[("topics", &["commands.a"])]);
        assert_eq!(
            settle_directions(&mut [up, down()]).unwrap_err(),
            "mirror.topics of mirror up: commands.a is brought from the centre by mirror down and \
             cannot be forwarded"
        );
        let second = config("second", &[("downlink.topics", &["commands.b"])]);
        assert_eq!(
            settle_directions(&mut [down(), second]).unwrap_err(),
            "mirror.downlink.topics of mirror second: mirror down brings records into commands.b \
             too; set downlink.target apart"
        );
        let apart = config(
            "second",
            &[
                ("downlink.topics", &["commands.b"]),
                ("downlink.target", &["second.{topic}"]),
            ],
        );
        assert!(settle_directions(&mut [down(), apart]).is_ok());
    }

    #[test]
    fn bad_values_are_refused_with_what_is_expected() {
        for (key, value, expected) in [
            (
                "topics",
                "a b",
                "a name of a topic with `*` or {site} in it is expected, not `a b`",
            ),
            (
                "target",
                "all",
                "a pattern with {topic} in it once is expected, not `all`",
            ),
            ("start", "now", "earliest or latest is expected, not `now`"),
            (
                "fetch.max.wait.ms",
                "9",
                "a number from 100 to 300000 is expected, not `9`",
            ),
            (
                "metadata.max.age.ms",
                "x",
                "a number from 100 to 86400000 is expected, not `x`",
            ),
        ] {
            let mut config = MirrorConfig::default();
            let refused = config.apply(&format!("downlink.{key}"), &[value.to_owned()]);
            assert_eq!(refused, Err(Some(expected.to_owned())), "{key}");
        }
        let lonely = config(
            "m",
            &[("bootstrap", &["a:1"]), ("downlink.start", &["latest"])],
        );
        assert_eq!(
            lonely.check().unwrap_err(),
            "mirror.downlink.topics is missing: other keys of the downlink are set of mirror m"
        );
        assert!(topics_of(&lonely).is_none());
    }
}
