//! SaslHandshake: the client names the mechanism by which it wants to authenticate.
//!
//! Versions          1 tokens travel in SaslAuthenticate instead of bare.
//! Source            Apache Kafka 4.1, `SaslHandshakeRequest`, `SaslHandshakeResponse`; KIP-43.

use super::table::{api, structs};
use crate::error_code::ErrorCode;
use crate::primitive::Text;

api! {
    SaslHandshake, accepted 0..=1, advertised from 0, flexible from super::NEVER_FLEXIBLE,
    SaslHandshakeRequest<'a>, SaslHandshakeResponse<'a>
}

structs! {
    /// A SaslHandshake request.
    struct SaslHandshakeRequest<'a> {
        mechanism: Text<'a>, 0..;
    }

    /// A SaslHandshake response.
    struct SaslHandshakeResponse<'a> {
        error_code: ErrorCode, 0..;
        /// Mechanisms that the broker has.
        mechanisms: Vec<Text<'a>>, 0..;
    }
}
