//! Who may connect: user names with hashes of their passwords.
//!
//! What it is        the lines of a password file, `user:$7$iterations$salt$hash`: PBKDF2 with
//!                   HMAC-SHA-512, salt and hash in base64. That is the form of
//!                   `mosquitto_passwd`, so that its files go on working.
//! What it is not    a file, a source of randomness, a thread: hashing takes milliseconds, and the
//!                   owner chooses where.
//! Invariants        1. the answer for a user that is not known takes as long as for a wrong
//!                      password. 2. hashes are compared in constant time. 3. no password is kept
//!                      in memory, only its hash.
//! Source            RFC 8018; the manual page mosquitto_passwd(1).
//! Reading order     [`Passwords::parse`], [`Verifier::verify`].

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pbkdf2::pbkdf2_hmac;
use pbkdf2::sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::limits::{
    PASSWORD_ITERATIONS_DEFAULT, PASSWORD_ITERATIONS_MAX, PASSWORDS_MAX, USER_NAME_BYTES_MAX,
};

/// Bytes of a SHA-512 hash.
const HASH_BYTES: usize = 64;

/// Least bytes of a salt; Mosquitto's have 12, or 64.
const SALT_BYTES_MIN: usize = 8;

/// The entries of a password file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passwords {
    entries: BTreeMap<String, Entry>,
}

/// The hash of one password.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    iterations: u32,
    salt: Vec<u8>,
    hash: [u8; HASH_BYTES],
}

/// Why a password file, or an entry for one, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// A line is no entry.
    #[error("line {line}: {reason}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Too many entries.
    #[error("more than {PASSWORDS_MAX} entries")]
    TooMany,
    /// The name cannot stand in the file.
    #[error(
        "a user name has 1 to {USER_NAME_BYTES_MAX} bytes and no `:`, `#` in front or line break"
    )]
    UserName,
    /// Iterations out of range.
    #[error("1 to {PASSWORD_ITERATIONS_MAX} iterations are expected, not {0}")]
    Iterations(u32),
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hashes are not for logs.
        formatter
            .debug_struct("Passwords")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Passwords {
    /// Reads the text of a password file. Empty lines and lines that begin with `#` are passed
    /// over; of two lines for one user the last one holds.
    ///
    /// # Errors
    /// [`PasswordError::Line`] or [`PasswordError::TooMany`].
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let mut entries = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, entry) = Entry::parse(line).map_err(|reason| PasswordError::Line {
                line: number + 1,
                reason,
            })?;
            entries.insert(user.to_owned(), entry);
            if entries.len() > PASSWORDS_MAX {
                return Err(PasswordError::TooMany);
            }
        }
        Ok(Self { entries })
    }

    /// How many users there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether this is the password of the user. Cost: the iterations of the entry.
    #[must_use]
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        let Some(entry) = self.entries.get(user) else {
            // As long as for a user who is there.
            let iterations = self.entries.values().next().map(|entry| entry.iterations);
            let iterations = iterations.unwrap_or(PASSWORD_ITERATIONS_DEFAULT);
            std::hint::black_box(hash_of(password, b"nobody's salt", iterations));
            return false;
        };
        let hash = hash_of(password, &entry.salt, entry.iterations);
        hash.ct_eq(&entry.hash).into()
    }
}

