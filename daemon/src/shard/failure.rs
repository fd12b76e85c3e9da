//! The failure that ends the process: a disk that did not keep what it was given.
//!
//! What it is        the first reason, noted by any shard, read by `/readyz`, awaited by the
//! control
//!                   thread.
//! What it is not    a full disk (the broker waits for room) nor damage of one log (that log
//! halts).
//! Source            design §4: after a failed flush nobody knows what the file holds. The process
//! ends
//!                   with code 1, is started again by its supervisor, and recovery reads what is
//!                   there.

use std::sync::OnceLock;

use tokio::sync::Notify;

/// Why the process has to end, once it has.
#[derive(Debug, Default)]
pub struct Failure {
    reason: OnceLock<String>,
    noted: Notify,
}

impl Failure {
    /// Notes a reason; the first one counts. Returns whether this was it.
    pub fn note(&self, reason: String) -> bool {
        let is_first = self.reason.set(reason).is_ok();
        if is_first {
            self.noted.notify_one();
        }
        is_first
    }

    /// The reason, if there is one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Waits until there is a reason; for one waiter.
    pub async fn happened(&self) -> String {
        loop {
            if let Some(reason) = self.reason() {
                return reason.to_owned();
            }
            self.noted.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn the_first_reason_stays_and_wakes_the_waiter() {
        let failure = Failure::default();
        assert_eq!(failure.reason(), None);
        assert!(failure.note("the first".to_owned()));
        assert!(!failure.note("the second".to_owned()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert_eq!(runtime.block_on(failure.happened()), "the first");
    }
}
