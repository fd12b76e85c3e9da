//! Reason codes of MQTT 5, and what older versions say in their place.
//!
//! Source            MQTT 5.0 §2.4; MQTT 3.1.1 §3.2.2.3.

/// A reason code that this server gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReasonCode {
    /// Success, or QoS 0 granted.
    Success = 0x00,
    /// QoS 1 granted.
    GrantedQos1 = 0x01,
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11,
    /// An error without a code of its own.
    Unspecified = 0x80,
    /// The bytes are no packet.
    MalformedPacket = 0x81,
    /// A packet that is not allowed here.
    ProtocolError = 0x82,
    /// Valid, but not accepted by this server.
    ImplementationSpecific = 0x83,
    /// The protocol level is not served.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is not accepted.
    ClientIdentifierNotValid = 0x85,
    /// User name or password is wrong.
    BadUserNameOrPassword = 0x86,
    /// Not allowed.
    NotAuthorized = 0x87,
    /// The server cannot serve now.
    ServerUnavailable = 0x88,
    /// The server stops.
    ServerShuttingDown = 0x8b,
    /// Enhanced authentication is not served.
    BadAuthenticationMethod = 0x8c,
    /// Nothing came for one and a half keep-alive times.
    KeepAliveTimeout = 0x8d,
    /// The client identifier connected again.
    SessionTakenOver = 0x8e,
    /// The filter is not accepted.
    TopicFilterInvalid = 0x8f,
    /// The topic is not accepted.
    TopicNameInvalid = 0x90,
    /// The identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged publishes than Receive Maximum.
    ReceiveMaximumExceeded = 0x93,
    /// The alias is out of range or not set.
    TopicAliasInvalid = 0x94,
    /// Larger than Maximum Packet Size.
    PacketTooLarge = 0x95,
    /// A limit is reached, or the disk is full.
    QuotaExceeded = 0x97,
    /// The payload is not the UTF-8 that it says.
    PayloadFormatInvalid = 0x99,
    /// The quality of service is not served.
    QosNotSupported = 0x9b,
}

impl ReasonCode {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.code() >= 0x80
    }

    /// The return code of a CONNACK before MQTT 5; `None` closes without one.
    #[must_use]
    pub const fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable | Self::QuotaExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized => Some(5),
            Self::GrantedQos1
            | Self::NoSubscriptionExisted
            | Self::Unspecified
            | Self::MalformedPacket
            | Self::ProtocolError
            | Self::ImplementationSpecific
            | Self::ServerShuttingDown
            | Self::BadAuthenticationMethod
            | Self::KeepAliveTimeout
            | Self::SessionTakenOver
            | Self::TopicFilterInvalid
            | Self::TopicNameInvalid
            | Self::PacketIdentifierNotFound
            | Self::ReceiveMaximumExceeded
            | Self::TopicAliasInvalid
            | Self::PacketTooLarge
            | Self::PayloadFormatInvalid
            | Self::QosNotSupported => None,
        }
    }
}
