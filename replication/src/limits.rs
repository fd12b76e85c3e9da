//! Every bound of the crate, with its unit, its reason and what happens at the bound.

/// Voters of one side of a voter set. More is refused ([`crate::VoterSetError::TooMany`]): a group
/// of more than nine gains nothing and slows every commit.
pub const VOTERS_MAX: usize = 9;

/// Learners of a voter set. More is refused ([`crate::VoterSetError::TooMany`]).
pub const LEARNERS_MAX: usize = 9;

/// Term runs in one append request. A range with more is cut and the rest sent later. Nearly every
/// request has one; the array stands inside the message, so that no message allocates for it.
pub const APPEND_RUNS_MAX: usize = 4;

/// Append requests on the way to one peer. At the bound the peer is sent nothing more until it
/// answers; the next request then takes all that has gathered.
pub const IN_FLIGHT_MAX: u16 = 64;

/// Term runs remembered per group, 16 bytes each. At the bound the oldest committed half is
/// forgotten; a follower that is that far behind installs from the log start.
pub const TERM_RUNS_MAX: usize = 4096;

/// Voter sets remembered per group. At the bound the oldest committed half is forgotten; a follower
/// that is that far behind installs from the log start.
pub const VOTERS_HISTORY_MAX: usize = 64;

/// Replies that wait for the owner to poll. At the bound new ones are dropped, as a network would.
pub const MESSAGES_QUEUED_MAX: usize = 128;

/// Highest term: Kafka's leader epoch is an i32. A message above it is refused.
pub const TERM_MAX: u64 = 0x7fff_ffff;

/// Highest index: a Kafka offset is an i64. A message above it is refused.
pub const INDEX_MAX: u64 = 0x7fff_ffff_ffff_ffff;

/// Heartbeat answers that a peer may give while it installs before the leader probes it again.
pub const INSTALL_PATIENCE_HEARTBEATS: u8 = 16;

/// Shortest heartbeat interval, in milliseconds: below it the timers themselves are the load.
pub const HEARTBEAT_INTERVAL_MS_MIN: u32 = 1;

/// The election timeout must be at least this many heartbeat intervals, so that one lost heartbeat
/// starts no election.
pub const HEARTBEATS_PER_ELECTION_TIMEOUT_MIN: u32 = 2;

const _: () = assert!(APPEND_RUNS_MAX >= 1);
const _: () = assert!(
    TERM_RUNS_MAX >= 2 * APPEND_RUNS_MAX,
    "half of it must hold one request"
);
const _: () = assert!(
    VOTERS_HISTORY_MAX >= 4,
    "half of it must hold a joint change"
);
const _: () = assert!(MESSAGES_QUEUED_MAX > 2 * (2 * VOTERS_MAX + LEARNERS_MAX));
