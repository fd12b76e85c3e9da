//! Parsers of values: each says what it expects, for the operator.

use super::super::HostPort;
use std::net::IpAddr;

/// Reads a size in bytes: `130M` and `130MB` are 130,000,000; `130MiB` is 136,314,880.
///
/// # Errors
/// What is expected, for the operator.
pub fn size(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let digits_end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1_000),
        "m" | "mb" => Some(1_000_000),
        "g" | "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let parsed = digits.parse::<u64>().ok().zip(factor);
    let bytes = parsed
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| format!("a size such as 130M or 2G is expected, not `{text}`"))?;
    if bytes < least || bytes > most {
        let most = if most == u64::MAX {
            String::new()
        } else {
            format!(" and at most {most}")
        };
        return Err(format!(
            "at least {least}{most} bytes are expected, not {bytes}"
        ));
    }
    Ok(bytes)
}

/// A whole number from `least` to `most`, both inclusive.
pub(super) fn number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!(
            "a number from {least} to {most} is expected, not `{text}`"
        )),
    }
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("true or false is expected, not `{text}`")),
    }
}

/// A host or an address, an IPv6 one in brackets, and a port.
pub(in crate::config) fn host_port(text: &str) -> Result<HostPort, String> {
    let expected = || format!("HOST:PORT is expected, not `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match inner {
        Some(inner) => inner,
        None if host.contains(':') => return Err(expected()),
        None => host,
    };
    if host.is_empty() {
        return Err(expected());
    }
    let port = port.parse().map_err(|_| expected())?;
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

/// An address that a client can connect to.
pub(super) fn reachable(text: &str) -> Result<HostPort, String> {
    let address = host_port(text)?;
    let host: Result<IpAddr, _> = address.host.parse();
    if address.port == 0 || host.is_ok_and(|host| host.is_unspecified()) {
        return Err(format!("clients cannot connect to `{text}`"));
    }
    Ok(address)
}

/// `None` for the word, otherwise what the parser says.
pub(super) fn unless<T>(
    word: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == word {
        return Ok(None);
    }
    parse(text).map(Some)
}

/// Stores what was parsed.
pub(super) fn set<T>(target: &mut T, parsed: Result<T, String>) -> Result<(), String> {
    *target = parsed?;
    Ok(())
}
