//! The `[[mirror]]` tables of the configuration files.
//!
//! What it is        keys, defaults and checks of one mirror. Names of keys are written with dots;
//!                   only files have them, since a mirror has no single value.
//! Invariants        1. an error names the key, the file and the line.

use std::path::PathBuf;
use std::time::Duration;

use kafka_lite::record_batch::Compression;
use kafka_lite::sasl::Mechanism;
use mirror::downlink::{DownlinkTopics, matches};
use mirror::{Address, PartitionMapping, TargetName};

use super::downlink::DownlinkConfig;
use super::keys::{most_similar_name, size};
use super::tables::Table;

/// Every key of a mirror.
const KEYS: [&str; 28] = [
    "name",
    "bootstrap",
    "topics",
    "target",
    "site",
    "partitions",
    "create.topics",
    "compression",
    "batch.bytes",
    "linger.ms",
    "rate.bytes.per.second",
    "month.bytes.max",
    "windows",
    "keep.after.mirrored.ms",
    "when.full",
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password.file",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.server.name",
    "downlink.topics",
    "downlink.target",
    "downlink.start",
    "downlink.metadata.max.age.ms",
    "downlink.fetch.max.wait.ms",
];

/// A mirror as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// `name`
    pub name: String,
    /// `site`; `None` is the name of the machine.
    pub site: Option<String>,
    /// `bootstrap`
    pub bootstrap: Vec<Address>,
    /// `security.protocol`
    pub security_protocol: SecurityProtocol,
    /// `sasl.mechanism`
    pub sasl_mechanism: Option<Mechanism>,
    /// `sasl.username`
    pub sasl_username: Option<String>,
    /// `sasl.password.file`
    pub sasl_password_file: Option<PathBuf>,
    /// `ssl.ca.location`; `None` believes what the system believes.
    pub ssl_ca_location: Option<PathBuf>,
    /// `ssl.certificate.location`
    pub ssl_certificate_location: Option<PathBuf>,
    /// `ssl.key.location`
    pub ssl_key_location: Option<PathBuf>,
    /// `ssl.server.name`; `None` is the host that is dialled.
    pub ssl_server_name: Option<String>,
    /// `topics`: patterns with `*`, the more urgent first.
    pub topics: Vec<String>,
    /// `target`
    pub target: TargetName,
    /// `partitions`
    pub mapping: PartitionMapping,
    /// `create.topics`
    pub create_topics: bool,
    /// `compression`
    pub compression: Compression,
    /// `batch.bytes`
    pub batch_bytes: usize,
    /// `linger.ms`
    pub linger: Duration,
    /// `rate.bytes.per.second`
    pub rate_bytes_per_second: Option<u64>,
    /// `month.bytes.max`
    pub month_bytes_max: Option<u64>,
    /// `windows`: minutes of the day, UTC.
    pub windows: Vec<(u16, u16)>,
    /// `keep.after.mirrored.ms`
    pub keep_after_mirrored: Duration,
    /// `when.full`: whether unmirrored records may go for lack of room.
    pub drops_oldest: bool,
    /// `downlink.*`
    pub downlink: DownlinkConfig,
    /// What any mirror brings from its centre: it is not forwarded.
    pub brought: Vec<DownlinkTopics>,
}

/// How connections to the centre are secured, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL inside TLS.
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [Self; 4] = [
        Self::Plaintext,
        Self::Ssl,
        Self::SaslPlaintext,
        Self::SaslSsl,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether it logs in.
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether it is encrypted.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// Largest `keep.after.mirrored.ms`: a year.
const KEEP_MS_MAX: u64 = 365 * 24 * 3_600_000;

/// Smallest and largest `batch.bytes`.
const BATCH_BYTES: (u64, u64) = (1024, 8 << 20);

impl Default for MirrorConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            site: None,
            bootstrap: Vec::new(),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password_file: None,
            ssl_ca_location: None,
            ssl_certificate_location: None,
            ssl_key_location: None,
            ssl_server_name: None,
            topics: vec!["*".to_owned()],
            target: TargetName::default(),
            mapping: PartitionMapping::Sticky,
            create_topics: true,
            compression: Compression::Zstd,
            batch_bytes: mirror::limits::BATCH_BYTES_DEFAULT,
            linger: Duration::from_millis(500),
            rate_bytes_per_second: None,
            month_bytes_max: None,
            windows: Vec::new(),
            keep_after_mirrored: mirror::limits::KEEP_DEFAULT,
            drops_oldest: true,
            downlink: DownlinkConfig::default(),
            brought: Vec::new(),
        }
    }
}

