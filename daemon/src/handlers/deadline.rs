//! How long an administrative request may take.
//!
//! Source            `timeout_ms` of CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords.

use std::future::Future;
use std::time::Duration;

use kafka_lite::error_code::ErrorCode;

use crate::limits::{ADMIN_TIMEOUT_DEFAULT, ADMIN_TIMEOUT_MAX};

/// Waits for `work` as long as the client says; the work goes on when the time is over.
///
/// # Errors
/// REQUEST_TIMED_OUT, or what `work` says.
pub(super) async fn within<T>(
    timeout_ms: i32,
    work: impl Future<Output = Result<T, ErrorCode>>,
) -> Result<T, ErrorCode> {
    match monoio::time::timeout(limit(timeout_ms), work).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ErrorCode::RequestTimedOut),
    }
}

/// Clients that leave the choice to the broker send 0 or -1.
fn limit(timeout_ms: i32) -> Duration {
    match u64::try_from(timeout_ms) {
        Ok(0) | Err(_) => ADMIN_TIMEOUT_DEFAULT,
        Ok(timeout_ms) => Duration::from_millis(timeout_ms).min(ADMIN_TIMEOUT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::limit;
    use crate::limits::{ADMIN_TIMEOUT_DEFAULT, ADMIN_TIMEOUT_MAX};

    #[test]
    fn the_client_chooses_within_bounds() {
        assert_eq!(limit(1_500), Duration::from_millis(1_500));
        assert_eq!(limit(0), ADMIN_TIMEOUT_DEFAULT);
        assert_eq!(limit(-1), ADMIN_TIMEOUT_DEFAULT);
        assert_eq!(limit(i32::MAX), ADMIN_TIMEOUT_MAX);
    }
}
