//! Every bound of the daemon: unit, reason, and what happens when it is reached.
//!
//! What it is not    what an operator may change: that stands in `config/keys` and is checked
//!                   against these.

use std::time::Duration;

/// Slots of the ring between two threads. A full ring makes the sender keep the message and stop
/// reading requests.
pub const MAIL_RING_SLOTS: usize = 128;

/// Threads that may send to one shard: every shard, its own helpers, the one that hashes passwords,
/// the control thread. Beyond it the start fails.
pub const MAIL_SENDERS_MAX: usize = 256;

/// Shards of one process; leaves room for the other senders of [`MAIL_SENDERS_MAX`]. More are
/// refused at start.
pub const SHARDS_MAX: u16 = 250;

/// Jobs of one shard that wait for or run on helper threads. Beyond it the caller waits.
pub const HELPER_JOBS_MAX: usize = 64;

/// Helper threads of a shard whose files go through io_uring: only for what the ring does not have.
pub const HELPER_THREADS_RING: usize = 2;

/// Helper threads of a shard on epoll, where all file I/O goes through them.
pub const HELPER_THREADS_EPOLL: usize = 4;

/// Stack of a helper thread in bytes, virtual; only touched pages count.
pub const HELPER_STACK_BYTES: usize = 128 * 1024;

/// Stack of a shard thread in bytes, virtual; only touched pages count.
pub const SHARD_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Entries of a shard's submission ring with little memory (about 26 KiB); a full ring submits at
/// once.
pub const RING_ENTRIES_SMALL: u32 = 256;

/// Entries of a shard's submission ring otherwise (about 100 KiB).
pub const RING_ENTRIES_LARGE: u32 = 1024;

/// Memory limit of the process in bytes up to which everything is sized for a gateway.
pub const SMALL_MEMORY_BYTES: u64 = 512 * 1024 * 1024;

/// Least memory limit in bytes that is accepted; less is refused at start.
pub const MEMORY_BYTES_MIN: u64 = 48 * 1024 * 1024;

/// Largest memory limit in bytes that is accepted, 64 TiB: more than machines have, and percentages
/// of it are computed without overflow.
pub const MEMORY_BYTES_MAX: u64 = 1 << 46;

/// Smallest disk in bytes that a data directory is opened on: a journal, a reserve and a few
/// segments. Less is refused at start.
pub const DISK_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Read buffer of a connection in bytes while little arrives: what an idle connection costs beside
/// its tables.
pub const READ_BUFFER_IDLE_BYTES: usize = 4 * 1024;

/// Read buffer of a busy connection in bytes, and the largest frame that is read without a buffer
/// of its own. Larger frames wait for memory first.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Memory counted per request beside its frame, in bytes: decoded form, response head, bookkeeping.
pub const REQUEST_OVERHEAD_BYTES: u64 = 2 * 1024;

/// Requests of one connection that are not answered yet. Beyond it the connection is not read.
/// Kafka's clients keep at most 5 produce requests in flight; the rest is for pipelining tools.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// Time that unanswered requests of a client that closed its side may still take.
pub const EOF_GRACE: Duration = Duration::from_secs(10);

/// Pieces of memory given to one `sendmsg`; the rest follows in the next one. Linux takes 1,024.
pub const SEND_SLICES_MAX: usize = 64;

/// Frame buffers in bytes that a shard keeps for reuse. More are freed.
pub const FRAME_POOL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Pause after `accept` failed for lack of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often idle connections are looked for.
pub const IDLE_SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Time a shard has to answer the control thread before the broker counts as not healthy.
pub const SHARD_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between the stop signal and the end of the process at the latest. Systemd and tests wait 10
/// s.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Time after a stop signal in which others mean the same: a supervisor may signal a process and
/// its group. A later one ends the process at once.
pub const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Time that a large request may take to arrive while others wait for the memory that is kept for
/// it. Beyond it its connection is closed; without anybody waiting it may take as long as it likes.
pub const SLOW_FRAME_TIME: Duration = Duration::from_secs(10);

/// Time between a failure of the disk that ends the process and its stop: producers hear
/// KAFKA_STORAGE_ERROR and try again later, `/readyz` and `/metrics` say why.
pub const FAILURE_LINGER: Duration = Duration::from_secs(2);

/// Time that open connections get to receive their last answers after the stop signal.
pub const STOP_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(SHARDS_MAX as usize + 4 <= MAIL_SENDERS_MAX);
const _: () = assert!(MAIL_RING_SLOTS.is_power_of_two());
const _: () = assert!(STOP_DRAIN_TIMEOUT.as_secs() < STOP_TIMEOUT.as_secs());
const _: () = assert!(READ_BUFFER_IDLE_BYTES <= READ_BUFFER_BYTES);

