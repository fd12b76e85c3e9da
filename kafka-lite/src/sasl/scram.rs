//! SCRAM: challenge and response without showing the password.
//!
//! Source            RFC 5802 §3 (the algorithm), §5.1 (attributes); RFC 7677 (SHA-256). No channel
//!                   binding, as Kafka has none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{Credentials, Mechanism, SaslError};
use crate::limits::{SCRAM_ITERATIONS, SCRAM_TOKEN_BYTES_MAX};

/// `n,,` in base64: no channel binding and no other identity.
const CHANNEL_BINDING: &str = "c=biws";

/// A password with a salt, after its iterations.
#[derive(Clone)]
pub(super) struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    key: Vec<u8>,
}

/// One exchange.
pub(super) struct Scram {
    mechanism: Mechanism,
    password: String,
    nonce: String,
    first_bare: String,
    /// What the server must prove itself with, once the challenge is answered.
    expected: Option<Vec<u8>>,
}

impl Scram {
    pub(super) fn new(credentials: &Credentials, nonce: &str) -> Self {
        let name = credentials.username.replace('=', "=3D").replace(',', "=2C");
        Self {
            mechanism: credentials.mechanism,
            password: credentials.password.clone(),
            nonce: nonce.to_owned(),
            first_bare: format!("n={name},r={nonce}"),
            expected: None,
        }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    pub(super) fn respond(
        &mut self,
        kept: &mut Option<Salted>,
        token: &[u8],
    ) -> Result<Option<Vec<u8>>, SaslError> {
        if token.len() > SCRAM_TOKEN_BYTES_MAX {
            return Err(self.malformed("it is too long"));
        }
        let text = std::str::from_utf8(token).map_err(|_| self.malformed("it is no text"))?;
        if let Some(reason) = attribute(text, 'e') {
            let reason = reason.to_owned();
            return Err(SaslError::Refused { reason });
        }
        match self.expected.take() {
            None => self.answer(kept, text).map(Some),
            Some(expected) => self.check(&expected, text).map(|()| None),
        }
    }

    /// The answer to the server's challenge.
    fn answer(&mut self, kept: &mut Option<Salted>, challenge: &str) -> Result<Vec<u8>, SaslError> {
        let missing = |scram: &Self| scram.malformed("nonce, salt or iterations are missing");
        let nonce = attribute(challenge, 'r').ok_or_else(|| missing(self))?;
        let salt = attribute(challenge, 's').ok_or_else(|| missing(self))?;
        let iterations = attribute(challenge, 'i').ok_or_else(|| missing(self))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(self.malformed("the nonce is not ours with the server's behind it"));
        }
        let salt = BASE64.decode(salt);
        let salt = salt.map_err(|_| self.malformed("the salt is no base64"))?;
        let iterations: Option<u32> = iterations.parse().ok();
        let iterations = iterations.filter(|count| SCRAM_ITERATIONS.contains(count));
        let iterations =
            iterations.ok_or_else(|| self.malformed("the number of iterations is not sensible"))?;
        let key = self.salted(kept, salt, iterations);
        let without_proof = format!("{CHANNEL_BINDING},r={nonce}");
        let message = format!("{},{challenge},{without_proof}", self.first_bare);
        let client_key = self.hmac(&key, b"Client Key");
        let signature = self.hmac(&self.hash(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(one, other)| one ^ other)
            .collect();
        let server_key = self.hmac(&key, b"Server Key");
        self.expected = Some(self.hmac(&server_key, message.as_bytes()));
        let answer = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok(answer.into_bytes())
    }

    /// Whether the server knows the password.
    fn check(&self, expected: &[u8], text: &str) -> Result<(), SaslError> {
        let signature = attribute(text, 'v');
        let signature = signature.ok_or_else(|| self.malformed("the signature is missing"))?;
        let signature = BASE64.decode(signature);
        let signature = signature.map_err(|_| self.malformed("the signature is no base64"))?;
        let is_right: bool = signature.ct_eq(expected).into();
        is_right.then_some(()).ok_or(SaslError::FalseServer)
    }

    fn salted(&self, kept: &mut Option<Salted>, salt: Vec<u8>, iterations: u32) -> Vec<u8> {
        let is_same = |one: &&Salted| one.salt == salt && one.iterations == iterations;
        if let Some(known) = kept.as_ref().filter(is_same) {
            return known.key.clone();
        }
        let password = self.password.as_bytes();
        let key = match self.mechanism {
            Mechanism::ScramSha512 => {
                pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, &salt, iterations).to_vec()
            }
            Mechanism::Plain | Mechanism::ScramSha256 => {
                pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, &salt, iterations).to_vec()
            }
        };
        *kept = Some(Salted {
            salt,
            iterations,
            key: key.clone(),
        });
        key
    }

    fn hmac(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self.mechanism {
            Mechanism::ScramSha512 => hmac_of::<Hmac<Sha512>>(key, data),
            Mechanism::Plain | Mechanism::ScramSha256 => hmac_of::<Hmac<Sha256>>(key, data),
        }
    }

    fn hash(&self, data: &[u8]) -> Vec<u8> {
        match self.mechanism {
            Mechanism::ScramSha512 => Sha512::digest(data).to_vec(),
            Mechanism::Plain | Mechanism::ScramSha256 => Sha256::digest(data).to_vec(),
        }
    }

    const fn malformed(&self, what: &'static str) -> SaslError {
        SaslError::Malformed {
            mechanism: self.mechanism.name(),
            what,
        }
    }
}

