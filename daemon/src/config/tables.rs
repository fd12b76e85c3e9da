//! Tables of which a configuration file may hold several: `[[mirror]]`, `[[mqtt.bridge]]`.
//!
//! What it is        from TOML to one value per table; an array of single values is one key with
//!                   several.
//! What it is not    the keys of a table and their checks: those stand with the table.
//! Invariants        1. an error names the key, the file and the line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::load::{line_of, single_value};

/// A kind of table.
pub(super) trait Table: Default {
    /// Its full name.
    const TABLE: &'static str;
    /// One of them, in a sentence.
    const NOUN: &'static str;
    /// The document that lists its keys.
    const GUIDE: &'static str;
    /// How many there may be.
    const COUNT_MAX: usize;

    /// Takes one key with its values (one, or those of an array). The error says what is expected;
    /// `None` for an unknown key.
    fn apply(&mut self, key: &str, values: &[String]) -> Result<(), Option<String>>;

    /// What is missing, once all keys are taken: the key and what is expected of it.
    fn check(&self) -> Result<(), String>;

    /// By which it differs from the others.
    fn name(&self) -> &str;

    /// The key that is most like `name`, if any is at all.
    fn most_similar_key(name: &str) -> Option<&'static str>;
}

/// A file with its text.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Adds the tables of one kind.
    pub(super) fn add_tables<T: Table>(
        &self,
        root: &DeTable<'_>,
        all: &mut Vec<T>,
    ) -> Result<(), ConfigError> {
        let Some(found) = find(root, T::TABLE) else {
            return Ok(());
        };
        let name = T::TABLE;
        let refused = || {
            let place = self.place(&found.span());
            ConfigError(format!("{name} in {place}: tables [[{name}]] are expected"))
        };
        let DeValue::Array(tables) = found.get_ref() else {
            return Err(refused());
        };
        for table in tables.iter() {
            let DeValue::Table(keys) = table.get_ref() else {
                return Err(refused());
            };
            let one: T = self.read(keys, &table.span())?;
            let place = self.place(&table.span());
            if all.iter().any(|other| other.name() == one.name()) {
                let twice = one.name();
                return Err(ConfigError(format!(
                    "{name}.name in {place}: {twice} is there twice"
                )));
            }
            if all.len() >= T::COUNT_MAX {
                let most = T::COUNT_MAX;
                return Err(ConfigError(format!(
                    "{name} in {place}: at most {most} are possible"
                )));
            }
            all.push(one);
        }
        Ok(())
    }

    fn read<T: Table>(&self, keys: &DeTable<'_>, span: &Range<usize>) -> Result<T, ConfigError> {
        let mut one = T::default();
        let mut found = Vec::new();
        flatten("", keys, &mut found);
        for (key, values, span) in found {
            let place = self.place(&span);
            let values = values.unwrap_or_default();
            one.apply(&key, &values).map_err(|reason| {
                ConfigError(match reason {
                    Some(reason) => format!("{}.{key} in {place}: {reason}", T::TABLE),
                    None => unknown::<T>(&key, &place),
                })
            })?;
        }
        let checked = one.check();
        checked.map_err(|reason| ConfigError(format!("{reason} in {}", self.place(span))))?;
        Ok(one)
    }

    fn place(&self, span: &Range<usize>) -> String {
        format!("file {} line {}", self.file, line_of(self.text, span))
    }
}

/// The value with this full name.
fn find<'a, 'de>(root: &'a DeTable<'de>, name: &str) -> Option<&'a Spanned<DeValue<'de>>> {
    let mut parts = name.split('.');
    let mut found = root.get(parts.next()?)?;
    for part in parts {
        let DeValue::Table(inner) = found.get_ref() else {
            return None;
        };
        found = inner.get(part)?;
    }
    Some(found)
}

fn unknown<T: Table>(name: &str, place: &str) -> String {
    let table = T::TABLE;
    let hint = match T::most_similar_key(name) {
        Some(similar) => format!("did you mean `{table}.{similar}`?"),
        None => format!("{} lists all keys of a {}", T::GUIDE, T::NOUN),
    };
    format!("unknown key `{table}.{name}` in {place}; {hint}")
}

/// Full name, values (`None` for what is neither a value nor an array of values), and place.
type Listed = (String, Option<Vec<String>>, Range<usize>);

/// All values of a table with their full names, with the values of an array of single values.
fn flatten(prefix: &str, table: &DeTable<'_>, found: &mut Vec<Listed>) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&name, inner, found),
            DeValue::Array(items) => {
                found.push((name, items.iter().map(single_value).collect(), key.span()));
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                found.push((name, single_value(value).map(|one| vec![one]), key.span()));
            }
        }
    }
}