impl Entry {
    fn parse(line: &str) -> Result<(&str, Self), &'static str> {
        const FORM: &str = "`user:$7$iterations$salt$hash` is expected";
        let (user, rest) = line.split_once(':').ok_or(FORM)?;
        if check_user(user).is_err() {
            return Err("the user name is empty or too long");
        }
        // What follows a further colon is Mosquitto's room for more.
        let hash = rest.split(':').next().unwrap_or_default();
        let mut parts = hash.split('$');
        match (parts.next(), parts.next()) {
            (Some(""), Some("7")) => {}
            (Some(""), Some(_)) => {
                return Err("only hashes of the form $7$ (PBKDF2-SHA512) are known");
            }
            _ => return Err("the password is not hashed; use `sluice mqtt password`"),
        }
        let iterations = parts.next().and_then(|text| text.parse().ok());
        let iterations: u32 = iterations.ok_or(FORM)?;
        if iterations == 0 || iterations > PASSWORD_ITERATIONS_MAX {
            return Err("the number of iterations is out of range");
        }
        let mut decoded = || BASE64.decode(parts.next()?).ok();
        let salt = decoded().ok_or("the salt is not base64")?;
        let hash = decoded().ok_or("the hash is not base64")?;
        if salt.len() < SALT_BYTES_MIN {
            return Err("the salt is too short");
        }
        let hash = hash.try_into().map_err(|_| "the hash has not 64 bytes")?;
        if parts.next().is_some() {
            return Err(FORM);
        }
        Ok((
            user,
            Self {
                iterations,
                salt,
                hash,
            },
        ))
    }
}

/// The line of a user for a password file, without its line break. The salt is the caller's random
/// bytes, 16 of them at least.
///
/// # Errors
/// [`PasswordError::UserName`] or [`PasswordError::Iterations`].
pub fn entry(
    user: &str,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
) -> Result<String, PasswordError> {
    check_user(user)?;
    if iterations == 0 || iterations > PASSWORD_ITERATIONS_MAX {
        return Err(PasswordError::Iterations(iterations));
    }
    let hash = BASE64.encode(hash_of(password, salt, iterations));
    let salt = BASE64.encode(salt);
    Ok(format!("{user}:$7${iterations}${salt}${hash}"))
}

/// The text of a password file with `line` in the place of the user's line, or at its end; without
/// a line the user is dropped. Everything else stays as it is.
#[must_use]
pub fn replace_entry(text: &str, user: &str, line: Option<&str>) -> String {
    let is_of_user = |line: &str| line.split_once(':').is_some_and(|(name, _)| name == user);
    let mut kept: Vec<&str> = text.lines().filter(|line| !is_of_user(line)).collect();
    let place = text.lines().take_while(|line| !is_of_user(line)).count();
    if let Some(line) = line {
        kept.insert(place.min(kept.len()), line);
    }
    let mut changed = kept.join("\n");
    if !changed.is_empty() {
        changed.push('\n');
    }
    changed
}

fn check_user(user: &str) -> Result<(), PasswordError> {
    let is_bad = user.is_empty()
        || user.len() > USER_NAME_BYTES_MAX
        || user.starts_with('#')
        || user.contains([':', '\n', '\r', '\0']);
    if is_bad {
        return Err(PasswordError::UserName);
    }
    Ok(())
}

fn hash_of(password: &[u8], salt: &[u8], iterations: u32) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut hash);
    hash
}

/// Passwords with the memory of those that were right: a thousand sensors that come back after the
/// link was gone are not hashed again.
#[derive(Debug)]
pub struct Verifier {
    passwords: Passwords,
    /// Random bytes of this process: what is remembered says nothing to anybody else.
    key: [u8; 32],
    remembered: BTreeMap<String, [u8; 32]>,
}

impl Verifier {
    /// A verifier that remembers nothing yet; the key is random.
    #[must_use]
    pub fn new(passwords: Passwords, key: [u8; 32]) -> Self {
        Self {
            passwords,
            key,
            remembered: BTreeMap::new(),
        }
    }

    /// Whether this is the password of the user.
    pub fn verify(&mut self, user: &str, password: &[u8]) -> bool {
        let digest = self.digest(user, password);
        if let Some(known) = self.remembered.get(user)
            && bool::from(known.ct_eq(&digest))
        {
            return true;
        }
        let is_right = self.passwords.verify(user, password);
        if is_right {
            // Only users of the file come here, so that they bound it.
            self.remembered.insert(user.to_owned(), digest);
        }
        is_right
    }