/// Bytes of records in one answer to a fetch, whatever the client asks for; the first batch comes
/// whole. Clients ask again for the rest.
pub const FETCH_RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A fetch that finds at least this many bytes in segments makes the shard read on for the next.
pub const READ_AHEAD_BYTES_MIN: usize = 128 * 1024;

/// What was read ahead and not asked for is dropped after this time, at the next look at idle
/// connections.
pub const READ_AHEAD_KEPT: Duration = Duration::from_secs(5);

/// Fetches that go without a read ahead after one was of no use: it costs 1/16 of the disk at most.
pub const READ_AHEAD_PAUSES: u32 = 16;

/// Longest time that a fetch waits, whatever the client asks for.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(300);

/// How often requests to write are looked at whose time may be over, and the shortest time that
/// they get.
pub const PRODUCE_TIMEOUT_STEP: Duration = Duration::from_secs(1);

/// The most by which a fetch without news is answered later than the client asked, so that one
/// wake-up answers many.
pub const FETCH_WAIT_STEP_MAX: Duration = Duration::from_millis(32);

/// Bytes that the coordinator reads at a time when it loads its groups.
pub const GROUP_LOAD_READ_BYTES: usize = 256 * 1024;

/// Bytes that the controller reads at a time when it replays its log.
pub const CONTROLLER_READ_BYTES: usize = 256 * 1024;

/// Bytes that are read at a time when the progress of mirrors is loaded.
pub const MIRROR_STATE_READ_BYTES: usize = 256 * 1024;

/// Pause before the topic with the progress of mirrors is looked for again.
pub const MIRROR_STATE_RETRY: Duration = Duration::from_secs(1);

/// Time for one address of the centre to accept a connection; then the next one is tried.
pub const MIRROR_DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Time in which the centre must acknowledge what was sent on a connection, in TCP's sense; then
/// the system ends it. A link that swallows everything is found by this.
pub const MIRROR_SEGMENT_TIMEOUT: Duration = Duration::from_secs(45);

/// Bytes of a file with a password or a private key of a mirror. A longer one is refused.
pub const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Answers of the centre up to this size are read without asking the budget of mirrors: the
/// connections of a mirror are few.
pub const MIRROR_SMALL_RESPONSE_BYTES: usize = 16 * 1024;

/// Pause of a mirror between two looks at a partition that grows: many commits are one look.
pub const MIRROR_WATCH_PAUSE: Duration = Duration::from_millis(10);

/// Partitions of one request that a shard looks into at the same time (ListOffsets, DeleteRecords).
/// The others wait: each may read from the disk.
pub const PARTITION_QUESTIONS_AT_ONCE: usize = 16;

/// Partitions in one answer of DescribeTopicPartitions, whatever the client asks for; Kafka's
/// `max.request.partition.size.limit`. The client asks for the next page.
pub const DESCRIBED_PARTITIONS_MAX: usize = 2000;

/// Connections of admin HTTP that are open at once; later ones wait. Each may buffer 400 KiB.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;

/// Longest time that a connection of admin HTTP is open when it waits for its peer; then it is
/// closed. Longer than a page may take.
pub const ADMIN_CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for an administrative request whose client leaves it to the broker.
pub const ADMIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a client that looks for its group's coordinator waits for the topic of the groups to be
/// made: it asks again, and what it sends meanwhile on the connection stands behind the answer.
pub const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest time for an administrative request, whatever the client asks for.
pub const ADMIN_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// How long a start waits for writes that a killed process left in its ring; then it fails.
pub const EARLIER_WRITERS_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause between two looks whether those writes are over.
pub const EARLIER_WRITERS_PAUSE: Duration = Duration::from_millis(2);

/// How long a start waits for a port that is in use: a killed process's ring holds it for a moment.
pub const PORT_WAIT: Duration = Duration::from_millis(1500);

/// Pause between two looks for the signal to stop while the shards open.
pub const START_SIGNAL_PAUSE: Duration = Duration::from_millis(50);

/// Pause between two tries to take the port.
pub const PORT_PAUSE: Duration = Duration::from_millis(10);

/// How often housekeeping looks for logs that have changed, and measures the disk.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(10);

/// The same while the disk is full: what waits shall go on soon.
pub const HOUSEKEEPING_INTERVAL_FULL: Duration = Duration::from_secs(1);

/// Least time between two lines that say that records went for lack of room.
pub const ROOM_TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// A log to which nothing was appended for so long gives its preallocated space back.
pub const SETTLE_AFTER: Duration = Duration::from_secs(600);

