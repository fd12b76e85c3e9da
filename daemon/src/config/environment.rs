//! Variables of the environment: as text, and those that look like ours and are not.
//!
//! What it is        one line for the operator: a mistyped variable changes nothing, and nobody
//!                   would notice.
//! Invariants        1. such a variable never refuses the start: Kubernetes sets
//!                      `SLUICE_SERVICE_HOST` and more beside a service of that name.
//!                   2. those of Kubernetes are not told.
//!                   3. a value of ours is used as it is or refused, never passed over.

use std::ffi::OsString;

use super::ConfigError;
use super::keys::{self, Key, most_similar};

/// Prefix of our variables.
const VARIABLE_PREFIX: &str = "SLUICE_";

/// What Kubernetes sets for each service; it tells its other variables from mistyped ones.
const SERVICE_HOST: &str = "_SERVICE_HOST";

/// Variables of the client commands, which no key stands for.
pub const CLIENT_VARIABLES: [&str; 2] = ["SLUICE_ADMIN", "SLUICE_BROKERS"];

/// The variables as text. Names that are not UTF-8 are left out: they cannot be ours.
///
/// # Errors
/// [`ConfigError`] for a variable of ours whose value is not UTF-8.
pub fn as_text(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut texts = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        let value = value.into_string().or_else(|value| match key_of(&name) {
            Some(key) => Err(ConfigError(format!(
                "{} in variable {name}: UTF-8 is expected, not `{}`",
                key.name,
                value.display()
            ))),
            None => Ok(value.to_string_lossy().into_owned()),
        })?;
        texts.push((name, value));
    }
    Ok(texts)
}

/// The key that a variable stands for.
pub(super) fn key_of(variable: &str) -> Option<&'static Key> {
    keys::all().find(|key| key.variable() == variable)
}

/// Names of variables that begin like ours and mean nothing here, each with the known one that is
/// most like it; `None` when there are none.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with(VARIABLE_PREFIX))
        .collect();
    names.sort();
    let services = names
        .iter()
        .filter_map(|name| name.strip_suffix(SERVICE_HOST));
    let services: Vec<&str> = services.collect();
    let told: Vec<String> = names
        .iter()
        .filter(|name| !is_known(name) && !services.iter().any(|service| sets(service, name)))
        .map(|name| with_hint(name))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn is_known(name: &str) -> bool {
    CLIENT_VARIABLES.contains(&name) || key_of(name).is_some()
}

/// Whether Kubernetes sets `name` for a service whose variables begin with `service`.
fn sets(service: &str, name: &str) -> bool {
    let rest = name.strip_prefix(service).unwrap_or_default();
    let begins = |word: &str| {
        let after = rest.strip_prefix(word);
        after.is_some_and(|after| after.is_empty() || after.starts_with('_'))
    };
    begins("_SERVICE_HOST") || begins("_SERVICE_PORT") || begins("_PORT")
}

fn with_hint(name: &str) -> String {
    let short = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    match most_similar(&short.to_lowercase().replace('_', ".")) {
        Some(similar) => format!("{name} (did you mean {}?)", similar.variable()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::{as_text, unknown_variables};

    fn told(names: &[&str]) -> Option<String> {
        unknown_variables(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn mistyped_variables_are_told_and_known_ones_are_not() {
        assert_eq!(
            told(&["SLUICE_ZZZ", "SLUICE_KAFKA_LISEN"]).unwrap(),
            "SLUICE_KAFKA_LISEN (did you mean SLUICE_KAFKA_LISTEN?), SLUICE_ZZZ"
        );
        let known = ["HOME", "SLUICE_MEMORY", "SLUICE_BROKERS", "SLUICE_ADMIN"];
        assert_eq!(told(&known), None);
    }

    #[test]
    fn a_value_of_ours_that_is_no_text_is_refused_and_others_are_passed_on() {
        let broken = || OsString::from_vec(b"/tmp/\xff".to_vec());
        let read = |name: &str| as_text([(OsString::from(name), broken())].into_iter());
        assert_eq!(
            read("SLUICE_DATA_DIR").unwrap_err().to_string(),
            "data.dir in variable SLUICE_DATA_DIR: UTF-8 is expected, not `/tmp/\u{fffd}`"
        );
        assert_eq!(read("SLUICE_ZZZ").unwrap()[0].0, "SLUICE_ZZZ");
        assert_eq!(read("HOME").unwrap()[0].1, "/tmp/\u{fffd}");
        let name_is_broken = as_text([(broken(), broken())].into_iter());
        assert!(name_is_broken.unwrap().is_empty());
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_not_told() {
        let service = [
            "SLUICE_MQTT_PORT",
            "SLUICE_MQTT_SERVICE_HOST",
            "SLUICE_PORT",
            "SLUICE_PORT_9092_TCP_ADDR",
            "SLUICE_SERVICE_HOST",
            "SLUICE_SERVICE_PORT_KAFKA",
        ];
        assert_eq!(told(&service), None);
        // Without the service itself it is a mistake.
        assert_eq!(told(&["SLUICE_PORT"]).as_deref(), Some("SLUICE_PORT"));
        let beside = ["SLUICE_SERVICE_HOST", "SLUICE_PORTS"];
        assert_eq!(told(&beside).as_deref(), Some("SLUICE_PORTS"));
    }
}
