//! The `[[mqtt.bridge]]` tables of the configuration files.
//!
//! What it is        keys, defaults and checks of one bridge to another MQTT broker.
//! What it is not    where messages go: that is `mqtt.rules`, as for the listener.
//! Invariants        1. an error names the key, the file and the line. 2. nothing is subscribed to
//!                   with QoS 2: its second half would not outlive a connection.

use std::path::PathBuf;
use std::time::Duration;

use mqtt::bridge::BridgeFilter;
use mqtt::filter::{is_topic_filter, is_topic_name};
use mqtt::limits::{BRIDGE_FILTERS_MAX, BRIDGE_PREFIX_BYTES_MAX, BRIDGES_MAX, CLIENT_ID_BYTES_MAX};
use mqtt::message::Qos;

use super::HostPort;
use super::keys::most_similar_name;
use super::mirror::{expected, name};
use super::tables::Table;

/// Every key of a bridge.
const KEYS: [&str; 11] = [
    "name",
    "address",
    "client.id",
    "username",
    "password.file",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "filters",
    "topic.prefix",
    "keep.alive.seconds",
];

/// Schemes of `address` with their ports.
const PLAIN: (&str, u16) = ("mqtt://", 1883);
const TLS: (&str, u16) = ("mqtts://", 8883);

/// A bridge as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// `name`
    pub name: String,
    /// `address`: where the broker listens.
    pub address: HostPort,
    /// `address` begins with `mqtts://`.
    pub has_tls: bool,
    /// `client.id`; `None` is made of the machine's name and the bridge's.
    pub client_id: Option<String>,
    /// `username`
    pub username: Option<String>,
    /// `password.file`
    pub password_file: Option<PathBuf>,
    /// `ssl.ca.location`; `None` believes what the system believes.
    pub ssl_ca_location: Option<PathBuf>,
    /// `ssl.certificate.location`
    pub ssl_certificate_location: Option<PathBuf>,
    /// `ssl.key.location`
    pub ssl_key_location: Option<PathBuf>,
    /// `filters`
    pub filters: Vec<BridgeFilter>,
    /// `topic.prefix`: stands in front of the topic of every message, before the rules see it.
    pub topic_prefix: String,
    /// `keep.alive.seconds`
    pub keep_alive: Duration,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            address: HostPort::default(),
            has_tls: false,
            client_id: None,
            username: None,
            password_file: None,
            ssl_ca_location: None,
            ssl_certificate_location: None,
            ssl_key_location: None,
            filters: Vec::new(),
            topic_prefix: String::new(),
            keep_alive: Duration::from_secs(30),
        }
    }
}

impl Table for BridgeConfig {
    const TABLE: &'static str = "mqtt.bridge";
    const NOUN: &'static str = "bridge";
    const GUIDE: &'static str = "docs/mqtt.md";
    const COUNT_MAX: usize = BRIDGES_MAX;

