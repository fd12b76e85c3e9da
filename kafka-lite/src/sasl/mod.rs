//! Authentication with SASL, as a client: PLAIN and SCRAM.
//!
//! What it is        credentials, and the exchange of tokens with a server as a state machine.
//! What it is not    the requests that carry the tokens, nor TLS, without which PLAIN shows the
//!                   password to everybody on the way.
//! Invariants        1. no secret is in a `Debug` output or an error. 2. with SCRAM the exchange
//!                   ends well only after the server has proved that it knows the password too.
//! Source            RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM), KIP-84. As Kafka, texts are not
//!                   normalised (no SASLprep).

mod scram;

use std::fmt;

use thiserror::Error;

use self::scram::Scram;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password as they are.
    Plain,
    /// Challenge and response over SHA-256.
    ScramSha256,
    /// The same over SHA-512.
    ScramSha512,
}

/// Who a client is, and how it proves that.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How.
    pub mechanism: Mechanism,
    /// Name of the user.
    pub username: String,
    password: String,
}

/// Why authentication does not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SaslError {
    /// The server's token is not what the mechanism says.
    #[error("the server's answer is not {mechanism}: {what}")]
    Malformed {
        /// The mechanism.
        mechanism: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server refused, in its own words.
    #[error("refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The server does not know the password itself.
    #[error("the server could not prove that it knows the password")]
    FalseServer,
}

/// What a password became for one salt; kept, so that only the first connection computes it.
#[derive(Clone, Default)]
pub struct SaltedPassword(Option<scram::Salted>);

/// One exchange of tokens.
pub struct Exchange {
    state: State,
}

enum State {
    /// PLAIN has one token.
    Plain(Vec<u8>),
    Scram(Box<Scram>),
}

impl Mechanism {
    /// All, in the order in which errors name them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The name on the wire and in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// The mechanism of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

impl Credentials {
    /// A name and its password; neither may be empty or hold a NUL.
    ///
    /// # Errors
    /// Which of them cannot be used.
    pub fn new(mechanism: Mechanism, username: &str, password: &str) -> Result<Self, &'static str> {
        let is_usable = |text: &str| !text.is_empty() && !text.contains('\0');
        if !is_usable(username) {
            return Err("the user name is empty or holds a NUL");
        }
        if !is_usable(password) {
            return Err("the password is empty or holds a NUL");
        }
        Ok(Self {
            mechanism,
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SaltedPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SaltedPassword")
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Exchange")
    }
}

/// The nonce of a number: unpredictable for who does not know the key.
#[must_use]
pub fn nonce(key: &[u8; 32], number: u64) -> String {
    scram::nonce(key, number)
}

impl Exchange {
    /// Begins. `nonce` must be unpredictable and used once, of printable ASCII without commas.
    #[must_use]
    pub fn new(credentials: &Credentials, nonce: &str) -> Self {
        let state = match credentials.mechanism {
            Mechanism::Plain => {
                let Credentials {
                    username, password, ..
                } = credentials;
                State::Plain(format!("\0{username}\0{password}").into_bytes())
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                State::Scram(Box::new(Scram::new(credentials, nonce)))
            }
        };
        Self { state }
    }

    /// The first token for the server.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        match &self.state {
            State::Plain(token) => token.clone(),
            State::Scram(scram) => scram.first(),
        }
    }

    /// Takes the server's token; returns the next one for it, or `None` when all is well.
    ///
    /// # Errors
    /// [`SaslError`]; the connection must be closed.
    pub fn respond(
        &mut self,
        salted: &mut SaltedPassword,
        token: &[u8],
    ) -> Result<Option<Vec<u8>>, SaslError> {
        match &mut self.state {
            // What a server may say behind a good password is nothing.
            State::Plain(_) => Ok(None),
            State::Scram(scram) => scram.respond(&mut salted.0, token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Exchange, Mechanism, SaltedPassword};

    #[test]
    fn plain_is_one_token() {
        let credentials = Credentials::new(Mechanism::Plain, "user", "secret").unwrap();
        let mut exchange = Exchange::new(&credentials, "");
        assert_eq!(exchange.first(), b"\0user\0secret");
        let answer = exchange.respond(&mut SaltedPassword::default(), b"");
        assert_eq!(answer, Ok(None));
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let credentials = Credentials::new(Mechanism::Plain, "user", "secret").unwrap();
        let exchange = Exchange::new(&credentials, "");
        let shown = format!(
            "{credentials:?} {exchange:?} {:?}",
            SaltedPassword::default()
        );
        assert!(
            shown.contains("user") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn names_come_back_and_others_are_none() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::from_name(mechanism.name()), Some(mechanism));
        }
        assert_eq!(Mechanism::from_name("GSSAPI"), None);
        assert!(Credentials::new(Mechanism::Plain, "", "x").is_err());
        assert!(Credentials::new(Mechanism::Plain, "x", "a\0b").is_err());
    }
}