    fn digest(&self, user: &str, password: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update(user.len().to_be_bytes());
        digest.update(user);
        digest.update(password);
        digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::{PasswordError, Passwords, Verifier, entry, replace_entry};

    /// Made by `mosquitto_passwd -b` of Mosquitto 2.0.11: the password is `secret`.
    const OF_MOSQUITTO: &str = "sensor:$7$101$s+aRTV6dlon9K+bu$\
        33l5U/zNyVV7Uan6xzG9lmVdcphtEcINvWHal0RGazKfCxz2JoG8SDCaZ+L6Xs17R3WKe+4vQdAqQWhQIHObHA==";

    #[test]
    fn what_mosquitto_wrote_is_read() {
        let passwords = Passwords::parse(OF_MOSQUITTO).unwrap();
        assert!(passwords.verify("sensor", b"secret"));
        assert!(!passwords.verify("sensor", b"Secret"));
        assert!(!passwords.verify("nobody", b"secret"));
    }

    #[test]
    fn a_line_of_ours_is_verified_and_only_with_its_password() {
        let line = entry("a b", b"p\xff", b"0123456789abcdef", 3).unwrap();
        assert!(
            line.starts_with("a b:$7$3$MDEyMzQ1Njc4OWFiY2RlZg==$"),
            "{line}"
        );
        let text = format!("# users\n\n{OF_MOSQUITTO}\r\n{line}\n");
        let passwords = Passwords::parse(&text).unwrap();
        assert_eq!(passwords.count(), 2);
        assert!(passwords.verify("a b", b"p\xff"));
        assert!(!passwords.verify("a b", b"p") && !passwords.verify("a b", b""));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_its_line() {
        let hash = OF_MOSQUITTO.split_once(':').unwrap().1;
        for bad in [
            "sensor",
            "sensor:secret",
            "sensor:",
            ":$7$101$YWJjZGVmZ2g=$YQ==",
            "sensor:$6$YWJjZGVmZ2g=$YQ==",
            "sensor:$7$0$YWJjZGVmZ2g=$YQ==",
            "sensor:$7$101$YWJjZGVmZ2g=$YQ==",
            "sensor:$7$101$YQ==$YQ==",
            "sensor:$7$101$!$YQ==",
            "sensor:$7$99999999$YWJjZGVmZ2g=$YQ==",
        ] {
            let text = format!("good:{hash}\n{bad}\n");
            let error = Passwords::parse(&text).unwrap_err();
            assert!(
                matches!(error, PasswordError::Line { line: 2, .. }),
                "{bad}: {error}"
            );
        }
        for bad in ["", "a:b", "#a", "a\nb", &"x".repeat(300)] {
            assert_eq!(entry(bad, b"", &[0; 16], 1), Err(PasswordError::UserName));
        }
        entry("a", b"", &[0; 16], 0).unwrap_err();
    }

    #[test]
    fn one_line_is_replaced_and_the_others_stay() {
        let text = "# mine\na:1\nb:2\n";
        assert_eq!(replace_entry(text, "a", Some("a:9")), "# mine\na:9\nb:2\n");
        assert_eq!(
            replace_entry(text, "c", Some("c:3")),
            "# mine\na:1\nb:2\nc:3\n"
        );
        assert_eq!(replace_entry(text, "a", None), "# mine\nb:2\n");
        assert_eq!(replace_entry("a:1", "a", None), "");
        assert_eq!(replace_entry("", "a", Some("a:1")), "a:1\n");
    }

    #[test]
    fn a_password_that_was_right_is_remembered_and_a_wrong_one_never() {
        let mut verifier = Verifier::new(Passwords::parse(OF_MOSQUITTO).unwrap(), [7; 32]);
        assert!(!verifier.verify("sensor", b"wrong") && verifier.remembered.is_empty());
        assert!(verifier.verify("sensor", b"secret"));
        assert_eq!(verifier.remembered.len(), 1);
        // From memory: the entry itself is gone.
        verifier.passwords = Passwords::default();
        assert!(verifier.verify("sensor", b"secret"));
        assert!(!verifier.verify("sensor", b"wrong") && !verifier.verify("other", b"secret"));
    }
}
