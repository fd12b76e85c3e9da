//! How one mirror forwards.

use std::time::Duration;

use kafka_lite::record_batch::Compression;
use kafka_lite::sasl::Credentials;

use crate::limits;
use crate::origin::Site;
use crate::output::Address;

/// What the operator chose for one mirror, checked by the daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of the mirror.
    pub name: String,
    /// This gateway, as the origin headers say it.
    pub site: Site,
    /// Brokers of the centre to ask first; not empty.
    pub bootstrap: Vec<Address>,
    /// Who this gateway is to the brokers of the centre; `None` does not log in.
    pub login: Option<Login>,
    /// Name of a target topic.
    pub target: TargetName,
    /// Which target partition a record goes to.
    pub mapping: PartitionMapping,
    /// Whether a target topic that is missing is created.
    pub create_topics: bool,
    /// Codec on the link.
    pub compression: Compression,
    /// Bytes of records in one batch before compression.
    pub batch_bytes: usize,
    /// Time that a record may wait for others.
    pub linger: Duration,
    /// Bytes per second on the link; `None` is unlimited.
    pub rate_bytes_per_second: Option<u64>,
    /// Bytes in a calendar month (UTC), sent and received; `None` is unlimited.
    pub month_bytes_max: Option<u64>,
    /// Time that a record stays after it was mirrored, at least; zero holds only what was not.
    pub keep: Duration,
    /// Number of the shard that it runs on.
    pub shard: u16,
    /// Minutes of the day (UTC), start inclusive and end exclusive, in which batches are sent;
    /// empty is
    /// always. A start behind its end goes over midnight.
    pub windows: Vec<(u16, u16)>,
    /// Time without an acknowledgement, while there is something to send, after which every
    /// connection is opened anew.
    pub watchdog: Duration,
    /// Bytes of encoded batches kept until they are acknowledged; at least one batch is, whatever
    /// its size.
    pub kept_bytes_max: usize,
    /// Lanes at most.
    pub lanes_max: usize,
}

impl Options {
    /// Defaults for a mirror of this name and site to these brokers.
    #[must_use]
    pub fn new(name: &str, site: Site, bootstrap: Vec<Address>) -> Self {
        Self {
            name: name.to_owned(),
            site,
            bootstrap,
            login: None,
            target: TargetName::default(),
            mapping: PartitionMapping::Sticky,
            create_topics: true,
            compression: Compression::Zstd,
            batch_bytes: limits::BATCH_BYTES_DEFAULT,
            linger: Duration::from_millis(500),
            rate_bytes_per_second: None,
            month_bytes_max: None,
            keep: limits::KEEP_DEFAULT,
            shard: 0,
            windows: Vec::new(),
            watchdog: Duration::from_secs(300),
            kept_bytes_max: limits::KEPT_BYTES_DEFAULT,
            lanes_max: limits::LANES_DEFAULT,
        }
    }
}

/// How a mirror logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub credentials: Credentials,
    /// Random bytes from which the nonces of its exchanges come.
    pub nonce_key: [u8; 32],
}

/// Which target partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionMapping {
    /// All of a source partition to one target partition, chosen by site, topic and partition.
    Sticky,
    /// The partition of the same number.
    Preserve,
    /// By the key of the record, as Kafka's own clients choose.
    Key,
}

/// A pattern for the name of target topics: text with `{topic}` and `{site}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetName {
    pattern: String,
}

impl Default for TargetName {
    fn default() -> Self {
        Self {
            pattern: "{topic}".to_owned(),
        }
    }
}

impl TargetName {
    /// Takes a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let rest = pattern.replace("{topic}", "").replace("{site}", "");
        let is_legal = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
        };
        if let Some(bad) = rest.chars().find(|character| !is_legal(*character)) {
            return Err(format!(
                "`{bad}` cannot be in a topic name; known are {{topic}} and {{site}}"
            ));
        }
        if pattern.is_empty() {
            return Err("a pattern such as {topic} or {site}.{topic} is expected".to_owned());
        }
        Ok(Self {
            pattern: pattern.to_owned(),
        })
    }

    /// The target topic of a source topic; characters of the site that no topic may have become
    /// `_`.
    #[must_use]
    pub fn of(&self, site: &str, topic: &str) -> String {
        self.pattern
            .replace("{site}", &Self::legal(site))
            .replace("{topic}", topic)
    }

    /// The source topic behind a target topic; `None` if this pattern gives no such name. Only
    /// where [`TargetName::is_reversible`].
    #[must_use]
    pub fn source_of<'a>(&self, site: &str, target: &'a str) -> Option<&'a str> {
        let pattern = self.pattern.replace("{site}", &Self::legal(site));
        let (before, after) = pattern.split_once("{topic}")?;
        let topic = target.strip_prefix(before)?.strip_suffix(after)?;
        (!topic.is_empty()).then_some(topic)
    }

    /// Whether a target topic tells its source topic.
    #[must_use]
    pub fn is_reversible(&self) -> bool {
        self.pattern.matches("{topic}").count() == 1
    }

    /// A site as it stands in names of topics.
    #[must_use]
    pub fn legal(site: &str) -> String {
        let legal = |character: char| {
            let is_legal =
                character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
            if is_legal { character } else { '_' }
        };
        site.chars().map(legal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::TargetName;

    #[test]
    fn patterns_name_topics_and_bad_ones_are_refused() {
        let name = |pattern: &str| TargetName::new(pattern).map(|name| name.of("plant 7", "t"));
        assert_eq!(name("{topic}").as_deref(), Ok("t"));
        assert_eq!(name("{site}.{topic}").as_deref(), Ok("plant_7.t"));
        assert_eq!(name("all").as_deref(), Ok("all"));
        assert!(name("{tpoic}").unwrap_err().contains("`{`"));
        assert!(name("a b").is_err() && name("").is_err());
    }
}
