//! Every bound of the client: unit, reason, and what happens when it is reached.

use std::time::Duration;

/// Largest response in bytes without its length prefix; a larger one ends the connection. Kafka's
/// default for one fetch is 50 MiB plus one batch.
pub const RESPONSE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Time to open one connection; then the next address is tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that the broker may work on an administrative request; told to the broker.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Time beyond the one told to the broker before an answer counts as lost.
pub const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Time that a leader or coordinator that is missing is looked for; then the error is shown.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that a topic which the broker may create by itself is waited for; then it does not exist.
pub const CREATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a leader or coordinator is looked for again.
pub const SEARCH_PAUSE: Duration = Duration::from_millis(200);

/// Bytes of records asked for in one fetch, and of one partition in it.
pub const FETCH_BYTES_MAX: i32 = 8 * 1024 * 1024;

/// Time that the broker may hold a fetch with nothing to give. It is also how long a stop signal
/// waits at most.
pub const FETCH_WAIT: Duration = Duration::from_millis(500);

/// As [`FETCH_WAIT`], when the partitions have several leaders and are asked in turn.
pub const FETCH_WAIT_OF_MANY: Duration = Duration::from_millis(100);

/// Time without heartbeat after which the coordinator takes a member for dead.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// Time that members get to join again in a rebalance.
pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between heartbeats and between commits of a group member.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes of records, before compression, in one batch: below Kafka's default `max.message.bytes`
/// with room for what does not compress.
pub const BATCH_BYTES_MAX: usize = 900 * 1024;

/// Bytes of records in one round of produce requests: below the smallest `max.request` of a
/// gateway.
pub const ROUND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records in one round; bounds what is remembered until the answer.
pub const ROUND_RECORDS_MAX: usize = 64 * 1024;

/// Records that wait between input and sender. A full queue stops reading the input.
pub const INPUT_QUEUE_RECORDS: usize = 16 * 1024;

/// Time that a round waits for more input after its first record.
pub const LINGER: Duration = Duration::from_millis(5);

/// Largest record of the input in bytes; more is an error. Brokers accept far less by default.
pub const INPUT_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(HEARTBEAT_INTERVAL.as_secs() * 3 < SESSION_TIMEOUT.as_secs());
const _: () = assert!(BATCH_BYTES_MAX < ROUND_BYTES_MAX);
