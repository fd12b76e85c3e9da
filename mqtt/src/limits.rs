//! Every bound of MQTT: unit, reason, and what happens when it is reached.

/// Bytes of a packet before the session is open: a CONNECT with its will. More: the connection
/// closes.
pub const CONNECT_BYTES_MAX: usize = 8 * 1024;

/// Default of the largest packet in bytes after CONNECT. Announced to MQTT 5 clients; a larger one
/// closes the connection.
pub const PACKET_BYTES_MAX_DEFAULT: usize = 256 * 1024;

/// Bytes of a topic name or filter. Longer: the connection closes (publish) or the filter is
/// refused.
pub const TOPIC_BYTES_MAX: usize = 512;

/// Levels of a topic name or filter; bounds the depth of the subscription tree. As for its bytes.
pub const TOPIC_LEVELS_MAX: usize = 32;

/// Bytes of a client identifier. Longer: CONNACK 0x85 or 0x02.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// User properties of one packet: a packet may name thousands in few bytes. More: the connection
/// closes.
pub const USER_PROPERTIES_MAX: usize = 64;

/// Filters of one SUBSCRIBE or UNSUBSCRIBE. More: the connection closes.
pub const FILTERS_PER_PACKET_MAX: usize = 128;

/// Publishes of one client that are not acknowledged: announced as Receive Maximum. Beyond it the
/// client is not read; an MQTT 5 client that goes beyond it with what it does not release is
/// disconnected (0x93).
pub const RECEIVE_MAXIMUM: u16 = 64;

/// Messages to one subscriber that are not acknowledged, whatever its own Receive Maximum says. The
/// next one waits in the log.
pub const SEND_WINDOW_MAX: usize = 32;

/// Identifiers of one client between PUBREC and PUBREL. Receive Maximum bounds it with MQTT 5; an
/// older client that goes beyond is disconnected.
pub const RECEIVED_IDS_MAX: usize = 256;

/// Topic aliases of one connection, each up to [`TOPIC_BYTES_MAX`]. A higher one: 0x94.
pub const TOPIC_ALIAS_MAX: u16 = 8;

/// Acknowledged packet identifiers remembered per connection, so that a client that resends while
/// the acknowledgement is on its way appends nothing twice. Older ones are forgotten.
pub const ACKNOWLEDGED_IDS_KEPT: usize = 32;

/// Time in ms from the connection to its CONNECT. Then it closes.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// Bytes of the HTTP request that opens a WebSocket; browsers send cookies in it. More: 431, and
/// the connection closes.
pub const WEBSOCKET_HANDSHAKE_BYTES_MAX: usize = 4 * 1024;

/// Rules of a mapping; each publish may try all of them. More are refused at start.
pub const RULES_MAX: usize = 256;

/// Headers that one rule adds.
pub const RULE_HEADERS_MAX: usize = 16;

/// Entries of a password file, each about 200 bytes of memory. More are refused.
pub const PASSWORDS_MAX: usize = 10_000;

/// Bytes of a user name. Longer: the entry is refused.
pub const USER_NAME_BYTES_MAX: usize = 256;

/// Iterations of a password's hash when nobody chooses: about 20 ms on a server, 100 ms on a
/// gateway; a password that was right once is not hashed again.
pub const PASSWORD_ITERATIONS_DEFAULT: u32 = 20_000;

/// Iterations of a password's hash: an entry that would keep the thread for seconds is refused.
pub const PASSWORD_ITERATIONS_MAX: u32 = 1_000_000;

/// Messages that a bridge holds unacknowledged, whatever the broker sends at once. Beyond it the
/// socket is not read.
pub const BRIDGE_HELD_MAX: usize = 256;

/// Bytes of messages that a bridge holds unacknowledged. Beyond it the socket is not read; what is
/// being read comes on top.
pub const BRIDGE_HELD_BYTES_MAX: usize = 256 * 1024;

/// Bytes of messages that a bridge gives to the log at once. A larger message goes alone.
pub const BRIDGE_BATCH_BYTES_MAX: usize = 128 * 1024;

/// Packets that `rumqttc` reads ahead of what a bridge takes; each may have the largest size.
pub const BRIDGE_PACKETS_AHEAD: usize = 10;

/// Filters of one bridge: they go in one SUBSCRIBE. More are refused at start.
pub const BRIDGE_FILTERS_MAX: usize = 64;

/// Bytes that a bridge puts in front of the topics of its messages. A longer prefix is refused at
/// start.
pub const BRIDGE_PREFIX_BYTES_MAX: usize = 128;

/// Bridges of one gateway; each holds memory of its own. More are refused at start.
pub const BRIDGES_MAX: usize = 8;

/// First pause in ms before a broker that was lost is dialled again, on average three quarters of
/// it; doubles with each failure.
pub const BRIDGE_PAUSE_MS_MIN: u64 = 500;

/// Longest pause in ms between two tries.
pub const BRIDGE_PAUSE_MS_MAX: u64 = 60_000;

/// A connection that lasted so long in ms starts the pauses anew.
pub const BRIDGE_STEADY_MS: u64 = 30_000;

/// Pause in ms before the log is tried again with what it refused: a full disk, a topic that cannot
/// be made.
pub const BRIDGE_RETRY_MS: u64 = 1_000;

const _: () = assert!(BRIDGE_BATCH_BYTES_MAX <= BRIDGE_HELD_BYTES_MAX);
const _: () = assert!(PASSWORD_ITERATIONS_DEFAULT <= PASSWORD_ITERATIONS_MAX);
const _: () = assert!(RECEIVE_MAXIMUM as usize <= RECEIVED_IDS_MAX);
const _: () = assert!(CONNECT_BYTES_MAX <= PACKET_BYTES_MAX_DEFAULT);