    fn apply(&mut self, key: &str, values: &[String]) -> Result<(), Option<String>> {
        match key {
            "password" => {
                let reason = "passwords stand in files: name one with mqtt.bridge.password.file";
                return Err(Some(reason.to_owned()));
            }
            _ if !KEYS.contains(&key) => return Err(None),
            "filters" => self.filters = filters(values)?,
            _ => {
                let [value] = values else {
                    return Err(Some("a single value is expected".to_owned()));
                };
                return self.apply_single(key, value);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("mqtt.bridge.name is missing".to_owned());
        }
        let missing = |key: &str| Err(format!("{key} is missing"));
        let of_no_use = |key: &str| Err(format!("{key} is of no use without mqtts://"));
        let checked = if self.address.host.is_empty() {
            missing("address")
        } else if self.filters.is_empty() {
            missing("filters")
        } else if self.password_file.is_some() && self.username.is_none() {
            missing("username")
        } else if self.ssl_ca_location.is_some() && !self.has_tls {
            of_no_use("ssl.ca.location")
        } else {
            match (&self.ssl_certificate_location, &self.ssl_key_location) {
                (Some(_), None) => missing("ssl.key.location"),
                (None, Some(_)) => missing("ssl.certificate.location"),
                (Some(_), Some(_)) if !self.has_tls => of_no_use("ssl.certificate.location"),
                (Some(_), Some(_)) | (None, None) => Ok(()),
            }
        };
        checked.map_err(|reason| match reason.split_once(' ') {
            Some((key, rest)) => format!("mqtt.bridge.{key} of bridge {} {rest}", self.name),
            None => reason,
        })
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn most_similar_key(name: &str) -> Option<&'static str> {
        most_similar_name(name, KEYS.into_iter())
    }
}

impl BridgeConfig {
    fn apply_single(&mut self, key: &str, value: &str) -> Result<(), Option<String>> {
        let file = || match value {
            "" => Err(expected("a file", value)),
            _ => Ok(Some(PathBuf::from(value))),
        };
        let text = |most: usize| {
            let fits = !value.is_empty() && value.len() <= most && !value.contains('\0');
            let refused = || expected(&format!("a text of 1 to {most} bytes"), value);
            fits.then(|| Some(value.to_owned())).ok_or_else(refused)
        };
        match key {
            "name" => self.name = name(value)?,
            "address" => (self.address, self.has_tls) = address(value)?,
            "client.id" => self.client_id = text(CLIENT_ID_BYTES_MAX)?,
            "username" => self.username = text(usize::from(u16::MAX))?,
            "password.file" => self.password_file = file()?,
            "ssl.ca.location" => self.ssl_ca_location = file()?,
            "ssl.certificate.location" => self.ssl_certificate_location = file()?,
            "ssl.key.location" => self.ssl_key_location = file()?,
            "topic.prefix" => {
                let is_fine = is_topic_name(value) && value.len() <= BRIDGE_PREFIX_BYTES_MAX;
                if !is_fine || value.starts_with('$') {
                    let most = BRIDGE_PREFIX_BYTES_MAX;
                    let wanted = format!("the beginning of a topic, at most {most} bytes");
                    return Err(expected(&wanted, value));
                }
                value.clone_into(&mut self.topic_prefix);
            }
            "keep.alive.seconds" => {
                let seconds: Option<u64> = value.parse().ok();
                let seconds = seconds.filter(|seconds| (5..=3600).contains(seconds));
                let refused = || expected("a number from 5 to 3600", value);
                self.keep_alive = Duration::from_secs(seconds.ok_or_else(refused)?);
            }
            _ => return Err(None),
        }
        Ok(())
    }
}

/// `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`
fn address(value: &str) -> Result<(HostPort, bool), Option<String>> {
    let refused = || expected("mqtt://HOST:PORT or mqtts://HOST:PORT", value);
    let of_scheme = |(scheme, port): (&str, u16)| Some((value.strip_prefix(scheme)?, port));
    let has_tls = value.starts_with(TLS.0);
    let (rest, port) = of_scheme(TLS)
        .or_else(|| of_scheme(PLAIN))
        .ok_or_else(refused)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '@', '?', '#']) {
        return Err(refused());
    }
    let is_bare = !rest.contains(':') || rest.ends_with(']');
    let text = match is_bare {
        true => format!("{rest}:{port}"),
        false => rest.to_owned(),
    };
    let parsed = super::keys::host_port(&text).map_err(|_| refused())?;
    if parsed.port == 0 {
        return Err(refused());
    }
    if has_tls && parsed.host.contains(':') {
        let reason = "TLS needs the name of the broker, or an IPv4 address";
        return Err(Some(reason.to_owned()));
    }
    Ok((parsed, has_tls))
}

/// `FILTER [qos=0|1]`, each
fn filters(values: &[String]) -> Result<Vec<BridgeFilter>, Option<String>> {
    if values.is_empty() || values.len() > BRIDGE_FILTERS_MAX {
        let most = BRIDGE_FILTERS_MAX;
        return Err(Some(format!("1 to {most} topic filters are expected")));
    }
    let parsed = values.iter().map(|value| filter(value.trim()));
    parsed.collect()
}

fn filter(value: &str) -> Result<BridgeFilter, Option<String>> {
    let (text, qos) = match value.rsplit_once(" qos=") {
        Some((text, "0")) => (text.trim_end(), Qos::AtMostOnce),
        Some((text, "1")) => (text.trim_end(), Qos::AtLeastOnce),
        Some((_, level)) => {
            let reason = format!("qos=0 or qos=1 is expected, not `qos={level}`");
            return Err(Some(reason));
        }
        None => (value, Qos::AtLeastOnce),
    };
    if !is_topic_filter(text) {
        return Err(expected("a topic filter", text));
    }
    Ok(BridgeFilter {
        filter: text.to_owned(),
        qos,
    })
}