/// How often housekeeping asks whether a compacted log is due for a round.
pub const COMPACTION_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// Pause of a log after a failed round of compaction.
pub const COMPACTION_RETRY_PAUSE: Duration = Duration::from_secs(600);

/// Bytes per second that compaction reads and writes: a fraction of what an SD card does.
pub const COMPACTION_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// Bytes that one step of the scrub reads.
pub const SCRUB_STEP_BYTES: u32 = 256 * 1024;

/// Shortest pause between two steps of the scrub, however much there is to read.
pub const SCRUB_PAUSE_MIN: Duration = Duration::from_millis(20);

/// Longest pause between two steps of the scrub: what is stored later is found in time.
pub const SCRUB_PAUSE_MAX: Duration = Duration::from_secs(600);

/// A wall clock before this time (2024-01-01, ms since 1970) was never set: nothing goes by time.
pub const WALL_CLOCK_PLAUSIBLE_MS: i64 = 1_704_067_200_000;

/// Read buffer of an MQTT connection in bytes while little arrives: a packet of a sensor.
pub const MQTT_READ_BUFFER_IDLE_BYTES: usize = 256;

/// Read buffer of a busy MQTT connection in bytes, and how much is read ahead of what can be taken:
/// a client that waits for acknowledgements sends PINGREQ, which must be seen. Beyond it the socket
/// is not read; a larger packet waits for memory first.
pub const MQTT_READ_AHEAD_BYTES: usize = 16 * 1024;

/// Bytes that wait for an MQTT client which does not read. Beyond it the connection closes.
pub const MQTT_SEND_BYTES_MAX: usize = 512 * 1024;

/// Bytes of one batch of MQTT messages; the next message begins another one. A message may be
/// larger alone.
pub const MQTT_BATCH_BYTES_MAX: usize = 256 * 1024;

/// Memory counted per MQTT message in flight beside topic and payload, in bytes.
pub const MQTT_MESSAGE_OVERHEAD_BYTES: u64 = 512;

/// Bytes read at once for an MQTT subscriber from one partition; the first batch comes whole. The
/// rest is read when these are sent.
pub const MQTT_FETCH_BYTES: usize = 64 * 1024;

/// Pause before a partition that could not be read is tried again for an MQTT subscriber: an error
/// of the disk may pass.
pub const MQTT_UNREADABLE_PAUSE: Duration = Duration::from_secs(5);

/// Longest time that a read for an MQTT subscriber waits for something new before it asks again.
pub const MQTT_FETCH_WAIT: Duration = Duration::from_secs(60);

/// Time in ms between two savings of the cursors of a session while messages flow. A crash in
/// between sends what was acknowledged meanwhile again.
pub const MQTT_CURSOR_SAVE_MS: u64 = 1_000;

/// Subscriptions of one MQTT client. More are refused in SUBACK.
pub const MQTT_SUBSCRIPTIONS_MAX: usize = 100;

/// MQTT sessions of one shard that outlive their connection. More are refused in CONNACK.
pub const MQTT_SESSIONS_MAX: usize = 10_000;

/// Bytes of retained MQTT messages. A further one is delivered and not retained.
pub const MQTT_RETAINED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How often MQTT sessions whose time is over are looked for.
pub const MQTT_EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// Topics that a shard remembers to take records of MQTT clients, 16 bytes each. Beyond it all are
/// forgotten, and each costs one question to the controller again.
pub const MQTT_READY_TOPICS_MAX: usize = 10_000;

/// Bytes of the file with MQTT passwords. A larger one is refused.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of messages that one source of a subscriber holds while the subscriber is slow, or one
/// message that is larger. What does not fit is read from the log again.
pub const MQTT_HELD_BYTES_MAX: usize = 32 * 1024;

/// Reads of one shard that are kept as messages for other subscribers which stand at the same
/// offset, each [`MQTT_FETCH_BYTES`] of the responses budget. The oldest one is dropped.
pub const MQTT_SHARED_READS_MAX: usize = 4;

/// Groups of shared subscriptions that one shard owns, each with a task per partition it reads.
/// More are refused in SUBACK.
pub const MQTT_GROUPS_MAX: usize = 1_000;

/// Clients that one answer of `sluice mqtt status` shows. The others are only counted.
pub const MQTT_STATUS_CLIENTS_MAX: usize = 1_000;

/// Shared subscriptions that one answer of `sluice mqtt status` shows. The others are only counted.
pub const MQTT_STATUS_SHARES_MAX: usize = 1_000;

/// Time in seconds for a bridged MQTT broker to accept a connection, TLS and CONNACK included, and
/// to take what is sent. Then the bridge dials again later.
pub const MQTT_BRIDGE_CONNECT_SECONDS: u64 = 15;
