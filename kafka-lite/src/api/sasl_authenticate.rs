//! SaslAuthenticate: carries the tokens of the mechanism that was agreed on.
//!
//! Versions          1 session lifetime (KIP-368); 2 flexible.
//! Source            Apache Kafka 4.1, `SaslAuthenticateRequest`, `SaslAuthenticateResponse`.

use std::borrow::Cow;

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    SaslAuthenticate, accepted 0..=2, advertised from 0, flexible from 2,
    SaslAuthenticateRequest<'a>, SaslAuthenticateResponse<'a>
}

structs! {
    /// A SaslAuthenticate request.
    struct SaslAuthenticateRequest<'a> {
        /// What the mechanism says.
        auth_bytes: Cow<'a, [u8]>, 0..;
    }

    /// A SaslAuthenticate response.
    struct SaslAuthenticateResponse<'a> {
        error_code: ErrorCode, 0..;
        error_message: Option<Text<'a>>, 0.., null 0..;
        /// What the mechanism says.
        auth_bytes: Cow<'a, [u8]>, 0..;
        /// Milliseconds after which the client has to authenticate again; 0 is never.
        session_lifetime_ms: i64, 1..;
    }
}
