//! What a config is: name, type, default, rule, text.
//!
//! What it is        the row type of both tables, and the check of one value.
//! What it is not    the rows.
//! Source            Kafka 4.3 `ConfigDef`; `DescribeConfigsResponse.ConfigType`.

/// Type of a config, as DescribeConfigs 3 says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// true or false.
    Boolean,
    /// Text.
    String,
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Long,
    /// Floating point.
    Double,
    /// Words with commas between.
    List,
}

impl ConfigKind {
    /// Returns the number on the wire.
    #[must_use]
    pub fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }
}

/// Which values a config takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigRule {
    /// Any of its type.
    Any,
    /// An integer, both ends inclusive.
    Range {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A fraction from 0 to 1, both inclusive.
    Fraction,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words, not empty.
    ListOf(&'static [&'static str]),
    /// `*`, or a list of partition:broker, or nothing.
    ReplicaList,
    /// Only this value works here; anything else that Kafka takes is refused with the reason.
    Only {
        /// The value.
        value: &'static str,
        /// Why no other.
        reason: &'static str,
    },
}

/// How a broker config's unit becomes the topic config's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynonymUnit {
    /// The same.
    Same,
    /// Minutes to ms.
    Minutes,
    /// Hours to ms.
    Hours,
}

/// A broker config that gives a topic config its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// Name of the broker config.
    pub name: &'static str,
    /// Its unit.
    pub unit: SynonymUnit,
}

/// One config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigDefinition {
    /// Kafka's name.
    pub name: &'static str,
    /// Type.
    pub kind: ConfigKind,
    /// Default when no layer has a value; `None` is null (broker configs only).
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub rule: ConfigRule,
    /// Broker configs that give the default, the strongest first; for a broker config, empty.
    pub synonyms: &'static [Synonym],
    /// Whether it can only be set at start (broker configs).
    pub is_read_only: bool,
    /// What it does, in one or two sentences, with what is special here.
    pub documentation: &'static str,
}

impl ConfigDefinition {
    /// Checks a value against type and rule.
    ///
    /// # Errors
    /// The reason in words.
    pub fn check(&self, value: &str) -> Result<(), String> {
        self.check_kind(value)?;
        match self.rule {
            ConfigRule::Any => Ok(()),
            ConfigRule::Range { min, max } => check_range(value, min, max),
            ConfigRule::Fraction => match value.trim().parse::<f64>() {
                Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(()),
                Ok(_) | Err(_) => Err("value must be between 0 and 1".to_owned()),
            },
            ConfigRule::OneOf(words) if words.contains(&value.trim()) => Ok(()),
            ConfigRule::OneOf(words) => Err(format!("value must be one of {}", words.join(", "))),
            ConfigRule::ListOf(words) => check_list(value, words),
            ConfigRule::ReplicaList => check_replica_list(value),
            ConfigRule::Only { value: only, .. } if self.is_same(value.trim(), only) => Ok(()),
            ConfigRule::Only {
                value: only,
                reason,
            } => Err(format!("only {only} is supported: {reason}")),
        }
    }

    fn is_same(&self, text: &str, only: &str) -> bool {
        let is_switch = self.kind == ConfigKind::Boolean;
        text == only || is_switch && text.eq_ignore_ascii_case(only)
    }

    fn check_kind(&self, value: &str) -> Result<(), String> {
        let text = value.trim();
        let is_right = match self.kind {
            ConfigKind::Boolean => is_true(text) || text.eq_ignore_ascii_case("false"),
            ConfigKind::Int => text.parse::<i32>().is_ok(),
            ConfigKind::Long => text.parse::<i64>().is_ok(),
            ConfigKind::Double => text.parse::<f64>().is_ok_and(f64::is_finite),
            ConfigKind::String | ConfigKind::List => true,
        };
        let wanted = match self.kind {
            ConfigKind::Boolean => "true or false",
            ConfigKind::Int => "a 32-bit integer",
            ConfigKind::Long => "a 64-bit integer",
            ConfigKind::Double => "a number",
            ConfigKind::String | ConfigKind::List => "text",
        };
        if is_right {
            Ok(())
        } else {
            Err(format!("not {wanted}"))
        }
    }
}

/// Whether a switch is on: Kafka does not look at the case of the word (Python writes `True`).
pub(super) fn is_true(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("true")
}

/// Returns the words of a list value; blanks around them and empty words do not count.
pub(super) fn words_of(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

fn check_range(value: &str, min: i64, max: i64) -> Result<(), String> {
    match value.trim().parse::<i64>() {
        Ok(number) if number < min => Err(format!("value must be at least {min}")),
        Ok(number) if number > max => Err(format!("value must be no more than {max}")),
        Ok(_) => Ok(()),
        Err(_) => Err("not an integer".to_owned()),
    }
}

fn check_list(value: &str, words: &[&str]) -> Result<(), String> {
    if words_of(value).next().is_none() {
        return Err(format!("value must be a list of {}", words.join(", ")));
    }
    match words_of(value).find(|word| !words.contains(word)) {
        Some(word) => Err(format!("{word} is not one of {}", words.join(", "))),
        None => Ok(()),
    }
}

fn check_replica_list(value: &str) -> Result<(), String> {
    let is_pair = |word: &str| {
        word.split_once(':').is_some_and(|(partition, node)| {
            partition.parse::<u32>().is_ok() && node.parse::<u32>().is_ok()
        })
    };
    if value.trim() == "*" || words_of(value).all(is_pair) {
        Ok(())
    } else {
        Err("value must be *, or partition:broker with commas between".to_owned())
    }
}
