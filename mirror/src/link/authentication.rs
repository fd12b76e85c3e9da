//! Who we are to the brokers of the centre: SASL between the versions and the first request.
//!
//! What it is        the requests that carry the tokens, and doing it again before a session ends.
//! What it is not    the mechanisms: those are `kafka_lite::sasl`.
//! Invariants        1. a connection is ready only when its login has succeeded. 2. a session is
//!                   renewed only while no other request is unanswered, as KIP-368 asks for.
//! Source            SaslHandshake 1, SaslAuthenticate 0–2; KIP-152, KIP-368.

use std::time::Duration;

use kafka_lite::api::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_lite::api::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::sasl::{Exchange, SaltedPassword, nonce};

use super::{Link, Purpose, SendFault};
use crate::options::Login;
use crate::output::ConnectionId;
use crate::time::Now;

/// Version of SaslHandshake behind which tokens travel in SaslAuthenticate.
const HANDSHAKE_VERSION: i16 = 1;

/// Part of a session's lifetime, in percent, after which it is renewed; Kafka's clients do it
/// between 85 and 95.
const RENEW_PERCENT: u64 = 85;

/// The login of all connections of a link.
#[derive(Debug)]
pub(super) struct Logins {
    login: Login,
    salted: SaltedPassword,
    count: u64,
}

/// The session of a connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    exchange: Option<Exchange>,
    renew_at: Option<Duration>,
    /// It is to be renewed, or is being renewed: no other request may leave.
    pub(super) is_closing: bool,
}

impl Session {
    /// When it must be renewed.
    pub(super) const fn renew_at(&self) -> Option<Duration> {
        self.renew_at
    }
}

impl Logins {
    pub(super) fn new(login: Login) -> Self {
        Self {
            login,
            salted: SaltedPassword::default(),
            count: 0,
        }
    }

    fn mechanism(&self) -> &'static str {
        self.login.credentials.mechanism.name()
    }
}

impl Link {
    /// The versions are known: logs in, or is ready if there is nothing to log in with.
    ///
    /// Errors: the broker has no SASL.
    pub(super) fn log_in(&mut self, now: &Now, id: ConnectionId) -> Result<(), String> {
        let Some(logins) = &self.logins else {
            self.handle_ready(id);
            return Ok(());
        };
        let request = SaslHandshakeRequest {
            mechanism: logins.mechanism().into(),
        };
        let version = self.version(id, kafka_lite::api::ApiKey::SaslHandshake);
        if version != Ok(HANDSHAKE_VERSION) {
            return Err("the broker has no SASL".to_owned());
        }
        self.put(now, id, HANDSHAKE_VERSION, &request, Purpose::Handshake);
        Ok(())
    }

