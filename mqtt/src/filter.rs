//! Topic names and topic filters: what is one, and which names a filter matches.
//!
//! What it is not    the filter of `mqtt-proto`, which accepts `+a`.
//! Source            MQTT 5.0 §4.7, §4.8.2.

use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Returns whether `name` may be published to.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    is_measured(name) && !name.contains(['+', '#', '\0'])
}

/// Returns whether `filter`, without a `$share` prefix, may be subscribed to.
#[must_use]
pub fn is_topic_filter(filter: &str) -> bool {
    if !is_measured(filter) || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_fine = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.contains(['+', '#']),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

/// Splits `$share/GROUP/FILTER`; `None` for the group of another filter.
///
/// `Err` for a shared subscription that is malformed.
///
/// # Errors
/// When group or filter are empty or the group holds a wildcard [MQTT-4.8.2-1, -2].
pub fn split_shared(filter: &str) -> Result<(Option<&str>, &str), MalformedShare> {
    let Some(rest) = filter.strip_prefix("$share/") else {
        return Ok((None, filter));
    };
    match rest.split_once('/') {
        Some((group, inner)) if !group.is_empty() && !inner.is_empty() => {
            if group.contains(['+', '#']) {
                return Err(MalformedShare);
            }
            Ok((Some(group), inner))
        }
        _ => Err(MalformedShare),
    }
}

/// Whether a filter that was checked is that of a shared subscription.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// A `$share` filter without group or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shared subscription is $share/GROUP/FILTER")]
pub struct MalformedShare;

/// Returns whether the filter matches the name. Wildcards do not match a first level that begins
/// with `$` [MQTT-4.7.2-1].
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = name.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(found) if level == "+" || level == found => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// What each wildcard of a matching filter stands for, in order; `#` for all the rest.
///
/// `None` if the filter does not match.
#[must_use]
pub fn captures<'a>(filter: &str, name: &'a str) -> Option<Vec<&'a str>> {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = Some(name);
    for level in filter.split('/') {
        if level == "#" {
            found.push(rest.unwrap_or_default());
            return Some(found);
        }
        let text = rest?;
        let (first, after) = match text.split_once('/') {
            Some((first, after)) => (first, Some(after)),
            None => (text, None),
        };
        if level == "+" {
            found.push(first);
        } else if level != first {
            return None;
        }
        rest = after;
    }
    rest.is_none().then_some(found)
}

/// Returns whether some name is matched by both filters.
#[must_use]
pub fn overlap(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.split('/'), right.split('/'));
    let mut is_first = true;
    loop {
        let meets = match (left.next(), right.next()) {
            (None, None) => return true,
            (Some("#"), Some(other)) | (Some(other), Some("#")) => {
                // A wildcard in front matches nothing that begins with `$`.
                return !(is_first && other.starts_with('$'));
            }
            (Some("#"), None) | (None, Some("#")) => return true,
            (Some("+"), Some(other)) | (Some(other), Some("+")) => {
                !(is_first && other.starts_with('$'))
            }
            (Some(one), Some(other)) => one == other,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !meets {
            return false;
        }
        is_first = false;
    }
}

fn is_measured(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOPIC_BYTES_MAX && text.split('/').count() <= TOPIC_LEVELS_MAX
}

#[cfg(test)]
mod tests {
    use super::{
        MalformedShare, captures, is_shared, is_topic_filter, is_topic_name, matches, overlap,
        split_shared,
    };

    #[test]
    fn names_and_filters_are_told_apart() {
        for name in ["a", "/", "/a", "a/b", "$SYS/x", "a//b", "ü/β"] {
            assert!(is_topic_name(name), "{name}");
            assert!(is_topic_filter(name), "{name}");
        }
        for filter in ["#", "+", "+/+", "a/#", "/+", "+/a/#", "a/+/b"] {
            assert!(!is_topic_name(filter), "{filter}");
            assert!(is_topic_filter(filter), "{filter}");
        }
        let deep = "a/".repeat(40);
        let long = "a".repeat(600);
        for bad in [
            "", "#a", "a#", "+a", "a+", "a/#/b", "##", "a/b#", "a\0", &deep, &long,
        ] {
            assert!(!is_topic_filter(bad), "{bad}");
            assert!(!is_topic_name(bad), "{bad}");
        }
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, name, is_match) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            ("sport/tennis/player1/#", "sport/tennis/player2", false),
            ("sport/#", "sport", true),
            ("#", "a/b/c", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "a/B", false),
        ] {
            assert_eq!(matches(filter, name), is_match, "{filter} {name}");
            assert_eq!(
                captures(filter, name).is_some(),
                is_match,
                "{filter} {name}"
            );
            assert!(!is_match || overlap(filter, name), "{filter} {name}");
        }
    }

    #[test]
    fn wildcards_are_captured_in_order() {
        assert_eq!(captures("plant/+/+/t", "plant/a/b/t"), Some(vec!["a", "b"]));
        assert_eq!(captures("a/#", "a/b/c"), Some(vec!["b/c"]));
        assert_eq!(captures("a/#", "a"), Some(vec![""]));
    }

    #[test]
    fn overlapping_filters_have_a_name_in_common() {
        for (left, right, expected) in [
            ("a/+", "+/b", true),
            ("a/#", "a", true),
            ("a/b", "a/c", false),
            ("+/b", "#", true),
            ("$SYS/#", "#", false),
            ("$SYS/#", "+/x", false),
            ("a/+/c", "a/b", false),
        ] {
            assert_eq!(overlap(left, right), expected, "{left} {right}");
            assert_eq!(overlap(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn a_shared_subscription_has_a_group_and_a_filter() {
        assert_eq!(split_shared("$share/g/a/+"), Ok((Some("g"), "a/+")));
        assert_eq!(split_shared("a/b"), Ok((None, "a/b")));
        assert_eq!(split_shared("$share/g//"), Ok((Some("g"), "/")));
        assert!(is_shared("$share/g/a") && !is_shared("$shared/g/a") && !is_shared("a"));
        for bad in [
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/g+/a",
        ] {
            assert_eq!(split_shared(bad), Err(MalformedShare), "{bad}");
        }
    }
}