#[cfg(test)]
mod tests {
    use super::{BridgeConfig, KEYS};
    use crate::config::tables::Table as _;
    use mqtt::message::Qos;

    fn with(rows: &[(&str, &str)]) -> Result<BridgeConfig, String> {
        let mut config = BridgeConfig::default();
        for (key, value) in rows {
            let taken = config.apply(key, &[(*value).to_owned()]);
            taken.map_err(|reason| reason.unwrap_or_else(|| "unknown".to_owned()))?;
        }
        Ok(config)
    }

    #[test]
    fn addresses_have_a_scheme_and_the_port_of_their_scheme() {
        for (value, shown, has_tls) in [
            ("mqtt://broker", "broker:1883", false),
            ("mqtt://broker:1884/", "broker:1884", false),
            ("mqtts://broker", "broker:8883", true),
            ("mqtts://10.0.0.7:1", "10.0.0.7:1", true),
            ("mqtt://[::1]", "[::1]:1883", false),
            ("mqtt://[::1]:5", "[::1]:5", false),
        ] {
            let config = with(&[("address", value)]).unwrap();
            assert_eq!(config.address.to_string(), shown, "{value}");
            assert_eq!(config.has_tls, has_tls, "{value}");
        }
        for value in [
            "broker:1883",
            "tcp://broker",
            "mqtt://",
            "mqtt://u:p@broker",
            "mqtt://broker:0",
            "mqtt://broker/path",
            "mqtt://a:b:1",
            "mqtts://[::1]:8883",
        ] {
            assert!(with(&[("address", value)]).is_err(), "{value}");
        }
    }

    #[test]
    fn filters_name_their_quality_and_two_is_refused() {
        let config = with(&[("filters", "a b/# qos=0")]).unwrap();
        assert_eq!(config.filters[0].filter, "a b/#");
        assert_eq!(config.filters[0].qos, Qos::AtMostOnce);
        assert_eq!(
            with(&[("filters", "a qos=2")]),
            Err("qos=0 or qos=1 is expected, not `qos=2`".to_owned())
        );
        let mut config = BridgeConfig::default();
        assert!(config.apply("filters", &[]).is_err());
        assert!(config.apply("filters", &vec!["a".to_owned(); 65]).is_err());
    }

    #[test]
    fn keys_fit_together() {
        let base = [("name", "p"), ("address", "mqtt://b"), ("filters", "#")];
        let check = |rows: &[(&str, &str)]| {
            let all: Vec<_> = base.iter().chain(rows).copied().collect();
            with(&all).unwrap().check().err().unwrap_or_default()
        };
        assert_eq!(check(&[]), "");
        assert_eq!(
            check(&[("password.file", "f")]),
            "mqtt.bridge.username of bridge p is missing"
        );
        assert_eq!(
            check(&[("ssl.ca.location", "f")]),
            "mqtt.bridge.ssl.ca.location of bridge p is of no use without mqtts://"
        );
        assert_eq!(
            check(&[("address", "mqtts://b"), ("ssl.key.location", "f")]),
            "mqtt.bridge.ssl.certificate.location of bridge p is missing"
        );
        assert!(
            with(&[("password", "secret")])
                .unwrap_err()
                .contains("password.file")
        );
        assert!(with(&[("keep.alive.seconds", "1")]).is_err());
        let long = "a".repeat(129);
        for prefix in ["", "a/#", "+/", "$SYS/", &long] {
            let refused = with(&[("topic.prefix", prefix)]).unwrap_err();
            assert!(refused.contains("beginning of a topic"), "{refused}");
        }
        let config = with(&[("topic.prefix", "north/")]).unwrap();
        assert_eq!(config.topic_prefix, "north/");
    }

    #[test]
    fn the_guide_lists_every_key_once_and_every_key_is_taken() {
        let guide = include_str!("../../../docs/mqtt.md");
        let part = guide.split("## Bridge").nth(1).unwrap();
        let part = part.split("\n## ").next().unwrap();
        let rows = part.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let mut documented: Vec<&str> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        documented.sort_unstable();
        let mut known = KEYS.to_vec();
        known.sort_unstable();
        assert_eq!(documented, known);
        for key in KEYS {
            let taken = BridgeConfig::default().apply(key, &["-".to_owned()]);
            assert_ne!(taken, Err(None), "{key}");
        }
    }
}