    /// The broker has agreed on the mechanism, or not.
    pub(super) fn handle_handshake(
        &mut self,
        now: &Now,
        id: ConnectionId,
        response: &SaslHandshakeResponse<'_>,
    ) -> Result<(), String> {
        let Some(logins) = &mut self.logins else {
            return Err("SASL was not asked for".to_owned());
        };
        let wanted = logins.mechanism();
        if response.error_code == ErrorCode::UnsupportedSaslMechanism {
            let offered = response.mechanisms.join(", ");
            return Err(format!("SASL: the broker offers {offered}, not {wanted}"));
        }
        if !response.error_code.is_none() {
            return Err(format!("SASL {wanted}: {}", response.error_code.name()));
        }
        logins.count += 1;
        let nonce = nonce(&logins.login.nonce_key, logins.count);
        let exchange = Exchange::new(&logins.login.credentials, &nonce);
        let token = exchange.first();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.session.exchange = Some(exchange);
        }
        self.send_token(now, id, token)
    }

    /// A token of the broker.
    pub(super) fn handle_token(
        &mut self,
        now: &Now,
        id: ConnectionId,
        response: &SaslAuthenticateResponse<'_>,
    ) -> Result<(), String> {
        let (Some(logins), Some(connection)) = (&mut self.logins, self.connections.get_mut(&id))
        else {
            return Err("SASL was not asked for".to_owned());
        };
        let mechanism = logins.mechanism();
        if !response.error_code.is_none() {
            let name = response.error_code.name();
            let words = response.error_message.as_deref().unwrap_or_default();
            return Err(format!("SASL {mechanism}: {name}: {words}"));
        }
        let exchange = connection.session.exchange.as_mut();
        let exchange = exchange.ok_or("a SASL token without a handshake")?;
        let next = exchange.respond(&mut logins.salted, &response.auth_bytes);
        match next.map_err(|error| format!("SASL {mechanism}: {error}"))? {
            Some(token) => self.send_token(now, id, token),
            None => {
                let lifetime_ms = u64::try_from(response.session_lifetime_ms).unwrap_or(0);
                self.handle_logged_in(now, id, lifetime_ms);
                Ok(())
            }
        }
    }

    fn handle_logged_in(&mut self, now: &Now, id: ConnectionId, lifetime_ms: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let wait_ms = lifetime_ms.saturating_mul(RENEW_PERCENT).div_euclid(100);
        let renew_at = now.monotonic + Duration::from_millis(wait_ms);
        connection.session = Session {
            exchange: None,
            renew_at: (lifetime_ms > 0).then_some(renew_at),
            is_closing: false,
        };
        if !connection.is_ready {
            self.handle_ready(id);
        }
    }

    fn send_token(&mut self, now: &Now, id: ConnectionId, token: Vec<u8>) -> Result<(), String> {
        let request = SaslAuthenticateRequest {
            auth_bytes: token.into(),
        };
        let version = self.version(id, kafka_lite::api::ApiKey::SaslAuthenticate);
        match version {
            Ok(version) => self.put(now, id, version, &request, Purpose::Token),
            Err(SendFault::Busy) => {}
            Err(SendFault::Unsupported) => {
                return Err("the broker has no SaslAuthenticate".to_owned());
            }
        }
        Ok(())
    }

    /// Renews the sessions that are near their end.
    pub(super) fn renew_sessions(&mut self, now: &Now) {
        let mut to_renew = Vec::new();
        for (id, connection) in &mut self.connections {
            let is_due = |at: Duration| at <= now.monotonic;
            if connection.is_ready && connection.session.renew_at.is_some_and(is_due) {
                connection.session.is_closing = true;
                if connection.pending.is_empty() {
                    connection.session.renew_at = None;
                    to_renew.push(*id);
                }
            }
        }
        for id in to_renew {
            // It had SASL when it was opened.
            let _has_sasl: Result<(), String> = self.log_in(now, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_lite::api::api_versions::{ApiVersion, ApiVersionsResponse};
    use kafka_lite::api::sasl_authenticate::SaslAuthenticateResponse;
    use kafka_lite::api::sasl_handshake::SaslHandshakeResponse;
    use kafka_lite::api::{ApiKey, ResponseMessage, encode_response};
    use kafka_lite::error_code::ErrorCode;
    use kafka_lite::header::RequestHeader;
    use kafka_lite::sasl::{Credentials, Mechanism};

    use super::{Duration, Link, Login, Now};
    use crate::output::{Address, ConnectionId, Output};
    use crate::random::Random;

    const ID: ConnectionId = ConnectionId(0);

    /// A link that logs in with PLAIN, and the broker at its other end, played by the test.
    struct Play {
        link: Link,
        now: Now,
        random: Random,
    }

    impl Play {
        fn new() -> Self {
            let address = Address {
                host: "centre".to_owned(),
                port: 9093,
            };
            let credentials = Credentials::new(Mechanism::Plain, "user", "secret").unwrap();
            let login = Login {
                credentials,
                nonce_key: [1; 32],
            };
            let mut play = Self {
                link: Link::new(vec![address.clone()], false, Some(login)),
                now: Now::default(),
                random: Random::new(1),
            };
            assert_eq!(play.link.connection_to(&play.now, &address), None);
            assert!(matches!(
                play.link.outputs.pop_front(),
                Some(Output::Connect { .. })
            ));
            play.link.handle_connected(&play.now, ID);
            play
        }

        /// The next request: its API, correlation id and version.
        fn sent(&mut self) -> Option<(ApiKey, i32, i16)> {
            let Some(Output::Send { frame, .. }) = self.link.outputs.pop_front() else {
                return None;
            };
            let bytes: Vec<u8> = frame.pieces.iter().flatten().copied().collect();
            let (header, _) = RequestHeader::decode(&bytes[4..]).unwrap();
            let key = ApiKey::from_code(header.key).unwrap();
            Some((key, header.correlation_id, header.version))
        }

        fn answer<'a, R: ResponseMessage<'a>>(
            &mut self,
            (_, correlation_id, version): (ApiKey, i32, i16),
            response: &R,
        ) -> Result<(), String> {
            let frame = encode_response(correlation_id, version, response).unwrap();
            let bytes: Vec<u8> = frame.pieces.iter().flatten().copied().collect();
            let body = bytes[4..].to_vec();
            let handled = self
                .link
                .handle_frame(&self.now, &mut self.random, ID, body);
            handled.map(|answer| assert!(answer.is_none()))
        }

        fn answer_versions(&mut self, keys: &[ApiKey]) -> Result<(), String> {
            let versions = self.sent().unwrap();
            let api_keys = keys.iter().map(|key| ApiVersion {
                api_key: key.code(),
                min_version: 0,
                max_version: key.table().last,
            });
            let response = ApiVersionsResponse {
                api_keys: api_keys.collect(),
                ..ApiVersionsResponse::default()
            };
            self.answer(versions, &response)
        }

        fn log_in(&mut self, session_lifetime_ms: i64) {
            let handshake = self.sent().unwrap();
            assert_eq!((handshake.0, handshake.2), (ApiKey::SaslHandshake, 1));
            let agreed = SaslHandshakeResponse::default();
            self.answer(handshake, &agreed).unwrap();
            let token = self.sent().unwrap();
            assert_eq!(token.0, ApiKey::SaslAuthenticate);
            let response = SaslAuthenticateResponse {
                session_lifetime_ms,
                ..SaslAuthenticateResponse::default()
            };
            self.answer(token, &response).unwrap();
        }
    }

    const SASL: [ApiKey; 2] = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];

    #[test]
    fn a_connection_is_ready_only_behind_its_login() {
        let mut play = Play::new();
        play.answer_versions(&SASL).unwrap();
        assert!(!play.link.is_up() && play.link.any_ready().is_none());
        play.log_in(0);
        assert!(play.link.is_up());
        assert_eq!(play.link.any_ready(), Some(ID));
        assert_eq!(play.link.poll_timeout(true, Duration::ZERO), None);
    }

    #[test]
    fn a_session_is_renewed_before_its_end_and_nothing_else_leaves_meanwhile() {
        let mut play = Play::new();
        play.answer_versions(&SASL).unwrap();
        play.log_in(10_000);
        let due = Duration::from_millis(8_500);
        assert_eq!(play.link.poll_timeout(true, Duration::ZERO), Some(due));
        assert_eq!(play.link.poll_timeout(false, Duration::ZERO), None);
        play.now.monotonic = due;
        play.link.renew_sessions(&play.now);
        assert!(play.link.is_up() && play.link.any_ready().is_none());
        assert_eq!(play.link.room(ID), 0);
        play.log_in(10_000);
        assert_eq!(play.link.any_ready(), Some(ID));
        assert_eq!(play.link.connects, 1);
    }

    #[test]
    fn refusals_say_what_to_change() {
        let mut play = Play::new();
        let error = play.answer_versions(&[ApiKey::Metadata]).unwrap_err();
        assert_eq!(error, "the broker has no SASL");

        let mut play = Play::new();
        play.answer_versions(&SASL).unwrap();
        let handshake = play.sent().unwrap();
        let other = SaslHandshakeResponse {
            error_code: ErrorCode::UnsupportedSaslMechanism,
            mechanisms: vec!["SCRAM-SHA-512".into(), "GSSAPI".into()],
        };
        let error = play.answer(handshake, &other).unwrap_err();
        let expected = "SASL: the broker offers SCRAM-SHA-512, GSSAPI, not PLAIN";
        assert_eq!(error, expected);

        let mut play = Play::new();
        play.answer_versions(&SASL).unwrap();
        let handshake = play.sent().unwrap();
        let agreed = SaslHandshakeResponse::default();
        play.answer(handshake, &agreed).unwrap();
        let token = play.sent().unwrap();
        let refused = SaslAuthenticateResponse {
            error_code: ErrorCode::SaslAuthenticationFailed,
            error_message: Some("wrong password".into()),
            ..SaslAuthenticateResponse::default()
        };
        let error = play.answer(token, &refused).unwrap_err();
        let expected = "SASL PLAIN: SASL_AUTHENTICATION_FAILED: wrong password";
        assert_eq!(error, expected);
        assert!(!play.link.is_up());
    }
}