/// A nonce without commas.
pub(super) fn nonce(key: &[u8; 32], number: u64) -> String {
    BASE64.encode(hmac_of::<Hmac<Sha256>>(key, &number.to_be_bytes()))
}

fn hmac_of<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes every key");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// The value of an attribute: `r=...,s=...`.
fn attribute(text: &str, name: char) -> Option<&str> {
    let mut all = text.split(',');
    all.find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::Scram;
    use crate::sasl::{Credentials, Mechanism, SaslError};

    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn scram(mechanism: Mechanism) -> Scram {
        let credentials = Credentials::new(mechanism, "user", "pencil").unwrap();
        Scram::new(&credentials, "rOprNGfwEbeRWgbNEkqO")
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let mut scram = scram(Mechanism::ScramSha256);
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let mut kept = None;
        let answer = scram.respond(&mut kept, CHALLENGE.as_bytes()).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(answer, Some(expected.as_bytes().to_vec()));
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.respond(&mut kept, last), Ok(None));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut scram = scram(Mechanism::ScramSha256);
        let mut kept = None;
        scram.respond(&mut kept, CHALLENGE.as_bytes()).unwrap();
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=";
        let result = scram.respond(&mut kept, last);
        assert!(result.is_err(), "{result:?}");
        let mut scram = self::scram(Mechanism::ScramSha256);
        scram.respond(&mut kept, CHALLENGE.as_bytes()).unwrap();
        let last = b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.respond(&mut kept, last), Err(SaslError::FalseServer));
    }

    #[test]
    fn what_a_server_may_not_say_is_refused() {
        let rows = [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
        ];
        for challenge in rows {
            for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
                let answer = scram(mechanism).respond(&mut None, challenge.as_bytes());
                assert!(
                    matches!(answer, Err(SaslError::Malformed { .. })),
                    "{challenge}: {answer:?}"
                );
            }
        }
        let refused = scram(Mechanism::ScramSha512).respond(&mut None, b"e=unknown-user");
        let reason = "unknown-user".to_owned();
        assert_eq!(refused, Err(SaslError::Refused { reason }));
        assert!(
            scram(Mechanism::ScramSha512)
                .respond(&mut None, &[0xff; 4])
                .is_err()
        );
    }

    #[test]
    fn commas_and_equals_signs_in_names_are_spelled_out() {
        let credentials = Credentials::new(Mechanism::ScramSha512, "a=b,c", "x").unwrap();
        assert_eq!(Scram::new(&credentials, "n").first(), b"n,,n=a=3Db=2Cc,r=n");
    }
}
