//! Every bound of the group coordinator, with what happens at it.
//!
//! These are the ceilings of one [`Coordinator`](super::Coordinator), that is of one shard. An
//! owner may set smaller ones in [`Options`](super::Options).

/// Groups of one coordinator. At the bound a join that would create a group is answered
/// GROUP_MAX_SIZE_REACHED and a commit that would create one INVALID_COMMIT_OFFSET_SIZE.
pub const GROUPS_MAX: usize = 10_000;

/// Members, with those that were only given an id, of all groups of one coordinator. At the bound a
/// new member is answered GROUP_MAX_SIZE_REACHED.
pub const MEMBERS_MAX: usize = 20_000;

/// Protocols that one member may propose. Kafka's clients send one to four. More are answered
/// INCONSISTENT_GROUP_PROTOCOL.
pub const PROTOCOLS_PER_MEMBER_MAX: usize = 64;

/// Bytes of all proposed protocols of one member, names and metadata. Kafka Streams sends more than
/// 64 KiB. A larger join is answered GROUP_MAX_SIZE_REACHED.
pub const MEMBER_METADATA_BYTES_MAX: usize = 1 << 20;

/// Bytes of a group id, member id, instance id, client id, host, protocol name or topic name. A
/// longer group id is answered INVALID_GROUP_ID, a longer other name in a join
/// GROUP_MAX_SIZE_REACHED, a longer topic name INVALID_COMMIT_OFFSET_SIZE.
pub const NAME_BYTES_MAX: usize = 8_192;

/// Committed offsets of one group. A commit of a further partition is answered
/// INVALID_COMMIT_OFFSET_SIZE on that partition.
pub const OFFSETS_PER_GROUP_MAX: usize = 50_000;

/// Bytes that all groups of one coordinator may hold, by the estimate of
/// [`Coordinator::memory_bytes`](super::Coordinator::memory_bytes). At the bound a join is answered
/// GROUP_MAX_SIZE_REACHED, a commit INVALID_COMMIT_OFFSET_SIZE and an assignment
/// COORDINATOR_NOT_AVAILABLE; what is held stays.
pub const MEMORY_BYTES_MAX: usize = 16 << 20;

/// Appends to `__consumer_offsets` in flight. At the bound requests that need one are answered
/// COORDINATOR_NOT_AVAILABLE (clients retry), and what the coordinator starts by itself waits.
pub const APPENDS_IN_FLIGHT_MAX: usize = 4_096;

/// Tombstones in one append. More are split over several appends, so that a batch stays below the
/// smallest `max.message.bytes` of a gateway.
pub const TOMBSTONES_PER_APPEND_MAX: usize = 1_000;

/// Bytes counted for a group besides its names, members and offsets.
pub const GROUP_OVERHEAD_BYTES: usize = 512;

/// Bytes counted for a member besides its names, metadata and assignment.
pub const MEMBER_OVERHEAD_BYTES: usize = 512;

/// Bytes counted for an offset besides its metadata.
pub const OFFSET_OVERHEAD_BYTES: usize = 112;

const _: () = assert!(MEMBER_METADATA_BYTES_MAX < MEMORY_BYTES_MAX);
const _: () = assert!(GROUPS_MAX * GROUP_OVERHEAD_BYTES < MEMORY_BYTES_MAX);
// A length in Kafka's non-flexible formats is an i16.
const _: () = assert!(NAME_BYTES_MAX < 32_767);
const _: () = assert!(TOMBSTONES_PER_APPEND_MAX < OFFSETS_PER_GROUP_MAX);
