//! Bounds of the mirror: unit, reason, and what happens there.

use std::time::Duration;

/// Batches of one lane that are not acknowledged. Kafka's leaders remember five per producer; with
/// more a resend would not be recognised. At the bound: nothing new is read.
pub const IN_FLIGHT_MAX: usize = 5;

/// Requests of one connection that are not answered. At the bound: batches wait.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 5;

/// Default bytes of records in one batch before compression. With header and framing it stays
/// below 1,048,588 bytes, the largest batch that a centre with default settings takes.
pub const BATCH_BYTES_DEFAULT: usize = 1_000_000;

/// Bytes of batches in one produce request; a larger single batch goes alone.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Bytes asked for in one read of a source partition. The first batch comes whole.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Default bytes of encoded batches that all lanes of a mirror keep at once: five of the default
/// size, with which a link of 20 Mbit/s and a second of round trip is full. At the bound nothing is
/// read; from four fifths on only lanes that have no batch yet.
pub const KEPT_BYTES_DEFAULT: usize = 6 << 20;

/// Default of the lanes of a mirror on one shard. At the bound: further partitions are not taken;
/// their records stay at the gateway.
pub const LANES_DEFAULT: usize = 10_000;

/// Lanes that hold a batch at once while nobody has acknowledged one; bounds the memory of many
/// small lanes. At the bound: the others wait for their turn.
pub const READS_MAX: usize = 4;

/// Largest answer of a broker of the centre, in bytes. A larger one closes the connection.
pub const RESPONSE_BYTES_MAX: usize = 8 << 20;

/// Bytes of records that one fetch of the tail check asks for.
pub const TAIL_FETCH_BYTES: i32 = 256 << 10;

/// Bytes of records that one fetch of the downlink asks for, and of one partition in it. The first
/// batch comes whole.
pub const DOWNLINK_FETCH_BYTES: i32 = 1 << 20;

/// Local batches of a downlink that are not durable yet. At the bound: other partitions wait with
/// what was fetched for them.
pub const DOWNLINK_APPENDS_MAX: usize = 2;

/// Default of the time after which the downlink looks for topics and partitions again; Kafka's own
/// `metadata.max.age.ms`.
pub const METADATA_AGE_DEFAULT: Duration = Duration::from_secs(300);

/// Default of the time that the centre may hold back a fetch of the downlink while it has nothing.
/// Long, because on an idle link each answer and the next question cost some 300 bytes.
pub const FETCH_WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// Time for a connection to open and to answer the first question.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Time without a sign of life of a broker that owes an answer. Then the connection is closed.
/// Long,
/// because on a thin link a megabyte takes a minute; a dead link is found by TCP_USER_TIMEOUT.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// Time that the centre may take to acknowledge a batch with all its replicas, in its own words.
pub const PRODUCE_TIMEOUT: Duration = Duration::from_secs(30);

/// First and longest pause between two attempts to connect.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(60));

/// First and longest pause before a batch is sent again that the centre could not take now.
pub const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// First and longest pause between two questions for metadata.
pub const METADATA_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(30));

/// Time after which a cursor that nothing followed is written down.
pub const CURSOR_DELAY: Duration = Duration::from_secs(5);

/// Marks of a lane: one for each third of the time that mirrored records stay, and one. At the
/// bound: the next one is made when the oldest has gone.
pub const MARKS_MAX: usize = 4;

/// Shortest time between two marks of a lane: each is a state record of its own.
pub const MARK_PAUSE_MIN: Duration = Duration::from_secs(5);

/// Default of the time that a record stays after it was mirrored.
pub const KEEP_DEFAULT: Duration = Duration::from_secs(3600);

/// Pause before a state record is written again that could not be made durable.
pub const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Age of a batch's largest timestamp, ms, from which its producer may be forgotten at any time
/// (Kafka forgets after 24 h, counted from that timestamp).
pub const PRODUCER_SAFE_MS: i64 = 12 * 3600 * 1000;

/// Time since the last acknowledgement in which the centre surely knows the producer still; far
/// below Kafka's 24 hours.
pub const PROVEN_TIME: Duration = Duration::from_secs(3600);

/// Timestamps further than this in the future, ms, are set to the present: Kafka 4 refuses one
/// hour.
pub const FUTURE_MAX_MS: i64 = 5 * 60 * 1000;

/// Time in which batches go without timestamps after the centre has refused some: each attempt
/// costs a batch on the link, and a wrong clock stays wrong for a while.
pub const TIMESTAMPS_OMITTED_TIME: Duration = Duration::from_secs(60);

/// Bytes of a site's name; longer ones are refused.
pub const SITE_BYTES_MAX: usize = 100;

/// Bytes of a topic name; Kafka's own bound.
pub const TOPIC_BYTES_MAX: usize = 249;

/// Target partitions of one topic with the `key` mapping; more lanes cost more reads.
pub const KEY_LANES_MAX: i32 = 64;

/// Every so many sends the lowest waiting priority has its turn, so that it does not starve.
pub const LOWEST_PRIORITY_TURN: u32 = 8;

/// Times that a tail check ends in a refusal before the lane takes a new producer id.
pub const TAIL_CHECKS_MAX: u32 = 3;

const _: () = assert!(BATCH_BYTES_DEFAULT < REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX < RESPONSE_BYTES_MAX);