impl Table for MirrorConfig {
    const TABLE: &'static str = "mirror";
    const NOUN: &'static str = "mirror";
    const GUIDE: &'static str = "docs/mirror.md";
    const COUNT_MAX: usize = usize::MAX;

    fn apply(&mut self, key: &str, values: &[String]) -> Result<(), Option<String>> {
        Self::apply(self, key, values)
    }

    fn check(&self) -> Result<(), String> {
        Self::check(self)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn most_similar_key(name: &str) -> Option<&'static str> {
        most_similar_name(name, KEYS.into_iter())
    }
}

impl MirrorConfig {
    /// Takes one key with its values (one, or those of an array).
    ///
    /// # Errors
    /// What is expected; `None` for an unknown key.
    pub fn apply(&mut self, key: &str, values: &[String]) -> Result<(), Option<String>> {
        match key {
            "sasl.password" => {
                let reason = "passwords stand in files: name one with mirror.sasl.password.file";
                return Err(Some(reason.to_owned()));
            }
            _ if !KEYS.contains(&key) => return Err(None),
            _ if key.starts_with("downlink.") => {
                let key = key.trim_start_matches("downlink.");
                return self.downlink.apply(key, values);
            }
            "bootstrap" => self.bootstrap = each(values, address)?,
            "topics" => self.topics = values.to_vec(),
            "windows" => self.windows = each(values, window)?,
            _ => {
                let [value] = values else {
                    return Err(Some("a single value is expected".to_owned()));
                };
                return self.apply_single(key, value);
            }
        }
        Ok(())
    }

