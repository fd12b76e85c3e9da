//! What configs can belong to, as DescribeConfigs, AlterConfigs and ListConfigResources say it.
//!
//! Source            Kafka 4.3 `ConfigResource.Type`.

use kafka_lite::catalog::CatalogFault;
use kafka_lite::error_code::ErrorCode;

/// Kind of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ResourceType {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl ResourceType {
    /// The kind with this number on the wire.
    pub(super) fn from_id(id: i8) -> Option<Self> {
        match id {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// The number on the wire.
    pub(super) fn id(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }
}

/// Node id in the name of a broker resource; the empty name is all brokers.
///
/// # Errors
/// INVALID_REQUEST when it is no number.
pub(super) fn broker_of(name: &str) -> Result<Option<i32>, CatalogFault> {
    if name.is_empty() {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|_| CatalogFault {
        error_code: ErrorCode::InvalidRequest,
        message: format!("Broker id must be an integer, but it is: {name}"),
    })
}
