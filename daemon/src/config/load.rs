//! From files, environment and flags to one checked configuration.
//!
//! What it is        later sources win: defaults, the file, `conf.d` files beside it in the order
//!                   of their names, environment, flags.
//! What it is not    complaints about variables that are not known: `environment`.
//! Invariants        1. an unknown key or flag is an error.
//!                   2. an error names the key and where it stands.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::check_together;
use super::downlink::settle_directions;
use super::environment::key_of;
use super::keys::{self, Key, find, most_similar};
use super::mirror::MirrorConfig;
use super::mqtt_bridge::BridgeConfig;
use super::tables::{Source, Table as _};
use super::{Config, ConfigError};

/// The file that is read when it exists and none is named.
pub const DEFAULT_FILE: &str = "/etc/sluice/sluice.toml";

/// Largest configuration file in bytes; a larger one is refused.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Values as text, each with the place where it stands.
#[derive(Debug, Default)]
struct Values {
    by_key: BTreeMap<&'static str, (String, String)>,
    mirrors: Vec<MirrorConfig>,
    bridges: Vec<BridgeConfig>,
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`; then no default file is read.
    pub file: Option<PathBuf>,
    /// Key names and values.
    pub values: Vec<(&'static str, String)>,
}

/// Loads the configuration of a broker.
///
/// # Errors
/// One line that names the key and the file, variable or flag.
pub fn load(
    flags: &Flags,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut values = Values::default();
    for file in files(flags.file.as_deref())? {
        values.add_file(&file)?;
    }
    values.add_environment(environment);
    for (name, value) in &flags.values {
        if let Some(key) = find(name) {
            values.add(key, value.clone(), format!("flag --{}", key.flag()));
        }
    }
    values.into_config()
}

/// Loads one file alone, over the defaults, to check it.
///
/// # Errors
/// As [`load`].
pub fn check_file(file: &Path) -> Result<Config, ConfigError> {
    let mut values = Values::default();
    values.add_file(file)?;
    values.into_config()
}

/// The files to read, in order.
fn files(named: Option<&Path>) -> Result<Vec<PathBuf>, ConfigError> {
    match named {
        Some(file) => Ok(vec![file.to_owned()]),
        None => default_files(Path::new(DEFAULT_FILE)),
    }
}

/// `main` if it is there, then those of `conf.d` beside it. What is there and cannot be looked at
/// is an error: the broker would run with other values than the operator wrote.
fn default_files(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    if is_there(main)? {
        files.push(main.to_owned());
    }
    let directory = main.with_file_name("conf.d");
    if !is_there(&directory)? {
        return Ok(files);
    }
    let cannot = |error: io::Error| ConfigError(format!("{}: {error}", directory.display()));
    let mut parts = Vec::new();
    for entry in fs::read_dir(&directory).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            parts.push(path);
        }
    }
    parts.sort();
    files.append(&mut parts);
    Ok(files)
}

fn is_there(path: &Path) -> Result<bool, ConfigError> {
    let there = path.try_exists();
    there.map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

/// The text of a file, which has an end: a device may be named by mistake.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut limited = fs::File::open(file)?.take(FILE_BYTES_MAX + 1);
    limited.read_to_string(&mut text)?;
    if limited.limit() == 0 {
        let message = format!("a configuration has at most {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

impl Values {
    fn add(&mut self, key: &'static Key, value: String, place: String) {
        self.by_key.insert(key.name, (value, place));
    }

    fn add_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let name = file.display();
        let text = read(file).map_err(|error| ConfigError(format!("{name}: {error}")))?;
        let table = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(&text, &span));
            ConfigError(format!("file {name} line {line}: {}", error.message()))
        })?;
        let source = Source {
            file: &name.to_string(),
            text: &text,
        };
        source.add_tables(table.get_ref(), &mut self.mirrors)?;
        source.add_tables(table.get_ref(), &mut self.bridges)?;
        let mut found = Vec::new();
        flatten("", table.get_ref(), &mut found);
        found.retain(|(key, _, _)| {
            ![MirrorConfig::TABLE, BridgeConfig::TABLE].contains(&key.as_str())
        });
        self.add_keys(&name.to_string(), &text, found)
    }

    /// The keys of a file. For TOML a name with dots and one in a table are two keys; here they may
    /// be one that stands twice.
    fn add_keys(
        &mut self,
        file: &str,
        text: &str,
        mut found: Vec<Found>,
    ) -> Result<(), ConfigError> {
        found.sort_by_key(|(_, _, span)| span.start);
        let mut seen = BTreeMap::new();
        for (name, value, span) in found {
            let line = line_of(text, &span);
            let place = format!("file {file} line {line}");
            let key = find(&name).ok_or_else(|| unknown(&name, &place))?;
            if let Some(first) = seen.insert(key.name, line) {
                return Err(ConfigError(format!(
                    "{name} in {place}: it stands in line {first} already"
                )));
            }
            let value = value.ok_or_else(|| {
                ConfigError(format!("{name} in {place}: a single value is expected"))
            })?;
            self.add(key, value, place);
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        for (variable, value) in environment {
            let Some(key) = key_of(&variable) else {
                continue;
            };
            self.add(key, value, format!("variable {variable}"));
        }
    }

    fn into_config(self) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for key in keys::all() {
            let given = self.by_key.get(key.name);
            let (value, place) = given.map_or((key.default, "its default"), |(value, place)| {
                (value.as_str(), place.as_str())
            });
            (key.apply)(&mut config, value)
                .map_err(|reason| ConfigError(format!("{} in {place}: {reason}", key.name)))?;
        }
        check_together(&config).map_err(|fault| {
            let given = self.by_key.get(fault.key);
            let place = given.map_or("its default", |(_, place)| place.as_str());
            ConfigError(format!("{} in {place}: {}", fault.key, fault.reason))
        })?;
        config.mirrors = self.mirrors;
        settle_directions(&mut config.mirrors).map_err(ConfigError)?;
        config.mqtt_bridges = self.bridges;
        Ok(config)
    }
}

fn unknown(name: &str, place: &str) -> ConfigError {
    let line = format!("unknown key `{name}` in {place}");
    match most_similar(name) {
        Some(similar) => ConfigError(format!("{line}; did you mean `{}`?", similar.name)),
        None => ConfigError(format!("{line}; `sluice start --help` lists all keys")),
    }
}

/// Full name, value (`None` for what is not a single one), and place.
type Found = (String, Option<String>, Range<usize>);

/// All values of a table with their full names; `None` for what is not a single value.
fn flatten(prefix: &str, table: &DeTable<'_>, found: &mut Vec<Found>) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            flatten(&name, inner, found);
        } else {
            found.push((name, single_value(value), key.span()));
        }
    }
}

pub(super) fn single_value(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::{Flags, check_file, default_files, load};
    use crate::config::Config;
    use crate::test_directory::TestDirectory;
    use std::path::PathBuf;

    fn check(text: &str, expected: &str) {
        let directory = TestDirectory::new("config");
        let file = directory.path().join("sluice.toml");
        std::fs::write(&file, text).unwrap();
        let error = check_file(&file).unwrap_err().to_string();
        let shown = file.display().to_string();
        assert_eq!(error.replace(&shown, "F"), expected);
    }

    fn loaded(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: &str) -> Config {
        let directory = TestDirectory::new("config");
        let path = directory.path().join("sluice.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags {
            file: Some(path),
            values: flags
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        };
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(&flags, environment).unwrap()
    }

    #[test]
    fn errors_name_the_key_the_file_and_the_line() {
        check(
            "[kafka]\nlisen = \"x\"\n",
            "unknown key `kafka.lisen` in file F line 2; did you mean `kafka.listen`?",
        );
        check(
            "\n\nshards = \"many\"\n",
            "shards in file F line 3: a number from 1 to 250 is expected, not `many`",
        );
        check(
            "kafka.listen = [1]\n",
            "kafka.listen in file F line 1: a single value is expected",
        );
        check(
            "\"kafka.listen\" = \"a:1\"\n[kafka]\nlisten = \"b:1\"\n",
            "kafka.listen in file F line 3: it stands in line 1 already",
        );
        check(
            "zzz = 1\n",
            "unknown key `zzz` in file F line 1; `sluice start --help` lists all keys",
        );
        let directory = TestDirectory::new("config");
        let file = directory.path().join("missing.toml");
        assert!(
            check_file(&file)
                .unwrap_err()
                .0
                .contains("missing.toml: No such file")
        );
    }

    #[test]
    fn files_that_cannot_be_looked_at_or_have_no_end_are_an_error() {
        let directory = TestDirectory::new("config");
        let main = directory.path().join("sluice.toml");
        assert_eq!(default_files(&main).unwrap(), Vec::<PathBuf>::new());
        std::fs::create_dir(directory.path().join("conf.d")).unwrap();
        let part = directory.path().join("conf.d/more.toml");
        for file in [&main, &part] {
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(default_files(&main).unwrap(), [main.clone(), part]);
        let endless = check_file(std::path::Path::new("/dev/zero"));
        let error = endless.unwrap_err().to_string();
        assert!(error.contains("at most 1048576 bytes"), "{error}");
        // Below a file nothing can be looked up, whoever asks.
        let below = main.join("sluice.toml");
        let error = default_files(&below).unwrap_err().to_string();
        assert!(error.contains("Not a directory"), "{error}");
    }

    #[test]
    fn mirrors_are_read_and_their_errors_name_key_file_and_line() {
        let config = loaded(
            &[],
            &[],
            "[[mirror]]\nname = \"hq\"\nbootstrap = [\"a:1\", \"b\"]\ntopics = \"s.*\"\n\
             linger.ms = 5\n[[mirror]]\nname = \"two\"\nbootstrap = \"c:2\"\n",
        );
        let names: Vec<&str> = config.mirrors.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["hq", "two"]);
        assert_eq!(config.mirrors[0].bootstrap.len(), 2);
        assert_eq!(config.mirrors[0].topics, ["s.*"]);
        check(
            "[[mirror]]\nname = \"hq\"\nbootstrap = \"a:1\"\nlinger.ms = \"x\"\n",
            "mirror.linger.ms in file F line 4: a number from 0 to 3600000 is expected, not `x`",
        );
        check(
            "[[mirror]]\nname = \"hq\"\nbotstrap = \"a:1\"\n",
            "unknown key `mirror.botstrap` in file F line 3; did you mean `mirror.bootstrap`?",
        );
        check(
            "[[mirror]]\nname = \"hq\"\nproducer.retries = \"3\"\n",
            "unknown key `mirror.producer.retries` in file F line 3; docs/mirror.md lists all keys \
             of a mirror",
        );
        check(
            "[[mirror]]\nname = \"hq\"\n",
            "mirror.bootstrap of mirror hq is missing in file F line 1",
        );
        check(
            "[mirror]\nname = \"hq\"\n",
            "mirror in file F line 1: tables [[mirror]] are expected",
        );
    }

    #[test]
    fn bridges_are_read_and_their_errors_name_key_file_and_line() {
        let good = "[[mqtt.bridge]]\nname = \"plant\"\naddress = \"mqtt://b:1884\"\n";
        let second = "[[mqtt.bridge]]\nname = \"two\"\naddress = \"mqtt://c\"\nfilters = \"a\"\n";
        let filters = "filters = [\"plant/#\", \"x/+ qos=0\"]\n";
        let config = loaded(
            &[],
            &[],
            &format!("[mqtt]\nlisten = \"off\"\n{good}{filters}{second}"),
        );
        assert_eq!(config.mqtt_listen, None);
        let names: Vec<&str> = config
            .mqtt_bridges
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["plant", "two"]);
        assert_eq!(config.mqtt_bridges[0].filters.len(), 2);
        check(
            good,
            "mqtt.bridge.filters of bridge plant is missing in file F line 1",
        );
        check(
            &format!("{good}filters = \"a/#/b\"\n"),
            "mqtt.bridge.filters in file F line 4: a topic filter is expected, not `a/#/b`",
        );
        check(
            &format!("{good}filter = \"a\"\n"),
            "unknown key `mqtt.bridge.filter` in file F line 4; did you mean `mqtt.bridge.filters`?",
        );
        check(
            &format!("{good}{filters}{good}{filters}"),
            "mqtt.bridge.name in file F line 5: plant is there twice",
        );
        check(
            "[mqtt.bridge]\nname = \"plant\"\n",
            "mqtt.bridge in file F line 1: tables [[mqtt.bridge]] are expected",
        );
        let many: String = (0..9)
            .map(|number| second.replace("two", &format!("b{number}")))
            .collect();
        check(
            &many,
            "mqtt.bridge in file F line 33: at most 8 are possible",
        );
    }

    #[test]
    fn a_line_that_is_not_toml_is_named() {
        let directory = TestDirectory::new("config");
        let file = directory.path().join("sluice.toml");
        std::fs::write(&file, "shards = 1\nmemory == 2\n").unwrap();
        let error = check_file(&file).unwrap_err().to_string();
        assert!(error.contains("line 2: "), "{error}");
    }

    #[test]
    fn values_that_do_not_fit_together_name_the_one_that_gives_way() {
        check(
            "group.min.session.timeout.ms = 10\ngroup.max.session.timeout.ms = 9\n",
            "group.min.session.timeout.ms in file F line 1: 10 is more than \
             group.max.session.timeout.ms (9)",
        );
        check(
            "socket.request.max.bytes = 65536\n",
            "message.max.bytes in its default: 1048588 is more than \
             socket.request.max.bytes (65536)",
        );
        check(
            "num.partitions = 10001\n",
            "num.partitions in file F line 1: 10001 is more than the partitions of a topic (10000)",
        );
        check(
            "memory = \"130M\"\nshards = 5\n",
            "shards in file F line 2: 130000000 bytes of memory are enough for 4, not 5",
        );
        check(
            "memory = \"130M\"\nsocket.request.max.bytes = 64000000\n",
            "socket.request.max.bytes in file F line 2: 130000000 bytes of memory on 1 shard(s) \
             have room for requests of 51368512 bytes, not 64000000",
        );
    }

    #[test]
    fn an_mqtt_listener_that_others_reach_needs_passwords_or_the_operators_word() {
        check(
            "mqtt.listen = \"10.0.0.7:1883\"\n",
            "mqtt.listen in file F line 1: clients of other machines could connect to \
             10.0.0.7:1883 without a password; name an mqtt.password.file, or say \
             mqtt.anonymous = true",
        );
        check(
            "mqtt.listen = \"off\"\nmqtt.websocket.listen = \"0.0.0.0:8083\"\n",
            "mqtt.websocket.listen in file F line 2: clients of other machines could connect to \
             0.0.0.0:8083 without a password; name an mqtt.password.file, or say \
             mqtt.anonymous = true",
        );
        check(
            "mqtt.anonymous = false\n",
            "mqtt.anonymous in file F line 1: without an mqtt.password.file nobody could connect",
        );
        for (fine, is_anonymous) in [
            ("mqtt.listen = \"[::1]:1883\"", true),
            ("mqtt.listen = \"localhost:1883\"", true),
            (
                "mqtt.listen = \"0.0.0.0:1883\"\nmqtt.anonymous = true",
                true,
            ),
            (
                "mqtt.listen = \"0.0.0.0:1883\"\nmqtt.password.file = \"p\"",
                false,
            ),
            ("mqtt.password.file = \"p\"\nmqtt.anonymous = true", true),
        ] {
            let config = loaded(&[], &[], fine);
            assert_eq!(config.allows_anonymous_mqtt(), is_anonymous, "{fine}");
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_files() {
        let file = "shards = 2\nnode.id = 5\nmemory = \"130M\"\n";
        let environment = [
            ("SLUICE_SHARDS", "3"),
            ("SLUICE_NODE_ID", "6"),
            ("HOME", "/"),
        ];
        let config = loaded(&[("shards", "4")], &environment, file);
        assert_eq!(config.shards, Some(4));
        assert_eq!(config.node_id, 6);
        assert_eq!(config.memory_bytes, Some(130_000_000));
        assert_eq!(config.data_dir, PathBuf::from("./sluice-data"));
    }

    #[test]
    fn quoted_names_and_sections_are_the_same() {
        let config = loaded(
            &[],
            &[],
            "\"max.connections\" = 9\n[max.connections]\nper.ip = 3\n",
        );
        assert_eq!(config.max_connections, Some(9));
        assert_eq!(config.max_connections_per_ip, 3);
    }
}