    fn apply_single(&mut self, key: &str, value: &str) -> Result<(), Option<String>> {
        if key.starts_with("security.") || key.starts_with("sasl.") || key.starts_with("ssl.") {
            return self.apply_security(key, value);
        }
        match key {
            "name" => self.name = name(value)?,
            "site" => {
                mirror::Site::new(value, [0; 8]).map_err(Some)?;
                self.site = Some(value.to_owned());
            }
            "target" => self.target = TargetName::new(value).map_err(Some)?,
            "partitions" => {
                self.mapping = match value {
                    "sticky" => PartitionMapping::Sticky,
                    "preserve" => PartitionMapping::Preserve,
                    "key" => PartitionMapping::Key,
                    _ => return Err(expected("sticky, preserve or key", value)),
                }
            }
            "create.topics" => self.create_topics = boolean(value)?,
            "compression" => {
                let known = Compression::from_name(value);
                self.compression =
                    known.ok_or_else(|| expected("none, gzip, snappy, lz4 or zstd", value))?;
            }
            "batch.bytes" => {
                let (least, most) = BATCH_BYTES;
                let bytes = size(value, least, most).map_err(Some)?;
                self.batch_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            "linger.ms" => self.linger = milliseconds(value, 3_600_000)?,
            "keep.after.mirrored.ms" => {
                self.keep_after_mirrored = milliseconds(value, KEEP_MS_MAX)?;
            }
            "rate.bytes.per.second" => {
                self.rate_bytes_per_second = match value {
                    "off" => None,
                    _ => Some(size(value, 100, u64::MAX).map_err(Some)?),
                }
            }
            "month.bytes.max" => {
                self.month_bytes_max = match value {
                    "off" => None,
                    _ => Some(size(value, 1 << 20, u64::MAX).map_err(Some)?),
                }
            }
            "when.full" => {
                self.drops_oldest = match value {
                    "drop_oldest" => true,
                    "reject" => false,
                    _ => return Err(expected("drop_oldest or reject", value)),
                }
            }
            _ => return Err(None),
        }
        Ok(())
    }

    fn apply_security(&mut self, key: &str, value: &str) -> Result<(), Option<String>> {
        let text = || match value.is_empty() {
            true => Err(Some("a text is expected".to_owned())),
            false => Ok(Some(value.to_owned())),
        };
        let file = || text().map(|text| text.map(PathBuf::from));
        match key {
            "security.protocol" => {
                let known = SecurityProtocol::from_name(value);
                let names = "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
                self.security_protocol = known.ok_or_else(|| expected(names, value))?;
            }
            "sasl.mechanism" => {
                let names = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
                let known = Mechanism::from_name(value);
                self.sasl_mechanism = Some(known.ok_or_else(|| expected(names, value))?);
            }
            "sasl.username" => self.sasl_username = text()?,
            "sasl.password.file" => self.sasl_password_file = file()?,
            "ssl.ca.location" => self.ssl_ca_location = file()?,
            "ssl.certificate.location" => self.ssl_certificate_location = file()?,
            "ssl.key.location" => self.ssl_key_location = file()?,
            "ssl.server.name" => self.ssl_server_name = text()?,
            _ => return Err(None),
        }
        Ok(())
    }

    /// What is missing, once all keys are taken.
    ///
    /// # Errors
    /// The key and what is expected of it.
    pub fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("mirror.name is missing".to_owned());
        }
        if self.bootstrap.is_empty() {
            return Err(format!(
                "mirror.bootstrap of mirror {} is missing",
                self.name
            ));
        }
        self.check_security()
            .and_then(|()| self.downlink.check())
            .map_err(|reason| format!("mirror.{reason} of mirror {}", self.name))
    }

    /// Keys that contradict `security.protocol` or each other.
    fn check_security(&self) -> Result<(), String> {
        let protocol = self.security_protocol;
        let sasl = [
            ("sasl.mechanism", self.sasl_mechanism.is_some()),
            ("sasl.username", self.sasl_username.is_some()),
            ("sasl.password.file", self.sasl_password_file.is_some()),
        ];
        let ssl = [
            ("ssl.ca.location", self.ssl_ca_location.is_some()),
            (
                "ssl.certificate.location",
                self.ssl_certificate_location.is_some(),
            ),
            ("ssl.key.location", self.ssl_key_location.is_some()),
            ("ssl.server.name", self.ssl_server_name.is_some()),
        ];
        let name = protocol.name();
        let has = protocol.has_sasl();
        if let Some((key, _)) = sasl.iter().find(|(_, is_set)| *is_set != has) {
            let what = if has { "is missing" } else { "is of no use" };
            return Err(format!("{key} {what} with security.protocol {name}"));
        }
        let is_idle = |(_, is_set): &&(&str, bool)| *is_set && !protocol.has_tls();
        if let Some((key, _)) = ssl.iter().find(is_idle) {
            return Err(format!("{key} is of no use with security.protocol {name}"));
        }
        match (&self.ssl_certificate_location, &self.ssl_key_location) {
            (Some(_), None) => Err("ssl.key.location is missing".to_owned()),
            (None, Some(_)) => Err("ssl.certificate.location is missing".to_owned()),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    /// `site`, or the name of the machine.
    pub fn site_name(&self) -> String {
        let machine = || {
            let machine = rustix::system::uname();
            machine.nodename().to_string_lossy().into_owned()
        };
        self.site.clone().unwrap_or_else(machine)
    }

    /// Whether a topic is forwarded, and its place in `topics`: the lower, the more urgent.
    pub fn priority_of(&self, topic: &str) -> Option<u8> {
        if self
            .brought
            .iter()
            .any(|brought| brought.centre_of(topic).is_some())
        {
            return None;
        }
        let mut patterns = self.topics.iter();
        let place = patterns.position(|pattern| matches(pattern, topic))?;
        Some(u8::try_from(place).unwrap_or(u8::MAX))
    }
}

fn each<T>(
    values: &[String],
    parse: impl Fn(&str) -> Result<T, Option<String>>,
) -> Result<Vec<T>, Option<String>> {
    values.iter().map(|value| parse(value)).collect()
}

pub(super) fn expected(what: &str, got: &str) -> Option<String> {
    Some(format!("{what} is expected, not `{got}`"))
}

fn milliseconds(value: &str, most: u64) -> Result<Duration, Option<String>> {
    let ms: Option<u64> = value.parse().ok().filter(|ms| *ms <= most);
    let ms = ms.ok_or_else(|| expected(&format!("a number from 0 to {most}"), value))?;
    Ok(Duration::from_millis(ms))
}

fn boolean(value: &str) -> Result<bool, Option<String>> {
    value.parse().map_err(|_| expected("true or false", value))
}

pub(super) fn name(value: &str) -> Result<String, Option<String>> {
    let is_legal = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let fits = !value.is_empty() && value.len() <= 100 && value.chars().all(is_legal);
    let refused = || expected("a name of letters, digits, `.`, `_` and `-`", value);
    fits.then(|| value.to_owned()).ok_or_else(refused)
}

fn address(value: &str) -> Result<Address, Option<String>> {
    let parsed: crate::client::Address = value.parse().map_err(Some)?;
    Ok(Address {
        host: parsed.host,
        port: parsed.port,
    })
}

/// `HH:MM-HH:MM`
fn window(value: &str) -> Result<(u16, u16), Option<String>> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let hour: u16 = hour.parse().ok().filter(|hour| *hour < 24)?;
        let minute: u16 = minute.parse().ok().filter(|minute| *minute < 60)?;
        Some(hour * 60 + minute)
    };
    let both = value.split_once('-');
    let parsed = both.and_then(|(start, end)| Some((minute(start)?, minute(end)?)));
    parsed.ok_or_else(|| expected("HH:MM-HH:MM (UTC)", value))
}

