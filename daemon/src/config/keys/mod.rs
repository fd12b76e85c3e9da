//! The table of configuration keys.
//!
//! What it is        by area: name, default, words and meaning of every key, once. The flag is the
//!                   name with dashes (`--kafka-listen`) unless the table says otherwise, the
//!                   variable is the name in capitals (`SLUICE_KAFKA_LISTEN`).
//! Invariants        1. the default of every key is accepted by its own parser (a test reads them
//!                      all).

mod broker;
mod mqtt;
mod network;
mod process;
mod storage;
mod values;

pub(super) use values::host_port;
pub use values::size;

use super::Config;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Name in files, with dots.
    pub name: &'static str,
    /// Flag without dashes, where it is not the name with dashes.
    flag: Option<&'static str>,
    /// Default as text; `auto` and `off` where the key knows them.
    pub default: &'static str,
    /// What a value looks like, for the help.
    pub value: &'static str,
    /// What it does, for the help.
    pub help: &'static str,
    /// Takes a value as text. The error continues "kafka.listen: ".
    pub apply: fn(&mut Config, &str) -> Result<(), String>,
}

impl Key {
    /// The flag without its two dashes.
    pub fn flag(&self) -> String {
        self.flag
            .map_or_else(|| self.name.replace('.', "-"), str::to_owned)
    }

    /// Whether the values are true and false.
    pub fn is_boolean(&self) -> bool {
        self.value == "true|false"
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        let name = self.name.replace(['.', '-'], "_");
        format!("SLUICE_{}", name.to_uppercase())
    }
}

/// Every key, in the order of the help.
pub fn all() -> impl Iterator<Item = &'static Key> {
    let areas = [
        network::KEYS,
        mqtt::KEYS,
        storage::KEYS,
        broker::KEYS,
        process::KEYS,
    ];
    areas.into_iter().flatten()
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The known key that is most like `name`, if any is at all.
pub fn most_similar(name: &str) -> Option<&'static Key> {
    find(most_similar_name(name, all().map(|key| key.name))?)
}

/// The one of `names` that is most like `name`, if any is at all.
pub(super) fn most_similar_name(
    name: &str,
    names: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let (distance, similar) = names
        .map(|known| (edit_distance(name, known), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 4 && distance * 2 < similar.len()).then_some(similar)
}

/// Insertions, deletions and replacements between two names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, character) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        let mut next = vec![previous];
        for (above, other) in row.iter().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(character != *other);
            previous = replaced.min(previous + 1).min(above + 1);
            diagonal = *above;
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::values::{host_port, reachable};
    use super::{all, edit_distance, most_similar, size};
    use crate::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_is_accepted_and_every_flag_and_variable_is_its_own() {
        let mut config = Config::default();
        let mut names = BTreeSet::new();
        for key in all() {
            assert_eq!(
                (key.apply)(&mut config, key.default),
                Ok(()),
                "{}",
                key.name
            );
            assert!(names.insert(key.flag()), "{}", key.name);
            assert!(names.insert(key.variable()), "{}", key.name);
            assert!((key.apply)(&mut config, "").is_err(), "{}", key.name);
        }
    }

    #[test]
    fn the_operators_guide_lists_every_key() {
        let guide = include_str!("../../../../docs/operations.md");
        let mut table = "| key | default | meaning |\n|---|---|---|\n".to_owned();
        for key in all() {
            let (name, default, value) = (key.name, key.default, key.value.replace('|', " or "));
            let flag = if key.flag() == name.replace('.', "-") {
                String::new()
            } else {
                format!(" Flag: `--{}`.", key.flag())
            };
            table.push_str(&format!(
                "| `{name}` | `{default}` | {}. {value}.{flag} |\n",
                key.help
            ));
        }
        assert!(
            guide.contains(&table),
            "docs/operations.md must have this table:\n{table}"
        );
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("130M", 0, u64::MAX), Ok(130_000_000));
        assert_eq!(size("2GiB", 0, u64::MAX), Ok(2 << 30));
        assert_eq!(size("77", 0, 100), Ok(77));
        for bad in ["", "M", "1.5G", "-1", "1T", "99999999999G"] {
            assert!(size(bad, 0, u64::MAX).is_err(), "{bad}");
        }
        assert!(size("10M", 48 << 20, u64::MAX).is_err());
    }

    #[test]
    fn addresses_may_be_names_and_six_byte_groups_need_brackets() {
        assert_eq!(host_port("[::1]:9092").unwrap().to_string(), "[::1]:9092");
        assert_eq!(host_port("gateway:0").unwrap().to_string(), "gateway:0");
        for bad in ["9092", ":9092", "::1:9092", "host:", "host:70000", "host:x"] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_filter_that_would_silence_everything_is_refused() {
        let apply = |text: &str| {
            let key = super::find("log.level").unwrap();
            (key.apply)(&mut Config::default(), text)
        };
        for good in ["info", "warn,daemon::connection=debug", "off", "DEBUG"] {
            assert_eq!(apply(good), Ok(()), "{good}");
        }
        for bad in ["nonsense", "daemon", "daemon=loud", "", "info,"] {
            apply(bad).unwrap_err();
        }
    }

    #[test]
    fn clients_are_not_sent_to_addresses_that_nobody_has() {
        for bad in ["0.0.0.0:9092", "[::]:9092", "gateway:0", "gateway"] {
            reachable(bad).unwrap_err();
        }
        reachable("10.0.0.1:9092").unwrap();
    }

    #[test]
    fn a_mistyped_key_finds_its_neighbour() {
        assert_eq!(
            most_similar("kafka.lisen").map(|key| key.name),
            Some("kafka.listen")
        );
        assert_eq!(
            most_similar("data-dir").map(|key| key.name),
            Some("data.dir")
        );
        assert!(most_similar("something.else.entirely").is_none());
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
