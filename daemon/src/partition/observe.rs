//! Who hears what became of an append, and who hears that there is something to read.

use std::cell::Cell;
use std::rc::Rc;

use kafka_lite::error_code::ErrorCode;
use kafka_lite::record_batch::ProduceFault;
use storage::AppendError;

use super::append::AppendedBatch;
use crate::shard::notify::Notify;

/// Why an append was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppendFault {
    /// Kafka's code.
    pub(crate) error: ErrorCode,
    /// A sentence for the client; `None` where the code says all.
    pub(crate) message: Option<String>,
    /// Number of a record in the batch and what is wrong with it (Produce 8 and later).
    pub(crate) record_errors: Vec<(i32, String)>,
}

/// Outcome of an append.
pub(crate) type AppendResult = Result<AppendedBatch, AppendFault>;

/// Hears the outcomes of the appends of one request, each exactly once.
pub(crate) trait AppendObserver {
    /// The append at `place` of the request is committed, or refused.
    fn handle_append(&self, place: usize, result: AppendResult);
}

impl AppendFault {
    /// A fault whose code says all.
    pub(crate) fn code(error: ErrorCode) -> Self {
        Self {
            error,
            message: None,
            record_errors: Vec::new(),
        }
    }

    /// A fault with a sentence.
    pub(crate) fn with_message(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error,
            message: Some(message.into()),
            record_errors: Vec::new(),
        }
    }

    /// What a client is told of a log that cannot take the batch: always a code that it retries.
    pub(crate) fn of_log(error: &AppendError) -> Self {
        let code = match error {
            AppendError::NoRoom | AppendError::Closed => ErrorCode::NotLeaderOrFollower,
            AppendError::DiskFull | AppendError::Poisoned(_) | AppendError::Halted(_) => {
                ErrorCode::KafkaStorageError
            }
            AppendError::Malformed(_) => ErrorCode::InvalidRecord,
        };
        Self::with_message(code, error.to_string())
    }

    /// What a client is told of a batch that breaks a rule.
    pub(crate) fn of_batch(fault: &ProduceFault) -> Self {
        let errors = fault.record_faults().iter();
        Self {
            error: fault.error_code(),
            message: Some(fault.to_string()),
            record_errors: errors
                .map(|one| (one.record_number(), one.to_string()))
                .collect(),
        }
    }
}

/// Wakes one fetch that waits for records of any of its partitions.
#[derive(Debug, Default)]
pub(crate) struct ReadSignal {
    raised: Cell<bool>,
    notify: Notify,
}

impl ReadSignal {
    /// A signal that is not raised.
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Raises the signal; once raised it stays so.
    pub(crate) fn signal(&self) {
        self.raised.set(true);
        self.notify.notify();
    }

    /// Whether there is news.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.get()
    }

    /// Waits until the signal is raised.
    pub(crate) async fn raised(&self) {
        while !self.raised.get() {
            self.notify.wait().await;
        }
    }
}