#[cfg(test)]
mod tests {
    use super::{KEYS, MirrorConfig};

    #[test]
    fn the_order_of_the_patterns_is_the_priority() {
        let mut config = MirrorConfig::default();
        let topics = ["alarms".to_owned(), "sensors.*".to_owned()];
        config.apply("topics", &topics).unwrap();
        assert_eq!(config.priority_of("alarms"), Some(0));
        assert_eq!(config.priority_of("sensors.1"), Some(1));
        assert_eq!(config.priority_of("other"), None);
    }

    #[test]
    fn security_keys_fit_together() {
        let check = |rows: &[(&str, &str)]| {
            let mut config = MirrorConfig::default();
            for (key, value) in [("name", "hq"), ("bootstrap", "a:1")].iter().chain(rows) {
                config.apply(key, &[(*value).to_owned()]).unwrap();
            }
            config.check().err().unwrap_or_default()
        };
        assert_eq!(check(&[]), "");
        assert_eq!(check(&[("security.protocol", "SSL")]), "");
        assert_eq!(
            check(&[("security.protocol", "SASL_SSL")]),
            "mirror.sasl.mechanism is missing with security.protocol SASL_SSL of mirror hq"
        );
        assert_eq!(
            check(&[("sasl.username", "u")]),
            "mirror.sasl.username is of no use with security.protocol PLAINTEXT of mirror hq"
        );
        assert_eq!(
            check(&[("ssl.ca.location", "f")]),
            "mirror.ssl.ca.location is of no use with security.protocol PLAINTEXT of mirror hq"
        );
        let one = [
            ("security.protocol", "SSL"),
            ("ssl.certificate.location", "f"),
        ];
        assert_eq!(
            check(&one),
            "mirror.ssl.key.location is missing of mirror hq"
        );
    }

    #[test]
    fn the_guide_lists_every_key_once_and_every_key_is_taken() {
        let guide = include_str!("../../../docs/mirror.md");
        let rows = guide.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let mut documented: Vec<&str> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        documented.sort_unstable();
        let mut known = KEYS.to_vec();
        known.sort_unstable();
        assert_eq!(documented, known);
        for key in KEYS {
            // `-` is a value for some keys and a reason for the others.
            let taken = MirrorConfig::default().apply(key, &["-".to_owned()]);
            assert_ne!(taken, Err(None), "{key}");
        }
    }

    #[test]
    fn bad_values_are_refused_with_what_is_expected() {
        let mut config = MirrorConfig::default();
        for (key, value) in [
            ("linger.ms", "soon"),
            ("keep.after.mirrored.ms", "1h"),
            ("keep.after.mirrored.ms", "31536000001"),
            ("month.bytes.max", "10"),
            ("windows", "25:00-01:00"),
            ("partitions", "random"),
            ("target", "{x}"),
            ("bootstrap", ":"),
            ("compression", "rar"),
            ("security.protocol", "TLS"),
            ("sasl.mechanism", "GSSAPI"),
            ("sasl.password", "secret"),
        ] {
            let error = config.apply(key, &[value.to_owned()]).unwrap_err();
            assert!(error.is_some(), "{key}");
        }
        assert_eq!(config.apply("lingre.ms", &["1".to_owned()]), Err(None));
        assert!(config.check().is_err());
    }
}
